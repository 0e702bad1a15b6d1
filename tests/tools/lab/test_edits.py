"""Edits with their ground truth, and an oracle of the measures: attributes read back from drawn pictures."""

from __future__ import annotations

import math

import pytest
import torch

from demo.scenes import TEST_SEED, TUNE_SEED
from tools.lab.classifier import DRAWN
from tools.lab.edits import (
    KINDS,
    PAIRS,
    area_under_curve,
    choose_edits,
    choose_two_edits,
    image_of,
    kept_by,
    read_drawn,
    score,
    source_images,
)
from tools.lab.methods import GROUND_TRUTH


def test_edits_change_one_attribute_of_held_out_scenes():
    edits = choose_edits(3)
    assert edits == choose_edits(3)
    assert {edit.kind for edit in edits} == set(KINDS)
    for edit in edits:
        assert edit.source.seed >= TEST_SEED
        assert getattr(edit.source, edit.kind) != getattr(edit.target, edit.kind)
        assert edit.source.edited(edit.kind, getattr(edit.target, edit.kind)) == edit.target
        assert edit.source.caption != edit.target.caption
    assert not {edit.source.seed for edit in choose_edits(3, TUNE_SEED)} & {edit.source.seed for edit in edits}


@pytest.mark.parametrize("kinds", PAIRS)
def test_two_edits_are_two_of_one(kinds):
    for edit in choose_two_edits(4, TEST_SEED, kinds):
        for kind, other in (kinds, kinds[::-1]):
            assert getattr(edit.alone(kind), kind) == getattr(edit.target, kind) != getattr(edit.source, kind)
            assert getattr(edit.alone(kind), other) == getattr(edit.source, other)


@pytest.mark.parametrize("kind", DRAWN)
def test_every_color_and_expression_is_read_in_the_light_of_its_scene(kind):
    scenes = {edit.target for edit in choose_edits(6, TUNE_SEED, (kind,))}
    assert {scene.time for scene in scenes} == {"day", "sunset", "night"}
    for scene in scenes:
        for value in scene.values[kind]:
            image = image_of(scene.edited(kind, value))
            assert read_drawn(image + 0.2 * torch.randn_like(image), scene, kind) == value


def test_measures_pass_the_ground_truth_and_fail_the_source():
    edits = choose_edits(6, kinds=("color",))
    sources, targets = source_images(edits), torch.stack([image_of(edit.target) for edit in edits])
    perfect, untouched = (score(edits, sources, images, None) for images in (targets, sources))
    assert all(each.success for each in perfect)
    assert not any(each.success for each in untouched)
    assert max(each.error for each in perfect) < 0.005
    assert min(each.structure for each in untouched) > 0.999


def test_a_method_works_on_latents_between_pictures(untrained):
    edits = choose_edits(1, kinds=("thing", "hair"))
    through = untrained.autoencoder.decode(
        untrained.autoencoder.encode(torch.stack([image_of(edit.target) for edit in edits]))
    )
    assert torch.equal(GROUND_TRUTH.run(untrained, edits, source_images(edits), None), through)


def test_a_change_of_time_leaves_nothing_and_one_of_hair_much():
    time, hair = choose_edits(1, kinds=("time", "hair"))
    assert not kept_by(time).float().mean() > 0.05
    assert kept_by(hair).float().mean() > 0.4


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    torch.manual_seed(0)
    score, truth = torch.randint(5, (40,)).float(), torch.rand(40) < 0.4
    pairs = [0.5 * float(a == b) + float(a > b) for a in score[truth] for b in score[~truth]]
    assert area_under_curve(score, truth) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(area_under_curve(score, truth | True))
