"""What the notes of the example graphs say wherever it holds."""

import pytest

from tools.templates.examples import EXAMPLES, models_of
from tools.templates.graph import Output


def said(name: str) -> str:
    return "".join(note.text for note in EXAMPLES[name]().notes)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_graph_that_needs_models_says_where_to_have_them(name):
    assert ("{models}" in said(name)) == bool(models_of(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_view_that_the_classic_renderer_does_not_draw_is_named(name):
    compared = any(node.class_type == "ImageCompare" for node in EXAMPLES[name]().nodes)
    assert ("{compare}" in said(name)) == compared


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_number_of_a_node_is_one_that_another_input_stands_in_place_of(name):
    """What settings, or levels, are wired to takes its numbers from there: a reader would turn them in vain."""
    for node in EXAMPLES[name]().nodes:
        assert "settings" not in node.inputs
        if node.class_type == "EditFriendlyEdit" and "sigmas" in node.inputs:
            assert isinstance(node.inputs["steps"], Output)
