"""One real ComfyUI server for all tests here, with random SD1.5-class files for its loaders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from support.model_files import save_sd15_files
from support.narrow_t5 import narrow_t5
from support.offline import attempts_of, forbid_network
from tools.batch.server import ComfyServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def server(comfy, comfyui_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    save_sd15_files(base / "models")
    (base / "input").mkdir()
    pixels = torch.rand((8, 8, 3), generator=torch.Generator().manual_seed(0)).repeat_interleave(9, 0)
    image_module().fromarray((pixels.repeat_interleave(8, 1) * 255).byte().numpy()).save(base / "input" / "photo.png")
    shutil.copy(comfyui_path / "input" / "example.png", base / "input")
    forbid_network(base)
    narrow_t5(base)
    with ComfyServer(comfyui_path, base, log=base / "server.log") as running:
        yield running
    assert attempts_of(base / "server.log") == []


@pytest.fixture(scope="session")
def demo_graph(tmp_path_factory) -> Path:
    """The quick start with a picture from outside in place of its scene, and few steps."""
    graph = json.loads((ROOT / "workflows" / "api" / "quick_start.json").read_text())
    by_title = {node["_meta"]["title"]: name for name, node in graph.items()}
    image = {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "Image"}}
    graph[by_title["Image"]] = image
    graph[by_title["Invert"]]["inputs"]["steps"] = 3
    graph[by_title["Edit"]]["inputs"]["skip_steps"] = 1
    path = tmp_path_factory.mktemp("graph") / "demo.json"
    path.write_text(json.dumps(graph))
    return path


def image_module():
    from PIL import Image

    return Image
