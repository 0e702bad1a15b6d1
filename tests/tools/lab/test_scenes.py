"""Invariants of the scenes: what a seed gives, what an edit changes, and what captions say."""

from dataclasses import replace

import numpy as np
import pytest

from demo.rendering import render
from demo.scenes import (
    TEST_SEED,
    Landscape,
    Portrait,
    StillLife,
    instruction,
    sample_scene,
    scene_of_caption,
    training_caption,
)
from demo.text import MAX_TOKENS, VOCABULARY, tokenize

FAMILIES = (Landscape, StillLife, Portrait)
SEEDS = range(TEST_SEED, TEST_SEED + 24)
SCENES = [sample_scene(seed) for seed in range(TEST_SEED, TEST_SEED + 2000)]


def others(scene, attribute):
    return [value for value in scene.values[attribute] if value != getattr(scene, attribute)]


def changed(first, second):
    return np.abs(render(first).image - render(second).image).max(axis=0) > 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_scene_twice_and_each_seed_another(seed):
    first, second = render(sample_scene(seed)), render(sample_scene(seed))
    assert np.array_equal(first.image, second.image)
    assert not np.array_equal(first.image, render(replace(sample_scene(seed), seed=seed + 1)).image)
    assert first.image.shape == (3, 128, 128)
    assert first.image.dtype == np.float32
    assert np.isfinite(first.image).all() and np.abs(first.image).max() <= 1
    assert first.masks["object"].sum() > 20
    for mask in first.masks.values():
        assert mask.min() >= -1e-6 and mask.max() <= 1 + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", SEEDS[:6])
def test_every_attribute_can_be_edited_and_is_seen(family, seed):
    scene = sample_scene(seed, family)
    for attribute in scene.attributes:
        for value in others(scene, attribute):
            edited = scene.edited(attribute, value)
            assert getattr(edited, attribute) == value
            assert edited.edited(attribute, getattr(scene, attribute)) == scene
        assert changed(scene, edited).mean() > 0.0005


@pytest.mark.parametrize("seed", SEEDS[:12])
@pytest.mark.parametrize("thing", ["house", "car", "sheep", "balloon"])
def test_another_color_changes_the_thing_alone(seed, thing):
    scene = replace(sample_scene(seed, Landscape), thing=thing, color="red")
    kept = render(scene).masks["color"] == 0
    assert not (changed(scene, scene.edited("color", "blue")) & kept).any()


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_another_expression_changes_the_person_alone(seed):
    scene = replace(sample_scene(seed, Portrait), expression="sad")
    kept = render(scene).masks["person"] == 0
    assert not (changed(scene, scene.edited("expression", "smiling")) & kept).any()


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_another_material_leaves_the_room_and_the_fruit(seed):
    scene = replace(sample_scene(seed, StillLife), material="clay")
    kept = (render(scene).masks["wall"] == 1) | (render(scene).masks["fruit"] == 1)
    assert not (changed(scene, scene.edited("material", "metal")) & kept).any()


@pytest.mark.parametrize("seed", SEEDS[:12])
@pytest.mark.parametrize("thing", ["house", "boat", "tree", "car", "sheep"])
def test_a_second_thing_leaves_the_first_where_it_is(seed, thing):
    scene = replace(sample_scene(seed, Landscape), thing=thing, number="one")
    one, two = (render(s).masks["thing"] for s in (scene, scene.edited("number", "two")))
    assert two.sum() > 1.1 * one.sum()
    assert two[one == 1].min() > 0.99


def test_night_is_darker_than_sunset_and_sunset_than_day_but_not_black():
    def brightness(time):
        scenes = [replace(sample_scene(seed, family), time=time) for seed in SEEDS for family in FAMILIES]
        return np.mean([(render(scene).image + 1) / 2 for scene in scenes])

    assert 0.15 < brightness("night") < brightness("sunset") < brightness("day")


