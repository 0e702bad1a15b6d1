"""Graphs that are refused as templates, and odd ones that are not."""

import copy
import json
from pathlib import Path

import pytest

from pipeline.template import Edit, Template, UsageError, read_graph
from stand_in import GRAPH


def test_a_graph_of_the_browsers_format_is_refused(tmp_path):
    (tmp_path / "graph.json").write_text('{"nodes": [], "links": []}')
    with pytest.raises(UsageError, match="no graph in the API format"):
        read_graph(tmp_path / "graph.json")


@pytest.mark.parametrize("meta", [None, {}, "text", {"title": None}])
def test_a_node_without_a_title_is_no_obstacle(tmp_path, meta):
    graph = copy.deepcopy(GRAPH)
    graph["4"]["_meta"] = meta
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    template = Template(read_graph(tmp_path / "graph.json"))
    filled = template.filled(Edit("a", Path("a.png"), "a cat", "a dog", {"steps": "5"}), "uploaded.png")
    values = [filled[node]["inputs"] for node in "1234"]
    assert [values[0]["image"], values[1]["text"], values[2]["text"], values[3]["steps"]] == [
        "uploaded.png",
        "a cat",
        "a dog",
        5,
    ]
