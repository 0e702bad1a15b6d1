"""The table of single measurements: a CSV that grows by whole lines, so that a killed evaluation can be resumed."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from . import EvaluationError
from .protocols import METRICS

ABOUT = ("key", "method", "case", "variation", "edit_type", "source_sha256", "edited_sha256", "edited_file")
FIELDS = (*ABOUT, *(metric.name for metric in METRICS))
Row = Mapping[str, str]


def text_of(value: float) -> str:
    """A number as text: all its digits, "inf", or "" for NaN."""
    return "" if math.isnan(value) else repr(value)


def value_of(text: str) -> float:
    return float(text) if text else math.nan


class RowTable:
    """The rows of a file by key; a new row is on the disk when `add` returns.

    Raises:
        EvaluationError: the file has other columns, so it is of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a killed process may have left half a line
        lines = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
        if lines and tuple(lines[0]) != FIELDS:
            raise EvaluationError(f"{path} has other columns than this version writes: name another folder with --out")
        rows = (dict(zip(FIELDS, line, strict=True)) for line in lines[1:] if len(line) == len(FIELDS))
        self.rows: dict[str, Row] = {row["key"]: row for row in rows}
        if whole != content:
            path.write_bytes(whole)
        self._file = path.open("a", encoding="utf-8", newline="")
        if not whole:
            self._write(FIELDS)

    def __enter__(self) -> RowTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        self._write([row[name] for name in FIELDS])
        self.rows[row["key"]] = row

    def _write(self, cells: Iterable[str]) -> None:
        self._file.write(_line(cells))
        self._file.flush()


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """Replace the rows of the file, in this order; an evaluation can still be resumed from it."""
    lines = [_line(FIELDS), *(_line([row[name] for name in FIELDS]) for row in rows)]
    part = path.with_name(f"{path.name}.part")
    part.write_bytes("".join(lines).encode("utf-8"))
    os.replace(part, path)


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    # One line a row, whatever an id contains.
    csv.writer(line, lineterminator="\n").writerow([cell.replace("\r", " ").replace("\n", " ") for cell in cells])
    return line.getvalue()


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write the table as parquet, with numbers as numbers; NaN for a metric without a value."""
    import pyarrow
    import pyarrow.parquet

    listed = list(rows)
    columns = {name: pyarrow.array([row[name] for row in listed], pyarrow.string()) for name in ABOUT}
    columns["variation"] = pyarrow.array([int(row["variation"]) for row in listed], pyarrow.int32())
    for metric in METRICS:
        columns[metric.name] = pyarrow.array([value_of(row[metric.name]) for row in listed], pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
