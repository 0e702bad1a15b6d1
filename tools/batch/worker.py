"""A worker of a cluster: it starts, watches and restarts a ComfyUI of its own, and runs edits on it.

Independent of the engine that runs it; its interpreter may be another than ComfyUI's, without torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..comfyui import is_comfyui
from .client import ComfyClient, GraphError
from .edits import InvalidEdit
from .job import FINISHED, STOPPED, Job, Outcome
from .server import ComfyServer
from .store import StoreError, place_of, store_at
from .template import PictureEdit, Template

PAUSES = (1.0, 5.0, 0.0)  # seconds after the first, second and last death of a server during an edit
BASE = "edit-friendly-"  # prefix of a server's folder
LOCK = "lock"  # a file in it, locked while its worker lives


@dataclass(frozen=True)
class Setup:
    """Settings of a worker, as plain values that an engine can send."""

    graph: dict[str, Any]
    out: str
    marker: str  # a file in the store, which shows that it is the command's store
    comfyui: str
    python: str | None = None
    models: str | None = None
    gpu: bool = True
    checkpoints: tuple[str, ...] = ()  # of the edits; "" is the graph's own
    timeout: float | None = None
    start_timeout: float = 300
    recycle: int = 500
    scratch: str | None = None
    logs: str | None = None


class Worker:
    """Runs edits on a ComfyUI of its own, which it starts at once."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.template = Template(setup.graph)
        self.store = store_at(place_of(setup.out))
        self.server = OwnServer(setup)
        self.refusal = self._machine_refusal() or self._server_refusal()  # why this worker cannot run at all
        if self.refusal is None:
            self.job = Job(self.template, self.store)

    def outcomes(self, edits: Iterable[PictureEdit | InvalidEdit]) -> Iterator[Outcome]:
        """The outcome of each edit; or one STOPPED: this worker cannot run at all."""
        if self.refusal is not None:
            yield Outcome(socket.gethostname(), STOPPED, error=self.refusal)
            return
        for edit in edits:
            try:
                outcome = self._do(edit)
            except StoreError as error:
                yield Outcome(socket.gethostname(), STOPPED, error=str(error))
                return
            self.server.runs += outcome.status != FINISHED
            yield outcome

    def _do(self, edit: PictureEdit | InvalidEdit) -> Outcome:
        """Run an edit, on further servers if one dies."""
        started, reason = time.monotonic(), GraphError("it was never asked")
        for deaths, pause in enumerate(PAUSES):
            try:
                outcome = self.job.run(edit, self.server.client(), self.server.host)
                return replace(outcome, tries=outcome.tries + deaths) if outcome.tries else outcome
            except GraphError as error:  # the server stopped, or does not start
                reason = error
                self.server.stop()
                time.sleep(pause)
        return replace(self.job.give_up(edit, reason), seconds=round(time.monotonic() - started, 2))

    def _machine_refusal(self) -> str | None:
        """Why this machine cannot have a worker: no ComfyUI, or another folder of results than the command's."""
        try:
            seen = self.store.has(self.setup.marker)
        except OSError as error:
            return f"{socket.gethostname()} cannot read {self.setup.out}: {error}"
        if not is_comfyui(Path(self.setup.comfyui)):
            return f"{socket.gethostname()} has no ComfyUI in {self.setup.comfyui}: say with --comfyui where it is"
        if seen:
            return None
        return (
            f"{socket.gethostname()} does not see the folder {self.setup.out} of the command: name one on a disk that "
            "all machines have at the same path, or one of an object store (s3://..., gs://...)"
        )

    def _server_refusal(self) -> str | None:
        """Why no edit can run on this server: said once, not for each edit."""
        try:
            client = self.server.client()
        except GraphError as error:
            return f"on {socket.gethostname()} {error}"
        for name in sorted({node["class_type"] for node in self.template.graph.values()}):
            if name not in client.get(f"/object_info/{name}"):
                return f"the server has no node {name}: is the pack that has it installed in {self.setup.comfyui}?"
        in_graph = self.template.settings_of(self.template.graph).get("checkpoint")
        wanted = {str(name or in_graph) for name in self.setup.checkpoints if name or in_graph}
        offered = client.choices("CheckpointLoaderSimple", "ckpt_name") if wanted else []
        missing = ", ".join(sorted(wanted - set(offered)))
        if not missing:
            return None
        return f"there is no checkpoint {missing} on {socket.gethostname()}, it has: {', '.join(offered) or 'none'}"


