"""Percentile bootstrap intervals of means over cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

RESAMPLES, SEED, COVERED = 10_000, 0, 0.95
_AT_ONCE = 1_000_000  # resampled values, 8 MB


@dataclass(frozen=True)
class Mean:
    """A mean over cases with its 95% interval.

    Args:
        count: number of cases in it.
        low, high: NaN for fewer than two cases or an infinite mean.
        infinite: number of cases with an infinite value.
    """

    count: int
    mean: float
    low: float
    high: float
    infinite: int = 0


def mean_of(values: NDArray[np.float64], leave_out_infinite: bool = False) -> Mean:
    """Mean of the values (cases,), without NaN.

    Args:
        leave_out_infinite: take the mean over the finite values if there are any; otherwise one infinite value makes
            the mean infinite.
    """
    known = values[~np.isnan(values)]
    finite = known[np.isfinite(known)]
    infinite = len(known) - len(finite)
    taken = finite if leave_out_infinite and len(finite) else known
    mean = float(taken.mean()) if len(taken) else math.nan
    if len(taken) < 2 or not math.isfinite(mean):
        return Mean(len(taken), mean, math.nan, math.nan, infinite)
    low, high = interval(taken)
    return Mean(len(taken), mean, float(low), float(high), infinite)


def interval(
    values: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95% interval of the mean over the last axis, for each row of (..., n) from the same resamples."""
    found = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // values.size),
        confidence_level=COVERED,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return found.confidence_interval.low, found.confidence_interval.high
