"""The nodes in another language than English, as a user sees them who has chosen it in the settings."""

import json
from pathlib import Path

import pytest

from tools.templates.locales import LANGUAGES, WITH_PAGES
from tools.templates.page import CANVAS, NODES_2, open_front_end

ROOT = Path(__file__).parents[2]
NODE = "EditFriendlyInvert"
# Puts the node on the empty graph; its title, the names at its inputs and outputs, and its place in the menus.
PLACE = """type => {
    app.graph.clear()
    const node = LiteGraph.createNode(type)
    node.pos = [600, 200]
    app.graph.add(node)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [0, 0]
    app.canvas.draw(true, true)
    return {
        title: node.title,
        category: node.constructor.category,
        inputs: Object.fromEntries(node.inputs.map(input => [input.name, input.localized_name])),
        widgets: Object.fromEntries(node.widgets.map(widget => [widget.name, widget.label])),
        outputs: node.outputs.map(output => output.localized_name),
    }
}"""
# Where on the page the title and a widget are.
POINTS = """name => {
    const node = app.graph.nodes[0], frame = app.canvas.canvas.getBoundingClientRect()
    const x = frame.x + node.pos[0] + 60, y = frame.y + node.pos[1]
    return {title: [x, y - LiteGraph.NODE_TITLE_HEIGHT / 2],
        widget: [x, y + node.widgets.find(widget => widget.name === name).last_y + 10]}
}"""


@pytest.fixture(params=LANGUAGES)
def language(request, front_end):
    """One that the front end is opened in; the next page is in English again."""
    choose = "code => app.ui.settings.setSettingValueAsync('Comfy.Locale', code)"
    front_end.page.evaluate(choose, request.param)
    open_front_end(front_end.page, front_end.url)
    yield request.param
    front_end.page.evaluate(choose, "en")


def test_a_node_and_its_help_are_in_the_language(front_end, language):
    words = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[NODE]
    categories = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["nodeCategories"]
    page = front_end.page
    front_end.use(CANVAS)
    placed = page.evaluate(PLACE, NODE)
    assert placed["title"] == words["display_name"]
    assert placed["category"] == f"{categories['edit-friendly DDPM']}/{categories['invert']}"
    assert placed["inputs"] == {name: told["name"] for name, told in words["inputs"].items()}
    del placed["widgets"]["control_after_generate"]  # of the front end
    assert placed["widgets"].items() <= placed["inputs"].items()
    assert placed["outputs"] == [words["outputs"]["0"]["name"]]

    points = page.evaluate(POINTS, "skip_steps")
    for place, text in (("title", words["description"]), ("widget", words["inputs"]["skip_steps"]["tooltip"])):
        page.mouse.move(*points[place], steps=5)
        page.locator(".node-tooltip").get_by_text(text, exact=True).wait_for()

    if language in WITH_PAGES:
        page.mouse.click(*points["title"])
        page.get_by_test_id("info-button").click()
        page.locator(".node-help-content h1").get_by_text(words["display_name"], exact=True).wait_for()
        named = f"{words['inputs']['skip_steps']['name']}\nskip_steps"
        assert named in page.locator(".node-help-content td").all_inner_texts()
        picture = page.locator(".node-help-content img").first
        page.wait_for_function("picture => picture.complete && picture.naturalWidth > 0", arg=picture.element_handle())

    front_end.use(NODES_2)
    node = page.locator("[data-node-id]")
    for shown in (words["display_name"], words["inputs"]["model"]["name"], words["inputs"]["skip_steps"]["name"]):
        node.get_by_text(shown, exact=True).first.wait_for()
    front_end.use(CANVAS)
