"""The bundled weights: the files themselves, and small samples of what `evaluate`, `figures` and `sheet` measure.

The one file of tests that needs trained weights. Meaning, not goldens: the thresholds are the acceptance thresholds,
with room for the small sample.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from operator import attrgetter

import pytest
import torch

from ddpm_core import invert, sample, statistics, trajectories
from demo.model import load_model
from demo.rendering import render
from demo.scenes import CLASSIFIER_SEED, TEST_SEED, TUNE_SEED, scene_of_caption
from demo.weights import WEIGHTS
from tools.lab import classifier as judge
from tools.lab.edits import choose_edits, read_drawn, score, source_images, summary
from tools.lab.evaluate import evaluate, mask_found, mean_areas, words_find
from tools.lab.figures.reconstruction import RUNS, Scenes
from tools.lab.figures.subjects import Subjects, generate_pictures
from tools.lab.methods import EDIT_FRIENDLY, GROUND_TRUTH, P2P, PLUG_AND_PLAY
from tools.lab.settings import VASE, ColorEdit, LabSettings, PromptToPrompt
from tools.lab.sheet import EXAMPLES, by_core, recolored
from tools.lab.sizes import Sizes
from tools.lab.training.autoencoder import held_out
from tools.lab.training.networks import WeightsConfig

pytestmark = [pytest.mark.first, pytest.mark.once]
SHA256 = {judge.WEIGHTS: "ee02adc061ddbf2d658e14adba7ca1b9e60d1b2dfd8a3bf005363871631fae1a"}
SETTINGS = LabSettings(steps=20, skip=0.1)


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def classifier():
    return judge.load_classifier()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHA256, ids=lambda path: path.name)
def test_the_file_is_the_one_that_was_measured(path):
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[path]


def test_the_files_that_users_get_are_small(model):
    assert WEIGHTS.stat().st_size <= 16_000_000
    assert judge.WEIGHTS.stat().st_size <= 1_000_000
    assert len(model.latent_rgb) == 5


def test_the_log_is_of_a_whole_training():
    lines = [json.loads(line) for line in WEIGHTS.with_suffix(".jsonl").read_text().splitlines()]
    config = [line["config"] for line in lines if "config" in line][-1]
    assert config.keys() <= asdict(WeightsConfig()).keys()
    assert lines[-1]["step"] == config["steps"]


# --- what the parts can do --------------------------------------------------------------------------------------------


def test_the_judge_reads_scenes_it_has_not_seen(classifier):
    assert min(judge.accuracy(classifier, CLASSIFIER_SEED + 100_000, 300).values()) > 0.9


def test_the_autoencoder_gives_held_out_pictures_back(model):
    psnr, _, _ = held_out(model.autoencoder, 8)
    assert psnr.mean() > 28


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_replay_of_held_out_scenes_is_exact(model, cfg):
    scenes = Scenes.of(Subjects(model, Sizes(edit_steps=20)), 3)
    denoiser = model.denoiser(scenes.captions, cfg)
    states = trajectories.edit_friendly(scenes.latents, scenes.schedule, scenes.seeds)
    replay = sample(denoiser, invert(denoiser, states, scenes.schedule))
    torch.testing.assert_close(replay, scenes.latents, atol=1e-5, rtol=0)


# --- edits ------------------------------------------------------------------------------------------------------------


def measured(model, classifier, edits, *runs):
    """(success, error outside, structure) of each method and its settings."""
    images = source_images(edits)
    results = [replace(m, by_core=None).run(model, edits, images, settings) for m, settings in runs]
    return [summary(score(edits, images, result, classifier)) for result in results]


def test_edits_do_what_was_asked_and_keep_the_rest(model, classifier):
    edits = choose_edits(2, kinds=("color", "time", "season", "material", "hair", "expression"))
    runs = {"truth": (GROUND_TRUTH, LabSettings()), "ours": (EDIT_FRIENDLY, LabSettings(steps=25))}
    table = evaluate(model, classifier, edits, runs)
    truth, ours = (summary(table.scores[name]) for name in runs)
    assert truth[0] > 0.9
    assert ours[0] > 0.6
    assert ours[1] < 0.06
    assert ours[2] > 0.5


def test_variations_of_an_edit_differ_and_all_show_it(model, classifier):
    edit = next(edit for edit in choose_edits(8, kinds=("time",)) if edit.target.time == "night")
    settings = LabSettings(steps=25)
    results = EDIT_FRIENDLY.run(
        model, [replace(edit, variation=v) for v in range(3)], source_images([edit] * 3), settings
    )
    assert classifier.read(results, "time") == ["night"] * 3
    assert torch.pdist(results.flatten(1), p=1).min() / results[0].numel() > 0.01


def test_color_edit_without_a_prompt_recolors_the_object_alone(model):
    scene = scene_of_caption(VASE[0], TEST_SEED + VASE[1])
    drawn = render(scene)
    mask = torch.from_numpy(drawn.masks["color"])[None]
    latent = model.autoencoder.encode(torch.from_numpy(drawn.image)[None])
    schedule, unconditional = LabSettings(steps=25).schedule(), model.denoiser("")
    maps = invert(unconditional, trajectories.edit_friendly(latent, schedule, [0]), schedule)
    edited, back = (
        model.autoencoder.decode(sample(unconditional, each))[0]
        for each in (recolored(model, maps, mask, "yellow", ColorEdit()), maps)
    )
    assert read_drawn(edited, scene, "color") == "yellow"
    assert ((edited - back)[:, mask[0] == 0].abs() / 2).mean() < 0.04


def test_the_sheet_replays_exactly(model):
    (row,) = by_core(model, EXAMPLES[:1])
    assert row.reconstruction_error < 1e-5


def test_the_mask_from_two_prompts_finds_the_edit(model):
    """Mean area under the curve over the kinds that leave something as it was, of a few edits each."""
    found = mask_found(model, choose_edits(2, kinds=("color", "fruit", "hair", "time")), LabSettings(steps=25))
    assert set(found) == {"color", "fruit", "hair", "mean"}
    assert found["mean"] > 0.8


def test_words_find_what_they_stand_for_and_expressions_do_not(comfy, model):
    kinds = ("color", "vessel", "expression")
    found = words_find(model, 4, replace(SETTINGS, steps=10), TUNE_SEED, kinds)
    areas = mean_areas(found, attrgetter("kind"))
    assert areas["color"] > 0.8
    assert areas["vessel"] > 0.9
    assert areas["color"] > areas["expression"]


def test_prompt_to_prompt_keeps_more_at_equal_success(comfy, model, classifier):
    edits = choose_edits(2, TUNE_SEED, ("color",))
    plain, p2p = measured(model, classifier, edits, (EDIT_FRIENDLY, SETTINGS), (P2P, SETTINGS))
    assert p2p[0] >= plain[0]
    assert p2p[1] < plain[1]
    assert p2p[2] > plain[2]


def test_the_maps_of_the_source_pin_things_to_their_places(comfy, model, classifier):
    edits = choose_edits(2, TUNE_SEED, ("number", "thing"))
    plain, p2p, plug = measured(model, classifier, edits, *((m, SETTINGS) for m in (EDIT_FRIENDLY, P2P, PLUG_AND_PLAY)))
    assert plain[2] < min(p2p[2], plug[2])


def test_the_local_blend_keeps_the_rest_as_it_is(comfy, model, classifier):
    blended = replace(SETTINGS, p2p=PromptToPrompt(blend_threshold=0.3))
    p2p, within = measured(model, classifier, choose_edits(2, TUNE_SEED, ("color",)), (P2P, SETTINGS), (P2P, blended))
    assert within[0] == p2p[0]
    assert within[1] < p2p[1]


# --- what the papers say ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subjects(model):
    return Subjects(model, Sizes(latents=8))


@pytest.fixture(scope="module")
def pictures(model):
    return generate_pictures(model, Sizes().seeds(4), steps=20)


def test_size_and_correlation_of_z(pictures):
    """Figs. 6 and 12: edit friendly > CycleDiffusion ~ native ~ 1, and only edit-friendly neighbours are correlated."""
    size = {name: statistics.z_std(maps).mean().item() for name, maps in pictures.maps.items()}
    assert size["native"] == pytest.approx(1, abs=0.05)
    assert size["CycleDiffusion"] == pytest.approx(1, abs=0.15)
    assert size["edit friendly"] > 1.5
    correlation = {name: statistics.z_correlation(maps).mean().item() for name, maps in pictures.maps.items()}
    assert abs(correlation["native"]) < 0.05
    assert abs(correlation["CycleDiffusion"]) < 0.1
    assert correlation["edit friendly"] < -0.3


def test_a_small_shift_of_edit_friendly_maps_moves_the_picture_best(pictures):
    """Fig. 11."""
    error = {
        name: statistics.shift_errors(pictures.images, pictures.shifted(name, 1), 8).mean().item()
        for name in pictures.maps
    }
    assert error["edit friendly"] < min(error["native"], error["CycleDiffusion"])


def test_the_replay_of_ddim_drifts_with_guidance(model):
    scenes = Scenes.of(Subjects(model, Sizes(edit_steps=20)), 2)

    def error(cfg: float) -> float:
        denoiser = model.denoiser(scenes.captions, cfg)
        return scenes.error(scenes.replay(denoiser, scenes.ddim(denoiser)))

    assert error(1.0) < error(7.5) / 2


def test_null_text_comes_nearer_than_ddim(model):
    """arXiv 2211.09794, at the guidance of its pictures."""
    scenes = Scenes.of(Subjects(model, Sizes(edit_steps=20)), 1)
    null_text, ddim = (scenes.error(RUNS[name](scenes, [7.5] * 20)) for name in ("null-text", "DDIM, likewise"))
    assert null_text < 0.75 * ddim


def test_what_brings_ddim_latents_near_the_noise_of_their_pictures(subjects):
    """arXiv 2410.23530: with the first predictions the true ones the latent is nearly the noise that made the picture.
    Noising those steps does not find that noise.
    """
    native, textbook = subjects.latents, subjects.inverted()

    def away(maps) -> float:
        return (statistics.latent(maps) - statistics.latent(native)).abs().mean().item()

    assert away(subjects.inverted(true=2)) < away(textbook) / 2
    assert away(subjects.inverted(noised=2)) > away(textbook)


def test_the_first_steps_of_the_inversion_err_most(subjects):
    """arXiv 2410.23530v2, Fig. 4 and Tab. 6."""
    native = subjects.latents
    noises = trajectories.ddim_noises(subjects.model.denoiser(""), native)
    for errors in statistics.step_errors(*noises, native.image):
        assert errors[-2:].mean() > errors[:-2].mean()
