"""Lists of edits as tables of texts, CSV or parquet, read as they are needed: they may have a million rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from .store import Place, open_file, path_in
from .template import UsageError

Row = tuple[int, list[str]]  # its number, and its cells


def read_table(place: Place) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns, and the rows.

    Row numbers of a CSV are those of a spreadsheet, the header being row 1; those of parquet begin with 1. A row of a
    CSV may have more cells than there are columns, or fewer.

    Raises:
        UsageError: the table cannot be read; for what lies behind the header, when it is come to.
    """
    rows = _parquet_rows(place) if path_in(place).suffix.lower() == ".parquet" else _csv_rows(place)
    _, columns = next(rows)
    return [name.strip() for name in columns], rows


def _csv_rows(place: Place) -> Iterator[Row]:
    try:
        with open_file(place) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            number = 0
            for number, cells in enumerate(csv.reader(text), start=1):
                yield number, cells
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"the list {place} cannot be read: {error}") from error
    if not number:
        yield 1, []


def _parquet_rows(place: Place) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise UsageError(f"{place} needs pyarrow. Run: python -m pip install pyarrow") from None
    try:
        with open_file(place) as file, ParquetFile(file) as table:
            yield 0, table.schema_arrow.names
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, list(map(_text_of, values))
    except (OSError, ValueError, ArrowException) as error:
        raise UsageError(f"the list {place} cannot be read: {error}") from error


def _text_of(value: Any) -> str:
    """A value as a CSV would have it; nothing where there is none."""
    return "" if value is None or value != value else str(value)
