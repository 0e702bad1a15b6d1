"""Edits by the pack's nodes in ComfyUI: what the core has too is the same, and the direction of what attention does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demo.scenes import TUNE_SEED
from tools.lab import __main__ as lab
from tools.lab.by_nodes import nodes_of
from tools.lab.edits import Edit, choose_edits, source_images
from tools.lab.methods import BY_NAME, DDIM, EDIT_FRIENDLY, KV_EDIT, METHODS, P2P, ZERO_SHOT
from tools.lab.settings import DifferenceMask, LabSettings, PromptToPrompt

pytestmark = pytest.mark.once
MASKED = BY_NAME["edit friendly + mask"]
# what an untrained model predicts otherwise is nearly all of a picture: a threshold that leaves some of it outside
SETTINGS = LabSettings(steps=10, skip=0.1, mask=DifferenceMask(threshold=0.9))


@pytest.fixture
def model(comfy, untrained):
    return untrained


def results_of(model, method, edits, settings):
    return replace(method, by_core=None).run(model, edits, source_images(edits), settings)


@pytest.mark.parametrize("process", ["v", "flow"])
@pytest.mark.parametrize("method", [EDIT_FRIENDLY, DDIM], ids=lambda method: method.name)
@pytest.mark.parametrize("order", [1, 2])
def test_the_nodes_and_the_core_make_the_same_edit(comfy, untrained, flow, process, method, order):
    model = flow if process == "flow" else untrained
    edits = choose_edits(1, TUNE_SEED, ("color", "season"))
    settings = replace(SETTINGS, flow=model.is_flow, order=order)
    by_core = method.run(model, edits, source_images(edits), settings)
    torch.testing.assert_close(results_of(model, method, edits, settings), by_core, atol=1e-4, rtol=0)


ATTENTION = [method for method in METHODS if method.needs_comfyui and "DDIM" not in method.name]


@pytest.mark.parametrize("method", [m for m in ATTENTION if m is not ZERO_SHOT], ids=lambda method: method.name)
def test_the_caption_of_the_image_gives_it_back(model, method):
    (edit,) = choose_edits(1, TUNE_SEED, ("color",))
    same = Edit(edit.kind, edit.source, edit.source)
    settings = replace(SETTINGS, cfg_target=1.0, p2p=PromptToPrompt(1.0, 1.0))
    back = results_of(model, method, [same], settings)
    autoencoder = model.autoencoder
    torch.testing.assert_close(back, autoencoder.decode(autoencoder.encode(source_images([edit]))), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ATTENTION, ids=lambda method: method.name)
def test_each_method_has_a_hand_in_the_edit(model, method):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    beside = MASKED if method is KV_EDIT else replace(EDIT_FRIENDLY, by_core=None)
    plain = beside.run(model, edits, source_images(edits), SETTINGS)
    assert (plain - results_of(model, method, edits, SETTINGS)).abs().max() > 1e-4


def test_an_edit_that_never_opens_is_none(model):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    closed = replace(SETTINGS, p2p=PromptToPrompt(0.0, 0.0))
    assert torch.equal(results_of(model, P2P, edits, closed), results_of(model, EDIT_FRIENDLY, edits, closed))


def test_a_changed_word_counts_as_much_as_it_is_told_to(model):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    plain, weighed = (
        results_of(model, P2P, edits, replace(SETTINGS, p2p=PromptToPrompt(gain=gain))) for gain in (1.0, 2.0)
    )
    assert (plain - weighed).abs().max() > 1e-3


def test_the_command_line_measures_with_the_settings_that_it_is_given(model, monkeypatch, capsys):
    monkeypatch.setattr(lab, "load_model", lambda path: model)
    only = [
        "--per-kind",
        "1",
        "--kind",
        "color",
        "--method",
        P2P.name,
        "--skip",
        "0",
        "--cfg",
        "9",
        "--steps",
        "10",
        "--tuning",
    ]
    rows = []
    for options in (["--cross-steps", "0", "--self-steps", "0"], ["--gain", "-3", "--own-map"]):
        assert lab.main(["evaluate", *only, *options]) == 0
        rows.append(capsys.readouterr().out.splitlines()[-1])
    assert rows[0] != rows[1]


def test_the_command_line_shares_attention_as_long_as_it_is_told_to(flow, comfy, monkeypatch, capsys):
    """For no step at all the edit is the plain one."""
    monkeypatch.setattr(lab, "load_model", lambda path: flow)
    rows = {}
    for name in ("edit friendly", "keys and values + edit friendly"):
        only = ["evaluate", "--per-kind", "1", "--kind", "color", "--method", name, "--steps", "8"]
        ends = [] if name == "edit friendly" else ["--share-end", "0", "1", "--share-blocks", "0", "1"]
        assert lab.main([*only, *ends]) == 0
        rows[name] = [line.split()[-2:] for line in capsys.readouterr().out.splitlines() if " all " in line]
    ((plain,), (until_0, until_1)) = rows.values()
    assert until_0 == plain
    assert until_1 != plain
    assert lab.main(["evaluate", "--method", "edit friendly", "--share-end", "1"]) == 1
    assert "no attention is shared by edit friendly" in capsys.readouterr().err


def test_a_model_has_one_set_of_nodes(model, flow):
    assert nodes_of(model) is nodes_of(model)
    assert nodes_of(flow) is not nodes_of(model)
