"""The blueprints in the front end: found by name, connected, run, and unpacked into their nodes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.front_end import images_of_last_run

SUBGRAPHS = Path(__file__).parents[2] / "subgraphs"
NAMES = sorted(path.stem for path in SUBGRAPHS.glob("*.json"))
SCENE = "a red house by the sea on a clear day in summer"
WORDS = {"source prompt": SCENE, "target prompt": SCENE.replace("red", "blue"), "keep": 0.4, "cfg": 2.0}
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
    blueprint.connect(0, add('SaveImage'), 0)
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


def test_a_blueprint_runs_and_unpacks(empty_page, server):
    add(empty_page, "Edit a picture by words")
    page = empty_page.page
    page.evaluate(CONNECT, WORDS)
    empty_page.run()
    assert empty_page.errors == []
    (picture,) = images_of_last_run(server)
    assert np.asarray(Image.open(picture)).std() > 0.1 * 255
    page.evaluate("app.graph.unpackSubgraph(app.graph.nodes.find(node => node.isSubgraphNode?.()))")
    types = {node["type"] for node in empty_page.nodes() if node["known"]}
    assert {"EditFriendlyEdit", "EditFriendlyNoiseLevels", "VAEEncode", "VAEDecode"} <= types
    assert all(node["known"] for node in empty_page.nodes())
