"""What is asked of maps and not stored, the predictions of x_0; and copies of maps."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch

from ddpm_core import Facts, LatentSpace, invert, manipulation, sample, trajectories, without_residuals

MASK = torch.ones(1, 1, 16, 24)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("eta", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_predictions_follow_from_states_and_residuals(family, denoiser, eta, steps):
    """To the float32 rounding of the states, which is divided by the weight of the prediction in a step."""
    schedule, x_0 = family(steps, eta), noise(2, 4, 8, 8)
    seen = []
    states = trajectories.edit_friendly(x_0, schedule, [3, 3])
    noise_maps = invert(denoiser, states, schedule, callback=lambda step: seen.append(step["denoised"]))
    assert noise_maps.kept_denoised is None
    for i, predicted in enumerate(seen):
        rounding = 4e-7 * states[i].abs().max().item() / schedule.step(i).denoised_weight
        assert (noise_maps.denoised_at(i) - predicted).abs().max() <= max(rounding, 1e-6), i
    assert torch.equal(noise_maps.denoised, torch.stack([noise_maps.denoised_at(i) for i in range(steps)]))


def test_those_of_textbook_ddim_are_its_own(family, denoiser):
    """(x_s - b_s eps) / a_s, arXiv 2010.02502 Eq. 12, with the eps that took the step back."""
    schedule, x_0 = family(10, 0.0), noise(1, 4, 8, 8).double()
    seen = {}
    states = trajectories.ddim(denoiser, x_0, schedule, [0], callback=lambda step: seen.update({9 - step["i"]: step}))
    noise_maps = without_residuals(schedule, states)
    for i, (a_t, b_t, a_s, b_s) in enumerate(
        zip(schedule.signal, schedule.noise, schedule.signal[1:], schedule.noise[1:], strict=False)
    ):
        x_s = states[i + 1]
        eps = (x_s * schedule.scale(i) / schedule.scale(i + 1) - a_t * seen[i]["denoised"]) / b_t
        assert torch.allclose(noise_maps.denoised_at(i), (x_s - b_s * eps) / a_s, rtol=1e-6, atol=1e-6), i


def test_an_edit_of_the_residuals_keeps_them(noise_maps):
    """So a second Eq. 7 draws from the model's own prediction, not from what the first one left."""
    color = noise(1, 4, 16, 24)
    once = manipulation.recolor(noise_maps, MASK, color, 0.1, 0.0, 1.0)
    twice = manipulation.recolor(once, MASK, color, 0.1, 0.0, 1.0)
    assert torch.equal(once.denoised, noise_maps.denoised)
    change = once.residuals - noise_maps.residuals
    assert torch.allclose(twice.residuals - noise_maps.residuals, 2 * change, atol=1e-5)


@pytest.mark.parametrize("fill", ["copy", "wrap", "gaussian"])
def test_they_move_along(noise_maps, fill):
    moved = manipulation.shift(noise_maps, 5, -3, fill)
    assert torch.allclose(moved.denoised[..., :-3, 5:], noise_maps.denoised[..., 3:, :-5])
    mirrored = manipulation.flip(moved, horizontal=True)
    assert torch.allclose(mirrored.denoised, moved.denoised.flip(-1))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda noise_maps: pickle.loads(pickle.dumps(noise_maps))]
)
def test_maps_can_be_copied(noise_maps, copied):
    copy = copied(noise_maps)
    assert copy.notes == noise_maps.notes and copy.origin == noise_maps.origin
    assert torch.equal(copy.denoised, noise_maps.denoised)
    with pytest.raises(TypeError):
        copy.notes["scheduler"] = "simple"


def test_a_deep_copy_has_tensors_of_its_own(noise_maps):
    deep = copy.deepcopy(noise_maps)
    deep.states.zero_()
    assert noise_maps.states.any()


def test_rows_are_what_they_are_alone(denoiser, family):
    """Three images, two variations: one row, one variation, one image."""
    schedule, seeds = family(4, 1.0), trajectories.seeds_of_rows(7, [0] * 3, 2)
    x_0 = noise(3, 4, 8, 8).repeat(2, 1, 1, 1)
    mask = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    facts = Facts(tuple(seeds), images=3)
    states = trajectories.edit_friendly(x_0, schedule, seeds)
    maps = replace(invert(denoiser, states, schedule, facts=facts), mask=mask)
    for chosen, images in (([4], 1), ([3, 4, 5], 3), ([1, 4], 1), ([0, 2, 3, 5], 2), ([0, 4], 2)):
        part = maps.rows(chosen)
        assert (part.images, part.seeds) == (images, tuple(seeds[row] for row in chosen))
        assert torch.equal(part.image, maps.image[chosen]) and torch.equal(part.mask, mask[chosen])
        assert torch.equal(sample(denoiser, part), sample(denoiser, maps)[chosen])
    for wrong in ([], [6], [-1]):
        with pytest.raises(ValueError, match=r"6 rows, 0 to 5: there are no rows"):
            maps.rows(wrong)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (Facts((1,)), "1 seeds for 2 rows"),
        (Facts((1, 2**64)), "a seed is not from 0"),
        (Facts((1, -1)), "a seed is not from 0"),
        (Facts(images=3), "2 rows are not 3 images"),
        (Facts(space=LatentSpace(scale=torch.ones(3), shift=torch.zeros(1))), r"scale .* shape \(3,\) for 4 channels"),
        (Facts(space=LatentSpace(colors=torch.ones(4, 1, 2, 3))), r"colors .* \(4, 1, 2, 3\) for 4 channels"),
    ],
)
def test_facts_of_other_maps_are_refused(noise_maps, facts, message):
    with pytest.raises(ValueError, match=message):
        replace(noise_maps, facts=facts)
