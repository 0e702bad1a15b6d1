"""Many edits in little memory, with those of the same picture together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from .edits import InvalidEdit, picture_of
from .template import PictureEdit
from .worker import to_text

AT_ONCE = 4096  # edits that are Python objects at the same time
GROUPS = 512  # in a table that is handed on


class WorkList:
    """Edits as columns of text, sorted by checkpoint and picture, so that servers load each once."""

    def __init__(self, edits: Iterable[PictureEdit | InvalidEdit]):
        order = [("checkpoint", "ascending"), ("picture", "ascending")]
        self._table = pa.concat_tables(_tables_of(iter(edits))).sort_by(order)
        pa.default_memory_pool().release_unused()  # that of the unsorted ones

    def __len__(self) -> int:
        return self._table.num_rows

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints that the edits ask for; "" stands for the graph's own."""
        return sorted(name for name in self._table["checkpoint"].unique().to_pylist() if name is not None)

    def tables(self) -> list[Any]:
        """Tables with a column `edits`; a row holds all edits of one picture with one checkpoint, as texts."""
        groups = self._groups()
        tables = []
        while some := list(itertools.islice(groups, GROUPS)):
            tables.append(pa.table({"edits": pa.array(some, pa.list_(pa.string()))}))
        return tables

    def _groups(self) -> Iterator[list[str]]:
        for _, rows in itertools.groupby(self._rows(), lambda row: row[:2]):
            yield [text for *_, text in rows]

    def _rows(self) -> Iterator[tuple[str | None, str, str]]:
        for batch in self._table.to_batches(max_chunksize=AT_ONCE):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _tables_of(edits: Iterator[PictureEdit | InvalidEdit]) -> list[Any]:
    tables = [_table_of([])]
    while some := list(itertools.islice(edits, AT_ONCE)):
        tables.append(_table_of(some))
    return tables


def _table_of(edits: list[PictureEdit | InvalidEdit]) -> Any:
    columns = {
        "checkpoint": [
            None if isinstance(edit, InvalidEdit) else edit.settings.get("checkpoint", "") for edit in edits
        ],
        "picture": [picture_of(edit) for edit in edits],
        "edit": [to_text(edit) for edit in edits],
    }
    return pa.table({name: pa.array(texts, pa.large_string()) for name, texts in columns.items()})
