"""Write the tables of the help pages from the nodes' schemas: `python -m tools.templates.help` (starts a ComfyUI).

Between `<!-- inputs -->` or `<!-- outputs -->` and `<!-- end -->` a page has each name with its tooltip and default, as
ComfyUI's `/object_info` gives them. What a tooltip has no room for is written below the table by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from ..comfyui import PACK
from .page import temporary_server

PAGES = PACK / "web" / "docs"
BLOCK = re.compile(r"(<!-- (inputs|outputs) -->\n).*?(<!-- end -->)", re.DOTALL)
NAME = re.compile(r"\b[a-z]{2,}(?:_[a-z]+)+\b")  # skip_steps, not z_t


def main() -> int:
    with temporary_server() as server:
        definitions = server.get("/object_info")
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="ascii")
        text = filled(page, definitions[path.stem])
        if text != page:
            path.write_text(text, encoding="ascii", newline="\n")
            print(path.relative_to(PACK))
    return 0


def filled(page: str, definition: Mapping[str, Any]) -> str:
    """The page with the tables of a node, by its definition in `/object_info`."""
    required, optional = (definition["input"].get(part, {}) for part in ("required", "optional"))
    inputs = [("input", "what it does")]
    for name, (_, options) in (required | optional).items():
        optionally = "*Optional.* " if name in optional and "default" not in options else ""
        inputs.append((f"`{name}`", optionally + _in_cell(options["tooltip"]) + _default(options)))
    outputs = [("output", "what it holds")]
    for name, tooltip in zip(definition["output_name"], definition["output_tooltips"], strict=True):
        outputs.append((f"`{name}`", _in_cell(tooltip)))
    tables = {"inputs": _table(inputs), "outputs": _table(outputs)}
    return BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", page)


def _default(options: Mapping[str, Any]) -> str:
    """What a widget holds at first; in the same cell, for a third column would not fit beside a graph."""
    default = options.get("default", "")
    if isinstance(default, bool):
        default = "on" if default else "off"
    elif isinstance(default, str):
        default = default and f"`{default}`"
    else:
        default = f"{default:g}"
    return default and f" *Default: {default}.*"


def _in_cell(tooltip: str) -> str:
    return NAME.sub(r"`\g<0>`", tooltip.replace("|", r"\|"))


def _table(rows: list[tuple[str, str]]) -> str:
    heading, *others = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([heading, "|---|---|", *others])


if __name__ == "__main__":
    sys.exit(main())
