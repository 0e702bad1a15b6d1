"""Edits by the pack's nodes in ComfyUI: what the core has too is the same, and the direction of what attention does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demo.model import load_model
from demo.scenes import TUNE_SEED
from tools.lab import classifier as judge
from tools.lab.__main__ import main
from tools.lab.by_nodes import nodes_of
from tools.lab.edits import Edit, choose_edits, error_outside, score, source_images, summary
from tools.lab.evaluate import words_find_objects
from tools.lab.methods import BY_NAME, DDIM, EDIT_FRIENDLY, METHODS, P2P, PLUG_AND_PLAY, ZERO_SHOT
from tools.lab.settings import FINER, FLOW, LabSettings, PromptToPrompt

SETTINGS = LabSettings(steps=20, skip=0.1)
MASACTRL, COARSER_MASACTRL = (BY_NAME[f"MasaCtrl{at} + edit friendly"] for at in ("", " at 1/4"))


@pytest.fixture
def model(comfy):
    return load_model()


def results_of(model, method, edits, settings):
    return replace(method, by_core=None).run(model, edits, source_images(edits), settings)


def measured(model, kind, *runs):
    """(success, error outside, structure) of each method and its settings on a few edits of a kind."""
    edits = choose_edits(3, TUNE_SEED, (kind,))
    results = [results_of(model, method, edits, settings) for method, settings in runs]
    return [summary(score(edits, source_images(edits), each, judge.load_classifier())) for each in results]


@pytest.mark.parametrize("path", [None, FLOW], ids=["v", "flow"])
@pytest.mark.parametrize("method", [EDIT_FRIENDLY, DDIM], ids=lambda method: method.name)
@pytest.mark.parametrize("order", [1, 2])
def test_the_nodes_and_the_core_make_the_same_edit(comfy, path, method, order):
    model = load_model(path)
    edits = choose_edits(1, TUNE_SEED, ("color", "season"))
    settings = replace(SETTINGS, flow=model.is_flow, order=order)
    by_core = method.run(model, edits, source_images(edits), settings)
    torch.testing.assert_close(results_of(model, method, edits, settings), by_core, atol=1e-4, rtol=0)


ATTENTION = [method for method in METHODS if method.needs_comfyui and not method.finer and "DDIM" not in method.name]


@pytest.mark.parametrize("method", [m for m in ATTENTION if m is not ZERO_SHOT], ids=lambda method: method.name)
def test_the_caption_of_the_image_gives_it_back(model, method):
    (edit,) = choose_edits(1, TUNE_SEED, ("color",))
    same = Edit(edit.kind, edit.source, edit.source)
    settings = replace(SETTINGS, cfg_target=1.0, p2p=PromptToPrompt(1.0, 1.0))
    back = results_of(model, method, [same], settings)
    torch.testing.assert_close(back, source_images([edit]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ATTENTION, ids=lambda method: method.name)
def test_each_method_has_a_hand_in_the_edit(model, method):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    plain, edited = (results_of(model, each, edits, SETTINGS) for each in (EDIT_FRIENDLY, method))
    assert (plain - edited).abs().max() > 1e-4


@pytest.mark.parametrize("method", [P2P, PLUG_AND_PLAY, ZERO_SHOT], ids=lambda method: method.name)
def test_the_flow_is_edited_as_a_flow(comfy, method):
    """By the levels and the prediction of another process nothing of the scene would be left."""
    edits, flow = choose_edits(1, TUNE_SEED, ("color",)), load_model(FLOW)
    edited = results_of(flow, method, edits, replace(SETTINGS, steps=10, flow=True))
    assert error_outside(edited[0], edits[0]) < 0.1
    assert (edited - source_images(edits)).abs().mean() > 0.01


def test_an_edit_that_never_opens_is_none(model):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    closed = replace(SETTINGS, p2p=PromptToPrompt(0.0, 0.0))
    assert torch.equal(results_of(model, P2P, edits, closed), results_of(model, EDIT_FRIENDLY, edits, closed))


@pytest.mark.parametrize("kind", ["color", "ground"])
def test_prompt_to_prompt_keeps_more_at_equal_success(model, kind):
    plain, p2p = measured(model, kind, (EDIT_FRIENDLY, SETTINGS), (P2P, SETTINGS))
    assert p2p[0] == plain[0] == 1
    assert p2p[1] < plain[1]
    assert p2p[2] > plain[2]


def test_the_maps_of_the_source_pin_things_to_their_places(model):
    methods = (EDIT_FRIENDLY, P2P, PLUG_AND_PLAY, COARSER_MASACTRL)
    runs = [(method, SETTINGS) for method in methods]
    plain, p2p, plug_and_play, masactrl = (row[0] for row in measured(model, "position", *runs))
    assert plain == masactrl == 1
    assert p2p == plug_and_play == 0


def test_the_local_blend_keeps_the_rest_as_it_is(model):
    blended = replace(SETTINGS, p2p=PromptToPrompt(blend_threshold=0.3))
    p2p, within = measured(model, "color", (P2P, SETTINGS), (P2P, blended))
    assert within[0] == p2p[0] == 1
    assert within[1] < p2p[1] / 3


def test_a_changed_word_counts_as_much_as_it_is_told_to(model):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    plain, weighed = (
        results_of(model, P2P, edits, replace(SETTINGS, p2p=PromptToPrompt(gain=gain))) for gain in (1.0, 2.0)
    )
    assert (plain - weighed).abs().max() > 1e-3


def test_the_finer_model_has_what_masactrl_acts_at(comfy):
    """Half the latent's side and more, on the way up; the bundled model has attention at a quarter of it at most."""
    edits = choose_edits(1, TUNE_SEED, ("position",))
    finer = load_model(FINER)
    plain, shared = (results_of(finer, each, edits, SETTINGS) for each in (EDIT_FRIENDLY, MASACTRL))
    assert (plain - shared).abs().max() > 1e-3
    with pytest.raises(ValueError, match="does nothing with this model"):
        results_of(load_model(), MASACTRL, edits, SETTINGS)


