"""The graphs by which `check` tries a checkpoint, of each layout that the pack has a template for."""

from pathlib import Path

import pytest

from tools.batch.template import Template, UsageError, read_graph
from tools.batch.trials import FRAMES, OF_MAPS, THROUGH_VAE, WORDS, rows_of_network, still, trials

WORKFLOWS = Path(__file__).parents[3] / "workflows" / "api"
FROM_MAPS = ("text_edit_sd15", "text_edit_sdxl")
IN_ONE_PASS = ("text_edit_sd3", "text_edit_flux", "text_edit_video")


def planned(name: str, presets=None):
    template = Template(still(read_graph(WORKFLOWS / f"{name}.json")))
    return trials(template.graph, template.output, presets)


def inputs_of(graph: dict, class_type: str) -> dict:
    (node,) = [node for node in graph.values() if node["class_type"] == class_type]
    return node["inputs"]


@pytest.mark.parametrize("name", FROM_MAPS)
def test_the_picture_is_sampled_under_its_own_prompt_and_scale(name):
    back = planned(name)[0]
    inversion, sampler = (inputs_of(back.graph, node) for node in ("EditFriendlyInvert", "FixedNoiseSampler"))
    assert all(inversion[key] == sampler[key] for key in ("positive", "negative", "cfg", "skip_steps"))
    assert back.is_return and back.graph[THROUGH_VAE]["class_type"] == "PreviewImage"
    (edit,) = [trial for trial in planned(name, ()) if not trial.is_return]
    assert inversion["seed"] != inputs_of(edit.graph, "EditFriendlyInvert")["seed"]


@pytest.mark.parametrize("name", IN_ONE_PASS)
def test_an_edit_to_its_own_source_gives_the_picture(name):
    back, edit = planned(name)
    inputs = inputs_of(back.graph, "EditFriendlyEdit")
    assert inputs["source"] == inputs["target"] and inputs["source_cfg"] == inputs["target_cfg"]
    assert "settings" not in inputs
    assert inputs_of(edit.graph, "EditFriendlyEdit")["target"] != inputs["target"]


def test_a_video_is_a_picture_that_stands_still():
    _, edit = planned("text_edit_video")
    classes = {node["class_type"] for node in edit.graph.values()}
    assert not classes & {"LoadVideo", "GetVideoComponents", "CreateVideo", "SaveVideo"}
    assert inputs_of(edit.graph, "RepeatImageBatch")["amount"] == inputs_of(edit.graph, "ImageFromBatch")["length"]
    assert FRAMES % 4 == 1  # frames of a Wan latent


@pytest.mark.parametrize("name", FROM_MAPS)
def test_each_preset_sets_inversion_and_sampler(name):
    by_preset = planned(name)[2:]
    assert [trial.name for trial in by_preset] == list(OF_MAPS)
    for trial in by_preset:
        preset = next(key for key, node in trial.graph.items() if node["class_type"] == "EditFriendlyEditPreset")
        for node in (OF_MAPS[trial.name], "FixedNoiseSampler"):
            assert inputs_of(trial.graph, node)["settings"] == [preset, 0]


def test_the_predictions_are_those_of_the_settings():
    back, edit, *_ = planned("text_edit_sd15")
    assert rows_of_network(edit.graph) == 2 * 100 + 2 * 64
    assert rows_of_network(back.graph) == 2 * 100 + 2 * 100
    said = "50 steps (simple), 0 skipped, cfg 1 and 7.5, eta 0; "
    assert rows_of_network(edit.graph, said) == 50 + 2 * 50
    _, flux = planned("text_edit_flux")
    assert rows_of_network(flux.graph) == 2 * 24


def test_a_preset_of_another_graph_is_refused():
    with pytest.raises(UsageError, match="does not fit this graph; that fit: none"):
        planned("text_edit_flux", ["DDIM (paper)"])


@pytest.mark.parametrize("name", ["text_edit_p2p", "text_edit_anima"])
def test_prompt_to_prompt_is_not_tried_where_a_graph_has_it_already(name):
    assert [trial.name for trial in planned(name)[2:]] == [preset for preset in OF_MAPS if preset != WORDS]
    with pytest.raises(UsageError, match="P2P.* does not fit this graph; that fit: edit friendly"):
        planned(name, [WORDS])


def changed(name: str, class_type: str, **inputs) -> tuple:
    template = Template(still(read_graph(WORKFLOWS / f"{name}.json")))
    inputs_of(template.graph, class_type).update(inputs)
    return template.graph, template.output


@pytest.mark.parametrize(
    ("name", "node"), [("text_edit_sd15", "FixedNoiseSampler"), ("text_edit_flux", "EditFriendlyEdit")]
)
def test_the_way_back_has_one_guidance_throughout(name, node):
    back, *_ = trials(*changed(name, node, cfg_schedule="linear"), presets=())
    assert inputs_of(back.graph, node)["cfg_schedule"] == "constant"


@pytest.mark.parametrize("inputs", [{"seed": ["1", 0]}, {"variations": 2}])
def test_a_wired_seed_or_variations_are_refused(inputs):
    with pytest.raises(UsageError, match="one variation with a seed of its own"):
        trials(*changed("text_edit_sd15", "EditFriendlyInvert", **inputs), presets=())


def test_what_is_wired_is_not_counted():
    graph, _ = changed("text_edit_sd15", "FixedNoiseSampler", skip_steps=["1", 0])
    assert rows_of_network(graph) is None
    graph, _ = changed("text_edit_sd15", "EditFriendlyInvert", sigmas=["1", 0])
    assert rows_of_network(graph) is None
