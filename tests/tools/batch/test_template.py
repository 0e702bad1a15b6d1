"""Graphs that are refused as templates, and odd ones that are not."""

import copy
import json
from pathlib import Path

import pytest

from support.stand_in import GRAPH
from tools.batch.edits import PromptList
from tools.batch.template import (
    PROMPTS,
    EditError,
    PictureEdit,
    Template,
    UsageError,
    digest_of_graph,
    read_graph,
    with_inversion,
)
from tools.comfyui import PACK


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
    filled = template.filled(PictureEdit("a", Path("a.png"), "a cat", "a dog", {"steps": "5"}), "uploaded.png")
    values = [filled[node]["inputs"] for node in "1234"]
    assert [values[0]["image"], values[1]["text"], values[2]["text"], values[3]["steps"]] == [
        "uploaded.png",
        "a cat",
        "a dog",
        5,
    ]


API = PACK / "workflows" / "api"


def test_another_inversion_takes_the_place_of_the_graphs():
    """With all that the graph says of it, and another key."""
    graph = read_graph(API / "text_edit_sd15.json")
    changed = with_inversion(graph, "EditFriendlyCycleDiffusionInvert")
    kinds = {node: (graph[node]["class_type"], entry["class_type"]) for node, entry in changed.items()}
    assert {pair for pair in kinds.values() if pair[0] != pair[1]} == {
        ("EditFriendlyInvert", "EditFriendlyCycleDiffusionInvert")
    }
    assert all(changed[node]["inputs"] == graph[node]["inputs"] for node in graph)
    assert digest_of_graph(changed) != digest_of_graph(graph)
    Template(changed).check({"steps", "eta", "source_cfg"}, source=True, target=True)
    with pytest.raises(
        UsageError, match="--inversion EditFriendlyCycleDiffusionInvert: the graph has no EditFriendlyInvert or"
    ):
        with_inversion(read_graph(API / "text_edit_turbo.json"), "EditFriendlyCycleDiffusionInvert")


def test_prompts_go_into_strings_too():
    """The graph of Prompt-to-Prompt, which aligns the texts themselves."""
    template = Template(read_graph(API / "text_edit_p2p.json"))
    template.check(set(), source=True, target=True)
    filled = template.filled(PictureEdit("one", Path("a.png"), "a cat", "a dog", {}), "a.png")
    strings = [node["inputs"]["value"] for node in filled.values() if node["class_type"] == "PrimitiveStringMultiline"]
    assert sorted(strings) == ["a cat", "a dog"]


@pytest.mark.parametrize("path", sorted([*API.glob("table*.json"), *API.glob("pie*.json")]), ids=lambda path: path.stem)
def test_rows_of_the_papers_tables_take_a_picture_and_prompts(path):
    """Where the inversion is without a prompt, the source prompt of a data set is for its metrics alone."""
    template = Template(read_graph(path))
    takes_source, takes_target = template.prompts
    assert takes_target and takes_source == (path.stem != "table1_plug_and_play")
    filled = template.filled(PictureEdit("one", Path("a.png"), "a cat", "a dog", {"checkpoint": "sd.ckpt"}), "a.png")
    texts = [value for node in filled.values() for value in node["inputs"].values() if isinstance(value, str)]
    assert {"a.png", "a dog", "sd.ckpt"} <= set(texts) and ("a cat" in texts) == takes_source


def test_what_a_preset_sets_is_not_set_beside_it():
    """The node would take the preset's number without a word; what no preset has can be set, and the preset itself."""
    graph = read_graph(PACK / "workflows" / "api" / "text_edit_flux.json")
    (edit,) = [node for node in graph.values() if node["class_type"] == "EditFriendlyEdit"]
    preset = {"model": edit["inputs"]["model"], "preset": "FlowEdit, Flux (paper)"}
    graph["preset"] = {"class_type": "EditFriendlyEditPreset", "inputs": preset, "_meta": {"title": "Settings"}}
    edit["inputs"]["settings"] = ["preset", 0]
    template = Template(graph)
    for name in ("steps", "skip_steps", "cfg", "source_cfg", "eta", "scheduler"):
        with pytest.raises(UsageError, match=f"EditFriendlyEdit takes '{name}' from Edit Preset: set the preset"):
            template.check({name}, source=True, target=True)
    template.check({"seed", "variations", "Settings.preset"}, source=True, target=True)
    assert {"seed", "variations"} <= set(template.settings_of(template.graph))
    assert not {"steps", "cfg"} & set(template.settings_of(template.graph))


