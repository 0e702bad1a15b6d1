"""Bootstrap intervals: how often they cover, and what has none."""

import math

import numpy as np
import pytest

from tools.evaluation.intervals import interval, mean_of


@pytest.mark.parametrize("scores", ["normal", "skewed"])
def test_95_percent_intervals_cover_the_known_mean_that_often(scores):
    """1,000 repetitions of 100 cases; a binomial of 0.95 stays within 93 to 97 percent but once in 250."""
    rng = np.random.default_rng(2304)
    if scores == "normal":
        values, mean = rng.normal(25.9, 4.0, (1000, 100)), 25.9
    else:
        values, mean = rng.gamma(4.0, 0.02, (1000, 100)), 0.08  # errors, as LPIPS has them
    low, high = interval(values, resamples=2000)
    assert 0.93 <= ((low <= mean) & (mean <= high)).mean() <= 0.97


def test_the_ends_of_two_cases_are_the_cases():
    mean = mean_of(np.array([1.0, 3.0]))
    assert (mean.mean, mean.low, mean.high, mean.count) == (2.0, 1.0, 3.0, 2)


def test_the_width_is_that_of_the_central_limit():
    values = np.random.default_rng(1).normal(0, 4, 556)
    mean = mean_of(values)
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * values.std() / math.sqrt(556), rel=0.05)


def test_missing_and_infinite_values():
    values = np.array([1.0, math.nan, math.inf, 3.0])
    kept, left_out = mean_of(values), mean_of(values, leave_out_infinite=True)
    assert (kept.mean, kept.count, kept.infinite) == (math.inf, 3, 1) and math.isnan(kept.low)
    assert (left_out.mean, left_out.count, left_out.infinite) == (2.0, 2, 1)
    nothing = mean_of(np.array([math.nan]))
    assert nothing.count == 0 and math.isnan(nothing.mean)
