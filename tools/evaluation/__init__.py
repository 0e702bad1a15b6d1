"""Evaluation of edited pictures: distance from their sources, agreement with their prompts, intervals, tables.

Independent of ComfyUI, of the method and of how the pictures were made. Packages beyond torch, numpy, scipy and Pillow
are imported where they are used: `pip install -r requirements-evaluation.txt`.
"""


class EvaluationError(ValueError):
    """Input that cannot be measured; the message names the file and the remedy."""
