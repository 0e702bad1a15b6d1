"""A whole evaluation, from a data set and folders of edits to tables, a plot and a contact sheet."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import EvaluationError, markdown, measuring, plot, published, rows, sheet
from .cases import Case, DataSet
from .edited import Method, methods_in, unedited
from .measuring import Measured, Options
from .protocols import BY_NAME, VERSION
from .scores import Scores, common_only, summary
from .tradeoff import Tradeoff
from .weights import REQUIREMENTS, Weights

_PACKAGES = ("torch", "numpy", "scipy", "pillow", "torchvision", "timm", "transformers")
TABLE = "per_picture.csv"


@dataclass(frozen=True)
class Evaluation:
    """The settings of an evaluation.

    Args:
        edited: folders of edits by name of the method.
        settings: names of the settings in records of edits.
        sources: measure the sources too, as if they were edits.
        common: only the cases that all methods have.
        sheet: number of cases on the contact sheet, the worst in `sort`; 0 for no sheet.
        lpips_bound: the best setting of a method is that of the highest CLIP with no more than so much LPIPS.
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
    lpips_bound: float = 0.3


def evaluate(
    evaluation: Evaluation, out: Path, before_case: Callable[[Case], None] = lambda case: None
) -> dict[str, Measured]:
    """Measure what is not measured yet, then write all results into an existing folder.

    Raises:
        EvaluationError: a folder of edits is missing, or the folder of results is of another version.
    """
    cases = evaluation.data.cases
    methods = [unedited()] if evaluation.sources else []
    for name, folder in evaluation.edited.items():
        methods += methods_in(name, folder, evaluation.settings, cases)
    by_name = {method.name: method for method in methods}
    if len(by_name) < len(methods):
        raise EvaluationError("two methods have one name: give each --edited another")
    worst = sheet.checked(evaluation.sort)
    with rows.RowTable(out / TABLE) as table:
        measured = measuring.measure(cases, methods, evaluation.weights, evaluation.options, table, before_case)
    _write(evaluation, out, by_name, measured, worst)
    return measured


def _write(
    evaluation: Evaluation, out: Path, methods: Mapping[str, Method], measured: dict[str, Measured], sort: str
) -> None:
    every_row = [row for own in measured.values() for row in own.rows]
    rows.rewrite(out / TABLE, every_row)
    notes = list(_notes(evaluation))
    if importlib.util.find_spec("pyarrow"):
        rows.write_parquet(out / "per_picture.parquet", every_row)
    else:
        notes.append(f"Without per_picture.parquet: it takes pyarrow: pip install -r {REQUIREMENTS}")
    if evaluation.common:
        measured, left_out = common_only(measured)
        notes.append(f"Over the cases that all methods have; {left_out} others are left out")
    scores = {name: Scores(own) for name, own in measured.items()}
    bound, tradeoff = evaluation.lpips_bound, Tradeoff.of(scores)
    if tradeoff:
        plot.draw(tradeoff, bound, out / "clip_lpips.png")
    else:
        notes.append("Without clip_lpips.png: the plot of CLIP against LPIPS takes weights of both")
    settings = {name: dict(method.settings) for name, method in methods.items()}
    (out / "summary.json").write_text(summary(scores, _about(evaluation, notes), settings), encoding="utf-8")
    notes += _calibration(evaluation, scores)
    page = markdown.page(scores, notes, _is_pie_bench(evaluation.data), tradeoff, bound)
    (out / "table.md").write_text(page, encoding="utf-8")
    if evaluation.sheet:
        entries = sheet.worst_first(evaluation.data.cases, measured, sort, evaluation.sheet)
        sheet.write(out, entries, methods, f"{evaluation.data.path.name}: the worst by {sort}")


def _notes(evaluation: Evaluation) -> Sequence[str]:
    data, options = evaluation.data, evaluation.options
    notes = [f"{len(data.cases)} cases of {data.path.name} ({data.format})"]
    if without := sum(case.mask is None for case in data.cases):
        notes.append(f"{without} cases have no mask, so no background")
    if options.fit:
        notes.append(f"Sources of another size than their edit are made to fit: {options.fit}")
    if options.jpeg:
        notes.append(f"Edits go through JPEG of quality {options.jpeg} first")
    return [*notes, *evaluation.weights.notes]


def _is_pie_bench(data: DataSet) -> bool:
    """Whether these are the cases of the published rows, not others in the same layout."""
    return data.format.startswith("pie-bench") and len(data.cases) == published.CASES


def _calibration(evaluation: Evaluation, scores: Mapping[str, Scores]) -> list[str]:
    """CLIP of the sources beside its published value, if that is known."""
    metric = BY_NAME["pie-bench.clip_source"]
    means = [own.mean(metric) for own in scores.values()]
    full = [mean.mean for mean in means if mean.count == published.CASES]
    if not _is_pie_bench(evaluation.data) or not full:
        return []
    mean = full[0]
    agrees = abs(mean - published.CLIP_SOURCE) <= published.TOLERANCE
    says = "as published" if agrees else "so backbone, prompts or preprocessing are not those of the published rows"
    return [f"Calibration: CLIP of the sources is {mean:.2f}, published {published.CLIP_SOURCE}: {says}"]


def _about(evaluation: Evaluation, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "data": {
            "name": evaluation.data.path.name,
            "format": evaluation.data.format,
            "cases": len(evaluation.data.cases),
        },
        "notes": list(notes),
        "resize": evaluation.options.fit,
        "jpeg": evaluation.options.jpeg,
        "common": evaluation.common,
        "weights_sha256": evaluation.weights.digests,
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
