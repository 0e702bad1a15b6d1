"""Run graphs in the front end and write what the README shows of them: `python -m tools.templates.screenshots`.

It needs Chromium and playwright, as tests/browser does, and takes a minute.
"""

from __future__ import annotations

import json
import sys

from ..comfyui import PACK
from .examples import FILES
from .page import load, settle, temporary_page, temporary_server

SHOWN = {"quick_start": "graph-quick-start.png", "sdedit_comparison": "graph-sdedit-comparison.png"}
# The canvas loads an image when it first draws it.
COMPLETE = """() => {
    app.canvas.setDirty(true, true)
    return app.graph.nodes.filter(({type, flags}) => ['PreviewImage', 'SaveImage'].includes(type) && !flags.collapsed)
        .every(({imgs}) => imgs?.length && imgs.every(image => image.complete && image.naturalWidth))
}"""


def main() -> int:
    with temporary_server() as server, temporary_page(server) as page:
        for name, picture in SHOWN.items():
            load(page, json.loads(FILES[name].read_text(encoding="utf-8")), FILES[name].stem)
            page.evaluate("app.queuePrompt(0)")
            page.wait_for_function(COMPLETE)
            settle(page)
            page.screenshot(path=PACK / "docs" / picture)
            print(f"docs/{picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
