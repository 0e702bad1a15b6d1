"""Write every example graph in both forms, and every blueprint: `python -m tools.templates.build`.

ComfyUI's own front end makes, measures and writes the graphs. The ComfyUI is to be the oldest that is supported: newer
ones define more inputs and outputs, which older ones lack, and read what was written for the oldest. The newest writes
the graphs for which the oldest has no nodes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run import NEWEST, OLDEST

from ..comfyui import PACK, version_of
from .examples import BLUEPRINTS, EXAMPLES, FILES, NEWER, SCRIPTS, WORKFLOWS
from .graph import Blueprint, Entry, Node, Note, Output, Workflow
from .layout import column_widths, place
from .page import CANVAS, NODES_2, load, settle, temporary_page, temporary_server, use

if TYPE_CHECKING:
    from playwright.sync_api import Page

BLUEPRINT_FOLDER = PACK / "subgraphs"
# What Nodes 2.0 of 0.17.0 draws is larger than what newer front ends draw in the room that a file gives a node, so
# 0.17.0 enlarges the graph too, by 1.2. This is a little less, for newer ones have nodes with a row more.
LARGER = 1.15
MORE_TEXT = 24  # newer front ends set the text of a note some pixels taller
LIBRARY = "edit-friendly DDPM"  # the folder of the blueprints in the host's library
Heights = dict[str, dict[int, int]]  # by renderer and id: of the room that a node takes below its title bar
SAID = {  # by name, what many notes say
    "models": "If ComfyUI says that a model is missing, download it there, or pick your own in Model.",
    "compare": "Before and after needs Nodes 2.0, in ComfyUI's menu.",
}
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def main() -> int:
    with temporary_server() as server:
        version = version_of(server.comfyui)
        if version not in (OLDEST, NEWEST):
            sys.exit(f"This needs ComfyUI {OLDEST} or {NEWEST}, not {version}: set COMFYUI_PATH to its folder.")
        with temporary_page(server) as page:
            texts = files(page, newer=version == NEWEST)
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(PACK))
    return 0


def files(page: Page, newer: bool = False) -> dict[Path, str]:
    """What is to be in each file, as the front end in `page` writes it.

    Args:
        newer: that it is the newest, for what the oldest has no nodes for.
    """
    blueprints = [blueprint() for blueprint in BLUEPRINTS if not newer]
    examples = {name: example() for name, example in EXAMPLES.items() if (name in NEWER) == newer}
    scripts = {name: script() for name, script in SCRIPTS.items() if not newer}
    workflows = examples | {blueprint.name: blueprint.workflow for blueprint in blueprints}
    page.evaluate(SCRIPT)
    use(page, CANVAS)
    made = {
        name: json.loads(page.evaluate("nodes => templates.make(nodes)", _made_of(workflow)))
        for name, workflow in (workflows | scripts).items()
    }
    heights: dict[str, Heights] = {name: {} for name in workflows}
    for renderer in (NODES_2, CANVAS):
        use(page, renderer)
        for name, workflow in workflows.items():
            heights[name][renderer] = _heights(page, name, made[name]["workflow"], workflow, renderer)
    larger = 1.0 if newer else LARGER
    graphs = {
        name: _laid_out(name, workflow, made[name]["workflow"], heights[name], larger)
        for name, workflow in workflows.items()
    }
    texts: dict[Path, str] = {}
    texts |= {FILES[name]: _text(graphs[name]) for name in examples}
    texts |= {WORKFLOWS / "api" / f"{name}.json": _text(made[name]["output"]) for name in (*examples, *scripts)}
    for blueprint in blueprints:
        texts[BLUEPRINT_FOLDER / f"{blueprint.name}.json"] = _enclosed(page, blueprint, graphs[blueprint.name])
    return texts


def _made_of(workflow: Workflow) -> list[dict[str, Any]]:
    """The nodes and notes as page.js takes them."""
    ids, widths = workflow.ids, column_widths(workflow)
    nodes: list[dict[str, Any]] = [
        {
            "id": ids[node],
            "type": node.class_type,
            "title": node.title,
            "width": widths[node],
            "room": node.room,
            "collapsed": node.collapsed,
            "colors": dict(node.colors),
            "models": list(node.models),
            "inputs": {name: _input_of(value, ids) for name, value in node.inputs.items()},
        }
        for node in workflow.nodes
    ]
    plain: dict[str, Any] = {"room": 0, "collapsed": False, "colors": {}, "models": [], "inputs": {}}
    return nodes + [
        plain
        | {"id": ids[note], "type": "MarkdownNote", "title": note.title, "width": note.width, "text": _titled(note)}
        for note in workflow.notes
    ]


def _titled(note: Note) -> str:
    """Its text, where other examples go by the titles of their files and what many notes say by its name."""
    return re.sub(r"\{(\w+)\}", lambda name: SAID.get(name[1]) or FILES[name[1]].stem, note.text)


def _input_of(value: Any, ids: Mapping[Node | Note, int]) -> Any:
    if isinstance(value, Entry):
        return {"entry": value.name, "value": value.value}
    return {"node": ids[value.node], "output": value.name} if isinstance(value, Output) else value


def _enclosed(page: Page, blueprint: Blueprint, graph: dict[str, Any]) -> str:
    """A blueprint's file: its graph as one node."""
    load(page, graph, blueprint.name)
    ids = blueprint.workflow.ids
    ends = {
        entry: [
            {"node": ids[node], "slot": name}
            for node in blueprint.workflow.nodes
            for name, value in node.inputs.items()
            if value == entry
        ]
        for entry in blueprint.entries
    }
    wanted = {
        "name": blueprint.name,
        "width": blueprint.width,
        "room": blueprint.room,
        "inputs": [{"name": entry.name, "ends": ends[entry]} for entry in blueprint.entries],
        "outputs": [
            {"name": name, "ends": [{"node": ids[output.node], "slot": output.name}]}
            for name, output in blueprint.outputs.items()
        ],
    }
    made = json.loads(page.evaluate("wanted => templates.enclose(wanted)", wanted))
    (subgraph,), (node,) = made["definitions"]["subgraphs"], made["nodes"]
    place = f"subgraphs/{blueprint.name}"
    node["type"] = subgraph["id"] = _identity(place)
    for kind in ("inputs", "outputs"):
        for slot in subgraph[kind]:
            slot["id"] = _identity(f"{place}/{kind}/{slot['name']}")
    subgraph["category"] = LIBRARY
    made |= {"id": _identity(f"{place}.json"), "extra": {"BlueprintDescription": blueprint.description}}
    return _text(made)


