"""The mask from two prompts, against denoisers whose difference is known in closed form."""

import math

import pytest
import torch

from ddpm_core import masks


def pair(difference):
    """A denoiser whose target prediction is the source's plus difference (B, C, ...) times sigma; and its calls."""
    seen = []

    def denoiser(x, sigma):
        seen.append((x, sigma))
        half = len(x) // 2
        shift = difference * sigma[half:].view(-1, *[1] * (x.ndim - 1))
        return torch.cat([0.5 * x[:half], 0.5 * x[half:] + shift])

    return denoiser, seen


def blob(*shape):
    """(*shape) 0 but for a block of cells."""
    difference = torch.zeros(shape)
    difference[..., 4:8, 10:16] = 1
    return difference


def test_the_difference_is_the_mean_over_levels_of_the_sum_over_channels(noise_maps):
    torch.manual_seed(0)
    difference = torch.randn(2, 4, 16, 24)
    denoiser, seen = pair(difference)
    levels, steps = [2, 3, 7], []
    found = masks.prediction_difference(
        denoiser, lambda i: noise_maps.states[i], noise_maps.schedule, levels, callback=steps.append
    )
    sigma = noise_maps.schedule.sigmas[levels].mean()
    torch.testing.assert_close(found, difference.abs().sum(1, keepdim=True) * sigma.float(), rtol=1e-4, atol=1e-4)
    for i, (x, sigmas), step in zip(levels, seen, steps, strict=True):
        assert torch.equal(x, torch.cat([noise_maps.states[i]] * 2))
        assert sigmas.unique().item() == pytest.approx(noise_maps.schedule.sigmas[i].item()) == step["sigma"]
    assert [step["i"] for step in steps] == [0, 1, 2]


def test_a_mask_is_where_the_difference_is_and_a_cell_around():
    heat = masks.heat(3 * blob(2, 1, 16, 24))
    assert heat.amax() == 1 and heat.amin() == 0
    assert heat[0, 0, 3, 12] == pytest.approx(1 / 3)  # three of the nine cells around
    assert torch.equal(masks.cut(heat, 0.4), blob(2, 1, 16, 24))
    grown = masks.cut(heat, 0.4, grow=2)
    assert grown.sum() == 2 * (4 + 4) * (6 + 4)
    assert torch.equal(masks.cut(heat, 0.9, grow=1), masks.cut(heat, 0.4))


def test_the_edge_of_the_image_counts_the_cells_that_are_there():
    assert torch.equal(masks.heat(torch.ones(1, 1, 5, 7)), torch.ones(1, 1, 5, 7))


def test_each_image_has_its_own_maximum():
    heat = masks.heat(torch.cat([blob(1, 1, 16, 24), 100 * blob(1, 1, 16, 24)]))
    torch.testing.assert_close(heat[0], heat[1])


def test_variations_of_an_image_have_one_mask():
    torch.manual_seed(0)
    rows = torch.rand(6, 1, 8, 8)  # three variations of two images
    assert torch.equal(masks.heat(rows, 2), masks.heat((rows[:2] + rows[2:4] + rows[4:]) / 3))


def test_frames_of_a_video_are_smoothed_alone_and_share_their_maximum():
    torch.manual_seed(0)
    frames = torch.rand(1, 1, 3, 8, 8) * torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    heat = masks.heat(frames)
    alone = torch.stack([masks.heat(frames[:, :, k]) for k in range(3)], dim=2)
    peaks = heat.amax(dim=(0, 1, 3, 4)).view(3, 1, 1)
    assert peaks.amax() == 1 and peaks[0] < 0.6
    torch.testing.assert_close(heat, alone * peaks)


def test_it_is_looked_for_where_it_is_allowed():
    difference = blob(1, 1, 16, 24)
    difference[..., :2, :2] = 50
    allowed = torch.zeros(1, 1, 16, 24)
    allowed[..., 3:, 3:] = 0.5
    assert torch.equal(masks.cut(masks.heat(difference, allowed=allowed), 0.4), blob(1, 1, 16, 24))


@pytest.mark.parametrize(
    ("arguments", "levels"),
    [
        ((100, 0, 7, 0.2, 0.8), [20, 30, 40, 50, 60, 70, 80]),
        ((100, 36, 7, 0.2, 0.8), [level - 36 for level in (36, 43, 51, 58, 65, 73, 80)]),
        ((50, 6, 1, 0.1, 0.5), [16 - 6]),
        ((4, 0, 7, 0.0, 1.0), [0, 1, 2, 3]),
        ((10, 9, 3, 0.5, 1.0), [0]),
    ],
)
def test_levels_are_spread_evenly_over_those_that_are_there(arguments, levels):
    assert masks.levels_between(*arguments) == levels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 0, 0, 0.2, 0.8), "levels is 0"),
        ((100, 0, 7, 0.8, 0.2), "from 0.8 to 0.2 .* start <= end"),
        ((100, 0, 7, -0.1, 0.2), "0 <= start"),
        ((100, 0, 7, 0.2, math.nan), "0 <= start"),
        ((100, 36, 7, 0.1, 0.3), r"no level from 0.1 to 0.3 of 100 steps, of which 36 are skipped: use an end of 0.36"),
        ((100, 0, 7, 1.0, 1.0), "no level from 1 to 1"),
    ],
)
def test_levels_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        masks.levels_between(*arguments)


def test_where_prompts_say_the_same_an_edit_may_be_anywhere():
    """For it changes nothing; the other images have the map that they have alone."""
    heat = masks.heat(torch.cat([blob(1, 1, 16, 24), torch.full((1, 1, 16, 24), 1e-6)]))
    assert torch.equal(heat[:1], masks.heat(blob(1, 1, 16, 24))) and heat[1].min() == 1
    allowed = 1 - masks.cut(masks.heat(blob(1, 1, 16, 24)), 0.0)
    assert torch.equal(masks.heat(blob(1, 1, 16, 24), allowed=allowed), allowed)


def test_thresholds_that_cannot_be():
    heat = masks.heat(blob(1, 1, 16, 24))
    for threshold in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="the mask is empty with a threshold"):
            masks.cut(heat, threshold)


def test_a_mask_of_sound_is_of_the_time_in_which_the_prompts_differ():
    """A cell's neighbours are those before and after it."""
    difference = torch.zeros(2, 1, 100)
    difference[0, 0, 40:60], difference[1, 0, 7] = 2.0, 3.0
    heat = masks.heat(difference)
    assert heat[0, 0, 41:59].eq(1).all() and heat[0, 0, [39, 60]] == pytest.approx(1 / 3)
    assert heat[0, 0, :39].max() == 0 == heat[0, 0, 61:].max()
    assert torch.equal(heat[1, 0].nonzero().flatten(), torch.tensor([6, 7, 8]))
    wider = masks.cut(heat, 0.5, grow=2)
    assert torch.equal(wider[0, 0].nonzero().flatten(), torch.arange(38, 62))
    allowed = torch.zeros(100)
    allowed[:50] = 1
    assert masks.heat(difference, allowed=allowed)[0, 0, 50:].max() == 0
    assert torch.equal(masks.heat(difference.repeat(2, 1, 1), images=2), heat)
