"""Rows of CSV and parquet files, read one by one, since a list of edits may have a million."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

_AT_ONCE = 1024  # rows of a parquet file that are Python objects at the same time


def csv_rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each row of a CSV in UTF-8, the header first; numbers are those of a spreadsheet, from 1."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield from enumerate(csv.reader(text), start=1)


def parquet_rows(table: Any, columns: Sequence[str] | None = None) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Row group, place in it, and values by column, of each row of a pyarrow ParquetFile."""
    for group in range(table.num_row_groups):
        row = 0
        for batch in table.iter_batches(_AT_ONCE, row_groups=[group], columns=columns):
            for values in batch.to_pylist():
                yield group, row, values
                row += 1
