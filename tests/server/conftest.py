"""One real ComfyUI server for all tests here, with random SD1.5-class files for its loaders."""

from __future__ import annotations

import shutil

import pytest
import torch

from benchmarks.random_weights import save_sd15_files
from pipeline.server import ComfyServer


@pytest.fixture(scope="session")
def server(comfy, comfyui_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    save_sd15_files(base / "models")
    (base / "input").mkdir()
    pixels = torch.rand((8, 8, 3), generator=torch.Generator().manual_seed(0)).repeat_interleave(9, 0)
    image_module().fromarray((pixels.repeat_interleave(8, 1) * 255).byte().numpy()).save(base / "input" / "photo.png")
    shutil.copy(comfyui_path / "input" / "example.png", base / "input")
    with ComfyServer(comfyui_path, base, log=base / "server.log") as running:
        yield running


def image_module():
    from PIL import Image

    return Image
