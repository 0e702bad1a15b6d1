"""`python -m tools.batch cluster` on real servers of its own: whatever is killed, each edit is done, and none twice."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import requests
from PIL import Image

from tools.batch.__main__ import main
from tools.batch.client import ComfyClient

pytestmark = [pytest.mark.first, pytest.mark.once]
ROOT = Path(__file__).parents[2]
SOURCE = "a red house by the sea"
PICTURES, TARGETS = 12, ("a green house by the sea", "a red house by the hills")
INVERSION = "7"  # of the graph


@pytest.fixture
def every(tmp_path) -> str:
    """A list of 24 edits: of each picture, first to one target, then of each to the other."""
    for number in range(PICTURES):
        Image.new("RGB", (32, 32), (20 * number, 100, 250 - 20 * number)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{target}" for target in TARGETS for number in range(PICTURES)]
    (tmp_path / "list.csv").write_text("\n".join(["picture,target", *rows]))
    return str(tmp_path / "list.csv")


class Cluster:
    """The command in a process, and those that it started."""

    def __init__(self, folder: Path, arguments: list[str], comfyui: Path):
        self.out, self.scratch, self.logs = folder / "edited", folder / "own", folder / "logs"
        where = {
            "--comfyui": comfyui,
            "--comfyui-python": sys.executable,
            "--models": folder / "models",
            "--scratch": self.scratch,
            "--logs": self.logs,
        }
        arguments = [*arguments, "--workers", "2", *(str(part) for option in where.items() for part in option)]
        command = [sys.executable, "-m", "tools.batch", "cluster", *arguments]
        has_gpu = any(path.exists() for path in (Path("/dev/nvidia0"), Path("/dev/dxg")))
        self.process = subprocess.Popen(
            command if has_gpu else [*command, "--cpu"],
            cwd=ROOT,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def servers(self) -> list[psutil.Process]:
        """Those that run now; a process that ends while it is looked at is none."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if "--base-directory" in command and any(part.startswith(str(self.scratch)) for part in command):
                    found.append(process)
        return found

    def records(self) -> dict[Path, int]:
        """When each was written."""
        return {path: path.stat().st_mtime_ns for path in self.out.glob("*.json")}

    def wait_for_records(self, count: int) -> None:
        deadline = time.monotonic() + 180
        while len(self.records()) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.05)


def url_of(server: psutil.Process) -> str:
    command = server.cmdline()
    return f"http://127.0.0.1:{command[command.index('--port') + 1]}"


def history_of(server: psutil.Process) -> list[dict]:
    """What it has run; nothing where it is only starting. Asked once: while a client asks again, edits get done."""
    with contextlib.suppress(requests.ConnectionError):
        return list(requests.get(f"{url_of(server)}/history", timeout=10).json().values())
    return []


def keys_of(history: list[dict]) -> list[str]:
    """The edit of each run."""
    nodes = [node for entry in history for node in entry["prompt"][2].values() if node["class_type"] == "PreviewImage"]
    return [node["inputs"]["filename_prefix"].partition("/")[2].partition("_")[0] for node in nodes]


@pytest.fixture
def cluster(tmp_path, comfyui_path):
    """cluster(arguments): the command, which does not outlive the test."""
    started = []

    def start(arguments: list[str]) -> Cluster:
        started.append(Cluster(tmp_path, arguments, comfyui_path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="Ray on Windows is not for production")
def test_server_worker_and_driver_are_killed_and_each_edit_is_done_once(
    server, cluster, demo_graph, every, tmp_path, capsys
):
    """The first two edits are another command's, as is the last look."""
    arguments = ["--prompts", every, "--source", SOURCE, "--graph", str(demo_graph), "--out", str(tmp_path / "edited")]
    arguments += ["--steps", "30", "--skip-steps", "10"]  # long enough for the command to be killed in the middle
    edit = ["edit", *arguments, "--server", server.url]
    (tmp_path / "first.csv").write_text("\n".join((tmp_path / "list.csv").read_text().splitlines()[:3]))
    assert main([*edit, "--prompts", str(tmp_path / "first.csv")]) == 0
    asked_before = len(server.get("/history"))

    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / "of-the-cluster.safetensors").touch()
    first = cluster(arguments)
    first.wait_for_records(
        8
    )  # two of these were there, two are alone in their picture: one at least is the second of its picture
    one, other = first.servers()
    assert ComfyClient(url_of(one)).choices("CheckpointLoaderSimple", "ckpt_name") == ["of-the-cluster.safetensors"]
    histories = [history_of(one), history_of(other)]
    one.kill()
    other.parent().kill()  # the worker
    first.wait_for_records(len(first.records()) + 2)
    histories += [history_of(process) for process in first.servers()]
    alive = first.servers()
    first.process.kill()
    _, left = psutil.wait_procs(alive, timeout=30)
    assert left == []
    kept = first.records()
    assert 10 <= len(kept) < 24

    again = cluster(arguments)
    said, _ = again.process.communicate(timeout=300)
    assert again.process.returncode == 0
    assert f"{24 - len(kept)} edited, {len(kept)} finished before, 0 failed, of 24" in said
    records = again.records()
    assert len(records) == 24 and {path: records[path] for path in kept} == kept
    assert again.servers() == []

    runs = sum(log.read_text().count("Prompt executed") for log in again.logs.iterdir())
    assert 22 <= runs <= 22 + 3  # what was killed may have ended a run that nobody heard of
    seen = Counter(key for history in histories for key in keys_of(history))
    assert seen and sum(seen.values()) - len(seen) <= 1  # the run whose worker was killed before it wrote it down
    cached = [cached_in(entry) for history in histories for entry in history]
    assert any(INVERSION in nodes for nodes in cached)  # the second edit of a picture

    capsys.readouterr()
    assert main(edit) == 0
    assert "0 edited, 24 finished before, 0 failed, of 24" in capsys.readouterr().out
    assert len(server.get("/history")) == asked_before
    names = [name for path in records for name in json.loads(path.read_text())["outputs"]]
    assert len(set(names)) == 24 and all((tmp_path / "edited" / name).is_file() for name in names)


def cached_in(entry: dict) -> list[str]:
    """The nodes that a run did not do again."""
    return next(message["nodes"] for event, message in entry["status"]["messages"] if event == "execution_cached")
