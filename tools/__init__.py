"""What makers of the pack use: batch editing, evaluation, the lab, templates, benchmarks. No user needs it."""
