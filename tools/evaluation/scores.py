"""Means over cases with intervals, and paired differences between methods."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .edited import UNEDITED
from .intervals import COVERED, RESAMPLES, Mean, mean_of
from .measuring import Measured
from .protocols import METRICS, Metric
from .rows import Row, value_of


class Scores:
    """Mean over variations of what was measured of one method, by metric and case."""

    def __init__(self, measured: Measured):
        self.measured = measured
        by_case: dict[str, list[Row]] = {}
        for row in measured.rows:
            by_case.setdefault(row["case"], []).append(row)
        self.cases = list(by_case)
        self.edit_types = [rows[0]["edit_type"] for rows in by_case.values()]
        self.variations = Counter(map(len, by_case.values()))
        self._rows = list(by_case.values())
        self._means: dict[tuple[str, tuple[bool, ...]], Mean] = {}

    def values(self, metric: Metric) -> NDArray[np.float64]:
        """(cases,) NaN for a case without a value."""
        return np.array([_mean([value_of(row[metric.name]) for row in rows]) for rows in self._rows], dtype=np.float64)

    def mean(self, metric: Metric, edit_type: str | None = None) -> Mean:
        """The mean over all cases, or over those of a type; computed once for the same cases."""
        chosen = tuple(edit_type in (None, known) for known in self.edit_types)
        if (metric.name, chosen) not in self._means:
            left_out = not metric.name.startswith("pie-bench.")
            self._means[metric.name, chosen] = mean_of(self.values(metric)[list(chosen)], leave_out_infinite=left_out)
        return self._means[metric.name, chosen]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True)
class Difference:
    """Paired difference of two methods over cases: the second less the first.

    Args:
        means: by metric; empty if refused.
        refused: why they cannot be compared; "" if they can.
    """

    first: str
    second: str
    means: Mapping[str, Mean]
    refused: str = ""


def differences(scores: Mapping[str, Scores]) -> list[Difference]:
    """The difference of each two methods; refused for those measured over different cases."""
    compared = [name for name in scores if name != UNEDITED]
    return [_difference(first, second, scores) for first, second in combinations(compared, 2)]


def _difference(first: str, second: str, scores: Mapping[str, Scores]) -> Difference:
    ours, theirs = scores[first], scores[second]
    only = [len(set(a.cases) - set(b.cases)) for a, b in ((ours, theirs), (theirs, ours))]
    if any(only):
        reason = (
            f"{first} has {only[0]} cases that {second} lacks, and {second} {only[1]} that {first} lacks: measure both "
            "over the same, or take --common"
        )
        return Difference(first, second, {}, reason)
    means = {}
    for metric in METRICS:
        with np.errstate(invalid="ignore"):  # infinity less infinity: two perfect backgrounds
            means[metric.name] = mean_of(theirs.values(metric) - ours.values(metric), leave_out_infinite=True)
    return Difference(first, second, means)


def common_only(measured: Mapping[str, Measured]) -> tuple[dict[str, Measured], int]:
    """What was measured over the cases that all methods have, and the number of cases left out."""
    cases = [{row["case"] for row in own.rows} for own in measured.values()]
    shared = set.intersection(*cases)
    kept = {
        name: Measured([row for row in own.rows if row["case"] in shared], own.missing, own.failed)
        for name, own in measured.items()
    }
    return kept, len(set.union(*cases) - shared)


def summary(scores: Mapping[str, Scores], about: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """All means as JSON, unscaled; infinity is the text "inf", a missing number null.

    Args:
        about: the evaluation itself: data set, versions, digests of the weights.
        settings: by method.
    """
    content = {
        **about,
        "interval": {"covered": COVERED, "kind": "percentile bootstrap over cases", "resamples": RESAMPLES},
        "methods": {name: _of_method(own) | {"settings": settings.get(name, {})} for name, own in scores.items()},
        "differences": [
            {
                "second": pair.second,
                "first": pair.first,
                "refused": pair.refused or None,
                "metrics": _all(pair.means),
            }
            for pair in differences(scores)
        ],
    }
    return json.dumps(_plain(content), indent=2)


def _of_method(scores: Scores) -> dict[str, Any]:
    types = sorted({kind for kind in scores.edit_types if kind})
    return {
        "cases": len(scores.cases),
        "variations": {str(count): cases for count, cases in sorted(scores.variations.items())},
        "missing": scores.measured.missing,
        "failed": scores.measured.failed,
        "metrics": _all({metric.name: scores.mean(metric) for metric in METRICS}),
        "by_type": {
            kind: {
                "cases": scores.edit_types.count(kind),
                "metrics": _all({metric.name: scores.mean(metric, kind) for metric in METRICS}),
            }
            for kind in types
        },
    }


def _all(means: Mapping[str, Mean]) -> dict[str, Any]:
    return {
        name: {"n": mean.count, "mean": mean.mean, "low": mean.low, "high": mean.high, "infinite": mean.infinite}
        for name, mean in means.items()
        if mean.count or mean.infinite
    }


def _plain(value: Any) -> Any:
    """The value without numbers that JSON lacks."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else repr(value)
    return value
