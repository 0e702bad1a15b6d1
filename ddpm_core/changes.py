"""How far an edited image is from its source, within a mask and outside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

VISIBLE = 0.1  # of the full range: what the eye sees of a pixel beside its source


@dataclass(frozen=True)
class Change:
    """Of one region, in percent.

    Args:
        mean: mean absolute difference of its values, of the full range.
        visible: share of its pixels that differ by more than `VISIBLE` in some channel.

    Both are NaN where there is no such region.
    """

    mean: float
    visible: float


def measure(source: Tensor, edited: Tensor, mask: Tensor | None = None) -> tuple[Change, Change]:
    """The change within the mask and outside it; without one the whole is within.

    Args:
        source, edited: (H, W, C) in [0, 1].
        mask: (H, W) in [0, 1]; a value between counts its pixel for both, by its share.
    """
    difference = (edited - source).abs()
    inside = difference.new_ones(difference.shape[:2]) if mask is None else mask.to(difference)
    return _within(difference, inside), _within(difference, 1 - inside)


def _within(difference: Tensor, weight: Tensor) -> Change:
    area = weight.sum().item()
    if area < 1e-6 * weight.numel():
        return Change(math.nan, math.nan)
    mean = (difference.mean(dim=-1) * weight).sum().item() / area
    visible = ((difference.amax(dim=-1) > VISIBLE) * weight).sum().item() / area
    return Change(100 * mean, 100 * visible)
