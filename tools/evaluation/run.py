"""A whole evaluation: from a data set and folders of edits to tables, a plot and a contact sheet."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import EvaluationError, markdown, measuring, plot, published, rows, sheet, tables
from .cases import Case, DataSet
from .edited import Method, methods_in, unedited
from .measuring import Options, Outcome
from .protocols import BY_NAME, VERSION
from .tables import Scores
from .weights import REQUIREMENTS, Weights

_PACKAGES = ("torch", "numpy", "pillow", "torchmetrics", "torchvision", "timm", "transformers")
TABLE = "per_picture.csv"


@dataclass(frozen=True)
class Wanted:
    """What to evaluate.

    Args:
        edited: folders of edits by the name of their method.
        settings: the names of the settings that records of edits hold.
        sources: the sources too, as if they were edits.
        common: only the cases that all methods have.
        sheet: how many cases the contact sheet shows, those that are worst in `sort`; 0 for no sheet.
    """

    data: DataSet
    edited: Mapping[str, Path]
    settings: Collection[str]
    weights: Weights
    options: Options
    sources: bool = False
    common: bool = False
    sheet: int = 48
    sort: str = "whole.psnr"


def evaluate(wanted: Wanted, out: Path, before_case: Callable[[Case], None] = lambda case: None) -> dict[str, Outcome]:
    """Measure what is not measured yet, then write all results into a folder, which exists.

    Raises:
        EvaluationError: a folder of edits is not there, or that of the results holds those of another version.
    """
    cases = wanted.data.cases
    methods = [unedited()] if wanted.sources else []
    for name, folder in wanted.edited.items():
        methods += methods_in(name, folder, wanted.settings, cases)
    by_name = {method.name: method for method in methods}
    if len(by_name) < len(methods):
        raise EvaluationError("two methods have one name: give each --edited another")
    worst = sheet.checked(wanted.sort)
    with rows.RowTable(out / TABLE) as table:
        outcomes = measuring.measure(cases, methods, wanted.weights, wanted.options, table, before_case)
    _write(wanted, out, by_name, outcomes, worst)
    return outcomes


def _write(wanted: Wanted, out: Path, methods: Mapping[str, Method], outcomes: dict[str, Outcome], sort: str) -> None:
    every_row = [row for outcome in outcomes.values() for row in outcome.rows]
    rows.rewrite(out / TABLE, every_row)
    notes = list(_notes(wanted))
    if importlib.util.find_spec("pyarrow"):
        rows.write_parquet(out / "per_picture.parquet", every_row)
    else:
        notes.append(f"Without per_picture.parquet: it takes pyarrow: pip install -r {REQUIREMENTS}")
    if wanted.common:
        outcomes, left_out = tables.common_only(outcomes)
        notes.append(f"Over the cases that all methods have; {left_out} others are left out")
    scores = {name: Scores(outcome) for name, outcome in outcomes.items()}
    if reason := plot.draw(scores, out / "clip_lpips.png"):
        notes.append(f"Without clip_lpips.png: {reason}")
    settings = {name: dict(method.settings) for name, method in methods.items()}
    (out / "summary.json").write_text(tables.summary(scores, _about(wanted, notes), settings), encoding="utf-8")
    notes += _calibration(wanted, scores)
    (out / "table.md").write_text(markdown.page(scores, notes, _is_pie_bench(wanted.data)), encoding="utf-8")
    if wanted.sheet:
        entries = sheet.worst_first(wanted.data.cases, outcomes, sort, wanted.sheet)
        sheet.write(out, entries, methods, f"{wanted.data.path.name}: the worst by {sort}")


def _notes(wanted: Wanted) -> Sequence[str]:
    data, options = wanted.data, wanted.options
    notes = [f"{len(data.cases)} cases of {data.path.name} ({data.format})"]
    if without := sum(case.mask is None for case in data.cases):
        notes.append(f"{without} cases have no mask, so no background")
    if options.fit:
        notes.append(f"Sources of another size than their edit are made to fit: {options.fit}")
    if options.jpeg:
        notes.append(f"Edits go through JPEG of quality {options.jpeg} first")
    return [*notes, *wanted.weights.notes]


def _is_pie_bench(data: DataSet) -> bool:
    """Whether these are the cases of the published rows, and not others in the same layout."""
    return data.format.startswith("pie-bench") and len(data.cases) == published.CASES


def _calibration(wanted: Wanted, scores: Mapping[str, Scores]) -> list[str]:
    """Whether CLIP of the sources is what others measured, where that is known."""
    metric = BY_NAME["pie-bench.clip_source"]
    means = [own.mean(metric) for own in scores.values()]
    full = [mean.mean for mean in means if mean.count == published.CASES]
    if not _is_pie_bench(wanted.data) or not full:
        return []
    mean = full[0]
    agrees = abs(mean - published.CLIP_SOURCE) <= published.TOLERANCE
    says = "as published" if agrees else "so backbone, prompts or preprocessing are not those of the published rows"
    return [f"Calibration: CLIP of the sources is {mean:.2f}, published {published.CLIP_SOURCE}: {says}"]


def _about(wanted: Wanted, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "data": {"name": wanted.data.path.name, "format": wanted.data.format, "cases": len(wanted.data.cases)},
        "notes": list(notes),
        "resize": wanted.options.fit,
        "jpeg": wanted.options.jpeg,
        "common": wanted.common,
        "weights_sha256": wanted.weights.digests,
        "versions": {"formulas": str(VERSION), "python": sys.version.split()[0], **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
