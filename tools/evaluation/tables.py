"""Means over cases with intervals, differences between methods, and the files they go into."""

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
from .measuring import Outcome
from .protocols import METRICS, Metric
from .rows import Row, value_of


class Scores:
    """What was measured of one method: the mean over variations, by metric and case."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        by_case: dict[str, list[Row]] = {}
        for row in outcome.rows:
            by_case.setdefault(row["case"], []).append(row)
        self.cases = list(by_case)
        self.edit_types = [rows[0]["edit_type"] for rows in by_case.values()]
        self.variations = Counter(map(len, by_case.values()))
        self._rows = list(by_case.values())

    def values(self, metric: Metric) -> NDArray:
        """(cases,) NaN where a case has no value."""
        return np.array([_mean([value_of(row[metric.name]) for row in rows]) for rows in self._rows], dtype=np.float64)

    def mean(self, metric: Metric, edit_type: str | None = None) -> Mean:
        """Over all cases, or over those of a type."""
        values = self.values(metric)
        if edit_type is not None:
            values = values[[known == edit_type for known in self.edit_types]]
        return mean_of(values, leave_out_infinite=not metric.name.startswith("pie-bench."))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True)
class Difference:
    """Of two methods, case by case: the second less the first.

    Args:
        refused: why they cannot be compared; "" where they can, and then there are means by metric.
    """

    first: str
    second: str
    means: Mapping[str, Mean]
    refused: str = ""


def differences(scores: Mapping[str, Scores]) -> list[Difference]:
    """Of each two methods; those that were measured over different cases are refused."""
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


def common_only(outcomes: Mapping[str, Outcome]) -> tuple[dict[str, Outcome], int]:
    """The outcomes over the cases that all methods were measured over, and how many cases that leaves out."""
    cases = [{row["case"] for row in outcome.rows} for outcome in outcomes.values()]
    shared = set.intersection(*cases)
    kept = {
        name: Outcome([row for row in outcome.rows if row["case"] in shared], outcome.missing, outcome.failed)
        for name, outcome in outcomes.items()
    }
    return kept, len(set.union(*cases) - shared)


def summary(scores: Mapping[str, Scores], about: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """All means as JSON; numbers are unscaled, an infinite one is the text "inf", a missing one null.

    Args:
        about: of the whole run: data set, versions, digests of the weights.
        settings: of the methods, by name.
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
        "missing": scores.outcome.missing,
        "failed": scores.outcome.failed,
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
    """Without numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else repr(value)
    return value
