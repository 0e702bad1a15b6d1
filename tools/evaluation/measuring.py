"""Measures the edits of a data set: a row for each method, case and variation.

A row's key is a digest of everything its numbers depend on. So a row in the table is not measured again, unless
pictures, prompts, options or weights changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from ddpm_core import measures

from . import EvaluationError, pictures
from .cases import Case, digest_of, digest_of_mask
from .edited import Edited, Method
from .protocols import METRICS, VERSION, Pair
from .rows import Row, RowTable, text_of
from .weights import Weights


@dataclass(frozen=True)
class Options:
    """How a source and its edit are prepared.

    Args:
        fit: how a source of another size is resized to its edit; None refuses it.
        jpeg: quality of a JPEG compression of the edit before measuring; None for none.
    """

    fit: pictures.Fit | None = None
    jpeg: int | None = None


@dataclass
class Measured:
    """Everything measured of one method.

    Args:
        rows: in the order of cases, then of variations.
        missing: ids of cases without an edit.
        failed: ids of cases that could not be measured, by reason.
    """

    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)


def measure(
    cases: Sequence[Case],
    methods: Sequence[Method],
    weights: Weights,
    options: Options,
    table: RowTable,
    before_case: Callable[[Case], None] = lambda case: None,
) -> dict[str, Measured]:
    """Measure each method and add what the table lacks to it; the results by name of the method.

    An edit that is missing or cannot be measured is listed, and the rest goes on.
    """
    measured = {method.name: Measured() for method in methods}
    for case in cases:
        before_case(case)
        source = _Source(case)
        for method in methods:
            own = measured[method.name]
            try:
                edited = method.find(case)
                if edited is None:
                    own.missing.append(case.id)
                else:
                    own.rows += _EditMeasurement(source, method.name, edited, weights, options).rows(table)
            except EvaluationError as error:
                own.failed.setdefault(str(error), []).append(case.id)
    return measured


class _Source:
    """A case's picture and mask, read on demand."""

    def __init__(self, case: Case):
        self.case = case

    @cached_property
    def content(self) -> bytes:
        return self.case.picture.read()

    @cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    @cached_property
    def picture(self) -> Tensor:
        return pictures.decoded(self.content, self.case.picture.name)

    @cached_property
    def mask(self) -> Tensor | None:
        return None if self.case.mask is None else pictures.mask_of_case(self.case.mask, self.picture, self.case.id)

    @cached_property
    def mask_digest(self) -> str:
        return digest_of_mask(self.case.mask)


class _EditMeasurement:
    """All variations of one edit."""

    def __init__(self, source: _Source, method: str, edited: Edited, weights: Weights, options: Options):
        self.source, self.method, self.edited = source, method, edited
        self.weights, self.options = weights, options
        self.contents = [picture.read() for picture in edited.pictures]
        self.digests = [digest_of(content) for content in self.contents]

    def rows(self, table: RowTable) -> list[Row]:
        """A row for each variation, from the table if it has it."""
        rows = []
        for variation in range(len(self.contents)):
            key = self._key(variation)
            if key not in table.rows:
                table.add(self._row(variation, key))
            rows.append(table.rows[key])
        return rows

    def _key(self, variation: int) -> str:
        case = self.source.case
        depends = [VERSION, self.method, case.id, case.source, case.target, case.edit_type, variation]
        depends += [self.source.digest, self.source.mask_digest, self._own_digests(variation)]
        depends += [repr(self.edited.seconds), repr(self.options), self.weights.digests]
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def _own_digests(self, variation: int) -> list[str]:
        """Digests of the pictures that a row depends on; the first row holds the diversity of all."""
        return [self.digests[variation], *(self.digests[1:] if variation == 0 else [])]

    def _row(self, variation: int, key: str) -> Row:
        case, pair = self.source.case, self._pair(variation)
        values = {metric.name: text_of(metric.value(pair, self.weights.networks)) for metric in METRICS}
        about = {"key": key, "method": self.method, "case": case.id, "variation": str(variation)}
        about |= {"edit_type": case.edit_type, "source_sha256": self.source.digest}
        about |= {"edited_sha256": self.digests[variation], "edited_file": self.edited.pictures[variation].name}
        return about | values

    def _pair(self, variation: int) -> Pair:
        edits = self._decoded
        source, mask = self._fitted(edits[variation])
        return Pair(
            source,
            edits[variation],
            mask,
            self.source.case.source,
            self.source.case.target,
            tuple(edits[1:]) if variation == 0 else (),
            self.edited.seconds,
        )

    @cached_property
    def _decoded(self) -> list[Tensor]:
        """The edits, all of one size."""
        source, quality = self.source.picture, self.options.jpeg
        names = [picture.name for picture in self.edited.pictures]
        edits = [
            _last_of_strip(pictures.decoded(content, name), source)
            for content, name in zip(self.contents, names, strict=True)
        ]
        if len({edit.shape for edit in edits}) > 1:
            raise EvaluationError("its variations differ in size")
        return edits if quality is None else [pictures.recompressed(edit, quality) for edit in edits]

    def _fitted(self, edit: Tensor) -> tuple[Tensor, Tensor | None]:
        """Source and mask in the size of the edit."""
        source, mask, fit = self.source.picture, self.source.mask, self.options.fit
        if source.shape == edit.shape:
            return source, mask
        if (middle := measures.middle(source.shape[:2], edit.shape[:2])) is not None:
            return source[middle], None if mask is None else mask[middle]
        if fit is None:
            raise EvaluationError(
                f"the edit is {pictures.size_of(edit)} pixels, its source {pictures.size_of(source)}: --resize crop or "
                "--resize stretch makes the source fit"
            )
        size = edit.shape[0], edit.shape[1]
        fitted = pictures.fitted(source, *size, fit)
        return fitted, None if mask is None else pictures.mask_fitted(mask, *size, fit)


def _last_of_strip(edit: Tensor, source: Tensor) -> Tensor:
    """The last picture of several side by side, each as large as the source; else the picture itself."""
    (height, width), (rows, columns) = source.shape[:2], edit.shape[:2]
    return edit[:, -width:] if rows == height and columns > width and columns % width == 0 else edit
