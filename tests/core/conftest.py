"""Small denoisers and maps that the tests of the core share."""

import math

import pytest
import torch

from ddpm_core import Facts, LatentSpace, Method, NoiseSchedule, Origin, invert, trajectories


def sigmas(steps: int) -> torch.Tensor:
    """(steps + 1,) levels from 14.6 to 0.03 in equal ratios, then 0."""
    return torch.cat([torch.linspace(math.log(14.6), math.log(0.03), steps).exp(), torch.zeros(1)])


FAMILIES = {
    "vp": lambda steps, eta: NoiseSchedule.variance_preserving(1 / (1 + sigmas(steps).double() ** 2), eta),
    "ve": lambda steps, eta: NoiseSchedule.variance_exploding(sigmas(steps), eta),
    "flow": lambda steps, eta: NoiseSchedule.flow(sigmas(steps) / 14.6, eta),
}


def wobbly_denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """A non-linear stand-in for a network: mixes cells, looks at sigma, treats every row alone."""
    level = sigma.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return torch.tanh(x.roll(1, -1) + 0.3 * x) / (1 + 0.1 * level)


def gaussian_denoiser(schedule: NoiseSchedule, mean: float, deviation: float):
    """E[x_0 | x_t] of data N(mean, deviation^2), which is linear in x_t; and its slope at each level."""
    levels = zip(schedule.signal.tolist(), schedule.noise.tolist(), strict=True)
    gains = [a * deviation**2 / ((a * deviation) ** 2 + b**2) for a, b in levels]

    def posterior_mean(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        i = int((schedule.sigmas - sigma[0]).abs().argmin())
        return mean + gains[i] * (x - schedule.signal[i].item() * mean)

    return posterior_mean, gains


@pytest.fixture
def gaussian():
    return gaussian_denoiser


@pytest.fixture
def noise_maps():
    """Maps of two images of 4 x 16 x 24 over 10 steps."""
    x_0 = torch.randn((2, 4, 16, 24), generator=torch.Generator().manual_seed(0))
    schedule = FAMILIES["ve"](10, 1.0)
    states = trajectories.edit_friendly(x_0, schedule, [5, 6])
    origin = Origin(Method.EDIT_FRIENDLY, 3.5, (0.25, -1.0))
    facts = Facts((5, 6), origin=origin, space=LatentSpace("SD15", "SD15", cell=8), notes={"scheduler": "normal"})
    return invert(wobbly_denoiser, states, schedule, facts=facts)


@pytest.fixture(params=FAMILIES)
def family(request):
    """family(steps, eta): a schedule, for each noising process."""
    return FAMILIES[request.param]


@pytest.fixture
def denoiser():
    return wobbly_denoiser


# hypothesis re-runs a test within one function-scoped fixture; these two hold nothing that could change between runs.
@pytest.fixture(scope="session")
def family_at():
    return tuple(FAMILIES.values())


@pytest.fixture(scope="session")
def denoiser_at():
    return wobbly_denoiser
