"""A worker of a cluster without an engine around it, on a process that stands in for ComfyUI."""

import copy
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from urllib3.util import Retry

from support.stand_in import GRAPH, PNG
from tools.batch import worker as worker_module
from tools.batch.edits import InvalidEdit
from tools.batch.job import EDITED, FAILED, FINISHED, STOPPED
from tools.batch.store import LocalStore
from tools.batch.template import PictureEdit
from tools.batch.worker import Setup, Worker, from_text, to_text

ROOT = Path(__file__).parents[3]
COMFYUI = ROOT / "tools" / "benchmarks" / "stand_in_comfyui"
KILLED = """
import json, os, signal, sys
from tools.batch.worker import Setup, Worker
worker = Worker(Setup(**json.loads(sys.argv[1])))
os.kill(os.getpid(), signal.SIGKILL)
"""
LOADER = "CheckpointLoaderSimple"
HAS = " on .*, it has: stand-in.safetensors"


@pytest.fixture
def setup(tmp_path, monkeypatch) -> Setup:
    monkeypatch.setattr(worker_module, "PAUSES", (0, 0, 0))
    monkeypatch.setattr("tools.batch.server.copy_pack", lambda to: None)
    monkeypatch.setattr("tools.batch.client.Retry", lambda **options: Retry(**options | {"backoff_factor": 0}))
    LocalStore(tmp_path / "edited").prepare()
    LocalStore(tmp_path / "edited").write({"runs/a.begun": b""})
    (tmp_path / "a.png").write_bytes(PNG)
    return Setup(
        graph=GRAPH,
        out=str(tmp_path / "edited"),
        marker="runs/a.begun",
        comfyui=str(COMFYUI),
        gpu=False,
        start_timeout=30,
        scratch=str(tmp_path / "scratch"),
        logs=str(tmp_path / "logs"),
    )


def edits(setup: Setup, *targets: str) -> list[PictureEdit]:
    picture = Path(setup.scratch).parent / "a.png"
    return [PictureEdit(target, picture, "a cat", target, {}) for target in targets]


def starts(setup: Setup) -> int:
    (log,) = Path(setup.logs).iterdir()
    return log.read_text().count("listening on")


def test_it_starts_a_server_anew_when_it_ends_and_after_so_many_pictures(setup):
    worker = Worker(replace(setup, recycle=2))
    outcomes = list(worker.outcomes(edits(setup, "a", "b", "c", "c")))
    assert [(outcome.status, outcome.tries) for outcome in outcomes] == [*3 * [(EDITED, 1)], (FINISHED, 0)]
    assert starts(setup) == 2
    worker.server._server.process.kill()
    assert [(outcome.status, outcome.tries) for outcome in worker.outcomes(edits(setup, "d"))] == [(EDITED, 2)]
    assert starts(setup) == 3
    worker.server.stop()
    assert not list(Path(setup.scratch).iterdir())


def test_a_poisoned_picture_fails_after_three_servers_and_stops_nothing(setup):
    worker = Worker(setup)
    killed, edited, broken = worker.outcomes([*edits(setup, "kill", "a"), InvalidEdit("row 3", "it is broken")])
    assert (killed.status, killed.tries, edited.status) == (FAILED, 3, EDITED)
    assert "the server stopped in it 3 times: the server stopped with exit code 9" in killed.error
    assert (broken.status, broken.error) == (FAILED, "it is broken")
    (record,) = (Path(setup.out) / "failed").iterdir()
    assert json.loads(record.read_text())["error"] == killed.error
    worker.server.stop()


def test_a_full_disk_ends_the_run(setup, monkeypatch):
    worker = Worker(setup)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    (outcome,) = worker.outcomes(edits(setup, "a", "b"))
    assert outcome.status == STOPPED and "takes no more files: No space left on device" in outcome.error
    worker.server.stop()


def lacking(class_type: str, checkpoint: str = "stand-in.safetensors") -> dict:
    """A graph with a loader that the server may lack, or its file."""
    graph = copy.deepcopy(GRAPH) | {"7": {"class_type": class_type, "inputs": {"ckpt_name": checkpoint}}}
    graph["6"]["inputs"]["model"] = ["7", 0]
    return graph


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"graph": lacking("CheckpointLoaderSimple"), "checkpoints": ("", "typo.ckpt")},
            f"no checkpoint typo.ckpt{HAS}",
        ),
        ({"graph": lacking("CheckpointLoaderSimple", "a.ckpt"), "checkpoints": ("",)}, f"no checkpoint a.ckpt{HAS}"),
        ({"graph": lacking("Unknown")}, "the server has no node Unknown: is the pack that has it installed"),
        ({"marker": "runs/b.begun"}, "name one on a disk that all machines have at the same path"),
        ({"python": "/nowhere/python"}, "ComfyUI cannot be started: .*/nowhere/python"),
        ({"comfyui": "/nowhere"}, "has no ComfyUI in /nowhere"),
    ],
)
def test_what_no_edit_can_be_done_with_is_told_once(setup, changed, message):
    worker = Worker(replace(setup, **changed))
    (outcome,) = worker.outcomes(edits(setup, "a", "b"))
    assert outcome.status == STOPPED and re.search(message, outcome.error)
    worker.server.stop()


def test_a_comfyui_that_does_not_start_is_told_with_the_end_of_its_log(setup, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(COMFYUI / "comfyui_version.py", broken)
    (broken / "main.py").write_text("raise OSError('address already in use')\n")
    (outcome,) = Worker(replace(setup, comfyui=str(broken))).outcomes(edits(setup, "a"))
    assert outcome.status == STOPPED
    assert "ComfyUI stopped at start with exit code 1" in outcome.error and "address already in use" in outcome.error
    assert not list(Path(setup.scratch).iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say whose process has ended")
def test_what_a_killed_worker_left_is_taken_away_by_the_next(setup):
    subprocess.run([sys.executable, "-c", KILLED, json.dumps(asdict(setup))], cwd=ROOT, timeout=60)
    (left,) = Path(setup.scratch).iterdir()
    worker = Worker(setup)
    (own,) = Path(setup.scratch).iterdir()
    assert own != left
    Worker(setup).server.stop()
    assert list(Path(setup.scratch).iterdir()) == [own]  # of one that lives
    worker.server.stop()


def test_an_edit_comes_back_from_its_text():
    for edit in (
        PictureEdit("row 2", Path("/a/b.png"), None, "a dog", {"steps": "5"}),
        PictureEdit("row 2", "s3://bucket/b.png", "", None, {}),
        PictureEdit("case 3", Path("/a/b.png"), "", None, {}, (0, 5, 20, 3)),
        PictureEdit("case 4", Path("/a/b.png"), "", None, {}, Path("/a/mask.png")),
        PictureEdit("case 5", Path("/a/b.png"), "", None, {}, "s3://bucket/mask.png"),
        InvalidEdit("row 3", "it is broken"),
    ):
        assert from_text(to_text(edit)) == edit
