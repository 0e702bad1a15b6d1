"""What the registry would get: packed by comfy-cli itself, checked by what others check packs with, run by ComfyUI."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from PIL import Image

from support.node_ids import NODE_IDS
from support.offline import attempts_of, forbid_network
from tools.batch.server import ComfyServer, GraphError

PACK = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".comfyui", "output", "__pycache__", ".*_cache", ".hypothesis")
FILES, BYTES = 379, 19_500_000  # at most: what a user downloads who runs the nodes, and nothing of what makes them


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the tree, all of it known to git, as comfy-cli packs only that."""
    folder = tmp_path_factory.mktemp("checkout") / "pack"
    shutil.copytree(PACK, folder, ignore=NOT_COPIED)
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def run_checker(module: str, checkout: Path, *arguments: str) -> str:
    """What the command of a package prints; its settings go beside the checkout, and nobody is told of the call."""
    home = {"HOME": str(checkout.parent), "USERPROFILE": str(checkout.parent), "DO_NOT_TRACK": "1"}
    for folder in (".config", "Library/Application Support", "AppData/Local"):
        (checkout.parent / folder).mkdir(parents=True, exist_ok=True)
    # -c, not -m: that would put the checkout first among the places of modules.
    command = [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())", *arguments]
    environment = os.environ | home | {"PYTHONSAFEPATH": "1", "COLUMNS": "200", "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def comfy_cli(checkout: Path, *arguments: str) -> str:
    return run_checker("comfy_cli.__main__", checkout, "--skip-prompt", *arguments)


@pytest.fixture(scope="module")
def packed(checkout) -> Path:
    """The pack as it comes out of the file that would be published."""
    comfy_cli(checkout, "node", "pack")
    (archive,) = checkout.glob("*.zip")
    folder = checkout.parent / "custom_nodes" / "edit-friendly-ddpm"
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


def test_the_registry_takes_the_metadata_without_a_warning(checkout):
    said = comfy_cli(checkout, "node", "validate")
    assert "checks passed" in said
    assert "warning" not in said.lower() and "error" not in said.lower()


def test_comfy_test_finds_nothing_against_the_habits_of_comfyui(checkout, packed):
    """Layers are the host's, devices are asked for, texts fit the consoles of Windows."""
    said = run_checker("comfy_test.cli", checkout, "lint", str(packed))
    assert "[SYNTAX] PASSED" in said and "[JAVASCRIPT] PASSED" in said


def test_comfy_import_guard_finds_all_that_is_used_of_the_host(checkout, packed, comfyui_path, tmp_path):
    """Names, and parameters of calls, in a repository of the host's source, for which it would fetch ComfyUI's."""
    clone = tmp_path / "cache" / "ComfyUI"
    clone.mkdir(parents=True)
    names = ["comfy", "comfy_api", "comfy_execution", *(path.name for path in comfyui_path.glob("*.py"))]
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    git = ["git", f"--git-dir={clone / '.git'}", f"--work-tree={comfyui_path}", "-c", "user.name=A"]
    git += ["-c", "user.email=a@example.org"]
    for arguments in (["add", *names], ["commit", "-qm", "as it is here"]):
        subprocess.run([*git, *arguments], cwd=comfyui_path, check=True)
    where = ["--offline", "--cache-dir", str(clone.parent), "--comfy-dir", str(packed.parents[1]), "--target", "HEAD"]
    said = run_checker("comfy_import_guard.cli", checkout, "check", "--strict", *where)
    assert "1 pack(s): 0 will break, 1 safe" in said
    assert int(re.search(r"(\d+) comfy\.\* reference", said).group(1)) > 100


def test_what_the_registry_lists_is_what_is_installed():
    metadata = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (PACK / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert metadata["project"]["dependencies"] == [line for line in lines if not line.startswith("#")]
    sys.path.append(str(PACK))
    import run

    assert metadata["tool"]["comfy"]["requires-comfyui"] == f">={run.OLDEST}"


def test_the_package_has_what_a_user_needs_and_nothing_else(packed):
    assert {path.name for path in packed.iterdir()} == {
        *("__init__.py", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"),
        *("ddpm_core", "demo", "locales", "nodes", "subgraphs", "web", "workflows"),
    }


def test_the_package_is_small(packed):
    sizes = [path.stat().st_size for path in packed.rglob("*") if path.is_file()]
    assert len(sizes) <= FILES
    assert sum(sizes) <= BYTES


@pytest.fixture
def only_the_package(packed, comfyui_path, tmp_path, monkeypatch):
    """A server whose custom nodes are the packed folder, and which knows no other place of the pack's modules.

    It reaches no other machine, and has nothing installed that ComfyUI does not require.
    """
    forbid_network(tmp_path, missing=("matplotlib",))
    monkeypatch.setattr("tools.batch.server.copy_pack", lambda folder: shutil.copytree(packed, folder))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with ComfyServer(comfyui_path, tmp_path, log=tmp_path / "server.log") as server:
        yield server


def test_comfyui_runs_the_quick_start_with_the_package_alone(only_the_package, packed):
    """What it needs is in it: the image and its edit are there, and not the same.

    Only the plot of the statistics lacks something, and says what.
    """
    info = only_the_package.get("/object_info")
    ours = {name for name, entry in info.items() if entry["python_module"] == "custom_nodes.edit-friendly-ddpm"}
    assert ours == set(NODE_IDS)
    graph = json.loads((packed / "workflows" / "api" / "quick_start.json").read_text(encoding="utf-8"))
    titles = {node["_meta"]["title"]: key for key, node in graph.items()}
    image = {"images": [titles["Image"], 0]}
    graph["original"] = {"class_type": "PreviewImage", "inputs": image, "_meta": {"title": "Original"}}
    outputs = only_the_package.run(graph)
    original, edited = (
        np.asarray(Image.open(only_the_package.path_of(outputs[key]["images"][0]))).astype(int)
        for key in ("original", titles["Edited"])
    )
    assert original.shape == edited.shape == (128, 128, 3)
    assert np.abs(original - edited).max() > 10

    for name, node, inputs in (
        ("statistics", "EditFriendlyNoiseMapsStatistics", {"noise_maps": [titles["Invert"], 0]}),
        ("plots", "PreviewImage", {"images": ["statistics", 0]}),
    ):
        graph[name] = {"class_type": node, "inputs": inputs, "_meta": {"title": name}}
    with pytest.raises(GraphError, match="need matplotlib.*pip install matplotlib"):
        only_the_package.run(graph)
    assert attempts_of(only_the_package.log) == []
