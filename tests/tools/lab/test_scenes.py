"""Invariants of the drawn scenes, and an oracle: attributes read back from the pixels."""

import itertools

import numpy as np
import pytest
import torch

from demo.scenes import (
    COLORS,
    OBJECTS,
    POSITIONS,
    SEASONS,
    SHAPES,
    TEST_SEED,
    TIMES,
    TUNE_SEED,
    LandscapeScene,
    ShapeScene,
    render,
    sample_scene,
    scene_of_caption,
    training_caption,
)
from demo.text import tokenize
from tools.lab.edits import KINDS, choose_edits, read_color, score, source_images
from tools.lab.methods import ground_truth

SEEDS = range(TEST_SEED, TEST_SEED + 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_scene_twice(seed):
    first, second = render(sample_scene(seed)), render(sample_scene(seed))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (3, 32, 32)
    assert first.image.dtype == np.float32
    assert np.abs(first.image).max() <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_cover_the_image_once(seed):
    masks = render(sample_scene(seed)).masks
    np.testing.assert_allclose(sum(masks.values()), 1, atol=1e-6)
    assert masks["object"].sum() > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_colours_read_back_from_the_masks(seed):
    scene = sample_scene(seed)
    if isinstance(scene, ShapeScene):
        drawn = render(scene)
        image, masks = torch.from_numpy(drawn.image), {k: torch.from_numpy(m) for k, m in drawn.masks.items()}
        assert read_color(image, masks["object"]) == scene.color
        assert read_color(image, masks["ground"]) == scene.ground


def test_one_attribute_changed_keeps_the_rest_of_the_picture():
    scene = ShapeScene(TEST_SEED, "circle", "red", "blue", "left")
    drawn = render(scene)
    recolored = render(scene.replace(color="green")).image
    reshaped = render(scene.replace(shape="square")).image
    assert np.array_equal(drawn.image[:, drawn.masks["object"] == 0], recolored[:, drawn.masks["object"] == 0])
    assert np.array_equal(drawn.image[:, :, 20:], reshaped[:, :, 20:])
    assert not np.array_equal(drawn.image, reshaped)


def test_a_house_becomes_a_boat_under_the_same_sky():
    scene = LandscapeScene(TEST_SEED, "house", "night", "summer")
    house, boat = render(scene).image, render(scene.replace(object="boat")).image
    assert np.array_equal(house[:, :6], boat[:, :6])
    assert np.abs(house[:, 20:] - boat[:, 20:]).mean() > 0.1


def test_night_is_darker_than_day_but_not_black():
    def brightness(time):
        scenes = [LandscapeScene(seed, "house", time, season) for seed in SEEDS for season in SEASONS]
        return np.mean([(render(scene).image + 1) / 2 for scene in scenes])

    assert 0.2 < brightness("night") < brightness("sunset") < brightness("day")


def test_held_out_captions_are_few_and_show_every_word():
    shapes = [
        ShapeScene(0, shape, color, ground, position)
        for shape, color, ground, position in itertools.product(SHAPES, COLORS, COLORS, POSITIONS)
        if color != ground
    ]
    landscapes = [LandscapeScene(0, *words) for words in itertools.product(OBJECTS, TIMES, SEASONS)]
    for scenes, most in ((shapes, 0.2), (landscapes, 0.1)):
        held_out = [scene for scene in scenes if scene.held_out]
        assert 0 < len(held_out) <= most * len(scenes)
        trained = {word for scene in scenes if not scene.held_out for word in scene.caption.split()}
        assert trained == {word for scene in scenes for word in scene.caption.split()}


def test_every_caption_fits_the_tokenizer():
    for seed in range(300):
        tokenize(sample_scene(seed).caption)
        tokenize(training_caption(sample_scene(seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_caption_gives_a_scene_that_it_describes(seed):
    caption = sample_scene(seed).caption
    assert scene_of_caption(caption, seed + 1).caption == caption


def test_a_short_caption_leaves_the_rest_to_the_seed():
    scenes = [scene_of_caption("a red circle", seed) for seed in range(20)]
    assert {(s.color, s.shape) for s in scenes} == {("red", "circle")}
    assert len({s.ground for s in scenes}) > 2
    assert all(s.ground != "red" for s in scenes)


@pytest.mark.parametrize("caption", ["a ground", "a house on a circle", ""])
def test_a_caption_without_one_object_is_refused(caption):
    with pytest.raises(ValueError, match="a scene shows one of"):
        scene_of_caption(caption, 0)


def test_edits_change_one_attribute_of_held_out_scenes():
    edits = choose_edits(10)
    assert edits == choose_edits(10)
    assert {edit.kind for edit in edits} == set(KINDS)
    for edit in edits:
        assert edit.source.seed >= TEST_SEED
        assert getattr(edit.source, edit.kind) != getattr(edit.target, edit.kind)
        assert edit.source.replace(**{edit.kind: getattr(edit.target, edit.kind)}) == edit.target
    tuning = {edit.source.seed for edit in choose_edits(10, TUNE_SEED)}
    assert not tuning & {edit.source.seed for edit in edits}


@pytest.mark.parametrize("kind", ["color", "ground", "position"])
def test_measures_pass_the_ground_truth_and_fail_the_source(kind):
    edits = choose_edits(20, kinds=(kind,))
    sources = source_images(edits)
    perfect = score(edits, sources, ground_truth(None, edits, sources, None), None)
    untouched = score(edits, sources, sources, None)
    assert all(s.success for s in perfect)
    assert not any(s.success for s in untouched)
    assert max(s.error for s in perfect) < 0.005
    assert min(s.structure for s in untouched) > 0.999
