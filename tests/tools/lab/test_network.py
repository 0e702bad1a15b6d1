"""The network and its noise levels, against equations written out plainly."""

import math

import pytest
import torch

from demo.network import (
    UNet,
    all_sigmas,
    alphas_cumprod,
    denoise,
    sgm_uniform_sigmas,
    sigma_to_timestep,
    timestep_embedding,
    uniform_sigmas,
)
from demo.weights import UNetConfig


def test_schedule_is_that_of_stable_diffusion():
    sigmas = all_sigmas()
    assert sigmas.shape == (1000,)
    assert sigmas[0].item() == pytest.approx(0.02917, rel=1e-3)
    assert sigmas[-1].item() == pytest.approx(14.6146, rel=1e-4)
    assert (sigmas.diff() > 0).all()


def test_every_sigma_finds_its_timestep():
    assert torch.equal(sigma_to_timestep(all_sigmas()), torch.arange(1000))


def test_uniform_sigmas_are_evenly_spaced_timesteps():
    sigmas = uniform_sigmas(50)
    assert sigmas.shape == (51,)
    assert sigmas[-1] == 0
    assert torch.equal(sigma_to_timestep(sigmas[:-1]), torch.arange(981, 0, -20))


def test_sgm_uniform_sigmas_leave_noise_at_the_cleanest_level():
    sigmas = sgm_uniform_sigmas(5)
    assert sigmas.shape == (6,)
    assert sigmas[-1] == 0
    assert sigma_to_timestep(sigmas[:-1]).tolist() == [999, 799, 599, 400, 200]
    torch.testing.assert_close(sgm_uniform_sigmas(3)[:3], all_sigmas()[[999, 666, 333]])


@pytest.mark.parametrize("steps", [0, 3, 1000, 1001])
def test_uniform_sigmas_refuses_what_the_host_would_count_otherwise(steps):
    with pytest.raises(ValueError, match="divisor of 1000"):
        uniform_sigmas(steps)


def test_timestep_embedding_is_cosines_then_sines():
    embedding = timestep_embedding(torch.tensor([7.0]), 4)
    expected = [math.cos(7), math.cos(0.07), math.sin(7), math.sin(0.07)]
    assert embedding[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_true_v_gives_the_true_image():
    """Oracle: with v = a eps - b x_0 the denoiser returns x_0, whatever the level."""
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=generator)
    a2 = alphas_cumprod()[[0, 300, 700, 999]]
    sigma = ((1 - a2) / a2).sqrt().float()
    a, b = (c.float().view(-1, 1, 1, 1) for c in (a2.sqrt(), (1 - a2).sqrt()))
    seen = []

    def network(x, timesteps, context):
        seen.append((x, timesteps))
        return a * eps - b * x_0

    denoised = denoise(network, x_0 + sigma.view(-1, 1, 1, 1) * eps, sigma, None)
    torch.testing.assert_close(denoised, x_0, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[0][0], a * x_0 + b * eps, atol=1e-5, rtol=0)
    assert seen[0][1].tolist() == [0, 300, 700, 999]


@pytest.mark.parametrize("size", [(16, 16), (8, 20), (9, 7)])
def test_any_size_comes_back_as_it_was(size):
    torch.manual_seed(0)
    network = UNet(UNetConfig()).eval()
    with torch.no_grad():
        v = network(torch.randn(2, 4, *size), torch.tensor([3.0, 900.0]), torch.randn(2, 20, 96))
    assert v.shape == (2, 4, *size)


def test_rows_do_not_see_each_other():
    torch.manual_seed(0)
    network = UNet(UNetConfig()).eval()
    x, t, context = torch.randn(3, 4, 8, 8), torch.tensor([0.0, 500.0, 999.0]), torch.randn(3, 20, 96)
    with torch.no_grad():
        together = network(x, t, context)
        alone = torch.cat([network(x[i : i + 1], t[i : i + 1], context[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_time_and_caption_reach_the_output():
    torch.manual_seed(0)
    network = UNet(UNetConfig()).eval()
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 20, 96)
    with torch.no_grad():
        v = network(x, t, context)
        assert (network(x, t + 300, context) - v).abs().max() > 1e-3
        assert (network(x, t, -context) - v).abs().max() > 1e-4
