"""Sequences x_T ... x_0 that end in a given image; one function for each way to choose them.

Any such sequence yields noise that reproduces the image (Eq. 5 of arXiv 2304.06140): the extraction in
`inversion.py` is the same for all, so a new inversion method is a new function here.

Shapes: `B` rows (images times variations), `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .schedule import NoiseSchedule


def seeds_of_rows(seed: int, images: int, variations: int) -> list[int]:
    """One seed a row, for rows that repeat the batch `variations` times: row v * images + b has seed + v.

    The seed belongs to the variation, not to the place in the batch, so that an image in a batch gives what it gives
    alone. The order is the one in which ComfyUI repeats per-image conditioning over a larger batch.
    """
    return [(seed + v) % 2**64 for v in range(variations) for _ in range(images)]


def edit_friendly(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """x_t = a_t x_0 + b_t eps_t with eps_t ~ N(0, I) independent for each t (Eq. 6).

    Args:
        x_0: (B, *S) the images.
        schedule: T steps.
        seeds: one seed a row.

    Returns:
        (T+1, B, *S) on the CPU in float32 (float64 if x_0 is), the last of them x_0 itself.
    """
    if len(seeds) != len(x_0):
        raise ValueError(f"{len(x_0)} images need as many seeds, got {len(seeds)}")
    return torch.stack([edit_friendly_state(x_0, schedule, seeds, i) for i in range(schedule.steps + 1)])


def edit_friendly_state(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int], i: int) -> Tensor:
    """(B, *S) on the CPU: the state of `edit_friendly` at level i alone."""
    x_0 = x_0.detach().to("cpu", torch.promote_types(x_0.dtype, torch.float32))
    steps_left = schedule.steps - i
    if steps_left == 0:
        return x_0
    eps = torch.stack([_standard_normal(x_0.shape[1:], seed, steps_left) for seed in seeds])
    return schedule.signal[i].item() * x_0 + schedule.noise[i].item() * eps.to(x_0.dtype)


def _standard_normal(shape: Sequence[int], seed: int, steps_left: int) -> Tensor:
    """Noise of one level. Each has a stream of its own, counted from the clean end: any level can be drawn alone, and
    a schedule without its noisiest steps draws the same noise for the rest."""
    stream = np.random.SeedSequence((seed, steps_left)).generate_state(1, np.uint64)[0]
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(stream)))
