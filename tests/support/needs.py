"""What becomes of a test that needs what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from run import NEWEST, OLDEST
from tools.comfyui import in_ci, version_of
from tools.templates.examples import NEWER


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI, where nothing that a test needs may be missing.

    Args:
        what: what it needs, and how to get it.
    """
    (pytest.fail if in_ci() else pytest.skip)(f"needs {what}")


def needs_nodes_of(name: str, comfyui: Path) -> None:
    """Skip the test of an example graph for which the oldest host has no nodes, on that host."""
    if name in NEWER and version_of(comfyui) == OLDEST:
        pytest.skip(f"{name} needs nodes of a newer ComfyUI: python run.py test --comfyui {NEWEST}")
