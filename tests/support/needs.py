"""What becomes of a test that needs what is not there."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tools.comfyui import in_ci


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI, where nothing that a test needs may be missing.

    Args:
        what: what it needs, and how to get it.
    """
    (pytest.fail if in_ci() else pytest.skip)(f"needs {what}")
