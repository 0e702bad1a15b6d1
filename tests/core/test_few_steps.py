"""Few steps, as in TurboEdit: its own step written out, the states in closed form, the clip of the last residual."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ddpm_core import NoiseSchedule, invert, manipulation, sample, trajectories
from ddpm_core.storage import load, save
from ddpm_core.trajectories import standard_normal

COUNT = 40_000  # elements of the closed-form tests; errors below are five standard errors
LIMIT = 15.5 / 128  # TurboEdit's norm of a latent of 4 x 64 x 64, as a root mean square
TOLD = {4: [799, 599, 399, 199], 3: [799, 499, 199]}  # timesteps of 1000
THERE = {4: [599, 399, 199], 3: [599, 299]}  # 200 below, and the image itself at the last


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def other_prompt(denoiser):
    return lambda x, sigma: denoiser(x.roll(1, -2), sigma) * 0.8 + 0.1


def rms(residual: torch.Tensor) -> torch.Tensor:
    return residual.flatten(1).square().mean(dim=1).sqrt()


def sigmas_of(timesteps: list[int]) -> torch.Tensor:
    """(len(timesteps) + 1,) the levels of SDXL at these timesteps, as a network has them in float32, then 0."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = (1 - betas).cumprod(dim=0)[timesteps]
    return torch.cat([(1 / abar - 1).sqrt().float().double(), torch.zeros(1, dtype=torch.float64)])


def turbo_edit(source, target, x_0, sigmas, there, seeds, w):
    """TurboEdit (arXiv 2408.00735): the network is told a level and given the state of a cleaner one, of `there`.

    x^_s = kappa x_s + [mu(x^, source) - kappa mu(x, source)] + w [mu(x^, target) - mu(x^, source)]

    with kappa 1 but in the last step, and mu the mean of DDPM between the levels that are told, in its own process,
    which preserves the variance.
    """
    abar, abar_there, steps = 1 / (1 + sigmas**2), 1 / (1 + there**2), len(sigmas) - 1
    x = []
    for i in range(steps):
        eps = standard_normal(x_0, seeds, steps - i)
        x.append(abar_there[i].sqrt() * x_0 + (1 - abar_there[i]).sqrt() * eps)
    x.append(x_0)

    def mu(i: int, x_t: torch.Tensor, prompt) -> torch.Tensor:
        abar_t, abar_s, denoised = abar[i], abar[i + 1], prompt(x_t, sigmas[i].float().expand(len(x_t)))
        alpha = abar_t / abar_s
        return abar_s.sqrt() * (1 - alpha) / (1 - abar_t) * denoised + alpha.sqrt() * (1 - abar_s) / (1 - abar_t) * x_t

    edited = x[0]
    for i in range(steps):
        kappa = torch.ones(len(x_0), 1, 1, 1, dtype=x_0.dtype)
        if i == steps - 1:
            norm = (x[i + 1] - mu(i, x[i], source)).flatten(1).norm(dim=1)
            kappa = (15.5 / norm).clamp(max=1).view(-1, 1, 1, 1)
        own, others = mu(i, edited, source), mu(i, edited, target)
        edited = kappa * x[i + 1] + (own - kappa * mu(i, x[i], source)) + w * (others - own)
    return edited, kappa.flatten()


