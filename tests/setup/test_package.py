"""What the registry would get: checked and packed by comfy-cli itself, and loaded by ComfyUI."""

from __future__ import annotations

import json
import os
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
from tools.batch.server import ComfyServer

PACK = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".comfyui", "output", "__pycache__", ".*_cache", ".hypothesis")
FILES, BYTES = 348, 17_500_000  # at most: what a user downloads who runs the nodes, and nothing of what makes them


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the tree, all of it known to git, as comfy-cli packs only that."""
    folder = tmp_path_factory.mktemp("checkout") / "pack"
    shutil.copytree(PACK, folder, ignore=NOT_COPIED)
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def comfy_cli(checkout: Path, *arguments: str) -> str:
    """What comfy-cli prints; its settings go beside the checkout, and nobody is told of the call."""
    home = {"HOME": str(checkout.parent), "USERPROFILE": str(checkout.parent), "DO_NOT_TRACK": "1"}
    for folder in (".config", "Library/Application Support", "AppData/Local"):
        (checkout.parent / folder).mkdir(parents=True, exist_ok=True)
    # -c, not -m: that would put the checkout first among the places of modules.
    code = "import sys; from comfy_cli.__main__ import main; sys.argv[0] = 'comfy'; sys.exit(main())"
    command = [sys.executable, "-c", code, "--skip-prompt", *arguments]
    environment = os.environ | home | {"PYTHONSAFEPATH": "1", "COLUMNS": "200", "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


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
        *("ddpm_core", "demo", "locales", "nodes", "web", "workflows"),
    }


def test_the_package_is_small(packed):
    sizes = [path.stat().st_size for path in packed.rglob("*") if path.is_file()]
    assert len(sizes) <= FILES
    assert sum(sizes) <= BYTES


@pytest.fixture
def only_the_package(packed, comfyui_path, tmp_path, monkeypatch):
    """A server whose custom nodes are the packed folder, and which knows no other place of the pack's modules."""
    monkeypatch.setattr("tools.batch.server.copy_pack", lambda folder: shutil.copytree(packed, folder))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with ComfyServer(comfyui_path, tmp_path, log=tmp_path / "server.log") as server:
        yield server


def test_comfyui_runs_the_quick_start_with_the_package_alone(only_the_package, packed):
    """What it needs is in it: the image, its reconstruction and its edit are there, and not the same."""
    info = only_the_package.get("/object_info")
    ours = {name for name, entry in info.items() if entry["python_module"] == "custom_nodes.edit-friendly-ddpm"}
    assert ours == set(NODE_IDS)
    graph = json.loads((packed / "workflows" / "api" / "quick_start.json").read_text(encoding="utf-8"))
    titles = {node["_meta"]["title"]: key for key, node in graph.items()}
    outputs = only_the_package.run(graph)
    original, back, edited = (
        np.asarray(Image.open(only_the_package.path_of(outputs[titles[title]]["images"][0]))).astype(int)
        for title in ("Original", "Reconstruction", "Edited")
    )
    assert original.shape == back.shape == edited.shape == (128, 128, 3)
    assert np.abs(back - edited).max() > 10
