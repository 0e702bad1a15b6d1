"""What an oracle gives: numbers, each with what it has to be and how near."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..evaluation.intervals import Mean, mean_of
from ..lab.figures.results import Table


@dataclass(frozen=True)
class Check:
    """One number of an oracle.

    Args:
        what: it measures.
        value: measured.
        expected: by a closed form, or as the paper has it.
        within: how far the value may be from it.
        low, high: the 95% interval of a mean over cases; NaN of what is no mean.
    """

    what: str
    value: float
    expected: float
    within: float
    low: float = math.nan
    high: float = math.nan

    @property
    def holds(self) -> bool:
        """Whether the value is as near as it has to be; NaN never is."""
        return abs(self.value - self.expected) <= self.within

    @classmethod
    def of_cases(cls, what: str, cases: Tensor, expected: float, within: float) -> Check:
        """The mean over cases (N,) with its interval."""
        mean = over(cases)
        return cls(what, mean.mean, expected, within, mean.low, mean.high)


def over(cases: Tensor) -> Mean:
    """The mean over cases (N,) with its 95% interval."""
    return mean_of(np.asarray(cases.double().numpy()))


def as_table(title: str, checks: Sequence[Check]) -> Table:
    """The numbers of an oracle on the page."""
    rows = {check.what: (check.value, check.low, check.high, check.expected, check.within) for check in checks}
    return Table(title, ("measured", "95% from", "to", "expected", "within"), rows, (*(".3f",) * 4, ".1g"))
