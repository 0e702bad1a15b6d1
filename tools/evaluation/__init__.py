"""How far edited pictures are from their sources and how near to their prompts: metrics, data sets, intervals, tables.

Knows nothing of ComfyUI, of how the pictures were made, or of the method. What is needed beyond torch, numpy and Pillow
is imported where it is used: `pip install -r requirements-evaluation.txt`.
"""


class EvaluationError(ValueError):
    """What was asked for cannot be measured so; the message names the file and the remedy."""
