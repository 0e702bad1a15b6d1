"""Noise maps with a mask of their own, which is that of the image they were made from."""

import dataclasses

import pytest
import torch

from ddpm_core import generate, manipulation, pure_noise, sample, storage


@pytest.fixture
def masked(noise_maps):
    """The maps of `noise_maps`, free to change in their left third, and half free in the next."""
    mask = torch.zeros(2, 1, 16, 24)
    mask[..., :8] = 1
    mask[..., 8:16] = 0.5
    return dataclasses.replace(noise_maps, mask=mask)


def other(denoiser):
    return lambda x, sigma: denoiser(x, sigma) + 0.5


def test_it_limits_what_is_sampled_as_a_mask_that_is_given_does(masked, noise_maps, denoiser):
    edited = sample(other(denoiser), masked)
    assert torch.equal(edited, sample(other(denoiser), noise_maps, mask=masked.mask))
    assert torch.equal(edited[..., 16:], masked.image[..., 16:])
    assert (edited[..., :8] - masked.image[..., :8]).abs().min() > 1e-3


def test_with_a_mask_that_is_given_both_limit(masked, denoiser):
    rows = torch.zeros(1, 1, 16, 1)
    rows[:, :, :4] = 1
    edited = sample(other(denoiser), masked, mask=rows)
    assert torch.equal(edited, sample(other(denoiser), masked, mask=torch.minimum(rows, masked.mask)))
    assert torch.equal(edited[:, :, 4:], masked.image[:, :, 4:])


def test_it_moves_with_the_maps(masked):
    assert torch.equal(manipulation.shift(masked, 3, 0, "wrap").mask, masked.mask.roll(3, -1))
    assert torch.equal(manipulation.flip(masked, horizontal=True).mask, masked.mask.flip(-1))


def test_a_mixture_may_change_where_both_may(masked, noise_maps):
    mixed = manipulation.interpolate(masked, noise_maps, 0.25)
    assert torch.allclose(mixed.mask, 0.75 * masked.mask + 0.25)
    assert manipulation.interpolate(noise_maps, noise_maps, 0.25).mask is None


def test_it_is_saved_with_the_maps(masked, tmp_path):
    storage.save(masked, tmp_path / "a.safetensors")
    assert torch.equal(storage.load(tmp_path / "a.safetensors").mask, masked.mask)


@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_what_is_generated_under_a_mask_leaves_the_rest_and_comes_back(masked, family, denoiser, eta):
    """Outside, the image stays; inside, the step is that of the sampler from the mixed state; the maps replay it."""
    schedule, seeds = family(10, eta), [5, 6]
    start = pure_noise(masked.image, schedule, seeds)
    made = generate(denoiser, start, schedule, seeds, around=(masked.image, masked.mask))
    assert torch.equal(made.mask, masked.mask)
    assert (made.image - masked.image)[..., 16:].abs().max() <= 1e-5
    assert (made.image - masked.image)[..., :8].abs().mean() > 0.1
    assert torch.equal(sample(denoiser, made), made.image)
    plain = generate(denoiser, start, schedule, seeds)
    last = schedule.step(schedule.steps - 1)
    inside = last.mean(made.states[-2], denoiser(made.states[-2], torch.full((2,), last.sigma)))
    assert torch.allclose(made.image[..., :8], inside[..., :8], atol=1e-5)
    assert not torch.allclose(plain.image[..., 16:], masked.image[..., 16:], atol=1e-2)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 1, 16, 24), r"the mask has shape \(1, 1, 16, 24\) .* need \(2, 1, 16, 24\)"),
        (torch.ones(2, 4, 16, 24), "the mask has shape"),
        (torch.ones(2, 1, 16, 24).double(), "torch.float64"),
        (torch.full((2, 1, 16, 24), 1.5), "outside 0 to 1"),
        (torch.full((2, 1, 16, 24), torch.nan), "outside 0 to 1"),
    ],
)
def test_refuses_masks_that_do_not_fit(noise_maps, mask, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(noise_maps, mask=mask)
