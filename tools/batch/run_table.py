"""The table of a cluster batch: the outcome of each edit, in parquet beside the results."""

from __future__ import annotations

import contextlib
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from .job import Outcome
from .store import Store

FOLDER = "runs"
AT_ONCE = 1000  # outcomes that are kept in memory
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "status", "key", "error", "host")),
        ("tries", pa.int32()),
        ("seconds", pa.float64()),
        ("outputs", pa.list_(pa.string())),
    ]
)


def new_run() -> str:
    """A unique name for a run, which begins with its time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"


def marker_of(run: str) -> str:
    """The file that marks a run in progress in the store."""
    return f"{FOLDER}/{run}.begun"


class RunTable:
    """`with RunTable(store, run) as table:` writes the outcomes added to it, however the run ends."""

    def __init__(self, store: Store, run: str):
        self.store = store
        self.run = run
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> RunTable:
        self.store.write({marker_of(self.run): b""})
        with contextlib.ExitStack() as stack:
            self._file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run.parquet"
            self._writer = stack.enter_context(ParquetWriter(self._file, SCHEMA))
            self._open = stack.pop_all()
        return self

    def add(self, outcome: Outcome, host: str) -> None:
        self._rows.append({**vars(outcome), "host": host})
        if len(self._rows) >= AT_ONCE:
            self._flush()

    def __exit__(self, *_: object) -> None:
        with self._open:
            self._flush()
            self._writer.close()
            with contextlib.suppress(OSError):  # a full store has ended the run already, with a message
                self.store.write({f"{FOLDER}/{self.run}.parquet": self._file.read_bytes()})
                self.store.delete(marker_of(self.run))

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows.clear()
