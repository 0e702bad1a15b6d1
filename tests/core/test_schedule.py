"""The step coefficients against the published formulas, and what a schedule refuses."""

import math

import pytest
import torch

from ddpm_core import NoiseSchedule

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2  # Stable Diffusion's
ALPHAS_CUMPROD = torch.cumprod(1 - BETAS, 0)


def consecutive(eta: float = 1.0) -> NoiseSchedule:
    """Stable Diffusion's 1000 steps with none left out, noisiest first."""
    return NoiseSchedule.variance_preserving(torch.cat([ALPHAS_CUMPROD.flip(0), torch.ones(1)]), eta)


def test_the_step_is_ddpm_posterior():
    """arXiv 2006.11239, Eq. 7: the posterior q(x_{t-1} | x_t, x_0) has this mean and variance."""
    schedule = consecutive()
    for t in (999, 500, 1):
        step = schedule.step(999 - t)
        abar, abar_before, beta = ALPHAS_CUMPROD[t].item(), ALPHAS_CUMPROD[t - 1].item(), BETAS[t].item()
        assert math.isclose(step.sigma_t**2, beta * (1 - abar_before) / (1 - abar), rel_tol=1e-9)
        assert math.isclose(step.denoised_weight, math.sqrt(abar_before) * beta / (1 - abar), rel_tol=1e-9)
        assert math.isclose(step.x_weight, math.sqrt(1 - beta) * (1 - abar_before) / (1 - abar), rel_tol=1e-9)


@pytest.mark.parametrize("eta", [0.25, 1.0])
def test_the_step_is_k_diffusions_ancestral_step(eta):
    """sigma_up and sigma_down as k-diffusion writes them; x_s = D + (x - D) sigma_down / sigma + noise sigma_up."""
    t, s = 7.0, 5.5
    step = NoiseSchedule.variance_exploding(torch.tensor([t, s, 0.0]), eta).step(0)
    sigma_up = min(s, eta * math.sqrt(s**2 * (t**2 - s**2) / t**2))
    sigma_down = math.sqrt(s**2 - sigma_up**2)
    assert math.isclose(step.sigma_t, sigma_up, rel_tol=1e-12)
    assert math.isclose(step.x_weight, sigma_down / t, rel_tol=1e-12)
    assert math.isclose(step.denoised_weight, 1 - sigma_down / t, rel_tol=1e-12)


def test_the_last_step_lands_on_the_prediction(family):
    step = family(5, 1.0).step(4)
    assert (step.sigma_t, step.x_weight, step.denoised_weight) == (0.0, 0.0, 1.0)


def test_after_keeps_the_cleaner_steps(family):
    schedule = family(10, 0.5)
    tail = schedule.after(4)
    assert tail.steps == 6
    assert tail.eta == 0.5
    assert [tail.step(i) for i in range(6)] == [schedule.step(i) for i in range(4, 10)]


def test_levels_are_the_same_to_the_rounding_of_a_host():
    """Relative 1e-5, and 1e-7 at the image; in each of the three; whatever eta."""
    sigmas, signal, noise = (torch.tensor(part).double() for part in ([9, 3, 0], [0.1, 0.5, 1], [8, 2, 0]))
    schedule = NoiseSchedule(sigmas, signal, noise, eta=1.0)
    for k in range(3):
        for factor, same in ((1 + 9e-6, True), (1 - 9e-6, True), (1 + 1.1e-5, False), (1 - 1.1e-5, False)):
            parts = [sigmas, signal.clone(), noise]
            parts[k] = torch.cat([parts[k][:-1] * factor, parts[k][-1:]])
            assert schedule.same_levels(NoiseSchedule(*parts, eta=0.3)) == same, (k, factor)
    for last, same in ((0.9e-7, True), (1.2e-7, False)):
        other = NoiseSchedule(sigmas, signal, torch.tensor([8, 2, last]).double())
        assert schedule.same_levels(other) == same
    assert not schedule.same_levels(schedule.after(1))


@pytest.mark.parametrize(
    ("sigmas", "eta", "message"),
    [
        ([1.0], 1.0, "at least one step"),
        ([3.0, 3.0, 0.0], 1.0, "descend"),
        ([1.0, 2.0, 0.0], 1.0, "descend"),
        ([3.0, 2.0, 0.1], 1.0, "end at 0"),
        ([float("nan"), 2.0, 0.0], 1.0, "NaN"),
        ([3.0, 2.0, 0.0], -0.1, "eta is -0.1"),
        ([3.0, 2.0, 0.0], float("nan"), "eta is nan"),
        ([3.0, 2.0, 0.0], 1.5, "eta is 1.5"),
    ],
)
def test_refuses(sigmas, eta, message):
    with pytest.raises(ValueError, match=message):
        NoiseSchedule.variance_exploding(torch.tensor(sigmas, dtype=torch.float64), eta)


def test_no_level_overflows():
    """Squares of such levels leave double precision; the step has none."""
    step = NoiseSchedule.variance_exploding(torch.tensor([4e300, 2e300, 0.0], dtype=torch.float64)).step(0)
    assert math.isclose(step.sigma_t, 2e300 * math.sqrt(0.75))
    assert math.isclose(step.x_weight, 0.25)


@pytest.mark.parametrize("skip_steps", [-1, 3])
def test_refuses_to_skip_every_step(skip_steps):
    with pytest.raises(ValueError, match=f"skip_steps is {skip_steps}, the schedule has 3 steps: use 0 to 2"):
        NoiseSchedule.variance_exploding(torch.tensor([3.0, 2.0, 1.0, 0.0])).after(skip_steps)


def test_refuses_a_step_that_rounding_takes_the_prediction_from():
    signal, noise = [0.3, 0.3000000000000002, 1.0], [0.7, 0.7000000000000004, 0.0]
    levels = [torch.tensor(part, dtype=torch.float64) for part in ([3.0, 2.0, 0.0], signal, noise)]
    with pytest.raises(ValueError, match="levels 0 and 1, 3 and 2, are too near each other"):
        NoiseSchedule(*levels, eta=0.0)


def test_refuses_levels_of_other_lengths():
    with pytest.raises(ValueError, match="one length"):
        NoiseSchedule(torch.tensor([2.0, 1.0, 0.0]), torch.ones(3), torch.tensor([1.0, 0.0]))
