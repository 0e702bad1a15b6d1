"""Write the tables of the help pages from the nodes' schemas: `python -m tools.templates.help` (starts a ComfyUI).

Between `<!-- inputs -->` or `<!-- outputs -->` and `<!-- end -->` a page has each name with its default and tooltip, as
ComfyUI's `/object_info` gives them. What a tooltip has no room for is written below the table by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from ..comfyui import PACK
from .build import temporary_server

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
    inputs: list[tuple[str, ...]] = [("input", "default", "what it does")]
    for name, (_, options) in (required | optional).items():
        default = "optional" if name in optional and "default" not in options else _shown(options.get("default", ""))
        inputs.append((f"`{name}`", default, _in_cell(options["tooltip"])))
    outputs: list[tuple[str, ...]] = [("output", "what it holds")]
    for name, tooltip in zip(definition["output_name"], definition["output_tooltips"], strict=True):
        outputs.append((f"`{name}`", _in_cell(tooltip)))
    tables = {"inputs": _table(inputs), "outputs": _table(outputs)}
    return BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", page)


def _shown(default: Any) -> str:
    """A default as its widget shows it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, str):
        return default and f"`{default}`"
    return f"{default:g}"


def _in_cell(tooltip: str) -> str:
    return NAME.sub(r"`\g<0>`", tooltip.replace("|", r"\|"))


def _table(rows: list[tuple[str, ...]]) -> str:
    heading, *others = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others])


if __name__ == "__main__":
    sys.exit(main())
