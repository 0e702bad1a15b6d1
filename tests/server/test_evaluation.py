"""A small data set in each format: edited on the real server, killed in the middle, gone on with, and evaluated."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import small_data_sets
from support.small_data_sets import COLUMNS
from tools.batch.__main__ import main
from tools.lab.data_set import METHODS, write_graphs

ROOT = Path(__file__).parents[2]
SWEEP = ["--sweep", "cfg=2,skip_steps=1", "--sweep", "cfg=1,skip_steps=2"]


@pytest.fixture(scope="module")
def made():
    return small_data_sets.entries(1)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> dict[str, Path]:
    """One for each method, with few steps."""
    folder = tmp_path_factory.mktemp("graphs")
    for path in write_graphs(folder):
        graph = json.loads(path.read_text())
        for node in graph.values():
            if node["class_type"] in METHODS.values():
                node["inputs"]["steps"] = 4
            if node["class_type"] == "FixedNoiseSampler":
                node["inputs"]["skip_steps"] = 1
        path.write_text(json.dumps(graph))
    return {path.stem: path for path in folder.glob("*.json")}


@pytest.fixture
def edit(server, graphs):
    """edit(data, out, *options, method): the command; its exit code."""

    def run(data: Path, out: Path, *options: str, method: str = "edit_friendly") -> int:
        return main(command_of(data, out, server.url, graphs[method], *options))

    return run


def command_of(data: Path, out: Path, url: str, graph: Path, *options: str) -> list[str]:
    columns = ["--columns", COLUMNS] if data.name == "bench.parquet" else []
    shared = ["--server", url, "--graph", str(graph), "--out", str(out)]
    return ["edit", "--dataset", str(data), *shared, *columns, *options]


def evaluated(data: Path, out: Path, *edited: str) -> dict:
    """The summary; every edit has to be there."""
    columns = ["--columns", COLUMNS] if data.name == "bench.parquet" else []
    named = [part for text in edited for part in ("--edited", text)]
    assert main(["evaluate", str(data), *named, "--out", str(out), *columns]) == 0
    return json.loads((out / "summary.json").read_text())


@pytest.mark.parametrize("name", small_data_sets.WRITERS)
def test_each_format_from_the_data_set_to_the_table(edit, made, tmp_path, name):
    data = small_data_sets.write(name, tmp_path / "data", made)
    assert edit(data, tmp_path / "runs", "--seed", "1234", "--variations", "2") == 0
    summary = evaluated(data, tmp_path / "out", f"ef={tmp_path / 'runs'}")
    method = summary["methods"]["ef"]
    assert (method["cases"], method["variations"]) == (len(made), {"2": len(made)})
    metrics = method["metrics"]
    assert metrics["whole.psnr"]["n"] == metrics["ef-paper.seconds"]["n"] == len(made)
    assert 5 < metrics["whole.psnr"]["mean"] < 60
    assert ("masked.psnr" in metrics) == (name in ("pie-bench", "pie-bench-parquet", "csv"))
    for path in (tmp_path / "runs").glob("*.json"):
        assert json.loads(path.read_text())["seed"] == 1234


def test_a_sweep_killed_in_the_middle_and_gone_on_with(server, edit, graphs, made, tmp_path, capsys):
    """Each setting is a method of its own; the client is killed, so that nothing of it can tidy up."""
    data = small_data_sets.write("pie-bench", tmp_path / "data", made)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    command = command_of(data, killed, server.url, graphs["edit_friendly"], *SWEEP)
    client = subprocess.Popen([sys.executable, "-m", "tools.batch", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(killed.glob("*.json")):
        assert time.monotonic() < deadline and client.poll() is None
        time.sleep(0.005)
    client.kill()
    client.wait()
    done = len(list(killed.glob("*.json")))
    assert done < 2 * len(made)
    capsys.readouterr()
    assert edit(data, killed, *SWEEP) == 0
    assert f"{2 * len(made) - done} edited, {done} finished before, 0 failed" in "".join(capsys.readouterr())
    assert edit(data, undisturbed, *SWEEP) == 0
    summaries = [evaluated(data, tmp_path / f"of {out.name}", f"ef={out}") for out in (killed, undisturbed)]
    for summary in summaries:
        assert set(summary["methods"]) == {"ef, cfg 1.0, skip_steps 2", "ef, cfg 2.0, skip_steps 1"}
        for method in summary["methods"].values():
            del method["metrics"]["ef-paper.seconds"], method["by_type"]
        del summary["differences"][0]["metrics"]["ef-paper.seconds"]
    assert summaries[0] == summaries[1]


def test_the_graphs_of_all_methods_and_their_paired_differences(edit, graphs, made, tmp_path):
    data = small_data_sets.write("pie-bench", tmp_path / "data", made)
    for method in graphs:
        assert edit(data, tmp_path / method, method=method) == 0
    named = [f"{method}={tmp_path / method}" for method in graphs]
    summary = evaluated(data, tmp_path / "out", *named)
    assert len(summary["methods"]) == 4 and len(summary["differences"]) == 6
    assert all(pair["metrics"]["masked.mse"]["n"] == len(made) for pair in summary["differences"])
