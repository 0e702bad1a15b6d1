"""`python -m tools.batch cluster`: usage, and one run by Ray on processes that stand in for ComfyUI."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest

from support.stand_in import PNG
from tools.batch.__main__ import main
from tools.batch.edits import InvalidEdit
from tools.batch.job import EDITED, FAILED, FINISHED
from tools.batch.server import ComfyServer
from tools.batch.template import PictureEdit, UsageError
from tools.batch.work_list import WorkList
from tools.batch.worker import from_text

ROOT = Path(__file__).parents[3]
COMFYUI = ROOT / "tools" / "benchmarks" / "stand_in_comfyui"
PROMPTS = ["--source", "a cat", "--target", "a dog"]


@pytest.fixture
def arguments(graph_file, tmp_path) -> list[str]:
    shared = ["--graph", graph_file, "--out", tmp_path / "edited", "--comfyui", COMFYUI, "--scratch", tmp_path / "own"]
    return [str(part) for part in ("cluster", *PROMPTS, *shared)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "name a folder of pictures, or a list with --prompts"),
        (["pictures", "--steps", "ten", "--cpu"], "steps cannot be 'ten'"),
        (["pictures", "--address", "127.0.0.1:9", "--cpu"], "there is no Ray cluster at 127.0.0.1:9: "),
        (["pictures", "--workers", "0", "--cpu"], "--workers 0: there has to be one"),
    ],
)
def test_wrong_usage_is_refused(arguments, pictures, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *more])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [
        (8, None, 8),
        (8, 3, 3),
        (0, None, "Ray finds no GPU on this machine: --cpu computes without"),
        (2, 3, "--workers 3 is more than the GPUs of this machine, 2: each takes one"),
    ],
)
def test_there_is_a_worker_for_each_gpu(monkeypatch, gpus, asked, expected):
    from tools.batch import ray_data

    monkeypatch.setattr(
        ray_data.ray, "cluster_resources", lambda: {"CPU": 2.0} | ({"GPU": float(gpus)} if gpus else {})
    )
    if isinstance(expected, int):
        assert ray_data.workers(None, asked, cpu=False) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            ray_data.workers(None, asked, cpu=False)


def test_edits_of_a_picture_come_together_wherever_they_stand_in_a_list():
    def edits():
        for target in ("a dog", "a fox"):
            for number in range(700):
                checkpoint = {"checkpoint": "b"} if number % 2 else {}
                yield PictureEdit(f"{number} {target}", Path(f"{number}.png"), None, target, checkpoint)
        yield InvalidEdit("row 9", "it is broken")

    work = WorkList(edits())
    groups = [list(map(from_text, texts)) for table in work.tables() for texts in table["edits"].to_pylist()]
    assert len(work) == 1401 and work.checkpoints == ["", "b"]
    assert sorted(edit.name for group in groups for edit in group) == sorted(edit.name for edit in edits())
    pairs = [group for group in groups if not isinstance(group[0], InvalidEdit)]
    assert len(pairs) == 700
    assert all(
        [edit.target for edit in pair] == ["a dog", "a fox"] and pair[0].picture == pair[1].picture for pair in pairs
    )
    named = ["checkpoint" in pair[0].settings for pair in pairs]
    assert named == sorted(named)  # each checkpoint is loaded once


@pytest.fixture
def server(tmp_path):
    base = tmp_path / "server"
    base.mkdir()
    with ComfyServer(COMFYUI, base, log=base / "log", gpu=False) as running:
        yield running


def test_what_one_command_begins_the_other_finishes(server, arguments, pictures, tmp_path, capsys):
    """`edit` does the first pictures, `cluster` the others, and what fails stops nothing; then nothing is left."""
    for number in range(10):
        (pictures / f"{number}.png").write_bytes(PNG + bytes([number]))
    rows = [f"pictures/{number}.png,{target}" for target in ("a dog", "a fox") for number in range(10)]
    odd = ["pictures/none.png,a dog", "pictures/1.png", "pictures/0.png,fail"]
    edit = ["edit", *arguments[1:-4], "--server", server.url, "--prompts"]
    assert main([*edit, list_of(tmp_path / "first.csv", rows[:4])]) == 0

    out, logs = tmp_path / "edited", tmp_path / "logs"
    done = cluster(tmp_path, arguments, "--prompts", list_of(tmp_path / "list.csv", rows + odd), "--logs", str(logs))
    assert done.returncode == 1, done.stderr
    assert "16 edited, 4 finished before, 3 failed, of 23" in done.stdout
    for reason in ("there is no file", "the row has 1 columns", "Failure: as asked"):
        assert reason in done.stdout
    assert sorted(map(runs_in, logs.iterdir()))[0] > 0 and sum(map(runs_in, logs.iterdir())) == 16
    check_table(out)

    capsys.readouterr()
    every = list_of(tmp_path / "list.csv", rows)
    assert main([*edit, every]) == 0
    assert "0 edited, 20 finished before, 0 failed, of 20" in capsys.readouterr().out
    assert main([*edit, every, "--out", str(tmp_path / "other")]) == 0
    check_equal(out, tmp_path / "other")


def list_of(path: Path, rows: list[str]) -> str:
    path.write_text("\n".join(["picture,target", *rows]))
    return str(path)


def cluster(folder: Path, arguments: list[str], *more: str) -> subprocess.CompletedProcess:
    """The command, run in a folder that is not the pack's."""
    command = [sys.executable, "-m", "tools.batch", *arguments, "--cpu", "--workers", "2", *more]
    # Runs take time, so that the first worker does not do all before the second has started.
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), "STAND_IN_SECONDS": "0.5"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def runs_in(log: Path) -> int:
    return log.read_text().count("Prompt executed")


def check_table(out: Path) -> None:
    """Each edit has its row, what it names is there, and those of a picture were made by one worker."""
    (table,) = (out / "runs").iterdir()
    run = pyarrow.parquet.read_table(table).to_pylist()
    assert Counter(row["status"] for row in run) == {EDITED: 16, FINISHED: 4, FAILED: 3}
    assert all((out / name).is_file() for row in run for name in row["outputs"])
    makers = {(row["name"].partition("(")[2], row["host"]) for row in run if row["status"] == EDITED}
    assert len(makers) == 10 and len({host for _, host in makers}) == 2


def check_equal(out: Path, other: Path) -> None:
    """Two folders have the same results, but for times, and for the names under which servers saved them."""
    assert {path.name for path in out.glob("*.*")} == {path.name for path in other.glob("*.*")}
    for path in out.glob("*.png"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    for path in out.glob("*.json"):
        ours, theirs = json.loads(path.read_text()), json.loads((other / path.name).read_text())
        assert ours.keys() == theirs.keys()
        assert {name for name in ours if ours[name] != theirs[name]} <= {"seconds", "graph"}
