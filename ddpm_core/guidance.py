"""Guidance towards a target prompt: its scale over the steps, and what it leads away from.

Sources: classifier-free guidance (arXiv 2207.12598), whose schedules arXiv 2404.13040 compares; the source prompt in
place of the empty one (TurboEdit, arXiv 2408.00735); h-Edit's explicit form (arXiv 2503.02187). All of them are

    D = D_src + w (D_tar - D_0) - w' (D_src - D_0)

with the predictions of x_0 under the source prompt, the target prompt and the empty one, at the edit's own state.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

CFGSchedule = Literal["constant", "linear", "cosine"]
Guidance = Literal["source as negative", "h-Edit", "classifier-free"]


def scale_of_source(guidance: Guidance, scale: float, source_scale: float) -> float:
    """w', where the target's scale w is `scale`, and `source_scale` is what h-Edit was given."""
    return {"source as negative": scale, "h-Edit": source_scale, "classifier-free": 1.0}[guidance]


def cfg_scales(steps: int, schedule: CFGSchedule, first: float, last: float = 1.0) -> list[float]:
    """The scale of each of `steps` steps, from `first` at the noisiest to `last` at the cleanest.

    Args:
        schedule: "constant" stays at `first`; "linear" falls (or rises) evenly; "cosine" slowly at both ends.

    Raises:
        ValueError: an unknown schedule, fewer than one step.
    """
    if schedule not in get_args(CFGSchedule):
        raise ValueError(f"the cfg schedule is {schedule!r}: use one of {', '.join(get_args(CFGSchedule))}")
    if steps < 1:
        raise ValueError(f"a cfg schedule needs at least one step, got {steps}")
    passed = [i / max(1, steps - 1) for i in range(steps)]
    if schedule == "constant":
        return [first] * steps
    if schedule == "cosine":
        passed = [0.5 * (1 - math.cos(math.pi * p)) for p in passed]
    return [first + p * (last - first) for p in passed]
