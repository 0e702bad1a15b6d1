"""Schedules of classifier-free guidance: how the scale changes over the steps.

Source: "Analysis of Classifier-Free Guidance Weight Schedulers" (arXiv 2404.13040) compares such schedules.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

CFGSchedule = Literal["constant", "linear", "cosine"]


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
