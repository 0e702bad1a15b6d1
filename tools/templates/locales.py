"""Write the nodes and their help pages in other languages: `python -m tools.templates.locales` (starts a ComfyUI).

`translations/LANGUAGE.json` has what each English text is in a language. From it come `locales/LANGUAGE/`, by the keys
that the front end looks up, and for some languages `web/docs/NODE/LANGUAGE.md`. A text that is missing stays English.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..comfyui import PACK
from .help import BLOCK, PAGES, filled, inputs_of
from .page import temporary_server

TRANSLATIONS = Path(__file__).parent / "translations"
LANGUAGES = sorted(path.stem for path in TRANSLATIONS.glob("*.json"))
WITH_PAGES = ("ja", "zh")
CODE = re.compile(r"`[^`]*`|\*[^*]*\*")  # names, and messages, which the program has in English alone
WORDS = re.compile(r"[A-Za-z]")


class Translation:
    """Texts of a language by the English ones; `missing` and `stale` are known once all have been asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.asked: set[str] = set()

    def __call__(self, english: str) -> str:
        self.asked.add(english)
        return self.texts.get(english, english)

    @property
    def missing(self) -> list[str]:
        return sorted(self.asked - self.texts.keys())

    @property
    def stale(self) -> list[str]:
        return sorted(self.texts.keys() - self.asked)


def main() -> int:
    with temporary_server() as server:
        definitions = server.get("/object_info")
    faults = []
    for language in LANGUAGES:
        files, found = files_of(language, definitions)
        faults += found
        for path, text in files.items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
                print(path.relative_to(PACK))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def files_of(language: str, definitions: Mapping[str, Any]) -> tuple[dict[Path, str], list[str]]:
    """What is to be in each file of a language, and a line for each text that is missing or stale.

    Args:
        definitions: of all nodes of a host, as its `/object_info` gives them.
    """
    source = TRANSLATIONS / f"{language}.json"
    say = Translation(json.loads(source.read_text(encoding="utf-8")))
    english = {path.stem: path.read_text(encoding="ascii") for path in sorted(PAGES.glob("*.md"))}
    ours = {node_id: definitions[node_id] for node_id in english}
    categories = {part for definition in ours.values() for part in definition["category"].split("/")}
    folder = PACK / "locales" / language
    files = {
        folder / "nodeDefs.json": _json({node_id: _node(definition, say) for node_id, definition in ours.items()}),
        folder / "main.json": _json({"nodeCategories": {part: say(part) for part in sorted(categories)}}),
    }
    if language in WITH_PAGES:
        for node_id, page in english.items():
            files[PAGES / node_id / f"{language}.md"] = translated(page, ours[node_id], say)
    name = source.relative_to(PACK)
    return files, [
        *(f"{name} lacks {json.dumps(text)}" for text in say.missing),
        *(f"{name} has {json.dumps(text)}, which nothing says" for text in say.stale),
    ]


def _node(definition: Mapping[str, Any], say: Callable[[str], str]) -> dict[str, Any]:
    """A node as the front end's nodeDefs.json has it; texts of the same words are the same in all of them."""
    outputs = zip(definition["output_name"], definition["output_tooltips"], strict=True)
    return {
        "display_name": say(definition["display_name"]),
        "description": say(definition["description"]),
        "inputs": {
            name: {"name": say(name), "tooltip": say(options["tooltip"])}
            for name, (_, options) in inputs_of(definition).items()
        },
        "outputs": {str(k): {"name": say(name), "tooltip": say(tooltip)} for k, (name, tooltip) in enumerate(outputs)},
    }


def translated(page: str, definition: Mapping[str, Any], say: Callable[[str], str]) -> str:
    """A help page in another language: paragraph by paragraph, with its tables made of the node's texts."""
    blocks = re.split(r"\n{2,}", BLOCK.sub(r"\1\n\3", page).strip())
    return filled("\n\n".join(_block(block, say) for block in blocks) + "\n", definition, say)


def _block(block: str, say: Callable[[str], str]) -> str:
    """A paragraph, a heading, the items of a list, or the rows of a table; a line break in a text is a space."""
    if block.startswith("<!--"):
        return block
    if block.startswith("|"):
        return "\n".join(row if set(row) <= set("|-") else _row(row, say) for row in block.splitlines())
    first, *marked = re.split(r"^(- |#+ )", block, flags=re.MULTILINE)
    if not marked:
        return say(_one_line(first))
    return "\n".join(mark + say(_one_line(text)) for mark, text in zip(marked[::2], marked[1::2], strict=True))


def _row(row: str, say: Callable[[str], str]) -> str:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))]
    return "| " + " | ".join(say(cell) if WORDS.search(CODE.sub("", cell)) else cell for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
