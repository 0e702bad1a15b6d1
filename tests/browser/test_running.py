"""What a user sees on the nodes when a graph runs in the front end: the contact sheet, and errors in plain words."""

import json
from pathlib import Path

import pytest

QUICK_START = Path(__file__).parents[2] / "workflows" / "api" / "quick_start.json"


@pytest.fixture
def run(empty_page):
    """run(graph): load a graph in the API format and press Run."""

    def press(graph: dict) -> None:
        empty_page.page.evaluate("graph => app.loadApiJson(graph, 'graph')", graph)
        empty_page.press_run()

    return press


def quick_start() -> tuple[dict, dict[str, str]]:
    """The graph, and the id of each of its nodes by title."""
    graph = json.loads(QUICK_START.read_text())
    return graph, {node["_meta"]["title"]: node_id for node_id, node in graph.items()}


def test_the_contact_sheet_shows_on_its_node(empty_page, run):
    graph, named = quick_start()
    inputs = {"noise_maps": [named["Invert"], 0], "columns": 4, "row": 0}
    graph["100"] = {"class_type": "EditFriendlyNoiseMapsPreview", "inputs": inputs}
    run(graph)
    empty_page.wait_for_image_on(100, wider_than=400)


def test_an_error_is_said_in_plain_words(empty_page, run):
    graph, named = quick_start()
    graph[named["Edit"]]["inputs"]["skip_steps"] = 60
    run(graph)
    empty_page.wait_for_error("skip_steps is 60, the noise maps hold steps 0 to 24 of 25: use 0 to 24")
