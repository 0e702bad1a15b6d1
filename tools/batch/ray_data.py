"""Edits on the workers of a Ray cluster by Ray Data, which distributes them, assigns GPUs and replaces lost workers.

Rows carry the names of pictures, not the pictures: workers read and write these themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from .client import GraphError
from .job import STOPPED, Outcome
from .pack import copy_for_workers
from .template import UsageError
from .work_list import WorkList
from .worker import Setup, Worker, from_text

GROUPS_AT_ONCE = 8  # pictures in a task; what a machine that is lost loses
TASKS_A_WORKER = 4  # at least, so that the last ones end at about the same time
PLASMA = 512 * 2**20  # bytes of shared memory of a Ray that is started here


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster, or start one here, with the pack and its tools on all machines."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what Ray Data itself does
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": PLASMA}
    with tempfile.TemporaryDirectory() as folder:
        copy_for_workers(Path(folder))
        try:
            _check(address)
            ray.init(
                address=address or "local",
                runtime_env={"working_dir": folder},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"there is no Ray cluster at {address}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _check(address: str | None) -> None:
    """Raise OSError if nothing answers at HOST:PORT, for which Ray itself would wait many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def workers(address: str | None, asked: int | None, cpu: bool) -> int:
    """The number of workers; UsageError without GPUs for them."""
    if cpu:
        return asked or 1
    gpus = int(ray.cluster_resources().get("GPU", 0))
    where = f"the Ray cluster {address}" if address else "this machine"
    if not gpus:
        raise UsageError(f"Ray finds no GPU on {where}: --cpu computes without")
    if asked and asked > gpus:
        raise UsageError(f"--workers {asked} is more than the GPUs of {where}, {gpus}: each takes one")
    return asked or gpus


def outcomes(work: WorkList, setup: Setup, workers: int) -> Iterator[tuple[Outcome, str]]:
    """Outcome and machine of each edit, as they come.

    Raises:
        GraphError: a worker cannot run at all; the message says why.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    tables = work.tables()
    groups = sum(table.num_rows for table in tables)
    a_task = max(1, min(GROUPS_AT_ONCE, groups // (TASKS_A_WORKER * workers)))
    rows = ray.data.from_arrow(tables)
    del tables  # Ray has them in shared memory
    done = rows.repartition(target_num_rows_per_block=a_task).flat_map(
        _Actor,
        fn_constructor_args=(setup,),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0,  # with one each, no processor may be left to hand the edits out
        num_gpus=int(setup.gpu),
    )
    try:
        batch: Any
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                host = row.pop("host")
                outcome = Outcome(**row)
                if outcome.status == STOPPED:
                    raise GraphError(outcome.error)
                yield outcome, host
    except RayError as error:
        raise GraphError(f"Ray gave up: {str(error).splitlines()[-1]}") from error


class _Actor:
    """A worker as Ray Data calls it."""

    def __init__(self, setup: Setup):
        self.worker = Worker(setup)

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        host = f"{socket.gethostname()} {os.getpid()}"
        return [{**vars(outcome), "host": host} for outcome in self.worker.outcomes(map(from_text, row["edits"]))]
