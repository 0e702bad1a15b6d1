"""Anchor: predictions pulled towards the image where they agree, in closed form and through a whole run."""

from __future__ import annotations

import math

import pytest
import torch

from ddpm_core import NoiseSchedule, generate, invert, pure_noise, sample, trajectories
from ddpm_core.anchor import Anchor, anchored

SHAPES = [(2, 4, 16), (2, 4, 8, 8), (2, 4, 3, 8, 8)]
SCHEDULE = NoiseSchedule.variance_preserving(torch.linspace(0.02, 1, 11))
SEEDS = (5, 6)


def image_of(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distance_that_is_the_same_everywhere_pulls_by_the_formula(shape):
    image, anchor = image_of(shape), Anchor(0.8, tolerance=0.2)
    signs = torch.where(image > 0, 1.0, -1.0)
    for distance in (0.0, 0.1, 0.2, 0.6):
        a = 0.8 * math.exp(-((distance / 0.2) ** 2))
        torch.testing.assert_close(anchor(image + distance * signs, image), image + (1 - a) * distance * signs)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_amount_of_1_everywhere_is_the_image_and_of_0_the_prediction(shape):
    image, prediction = image_of(shape), image_of(shape).flip(0)
    assert torch.equal(Anchor(1.0, None)(prediction, image), image)
    assert Anchor(0.0)(prediction, image) is prediction
    torch.testing.assert_close(Anchor(0.3, None)(prediction, image), prediction + 0.3 * (image - prediction))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pull_is_of_a_cell_with_its_neighbours_and_all_its_channels(shape):
    image, prediction = image_of(shape), image_of(shape)
    at = tuple(n // 2 for n in shape[2:])
    prediction[(0, 1, *at)] += 4.0  # in one of four channels: a mean of 1 there
    pull = Anchor(1.0, tolerance=0.1).pull(prediction, image)
    neighbours = 3 ** min(2, len(shape) - 2)
    assert pull.shape == (2, 1, *shape[2:])
    expected = math.exp(-((1 / neighbours / 0.1) ** 2))
    assert pull[(0, 0, *at)].item() == pytest.approx(expected, rel=1e-4)
    assert (pull < 1).sum() == neighbours


def test_outside_a_mask_the_pull_is_the_amount():
    image, prediction = image_of(SHAPES[1]), image_of(SHAPES[1]) + 1
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., :4] = 1
    mask[..., 4] = 0.5
    pull = Anchor(0.9, tolerance=0.5, mask=mask).pull(prediction, image)
    inside = math.exp(-4)
    for column, a in ((0, inside), (4, 1 - 0.5 * (1 - inside)), (5, 1.0)):
        torch.testing.assert_close(pull[..., column], torch.full((2, 1, 8), 0.9 * a))


def editor(image: torch.Tensor, drift: float):
    """A model that changes one place as it was asked to, and drifts everywhere else."""
    asked = image + drift
    asked[..., 1:6, 1:6] = image[..., 1:6, 1:6] + 2
    return lambda x, sigma: asked.expand_as(x)


def test_a_model_that_changes_one_place_and_drifts_elsewhere_changes_that_place_alone():
    image = image_of((2, 4, 12, 12))
    model, anchor = editor(image, drift=0.06), Anchor(1.0, tolerance=0.2)

    def run(denoiser):
        return generate(denoiser, pure_noise(image, SCHEDULE, SEEDS), SCHEDULE, SEEDS).image

    free, kept = run(model) - image, run(anchored(model, anchor, image)) - image
    assert free[..., 7:, :].abs().min() > 0.059
    assert kept[..., 7:, :].abs().max() < 0.2 * 0.06
    assert kept[..., 2:5, 2:5].min() > 1.99  # what was asked for is whole


def test_through_noise_maps_the_same_prediction_gives_the_image_back_and_another_is_changed_in_its_place():
    image = image_of((2, 4, 12, 12))
    anchor = Anchor(1.0, tolerance=0.2)
    source = anchored(lambda x, sigma: image.expand_as(x) + 0.05, anchor, image)
    maps = invert(source, trajectories.edit_friendly(image, SCHEDULE, SEEDS), SCHEDULE)
    torch.testing.assert_close(sample(source, maps), image, rtol=0, atol=1e-5)
    edited = sample(anchored(editor(image, drift=0.09), anchor, image), maps) - image
    assert edited[..., 7:, :].abs().max() < 0.2 * 0.09
    assert edited[..., 2:5, 2:5].min() > 1.95


def test_a_picture_that_moves_as_a_whole_is_not_put_back():
    """A limit that the documentation names: where nothing agrees, nothing is pulled."""
    image = image_of((2, 4, 32, 32))
    moved = image.roll(4, dims=-1)
    assert Anchor(1.0, tolerance=0.15).pull(moved, image).max() < 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"amount": 1.2}, "the amount of an anchor is 1.2: use 0, which is off, to 1"),
        ({"amount": float("nan")}, "the amount of an anchor is nan"),
        ({"tolerance": 0.0}, "the tolerance of an anchor is 0: use more than 0"),
        ({"tolerance": float("inf")}, "the tolerance of an anchor is inf"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Anchor(**settings)