@pytest.mark.parametrize(
    ("inputs", "name", "told"),
    [
        (
            {"sigmas": ["9", 0]},
            "steps",
            "takes 'steps' from the levels that are connected: set the node that makes them",
        ),
        ({"sigmas": ["9", 0]}, "Edit.scheduler", "takes 'Edit.scheduler' from the levels"),
        ({"strength": 1.0}, "cfg", "takes 'cfg' from strength: set that"),
        ({"settings": ["9", 0]}, "Edit.target_cfg", "takes 'Edit.target_cfg' from Edit Preset"),
    ],
)
def test_what_another_input_stands_in_place_of_is_not_set_beside_it(inputs, name, told):
    graph = read_graph(API / "text_edit_flux2_klein.json")
    (edit,) = [node for node in graph.values() if node["class_type"] == "EditFriendlyEdit"]
    for other in ("settings", "sigmas"):
        edit["inputs"].pop(other, None)
    edit["inputs"] |= {"strength": -1.0, **inputs}
    edit["_meta"]["title"] = "Edit"
    graph["9"] = {"class_type": "Any", "inputs": {}, "_meta": {"title": "Any"}} if "9" not in graph else graph["9"]
    template = Template(graph)
    with pytest.raises(UsageError, match=told):
        template.check({name}, source=True, target=True)
    assert name not in template.settings_of(template.graph)
    template.check({"seed"}, source=True, target=True)


def test_integers_of_a_column_that_lacks_some_are_integers(tmp_path):
    """pandas makes it one of floats."""
    import pyarrow
    import pyarrow.parquet

    columns = {"picture": ["a.png", "b.png"], "skip_steps": [12.0, None], "seed": [None, 7.0]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text("picture,skip_steps,seed\na.png,12.0,\nb.png,,7.0\n")
    template = Template(read_graph(API / "text_edit_sd15.json"))
    for name in ("list.parquet", "list.csv"):
        edits = PromptList(tmp_path / name).edits(tmp_path, "a cat", "a dog", {"skip_steps": "9", "seed": "1"})
        found = [template.settings_of(template.filled(edit, "a.png")) for edit in edits]
        assert [(each["skip_steps"], each["seed"]) for each in found] == [(12, 1), (9, 7)]
        assert all(type(each[key]) is int for each in found for key in ("skip_steps", "seed"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("36.0", 36), (str(2**64 - 1), 2**64 - 1), ("36.5", None), ("nan", None), ("inf", None), ("1.8446744e19", None)],
)
def test_what_is_no_integer_or_one_of_many_is_refused(text, value):
    """Of the last, a seed that went through a float, nobody can say which seed it was."""
    template = Template(read_graph(API / "text_edit_sd15.json"))
    edit = PictureEdit("one", Path("a.png"), "a cat", "a dog", {"seed": text})
    if value is not None:
        assert template.settings_of(template.filled(edit, "a.png"))["seed"] == value
        return
    with pytest.raises(EditError, match=f"seed cannot be '{text}': give it a whole number"):
        template.filled(edit, "a.png")


def test_a_method_is_the_graph_without_what_is_filled_in():
    graph = read_graph(API / "text_edit_sd15.json")
    other, changed = copy.deepcopy(graph), copy.deepcopy(graph)
    for node in other.values():
        title = node["_meta"]["title"]
        node["inputs"] |= {"text": "other words"} if title in PROMPTS.values() else {}
        node["inputs"] |= {"seed": 7, "steps": 9} if title == "Invert" else {}
    for node in changed.values():
        node["inputs"] |= {"order": 2} if node["_meta"]["title"] == "Invert" else {}
    assert Template(graph).method_digest == Template(other).method_digest != Template(changed).method_digest
