"""The laboratory: training of the demo model, its evaluation, and the figures of the papers."""
