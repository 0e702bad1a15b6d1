"""Where ComfyUI is, and how to import the core without hiding the host's own modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Last, not first: the pack's folder `nodes` must not hide the host's nodes.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT)]

from run import find_comfyui  # noqa: E402


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    """The folder of ComfyUI; skips the test where there is none."""
    path = find_comfyui()
    if path is None:
        pytest.skip("needs ComfyUI: set COMFYUI_PATH to its folder, or install it with `comfy install`")
    return path