def test_one_in_eight_is_held_out_and_every_value_is_trained():
    trained = [scene for scene in SCENES if not scene.held_out]
    assert 0.08 < 1 - len(trained) / len(SCENES) < 0.18
    for family in FAMILIES:
        for attribute, values in family.values.items():
            assert {getattr(scene, attribute) for scene in trained if isinstance(scene, family)} == {*values}


def test_the_full_caption_says_the_scene():
    for scene in SCENES[:500]:
        read = scene_of_caption(scene.caption, scene.seed)
        assert {a: getattr(read, a) for a in scene.attributes} == {a: getattr(scene, a) for a in scene.attributes}


def test_the_words_of_an_attribute_stand_once_in_the_full_caption():
    for scene in SCENES[:500]:
        for name in scene.attributes:
            words = scene.words_of(name)
            assert f" {scene.caption} ".count(f" {words} ") == 1 or (
                not words and getattr(scene, name) in ("one", "nothing")
            )


def test_scant_captions_leave_the_rest_open():
    scene = replace(sample_scene(TEST_SEED, Landscape), thing="house", number="one")
    assert scene.said(["thing"]) == "a house"
    assert scene.said([]) == "a landscape"
    read = [scene_of_caption("a house at night", seed) for seed in SEEDS]
    assert {(scene.thing, scene.number, scene.time) for scene in read} == {("house", "one", "night")}
    assert len({(scene.color, scene.place, scene.season) for scene in read}) > 10


def test_the_text_encoder_knows_all_captions_and_all_its_words_occur():
    words = set()
    for scene in SCENES:
        for caption in (scene.caption, training_caption(scene), scene.said([])):
            tokenize(caption)
            words |= {*caption.split()}
    for scene in SCENES[:100]:
        for name in scene.attributes:
            words |= {word for value in others(scene, name) for word in instruction(scene, name, value).split()}
    assert words == {*VOCABULARY} - {""}
    assert max(len(scene.caption.split()) for scene in SCENES) <= MAX_TOKENS


def test_an_edit_that_the_scene_has_not_is_refused():
    tree = replace(sample_scene(TEST_SEED, Landscape), thing="tree")
    with pytest.raises(ValueError, match="has no color; it has thing, number"):
        tree.edited("color", "red")
    with pytest.raises(ValueError, match="place is one of hills, mountains, sea, forest, not 'moon'"):
        tree.edited("place", "moon")
    with pytest.raises(ValueError, match="names none"):
        scene_of_caption("a dragon", 1)
    with pytest.raises(ValueError, match="names several"):
        scene_of_caption("a house and a man", 1)
    with pytest.raises(ValueError, match="hair.*use black, brown, blond"):
        scene_of_caption("a man with green hair", 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_edit_can_be_asked_for_and_different_edits_are_asked_for_in_different_words(family):
    for scene in [sample_scene(seed, family) for seed in SEEDS]:
        asked = [instruction(scene, name, value) for name in scene.attributes for value in others(scene, name)]
        assert all(any(tokenize(words)) for words in asked)
        assert len(asked) == len(set(asked))


@pytest.mark.parametrize(
    "shown, attribute, value, words",
    [
        ("two red houses by the sea", "thing", "tree", "turn the houses into trees"),
        ("a red house by the sea", "thing", "tree", "turn the house into a tree"),
        ("a red house by the sea", "number", "three", "show three houses"),
        ("a blue cup with two lemons", "number", "one", "show a lemon"),
        ("a blue cup with two lemons", "vessel", "jug", "turn the cup into a jug"),
        ("a woman with red hair and a hat", "wears", "nothing", "remove the hat"),
        ("a woman with red hair", "wears", "glasses", "give the woman glasses"),
        ("a woman with red hair", "color", "green", "make the coat green"),
    ],
)
def test_what_is_asked_of_an_edit_model(shown, attribute, value, words):
    assert instruction(scene_of_caption(shown, TEST_SEED), attribute, value) == words
