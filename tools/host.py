"""A ComfyUI in this process with the pack loaded, for what measures the nodes themselves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .comfyui import PACK, find_comfyui


class NeedsComfyUI(RuntimeError):
    """There is no ComfyUI, or this Python lacks what it imports."""


@dataclass(frozen=True)
class Host:
    """The nodes of the pack by their ids, and its modules as ComfyUI's loader names them."""

    root: str
    nodes: Mapping[str, Any]

    def module(self, name: str) -> ModuleType:
        """A module of the pack, such as `ddpm_core.attention`."""
        return import_module(f"{self.root}.{name}")

    @torch.no_grad()
    def outputs(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """All outputs of a node of the pack."""
        return self.nodes[node_id].execute(**inputs).args

    def run(self, node_id: str, **inputs: Any) -> Any:
        """The first of them."""
        return self.outputs(node_id, **inputs)[0]


def import_comfyui() -> ModuleType:
    """ComfyUI imported, on the GPU if there is one, without the pack: its module of nodes, which has the loader.

    Raises:
        NeedsComfyUI: none is found, or this Python cannot import it.
    """
    comfyui = find_comfyui()
    if comfyui is None:
        raise NeedsComfyUI("this measures the nodes in ComfyUI, and there is none: set COMFYUI_PATH to its folder")
    # ComfyUI first and the pack last: the pack's folder `nodes` must not hide the host's nodes.py
    others = [entry for entry in sys.path if Path(entry or ".").resolve() not in (PACK, comfyui)]
    sys.path[:] = [str(comfyui), *others, str(PACK)]
    try:
        import comfy.cli_args

        comfy.cli_args.args.cpu = not torch.cuda.is_available()
        import comfy.utils

        if not hasattr(sys.modules.get("utils"), "__path__"):
            sys.modules.pop("utils", None)  # a module of this name that others imported
        import_module("utils.extra_config")  # as main.py does, for nodes.py puts the folder of another utils first
        loader = import_module("nodes")
    except ImportError as error:
        raise NeedsComfyUI(
            f"the ComfyUI in {comfyui} cannot be imported here ({error}): use the Python that it runs with"
        ) from error
    comfy.utils.PROGRESS_BAR_ENABLED = False
    return loader


def open_host() -> Host:
    """ComfyUI imported, and the pack loaded by its loader; once a process.

    Raises:
        NeedsComfyUI: none is found, or this Python cannot import it.
    """
    return _opened(import_comfyui())


@cache
def _opened(loader: ModuleType) -> Host:
    root = str(PACK).replace(".", "_x_")  # how the loader names the module
    if not asyncio.run(loader.load_custom_node(str(PACK))):
        raise RuntimeError(f"ComfyUI could not load the pack in {PACK}: its log says why")
    extension = asyncio.run(sys.modules[root].comfy_entrypoint())
    classes = asyncio.run(extension.get_node_list())
    return Host(root, {cls.GET_SCHEMA().node_id: cls for cls in classes})
