"""Write the tables of the help pages from the nodes' schemas: `python -m tools.templates.help` (starts a ComfyUI).

Between `<!-- inputs -->` or `<!-- outputs -->` and `<!-- end -->` a page has each name with its tooltip and default, as
ComfyUI's `/object_info` gives them. What a tooltip has no room for is written below the table by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..comfyui import PACK
from .page import temporary_server

PAGES = PACK / "web" / "docs"
BLOCK = re.compile(r"(<!-- (inputs|outputs) -->\n).*?(<!-- end -->)", re.DOTALL)
NAME = re.compile(r"\b[a-z]{2,}(?:_[a-z]+)+\b", re.ASCII)  # skip_steps, not z_t


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


def inputs_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a node in the order of the screen: type and options by name."""
    return {name: told for part in ("required", "optional") for name, told in definition["input"].get(part, {}).items()}


def filled(page: str, definition: Mapping[str, Any], say: Callable[[str], str] = str) -> str:
    """The page with the tables of a node, by its definition in `/object_info`.

    Args:
        say: gives an English text in the language of the page.
    """
    optional = definition["input"].get("optional", {})
    inputs = [(say("input"), say("what it does"))]
    for name, (_, options) in inputs_of(definition).items():
        optionally = f"{say('*Optional.*')} " if name in optional and "default" not in options else ""
        folded = f"{say('*Advanced.*')} " if options.get("advanced") else ""
        inputs.append(
            (_named(name, say), optionally + folded + _in_cell(say(options["tooltip"])) + _default(options, say))
        )
    outputs = [(say("output"), say("what it holds"))]
    for name, tooltip in zip(definition["output_name"], definition["output_tooltips"], strict=True):
        outputs.append((_named(name, say), _in_cell(say(tooltip))))
    tables = {"inputs": _table(inputs), "outputs": _table(outputs)}
    return BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", page)


def _named(name: str, say: Callable[[str], str]) -> str:
    """A name as the screen shows it, and below it, where that is another, as scripts and English pages have it."""
    shown = say(name)
    return f"`{name}`" if shown == name else f"{shown}<br>`{name}`"


def _default(options: Mapping[str, Any], say: Callable[[str], str]) -> str:
    """What a widget holds at first; in the same cell, for a third column would not fit beside a graph."""
    default = options.get("default", "")
    if isinstance(default, bool):
        default = say("on" if default else "off")
    elif isinstance(default, str):
        default = default and f"`{default}`"
    else:
        default = f"{default:g}"
    return default and " " + say("*Default: {}.*").format(default)


def _in_cell(tooltip: str) -> str:
    return NAME.sub(r"`\g<0>`", tooltip.replace("|", r"\|"))


def _table(rows: list[tuple[str, str]]) -> str:
    heading, *others = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([heading, "|---|---|", *others])


if __name__ == "__main__":
    sys.exit(main())