class OwnServer:
    """A ComfyUI in a temporary folder of its own."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.runs = 0
        self.host: Mapping[str, Any] = {}
        self._running: contextlib.ExitStack | None = None
        self._server: ComfyServer | None = None

    def client(self) -> ComfyClient:
        """The server, started if needed and restarted after `recycle` pictures.

        Raises:
            GraphError: it did not start in two attempts (another process may take its port); with the end of its log.
        """
        if self.runs >= self.setup.recycle:
            self.stop()
        if self._server is None:
            try:
                self._server = self._start()
            except GraphError:
                self._server = self._start()
        return self._server

    def stop(self) -> None:
        """Stop it and delete its folder."""
        running, self._running, self._server = self._running, None, None
        if running is not None:
            running.close()

    def _start(self) -> ComfyServer:
        try:
            return self._started()
        except OSError as error:  # no interpreter, no room for its folder
            raise GraphError(f"ComfyUI cannot be started: {error}") from error

    def _started(self) -> ComfyServer:
        setup = self.setup
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(_own_folder(setup.scratch))
            server = ComfyServer(
                Path(setup.comfyui),
                base,
                log=_log_file(setup.logs, base),
                timeout=setup.start_timeout,
                previews=False,
                python=_python_of(setup),
                gpu=setup.gpu,
                models=None if setup.models is None else Path(setup.models),
            )
            stack.enter_context(server)
            server.timeout = setup.timeout
            self.host = server.host()
            self.runs, self._running = 0, stack.pop_all()
            weakref.finalize(self, self._running.close)  # also when the worker is told to end
            return server


def to_text(edit: PictureEdit | InvalidEdit) -> str:
    """An edit as text for `from_text`."""
    return json.dumps(asdict(edit), default=str)  # paths


def from_text(text: str) -> PictureEdit | InvalidEdit:
    values = json.loads(text)
    if "reason" in values:
        return InvalidEdit(**values)
    places = {name: place_of(values[name]) for name in ("picture", "mask") if isinstance(values[name], str)}
    runs = {"mask": tuple(values["mask"])} if isinstance(values["mask"], list) else {}
    return PictureEdit(**values | places | runs)


def _python_of(setup: Setup) -> Path:
    """ComfyUI's interpreter: the one named, or that of an environment in its folder, or this one."""
    if setup.python is not None:
        return Path(setup.python)
    program = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    found = (Path(setup.comfyui, folder, program) for folder in (".venv", "venv"))
    return next(filter(Path.exists, found), Path(sys.executable))


def _log_file(folder: str | None, base: Path) -> Path:
    if folder is None:
        return base / "server.log"
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / f"{socket.gethostname()}-{os.getpid()}.log"


@contextlib.contextmanager
def _own_folder(scratch: str | None) -> Iterator[Path]:
    """A temporary folder; folders that killed workers left behind are deleted first."""
    parent = Path(scratch or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=BASE, dir=parent))
    with (folder / f"{LOCK}ing").open("w") as lock:
        _lock(lock)
        with contextlib.suppress(PermissionError):  # Windows renames no open file, and has no such locks
            os.rename(lock.name, folder / LOCK)  # locked before it has the name that others look for
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Delete the folders that no living worker holds, if the system can tell."""
    for path in parent.glob(f"{BASE}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("w") as lock:
            if _lock(lock):
                shutil.rmtree(path.parent, ignore_errors=True)


def _lock(file: Any) -> bool:
    """Lock a file for this process; False if that fails, as it always does on Windows."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