@pytest.mark.parametrize("steps", TOLD)
@pytest.mark.parametrize("scaling", ["variance preserving", "variance exploding"])
def test_an_edit_is_that_of_turbo_edit(denoiser, steps, scaling):
    w, sigmas, there, seeds = 1.5, sigmas_of(TOLD[steps]), sigmas_of(THERE[steps]), [3, 4]
    target = other_prompt(denoiser)
    x_0 = image(2, 4, 64, 64).double() * torch.tensor([1.0, 0.01]).view(2, 1, 1, 1)
    expected, kappa = turbo_edit(denoiser, target, x_0, sigmas, there, seeds, w)
    assert kappa[0] < 0.9 and kappa[1] == 1

    exploding = scaling == "variance exploding"
    schedule, noise_levels = (
        NoiseSchedule.variance_exploding(part) if exploding else NoiseSchedule.variance_preserving(1 / (1 + part**2))
        for part in (sigmas, there)
    )

    def scaled(prompt):
        """A network whose input has unit variance, as the host calls it."""
        return lambda x, sigma: prompt(x / torch.hypot(sigma.double(), torch.ones(())).view(-1, 1, 1, 1), sigma)

    source, target = (scaled(prompt) if exploding else prompt for prompt in (denoiser, target))
    states = trajectories.few_steps(x_0, schedule, seeds, noise_levels=noise_levels)
    if steps == 4:  # where the levels lie evenly, a shift by one of them is the same
        shifted = trajectories.few_steps(x_0, schedule, seeds)
        torch.testing.assert_close(states, shifted, rtol=1e-12, atol=1e-12)
    noise_maps = invert(source, states, schedule)
    noise_maps = manipulation.clip_last(noise_maps, LIMIT)
    edited = sample(lambda x, s: source(x, s) + w * (target(x, s) - source(x, s)), noise_maps)
    assert (edited - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_shift_the_states_are_the_edit_friendly_ones(family, dtype):
    schedule, x_0 = family(5, 1.0), image(2, 4, 5, 7).to(dtype)
    states = trajectories.few_steps(x_0, schedule, [3, 4], noise_shift=0)
    assert states.dtype == dtype
    assert torch.equal(states, trajectories.edit_friendly(x_0, schedule, [3, 4]))


@pytest.mark.parametrize("noise_shift", [1, 2, 9])
def test_states_have_the_size_of_one_level_and_the_image_of_another(family, noise_shift):
    """Of data of unit variance: the deviation is scale(i), the fraction of the image in it that of level i + shift."""
    schedule = family(5, 1.0)
    x_0 = image(1, 1, COUNT).double()
    states = trajectories.few_steps(x_0, schedule, [3], noise_shift=noise_shift)
    for i in range(schedule.steps):
        j = min(i + noise_shift, schedule.steps)
        assert states[i].std().item() == pytest.approx(schedule.scale(i), rel=5 / math.sqrt(2 * COUNT))
        share = torch.corrcoef(torch.stack([states[i].flatten(), x_0.flatten()]))[0, 1].item()
        assert share == pytest.approx(schedule.signal[j].item() / schedule.scale(j), abs=5 / math.sqrt(COUNT))
    assert torch.equal(states[-1], x_0)


def test_each_level_has_noise_of_its_own(family):
    schedule, x_0 = family(6, 1.0), torch.zeros(1, 1, COUNT)
    states = trajectories.few_steps(x_0, schedule, [3])[: schedule.steps - 1, 0, 0]
    correlation = torch.corrcoef(states) - torch.eye(len(states))
    assert correlation.abs().max() < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("noise_shift", [0, 1, 2, 9])
def test_replay_is_exact_from_every_step(family, denoiser, order, noise_shift):
    schedule, x_0 = replace(family(5, 1.0), order=order).after(1), image(2, 4, 5, 7)
    states = trajectories.few_steps(x_0, schedule, [3, 4], noise_shift=noise_shift)
    noise_maps = invert(denoiser, states, schedule, skipped=1)
    for skip in range(1, 5):
        assert (sample(denoiser, noise_maps, skip_steps=skip) - x_0).abs().max() <= 1e-5


@pytest.fixture
def two_rows(denoiser):
    """Maps of two images, whose last residuals have an RMS above and below 0.1."""

    def make(order: int = 1):
        schedule = replace(NoiseSchedule.variance_exploding(sigmas_of(TOLD[4])), order=order)
        x_0 = image(2, 4, 6, 6) * torch.tensor([1.0, 0.01]).view(2, 1, 1, 1)
        states = trajectories.few_steps(x_0, schedule, [3, 4])
        noising = trajectories.noising_of_few_steps(schedule)
        return invert(denoiser, states, schedule, noising=noising)

    return make


@pytest.mark.parametrize("order", [1, 2])
def test_the_clip_bounds_each_row_and_keeps_its_direction(two_rows, order):
    noise_maps = two_rows(order)
    before = rms(noise_maps.residuals[-1])
    assert before[0] > 0.2 and before[1] < 0.1
    clipped = manipulation.clip_last(noise_maps, 0.1)
    torch.testing.assert_close(clipped.residuals[-1, 0], noise_maps.residuals[-1, 0] * (0.1 / before[0]))
    assert torch.equal(clipped.residuals[:, 1], noise_maps.residuals[:, 1])
    assert torch.equal(clipped.residuals[:-1], noise_maps.residuals[:-1])
    assert torch.equal(clipped.states, noise_maps.states)


@pytest.mark.parametrize("order", [1, 2])
def test_clipped_maps_still_tell_the_predictions(two_rows, denoiser, order, tmp_path):
    noise_maps = two_rows(order)
    clipped = manipulation.clip_last(noise_maps, 0.1)
    save(clipped, tmp_path / "clipped.safetensors")
    for maps in (clipped, load(tmp_path / "clipped.safetensors"), manipulation.clip_last(clipped, 0.05)):
        assert torch.equal(maps.denoised, noise_maps.denoised)


def test_clipped_maps_miss_the_image_by_what_was_clipped(two_rows, denoiser):
    noise_maps = two_rows()
    clipped = manipulation.clip_last(noise_maps, 0.1)
    missed = noise_maps.residuals[-1] - clipped.residuals[-1]
    assert (noise_maps.image - sample(denoiser, clipped) - missed).abs().max() <= 1e-6


def test_maps_within_the_limit_come_back_unchanged(two_rows):
    noise_maps = two_rows()
    assert manipulation.clip_last(noise_maps, 10.0) is noise_maps
    still = replace(noise_maps, residuals=torch.zeros_like(noise_maps.residuals))
    assert manipulation.clip_last(still, 1e-9) is still


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_limit_that_is_none_is_refused(two_rows, limit):
    with pytest.raises(ValueError, match="the limit of the last residual is .*: use more than 0"):
        manipulation.clip_last(two_rows(), limit)


def test_a_negative_shift_is_refused(family):
    with pytest.raises(ValueError, match=r"noise_shift is -1: use 0 \(off\) or more"):
        trajectories.few_steps(image(1, 4, 5, 7), family(5, 1.0), [0], noise_shift=-1)


def test_a_shift_over_all_steps_needs_its_seeds_too(family):
    with pytest.raises(ValueError, match="2 images need as many seeds"):
        trajectories.few_steps(image(2, 4, 5, 7), family(5, 1.0), [0], noise_shift=9)


def test_maps_of_different_shifts_are_not_mixed(two_rows):
    noise_maps = two_rows()
    with pytest.raises(
        ValueError, match="first noise maps have weights of the states .*, the second have of their levels"
    ):
        manipulation.interpolate(noise_maps, replace(noise_maps, noising=None), 0.5)


@pytest.mark.parametrize("given", [1, 4])
def test_noise_levels_for_other_steps_are_refused(given):
    schedule = NoiseSchedule.variance_exploding(sigmas_of(TOLD[3]))
    levels = NoiseSchedule.variance_exploding(torch.arange(given, -1, -1).double())
    with pytest.raises(ValueError, match=f"there are {given} levels of noise above 0 for 3 steps: give one for each"):
        trajectories.few_steps(image(1, 1, 2, 2), schedule, [3], noise_levels=levels)


def maps_of_noise(schedule, seeds, count=COUNT, value=1.0):
    """Few-step maps of plain images under a model that sees through the noise."""
    x_0 = torch.full((len(seeds), 1, 2, count), value)
    states = trajectories.few_steps(x_0, schedule, seeds)
    noising = trajectories.noising_of_few_steps(schedule)
    return invert(lambda x, sigma: torch.full_like(x, value), states, schedule, noising=noising)


def test_what_a_shift_fills_in_has_the_noise_of_the_states(family):
    """In states and along the way: sampled with the model that sees the image, each state has its own noise."""
    schedule = family(4, 1.0)
    maps = maps_of_noise(schedule, [3])
    shifted = manipulation.shift(maps, COUNT // 2, 0, "gaussian", [9])
    reached = []
    sample(lambda x, sigma: torch.ones_like(x), shifted, callback=lambda step: reached.append(step["x"].clone()))
    for i in range(schedule.steps):
        signal, noise = maps.weights(i)
        for state in (shifted.states[i], reached[i]):
            fresh = state[..., : COUNT // 2]
            assert fresh.mean().item() == pytest.approx(signal, abs=5 * max(noise, 1e-3) / math.sqrt(COUNT))
            assert fresh.std().item() == pytest.approx(noise, rel=5 / math.sqrt(2 * COUNT), abs=1e-3), i


def test_a_mixture_takes_for_noise_what_is_noise(family):
    """Halves of two independent noises over one image: the deviation falls by sqrt(1/2), the image stays."""
    schedule = family(4, 1.0)
    a, b = maps_of_noise(schedule, [3]), maps_of_noise(schedule, [4])
    mixed = manipulation.interpolate(a, b, 0.5, "spherical")
    for i in range(schedule.steps):
        signal, noise = a.weights(i)
        over = mixed.states[i] - signal
        assert over.mean().item() == pytest.approx(0, abs=5 * max(noise, 1e-3) / math.sqrt(COUNT))
        assert over.std().item() == pytest.approx(noise, rel=5 / math.sqrt(2 * COUNT), abs=1e-6), i
