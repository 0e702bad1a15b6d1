"""Percentile bootstrap intervals of means over cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED, COVERED = 10_000, 0, 0.95
_AT_ONCE = 1_000_000  # numbers of resampled cases, 8 MB


@dataclass(frozen=True)
class Mean:
    """A mean over cases with its 95% interval.

    Args:
        count: cases that went into it.
        low, high: NaN with fewer than two cases or an infinite one.
        infinite: cases whose value is infinite.
    """

    count: int
    mean: float
    low: float
    high: float
    infinite: int = 0


def mean_of(values: NDArray, leave_out_infinite: bool = False) -> Mean:
    """Of the values of cases; NaN is no value.

    Args:
        leave_out_infinite: take the mean over the finite ones if there are any; else one infinite value makes it
            infinite.
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


def interval(values: NDArray, resamples: int = RESAMPLES, seed: int = SEED) -> tuple[NDArray, NDArray]:
    """Both ends of the 95% interval of the mean over the last axis, for each row of (..., n) by the same resamples."""
    count = values.shape[-1]
    size = max(1, min(resamples, _AT_ONCE // count))
    starts = range(0, resamples, size)
    counts = (_resampled(count, min(size, resamples - start), seed, start) for start in starts)
    means = np.concatenate([values @ part.T / count for part in counts], axis=-1)
    outside = (1 - COVERED) / 2
    low, high = np.quantile(means, (outside, 1 - outside), axis=-1)
    return low, high


@lru_cache(maxsize=24)
def _resampled(count: int, size: int, seed: int, start: int) -> NDArray:
    """(size, count) how often each case is in each of some resamples."""
    chosen = np.random.default_rng([seed, start]).integers(count, size=(size, count))
    chosen += count * np.arange(size)[:, None]
    return np.bincount(chosen.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
