"""The help of each node, opened in the front end as a user opens it: select the node, press its info button."""

import itertools
from pathlib import Path

from support.node_ids import NODE_IDS

DOCS = Path(__file__).parents[2] / "web" / "docs"

# Puts a node of a type on the empty graph, at a height; where on the page its title can be clicked.
PLACE = """([type, y]) => {
    app.graph.clear()
    const node = LiteGraph.createNode(type)
    node.pos = [800, y]
    app.graph.add(node)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [0, 0]
    app.canvas.draw(true, true)
    const canvas = app.canvas.canvas.getBoundingClientRect()
    return [canvas.x + node.pos[0] + 60, canvas.y + node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT / 2]
}"""
PICTURES_LOADED = """() => [...document.querySelectorAll('.node-help-content img')]
    .every(picture => picture.complete && picture.naturalWidth > 0)"""


def test_the_nodes_stand_under_one_root_of_the_node_library(empty_page):
    """First of this page, for some front ends show help in the place of the library."""
    empty_page.search_nodes("noise maps")
    empty_page.page.get_by_text("Preview Noise Maps", exact=True).first.wait_for()
    assert empty_page.page.get_by_text("edit-friendly DDPM", exact=True).count() == 1


def test_the_front_end_shows_the_help_of_each_node(server, empty_page):
    page = empty_page.page
    # Never twice in one place: two quick clicks there are a double click, which edits the title.
    for node_id, height in zip(NODE_IDS, itertools.cycle([300, 500]), strict=False):
        name = server.get(f"/object_info/{node_id}")[node_id]["display_name"]
        page.mouse.click(*page.evaluate(PLACE, [node_id, height]))
        page.get_by_test_id("info-button").click()
        page.locator(".node-help-content h1").get_by_text(name, exact=True).wait_for()
        page.wait_for_function(PICTURES_LOADED)
        assert page.locator(".node-help-content td code").count() > 0, node_id  # the tables are tables
        assert (
            page.locator(".node-help-content a[href^='https://arxiv.org']").count()
            or node_id == "EditFriendlyLoadDemoImage"
        )
        pictures = (DOCS / f"{node_id}.md").read_text().count("![")
        assert page.locator(".node-help-content img").count() == pictures, node_id