def _identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"edit-friendly-ddpm/{name}"))


def _heights(page: Page, name: str, graph: dict[str, Any], workflow: Workflow, renderer: str) -> dict[int, int]:
    """By id, of the room that each node takes below its title bar in one renderer, with the picture of a step."""
    # Made for this renderer, so to say: the front end of 0.17.0 enlarges what was made for the other.
    extra = graph["extra"] | {"workflowRendererVersion": "Vue" if renderer == NODES_2 else "LG"}
    load(page, graph | {"extra": extra}, name)
    sampling = [workflow.ids[node] for node in workflow.nodes if node.live_preview]
    page.evaluate("ids => templates.preview(ids)", sampling)
    page.wait_for_function("ids => templates.previewed(ids)", arg=sampling)
    settle(page)
    notes = {workflow.ids[note] for note in workflow.notes}
    found = dict(page.evaluate("templates.heights()"))
    return {number: height + MORE_TEXT * (number in notes) for number, height in found.items()}


def _laid_out(name: str, workflow: Workflow, graph: dict[str, Any], heights: Heights, larger: float) -> dict[str, Any]:
    """The graph with everything in its place. It saves no view: the front end then fits it into the window."""
    ids = workflow.ids
    by_id = {node["id"]: node for node in graph["nodes"]}
    boxes = place(
        workflow,
        {item: max(heights[CANVAS][number], round(heights[NODES_2][number] / larger)) for item, number in ids.items()},
    )
    for item, number in ids.items():
        by_id[number]["pos"] = [boxes[item].x, boxes[item].y]
        if isinstance(item, Note):
            by_id[number]["size"] = [item.width, heights[CANVAS][number]]  # Nodes 2.0 enlarges it to its text
    groups = [
        {
            "id": number,
            "title": group.title,
            "bounding": [boxes[group].x, boxes[group].y, boxes[group].width, boxes[group].height],
            "color": group.color,
            "font_size": 24,
            "flags": {},
        }
        for number, group in enumerate(workflow.groups, 1)
    ]
    return graph | {"id": _identity(name), "groups": groups, "extra": {}}


def _text(graph: dict[str, Any]) -> str:
    return json.dumps(graph, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
