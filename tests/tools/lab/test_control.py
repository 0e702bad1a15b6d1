"""Attention edits in the demo's network: exact where nothing changes, and the direction of what they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddpm_core import invert, sample, trajectories
from ddpm_core.attention import METHODS, Place
from demo.model import load_model
from demo.scenes import TUNE_SEED
from tools.lab import classifier as judge
from tools.lab.__main__ import main
from tools.lab.control import EditedDenoiser, Sites, prompt_of, prompt_to_prompt, sharing
from tools.lab.edits import choose_edits, score, source_images, summary
from tools.lab.evaluate import METHODS as WAYS
from tools.lab.evaluate import words_find_objects
from tools.lab.settings import PromptToPrompt, Settings

STEPS = 20
SETTINGS = Settings(steps=STEPS, skip=0.1)


@pytest.fixture(scope="module")
def model():
    return load_model()


def maps_of(model, edits, settings=SETTINGS):
    schedule = settings.levels_to_run()
    states = trajectories.edit_friendly(source_images(edits), schedule, list(range(len(edits))))
    source = model.denoiser([edit.source.caption for edit in edits])
    return invert(source, states, schedule, skipped=settings.skip_steps)


def measured(model, kind, settings, *names):
    """(success, error outside, structure) of each method on a few edits of a kind."""
    edits = choose_edits(3, TUNE_SEED, (kind,))
    images = source_images(edits)
    results = [WAYS[name](model, edits, images, settings) for name in names]
    return [summary(score(edits, images, result, judge.load_classifier())) for result in results]


def test_where_the_transformers_stand(model):
    expected = [Place("input", 5, 0, 2), Place("middle", 0, 0, 2), Place("output", 0, 0, 2)]
    places = Sites.of(model.network).places
    assert list(places) == expected
    assert not METHODS["MasaCtrl"].where(places), "its layers are finer than this model has attention at"


def test_each_word_is_a_token_and_padding_is_none():
    prompt = prompt_of("A house by day, in winter.")
    assert prompt.texts == ("a", "house", "by", "day", "in", "winter")
    assert prompt.words == ((0,), (1,), (2,), (3,), (4,), (5,))
    assert prompt.tokens[6:] == (0, 0)


@pytest.mark.parametrize(
    "edit", [prompt_to_prompt("a boat", "a boat", PromptToPrompt(1.0, 1.0)), *map(sharing, METHODS.values())]
)
def test_the_caption_of_the_image_gives_it_back(model, edit):
    edits = choose_edits(2, TUNE_SEED, ("color",))
    maps, captions = maps_of(model, edits), [edit.source.caption for edit in edits]
    back = sample(EditedDenoiser(model, edit, captions, captions, 1.0, maps), maps)
    torch.testing.assert_close(back, maps.image, atol=1e-5, rtol=0)


def test_an_edit_that_never_opens_is_none(model):
    edits = choose_edits(2, TUNE_SEED, ("color",))
    maps, targets = maps_of(model, edits), [edit.target.caption for edit in edits]
    edit = prompt_to_prompt("a boat", "a house", PromptToPrompt(0.0, 0.0))
    edited = sample(EditedDenoiser(model, edit, targets, targets, 2.0, maps), maps)
    assert torch.equal(edited, sample(model.denoiser(targets, 2.0), maps))


def test_a_step_is_known_by_its_level_however_often_the_model_is_called(model):
    edits = choose_edits(1, TUNE_SEED, ("color",))
    maps, (edit,) = maps_of(model, edits), edits
    p2p = prompt_to_prompt(edit.source.caption, edit.target.caption, PromptToPrompt(0.5, 0.5))

    def denoiser():
        return EditedDenoiser(model, p2p, [edit.source.caption], [edit.target.caption], 2.0, maps)

    once, twice = denoiser(), denoiser()

    def called_twice(x, sigma):
        twice(x, sigma)
        return twice(x, sigma)

    assert torch.equal(sample(once, maps), sample(called_twice, maps))


@pytest.mark.parametrize("kind", ["color", "ground"])
def test_prompt_to_prompt_keeps_more_at_equal_success(model, kind):
    plain, p2p = measured(model, kind, SETTINGS, "edit friendly", "P2P + edit friendly")
    assert p2p[0] == plain[0] == 1
    assert p2p[1] < plain[1]
    assert p2p[2] > plain[2]


def test_the_maps_of_the_source_pin_things_to_their_places(model):
    names = "edit friendly", "P2P + edit friendly", "Plug-and-Play + edit friendly", "MasaCtrl at 1/4 + edit friendly"
    plain, p2p, plug_and_play, masactrl = (row[0] for row in measured(model, "position", SETTINGS, *names))
    assert plain == masactrl == 1
    assert p2p == plug_and_play == 0


def test_the_local_blend_keeps_the_rest_as_it_is(model):
    blended = replace(SETTINGS, p2p=PromptToPrompt(blend_threshold=0.3))
    names = ("P2P + edit friendly",)
    (p2p,), (within,) = (measured(model, "color", settings, *names) for settings in (SETTINGS, blended))
    assert within[0] == p2p[0] == 1
    assert within[1] < p2p[1] / 3


def test_the_word_of_the_color_finds_the_object(model):
    areas = words_find_objects(model, 6, TUNE_SEED)
    assert areas["color"] > 0.95
    assert areas["ground color"] < 0.05


def test_the_command_line_measures_with_the_settings_that_it_is_given(capsys):
    only = ["--per-kind", "1", "--kind", "color", "--method", "P2P + edit friendly", "--skip", "0.8", "--tuning"]
    rows = []
    for options in (["--cross-steps", "0", "--self-steps", "0"], ["--gain", "-3", "--own-map"]):
        assert main(["evaluate", *only, *options]) == 0
        rows.append(capsys.readouterr().out.splitlines()[-1])
    assert rows[0] != rows[1]
