"""A graph that was saved with old ids and socket types, opened as a user does: the front end replaces its nodes."""

import json
import re
from pathlib import Path

import pytest

from tools.templates.examples import FILES, WORKFLOWS

SOCKETS = {"EDIT_FRIENDLY_ATTENTION": "ATTENTION_EDIT", "EDIT_FRIENDLY_EDITS": "EDITS"}


@pytest.fixture
def old_graph(server, tmp_path):
    """old_graph(name): the file of an example graph as it was before the new ids."""

    def make(name: str) -> Path:
        text = FILES[name].read_text(encoding="utf-8")
        renamed = {entry["new_node_id"]: old for old, (entry, *_) in server.get("/node_replacements").items()}
        for new, old in (renamed | SOCKETS).items():
            text = text.replace(f'"{new}"', f'"{old}"')
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        return tmp_path / f"{name}.json"

    return make


@pytest.mark.parametrize(("name", "socket"), [("prompt_to_prompt", "ATTENTION_EDIT"), ("several_edits", "EDITS")])
def test_nodes_of_old_ids_are_replaced_with_their_links_and_values(empty_page, old_graph, name, socket):
    path = old_graph(name)
    assert f'"{socket}"' in path.read_text(encoding="utf-8")
    empty_page.open(path)
    missing = [node["type"] for node in empty_page.nodes() if not node["known"]]
    assert "LoadDemoModel" in missing
    page = empty_page.page
    details = page.get_by_role("button", name="View details")  # newer front ends have the offer behind it
    offer = page.get_by_role("button", name=re.compile("^Replace (All|Selected)"))
    details.or_(offer).first.wait_for()
    if not offer.count():
        details.first.click()
    offer.first.click()
    page.wait_for_function("() => app.graph.nodes.every(node => node.type in LiteGraph.registered_node_types)")
    file = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert empty_page.exported() == file  # which other tests run
    # Of missing nodes the front end asks the registry, which is out of reach here; the one of 1.58 may draw a node once
    # more while it is replaced.
    of_host = ("https://api.comfy.org/nodes?", "NullGraphError")
    assert [error for error in empty_page.errors if not any(part in error for part in of_host)] == []
