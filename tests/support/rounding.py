"""What rounding does to a run: the measure of two ways to one result, on whatever processor."""

from __future__ import annotations

from collections.abc import Callable

import torch

TIMES = 4
"""Two ways in calls of other rows have been 0.4 to 1.3 times as far apart as the ulp below brings one of them."""


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of two results, of the largest value of the second."""
    return ((a - b).abs().max() / b.abs().max()).item()


def rounding(run: Callable[[dict], torch.Tensor], latent: dict, dtype: torch.dtype = torch.float32) -> float:
    """How far two ways to run(LATENT) may be apart, of its largest value.

    So many times what a unit in the last place of each value of the LATENT makes of the result: that is rounded anew
    in every layer of every step, as calls of other rows are.

    Args:
        dtype: that the network computes in, whose unit it is; a smaller one would be rounded off before it counts.
    """
    return TIMES * relative(run({**latent, "samples": nudged(latent["samples"], dtype)}), run(latent))


def nudged(values: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Each value up by a unit in its last place in that dtype."""
    if dtype == torch.float32:
        return torch.nextafter(values, torch.full_like(values, torch.inf))
    return values + values.abs() * torch.finfo(dtype).eps
