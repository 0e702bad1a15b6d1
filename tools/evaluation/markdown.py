"""All tables as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from . import published
from .intervals import RESAMPLES, Mean
from .protocols import PROTOCOLS, QUIRKS, Metric, columns_of
from .scores import Difference, Scores, differences
from .tradeoff import Tradeoff

_ARROWS = {"up": " \u2191", "down": " \u2193", "": ""}
_TITLES = {
    "pie-bench": "as published, quirks and all",
    "masked": "over what was not to change alone",
    "whole": "the whole picture",
    "ef-paper": "the terms of arXiv 2304.06140, Tables 1 and 2",
}


def page(
    scores: Mapping[str, Scores], notes: Iterable[str], compared: bool, tradeoff: Tradeoff | None, bound: float
) -> str:
    """The page: notes, a table for each protocol, the best setting of each method, differences, and what numbers mean.

    Args:
        notes: lines on the data set, the pictures and the weights.
        compared: add the published rows.
        bound: of LPIPS, for the best settings.
    """
    parts = ["# Evaluation", *(f"- {note}" for note in [*notes, *_lacking(scores)]), ""]
    for protocol in PROTOCOLS:
        columns = [metric for metric in columns_of(protocol) if any(own.mean(metric).count for own in scores.values())]
        if not columns:
            continue
        parts += [f"## {protocol}: {_TITLES[protocol]}", "", *_table(protocol, columns, scores, compared), ""]
    chosen = _chosen(tradeoff, bound) if tradeoff else []
    return "\n".join([*parts, *chosen, *_paired(scores), *_small_print()]) + "\n"


def _table(protocol: str, columns: Sequence[Metric], scores: Mapping[str, Scores], compared: bool) -> list[str]:
    lines = _head(["", *(f"{metric.heading}{_ARROWS[metric.better]}" for metric in columns), "cases"])
    for name, own in scores.items():
        means = [own.mean(metric) for metric in columns]
        cells = [shown(metric, mean) for metric, mean in zip(columns, means, strict=True)]
        lines.append(_line([name, *cells, _counts(means)]))
    if protocol == "pie-bench" and compared:
        for row in published.ROWS:
            values = (getattr(row, metric.name.partition(".")[2], None) for metric in columns)
            cells = ["-" if value is None else f"{value:.2f}" for value in values]
            lines.append(_line([f"*published, not measured here: {row.method} ({row.source})*", *cells, ""]))
    return lines


def _chosen(tradeoff: Tradeoff, bound: float) -> list[str]:
    """The choice of D.1 of arXiv 2304.06140, for each method with several settings."""
    lines = []
    for method, points in tradeoff.methods.items():
        if len(points) < 2:
            continue
        best = tradeoff.best(method, bound)
        cells = ["none", *["-"] * 2]
        if best:
            cells = [best.setting, shown(tradeoff.clip, best.clip), shown(tradeoff.lpips, best.lpips)]
        nearest = points[0].lpips
        lines.append(_line([method, *cells, str(len(points)), shown(tradeoff.lpips, nearest)]))
    if not lines:
        return []
    title = f"## The best setting: the highest CLIP with an LPIPS of {bound:g} at most"
    heads = ["", "setting", tradeoff.clip.heading, tradeoff.lpips.heading, "of settings", "lowest LPIPS of all"]
    return [title, "", *_head(heads), *lines, ""]


def _paired(scores: Mapping[str, Scores]) -> list[str]:
    pairs = differences(scores)
    if not pairs:
        return []
    lines = ["## Paired differences", "", "The second method less the first, case by case; * where 0 is outside.", ""]
    for protocol in PROTOCOLS:
        columns = [metric for metric in columns_of(protocol) if metric.better and any(_count(p, metric) for p in pairs)]
        if columns:
            lines += _head([protocol, *(metric.heading for metric in columns)])
            lines += [_difference(pair, columns) for pair in pairs if not pair.refused] + [""]
    return [*lines, *(f"- Refused: {pair.refused}." for pair in pairs if pair.refused), ""]


def _count(pair: Difference, metric: Metric) -> int:
    return pair.means[metric.name].count if pair.means else 0


def _difference(pair: Difference, columns: Sequence[Metric]) -> str:
    means = [pair.means[metric.name] for metric in columns]
    marks = [" \\*" if mean.low > 0 or mean.high < 0 else "" for mean in means]
    cells = [shown(metric, mean) + mark for metric, mean, mark in zip(columns, means, marks, strict=True)]
    return _line([f"{pair.second} less {pair.first}", *cells])


def shown(metric: Metric, mean: Mean) -> str:
    """A mean with its interval, scaled as in published tables."""
    text = metric.shown(mean.mean)
    return text if math.isnan(mean.low) else f"{text} [{metric.shown(mean.low)}, {metric.shown(mean.high)}]"


def _counts(means: Sequence[Mean]) -> str:
    """The number of cases in the columns, and of infinite values."""
    counts = sorted({mean.count for mean in means}, reverse=True)
    infinite = max(mean.infinite for mean in means)
    return " / ".join(map(str, counts)) + (f", {infinite} infinite" if infinite else "")


def _lacking(scores: Mapping[str, Scores]) -> list[str]:
    lines = []
    for name, own in scores.items():
        if own.measured.missing:
            lines.append(f"{name} lacks {len(own.measured.missing)}: {', '.join(own.measured.missing)}")
        lines += [f"{name}: {', '.join(ids)}: {reason}" for reason, ids in own.measured.failed.items()]
    return lines


def _small_print() -> list[str]:
    intervals = f"In brackets: 95% percentile bootstrap intervals over cases, {RESAMPLES} resamples."
    return ["## What the numbers are", "", f"- {intervals}", *(f"- {quirk}" for quirk in QUIRKS)]


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