def test_the_word_of_the_color_finds_the_object(model):
    areas = words_find_objects(model, 6, replace(SETTINGS, steps=10), TUNE_SEED)
    assert areas["color"] > 0.95
    assert areas["ground color"] < 0.05


def test_the_command_line_measures_with_the_settings_that_it_is_given(comfy, capsys):
    only = ["--per-kind", "1", "--kind", "color", "--method", P2P.name, "--skip", "0.8", "--tuning"]
    rows = []
    for options in (["--cross-steps", "0", "--self-steps", "0"], ["--gain", "-3", "--own-map"]):
        assert main(["evaluate", *only, *options]) == 0
        rows.append(capsys.readouterr().out.splitlines()[-1])
    assert rows[0] != rows[1]


def test_a_model_has_one_set_of_nodes(model):
    assert nodes_of(model) is nodes_of(model)
    assert nodes_of(load_model()) is not nodes_of(model)


@pytest.mark.parametrize(
    "command", [["evaluate", "--per-kind", "1", "--method", P2P.name], ["words", "--per-kind", "1"]]
)
def test_without_comfyui_what_needs_it_says_so(monkeypatch, capsys, command):
    monkeypatch.setenv("COMFYUI_PATH", "")
    assert main(command) == 1
    assert "there is none: set COMFYUI_PATH to its folder" in capsys.readouterr().err


def test_without_comfyui_the_table_is_of_the_methods_of_the_core(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_PATH", "")
    assert main(["evaluate", "--per-kind", "1", "--kind", "color", "--steps", "4"]) == 0
    said = capsys.readouterr()
    assert "the table lacks: P2P + edit friendly, " in said.err and "MasaCtrl + " not in said.err
    rows = {line.split(", steps 4 ")[0] for line in said.out.splitlines() if " all " in line}
    assert rows == {method.name + more for method in METHODS if method.by_core for more in method.rows}
