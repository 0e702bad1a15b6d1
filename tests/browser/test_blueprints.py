"""The blueprints in the front end: found by name, connected, run, and unpacked into their nodes."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.front_end import images_of_last_run

SUBGRAPHS = Path(__file__).parents[2] / "subgraphs"
NAMES = sorted(path.stem for path in SUBGRAPHS.glob("*.json"))
SCENE = "a red house by the sea on a clear day in summer"
EDIT = {"source prompt": SCENE, "target prompt": SCENE.replace("red", "blue"), "keep": 0.4, "cfg": 2.0, "seed": 2}
WORDS = {
    "Edit a picture by words": EDIT,
    "Edit inside a mask": EDIT,
    "Keep the image while an edit model works": {"instruction": SCENE.replace("red", "blue"), "keep": 0.5},
    "Invert and keep": {"source prompt": SCENE, "steps": 25, "cfg": 1.0, "file name": "kept/scene"},
}
# Adds what a blueprint needs around it; of its inputs those that a node gives have the node's name for them.
CONNECT = """words => {
    const blueprint = app.graph.nodes[0], add = type => {
        const node = LiteGraph.createNode(type)
        node.pos = [blueprint.pos[0] - 500, blueprint.pos[1] - 400 + 400 * app.graph.nodes.length]
        app.graph.add(node)
        return node
    }
    for (const [name, value] of Object.entries(words)) blueprint.widgets.find(each => each.name === name).value = value
    for (const source of [add('EditFriendlyLoadDemoModel'), add('EditFriendlyLoadDemoImage')])
        for (const [slot, {name}] of source.outputs.entries())
            for (const [input, {name: wanted}] of blueprint.inputs.entries())
                if (name === wanted) source.connect(slot, blueprint, input)
    for (const node of [...app.graph.nodes, ...blueprint.subgraph.nodes])
        for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
    blueprint.connect(0, add(blueprint.outputs[0].type === 'IMAGE' ? 'SaveImage' : 'EditFriendlyNoiseMapsPreview'), 0)
}"""


# Some front ends forget what was typed on a blueprint when they unpack it (Comfy-Org/ComfyUI_frontend#15002), and a
# user types it again: in each widget that an input of the blueprint leads to.
UNPACK = """() => {
    const blueprint = app.graph.nodes.find(node => node.isSubgraphNode?.()), {subgraph} = blueprint
    const typed = blueprint.widgets.flatMap(({name, value}) => {
        const input = subgraph.inputs.find(input => input.name === name)
        return (input?.linkIds ?? []).map(id => {
            const {target_id, target_slot} = subgraph.getLink(id), inner = subgraph.getNodeById(target_id)
            return {title: inner.title, widget: inner.inputs[target_slot].widget.name, value}
        })
    })
    app.graph.unpackSubgraph(blueprint)
    for (const {title, widget, value} of typed)
        app.graph.nodes.find(node => node.title === title).widgets.find(({name}) => name === widget).value = value
    return typed.length
}"""


def add(front_end, name: str) -> None:
    """Search for it and press Enter, as a user does."""
    page = front_end.page
    front_end.clear()
    canvas = page.locator("#graph-canvas").bounding_box()
    field = page.locator("input:focus")
    for _ in range(20):  # on a busy machine two clicks may be too far apart
        page.mouse.dblclick(canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2)
        page.wait_for_timeout(500)
        if field.count():
            break
    field.fill(name[:24])  # the front end finds nothing for more than 32 letters
    page.get_by_text(re.compile(re.escape(name[:24]))).locator("visible=true").first.wait_for()
    field.press("Enter")
    page.wait_for_function("app.graph.nodes.some(node => node.isSubgraphNode?.())")


@pytest.mark.parametrize("name", NAMES)
def test_a_blueprint_is_found_by_its_name(empty_page, name):
    add(empty_page, name)
    (node,) = empty_page.nodes()
    assert node["title"] == name
    file = json.loads((SUBGRAPHS / f"{name}.json").read_text(encoding="utf-8"))
    (subgraph,) = file["definitions"]["subgraphs"]
    found = [each["name"] for each in empty_page.saved()["definitions"]["subgraphs"][0]["inputs"]]
    assert found == [each["name"] for each in subgraph["inputs"]]
    assert empty_page.errors == []


@pytest.mark.parametrize("name", NAMES)
def test_a_blueprint_runs_and_unpacks(empty_page, server, name):
    """Its nodes say the same as the blueprint, and give the same picture.

    The edit model's is on the demo model too, which cannot be told what to change, and gives some picture.
    """
    add(empty_page, name)
    page = empty_page.page
    page.evaluate(CONNECT, WORDS[name])
    before, picture = run(empty_page, server)
    assert picture.std() > (0.1 if "edit model" not in name else 0.01) * 255
    assert page.evaluate(UNPACK) >= len(WORDS[name])
    assert all(node["known"] for node in empty_page.nodes())
    assert not page.evaluate("app.graph.nodes.some(node => node.isSubgraphNode?.())")
    # The host says so of each input to which nothing is connected, and leaves the value that was there.
    empty_page.errors[:] = [error for error in empty_page.errors if "Missing Link ID when unpacking" not in error]
    after, again = run(empty_page, server)
    assert said(after) == said(before)
    assert np.array_equal(again, picture)
    if name == "Invert and keep":
        assert list((server.base / "output" / "kept").glob("scene_*.noisemaps.safetensors"))


def run(front_end, server) -> tuple[dict, np.ndarray]:
    """What is exported, and the picture of a run of all nodes."""
    graph = front_end.exported()
    front_end.page.request.post(f"{server.url}/free", data={"free_memory": True})  # what the server remembers
    front_end.run()
    assert front_end.errors == []
    (picture,) = images_of_last_run(server)
    return graph, np.asarray(Image.open(picture))


def said(graph: dict) -> list[str]:
    """The nodes without their ids: of each its type and inputs, where a wire is the node that it comes from."""

    @cache
    def node(key: str) -> str:
        inputs = graph[key]["inputs"].items()
        told = {name: [node(value[0]), value[1]] if isinstance(value, list) else value for name, value in inputs}
        return json.dumps([graph[key]["class_type"], told], sort_keys=True)

    return sorted(map(node, graph))
