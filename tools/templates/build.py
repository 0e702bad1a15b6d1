"""Write every example graph in both forms: `python -m tools.templates.build` (it starts a ComfyUI for a moment).

The ComfyUI is to be the oldest that is supported: newer ones define more inputs and outputs, which older ones lack, and
read what was written for the oldest.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from run import OLDEST

from ..batch.server import ComfyServer
from ..comfyui import PACK, find_comfyui, version_of
from .examples import EXAMPLES
from .forms import Definitions, api_form, browser_form

FOLDER = PACK / "workflows"


@contextmanager
def temporary_server() -> Iterator[ComfyServer]:
    """A ComfyUI server with nothing but the pack, for the commands of this folder; they end where there is none."""
    comfyui = find_comfyui()
    if comfyui is None:
        sys.exit("This needs ComfyUI: set COMFYUI_PATH to its folder.")
    with tempfile.TemporaryDirectory() as base:
        with ComfyServer(comfyui, Path(base), log=Path(base) / "server.log") as server:
            yield server


def main() -> int:
    with temporary_server() as server:
        if version_of(server.comfyui) != OLDEST:
            sys.exit(f"This needs ComfyUI {OLDEST}, not {version_of(server.comfyui)}: set COMFYUI_PATH to its folder.")
        definitions = server.get("/object_info")
    for path, text in files(definitions).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(FOLDER.parent))
    return 0


def files(definitions: Definitions) -> dict[Path, str]:
    """What is to be in each file."""
    texts = {}
    for name, example in EXAMPLES.items():
        workflow = example()
        texts[FOLDER / f"{name}.json"] = _text(browser_form(name, workflow, definitions))
        texts[FOLDER / "api" / f"{name}.json"] = _text(api_form(workflow, definitions))
    return texts


def _text(graph: dict[str, Any]) -> str:
    return json.dumps(graph, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
