"""Where ComfyUI is, and how to import the core without hiding the host's own modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
# Last, not first: the pack's folder `nodes` must not hide the host's nodes.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path += [str(ROOT), str(ROOT / "tests")]

# The suite tries the same examples every time; --hypothesis-profile=nightly tries new ones, 1,000 a test.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("nightly", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

from support.needs import missing  # noqa: E402
from tools.comfyui import find_comfyui  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "only the tests that need ComfyUI; the others are the same with any version of it, and without"
    parser.addoption("--needs-comfyui", action="store_true", help=what)
    what = "a folder of another front end for tests/browser, such as static in comfyui-frontend-package"
    parser.addoption("--front-end-root", type=Path, help=what)
    what = "write tests/host/schemas.json anew, for a change of the nodes' inputs or outputs that is meant"
    parser.addoption("--write-schemas", action="store_true", help=what)
    what = "in tests/host/test_families.py, each family of models that this ComfyUI has; writes docs/families.md anew"
    parser.addoption("--all-families", action="store_true", help=what)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--needs-comfyui"):
        needing = [item for item in items if "comfyui_path" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(needing)])
        items[:] = needing
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    """The folder of ComfyUI; without one the test is skipped, but in CI only where COMFYUI_PATH asks for none."""
    path = find_comfyui()
    if path is None and os.environ.get("COMFYUI_PATH") == "":
        pytest.skip("needs ComfyUI, and COMFYUI_PATH is set to nothing: set it to a folder of ComfyUI, or not at all")
    return path or missing("ComfyUI: set COMFYUI_PATH to its folder, or run `python run.py test`, which fetches one")


@pytest.fixture(scope="session")
def comfy(comfyui_path) -> SimpleNamespace:
    """The host's modules, once its front door is open; skips where there is no ComfyUI."""
    if str(comfyui_path) not in sys.path:
        sys.path.insert(0, str(comfyui_path))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.controlnet
    import comfy.model_management
    import comfy.model_patcher
    import comfy.samplers
    import comfy.sd
    import comfy.supported_models
    import comfy.utils
    import folder_paths

    import nodes

    torch.set_grad_enabled(False)
    return SimpleNamespace(
        controlnet=comfy.controlnet,
        model_management=comfy.model_management,
        model_patcher=comfy.model_patcher,
        samplers=comfy.samplers,
        sd=comfy.sd,
        supported_models=comfy.supported_models,
        utils=comfy.utils,
        folder_paths=folder_paths,
        nodes=nodes,
    )
