"""Second order: the published formula, exact replay, its order in closed form, calls, files."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ddpm_core import NoiseSchedule, edit, generate, invert, pure_noise, sample, trajectories
from ddpm_core.inversion import chunks_of
from ddpm_core.manipulation import interpolate
from ddpm_core.storage import load, save


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def second_order(schedule: NoiseSchedule) -> NoiseSchedule:
    return replace(schedule, order=2)


def inverted(denoiser, x_0, schedule, **options):
    states = trajectories.edit_friendly(x_0, schedule, list(range(len(x_0))))
    return invert(denoiser, states, schedule, **options)


def other_prompt(denoiser):
    return lambda x, sigma: denoiser(x, sigma) * 0.8 + 0.1


def test_inversion_and_edit_are_those_of_ledits(family, denoiser):
    """SDE-DPM-Solver++(2M) in lambda = log(a / b), written out (LEDITS++, arXiv 2311.16711; its eta is 1)."""
    schedule = second_order(family(9, 1.0))
    a, b = schedule.signal, schedule.noise
    lam, target = (a / b).log(), other_prompt(denoiser)
    x_0 = image(2, 4, 6, 6).double()
    noise_maps = inverted(denoiser, x_0, schedule)

    def mean(i, x, denoised, before):
        h = lam[i + 1] - lam[i]
        if 0 < i < schedule.steps - 1:
            denoised = denoised + (denoised - before) * h / (2 * (lam[i] - lam[i - 1]))
        if i == schedule.steps - 1:
            return denoised
        # with lambda_0 at -infinity, pure noise, both weights are those of h = infinity
        kept = b[i + 1] / b[i] * torch.exp(-h)
        return kept * x + a[i + 1] * (1 - torch.exp(-2 * h)) * denoised

    x, before, before_edit = noise_maps.states[0], None, None
    for i in range(schedule.steps):
        state, sigma = noise_maps.states[i], schedule.sigmas[i].expand(2)
        denoised, edited = denoiser(state, sigma), target(x, sigma)
        residual = noise_maps.states[i + 1] - mean(i, state, denoised, before)
        torch.testing.assert_close(noise_maps.residuals[i], residual, rtol=1e-9, atol=1e-9)
        x = mean(i, x, edited, before_edit) + residual
        before, before_edit = denoised, edited
    torch.testing.assert_close(sample(target, noise_maps), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("timesteps_per_call", [1, 3, 4])
def test_replay_is_exact_from_every_step(family, denoiser, eta, timesteps_per_call):
    schedule, x_0 = second_order(family(11, eta)), image(2, 4, 5, 7)
    noise_maps = inverted(denoiser, x_0, schedule, chunks=chunks_of(11, timesteps_per_call))
    for skip in range(11):
        assert (sample(denoiser, noise_maps, skip_steps=skip) - x_0).abs().max() <= 1e-5


def test_replay_is_exact_of_maps_of_the_cleaner_steps_alone(family, denoiser):
    x_0 = image(2, 4, 5, 7)
    noise_maps = inverted(denoiser, x_0, second_order(family(11, 1.0)).after(4), skipped=4)
    for skip in range(4, 11):
        assert (sample(denoiser, noise_maps, skip_steps=skip) - x_0).abs().max() <= 1e-5


def test_edits_after_a_skip_go_on_from_the_sources_own_prediction(family, denoiser):
    """The first step takes the prediction before it, as where all is sampled and the prompt changes there."""
    schedule = second_order(family(10, 1.0))
    noise_maps = inverted(denoiser, image(1, 4, 5, 7).double(), schedule)
    late = other_prompt(denoiser)

    def changes_at(first):
        return lambda x, sigma: (late if sigma[0] <= schedule.sigmas[first] * 1.001 else denoiser)(x, sigma)

    for first in (1, 4, 8):
        whole = sample(changes_at(first), noise_maps)
        torch.testing.assert_close(sample(late, noise_maps, skip_steps=first), whole, rtol=1e-6, atol=1e-6)


def test_one_pass_is_inversion_and_sampling(family, denoiser):
    schedule, x_0, target = second_order(family(10, 1.0)), image(2, 4, 5, 7), other_prompt(denoiser)

    def pair(x, sigma):
        return torch.cat([denoiser(x[:2], sigma[:2]), target(x[2:], sigma[2:])])

    in_two = sample(target, inverted(denoiser, x_0, schedule))
    assert (edit(pair, x_0, schedule, [0, 1]) - in_two).abs().max() <= 1e-5


def test_generated_images_come_back_bit_for_bit(family, denoiser):
    schedule = second_order(family(8, 1.0))
    maps = generate(denoiser, pure_noise(image(1, 4, 5, 7), schedule, [3]), schedule, [3])
    assert torch.equal(sample(denoiser, maps), maps.image)


@pytest.mark.parametrize(("order", "gain"), [(1, 2), (2, 4)])
def test_the_error_falls_with_the_order(gaussian, order, gain):
    """Data N(m, s^2) has its probability flow in closed form: twice the steps make 1/2 of the error, or 1/4."""
    mean, deviation, errors = 1.0, 0.5, []
    start = torch.tensor([[3.0, -5.0, 12.0]], dtype=torch.float64)
    for steps in (40, 80):
        sigmas = torch.linspace(math.log(14.6), math.log(0.05), steps + 1, dtype=torch.float64).exp()
        schedule = NoiseSchedule.variance_exploding(torch.cat([sigmas, torch.zeros(1)]), 0.0)
        posterior_mean, _ = gaussian(schedule, mean, deviation)
        maps = generate(posterior_mean, start, replace(schedule, order=order), [0])
        spread = torch.hypot(torch.tensor(deviation), sigmas[[0, -1]])
        errors.append((maps.states[-2] - (mean + (start - mean) * spread[1] / spread[0])).abs().max())
    assert errors[0] / errors[1] == pytest.approx(gain, rel=0.15)


def test_predictions_are_those_of_the_model(family, denoiser):
    schedule = second_order(family(10, 1.0))
    noise_maps = inverted(denoiser, image(2, 4, 5, 7).double(), schedule)
    for i in range(10):
        seen = denoiser(noise_maps.states[i], schedule.sigmas[i].expand(2))
        torch.testing.assert_close(noise_maps.denoised_at(i), seen, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(noise_maps.denoised[i], seen, rtol=1e-7, atol=1e-7)


def test_it_takes_no_call_more(family, denoiser):
    calls = []

    def counted(x, sigma):
        calls.append(len(x))
        return denoiser(x, sigma)

    noise_maps = inverted(counted, image(2, 4, 5, 7), second_order(family(10, 1.0)))
    sample(counted, noise_maps, skip_steps=4)
    assert calls == [2] * 16


def test_a_file_keeps_the_order(family, denoiser, tmp_path):
    for order in (1, 2):
        noise_maps = inverted(denoiser, image(1, 4, 5, 7), replace(family(6, 1.0), order=order))
        save(noise_maps, path := tmp_path / f"{order}.safetensors")
        assert load(path).schedule.order == order


def test_maps_of_two_orders_are_not_mixed(family, denoiser):
    first, second = (inverted(denoiser, image(1, 4, 5, 7), replace(family(6, 1.0), order=order)) for order in (1, 2))
    with pytest.raises(ValueError, match="first noise maps have order 1, the second have 2"):
        interpolate(first, second, 0.5)


def test_another_order_is_refused(family):
    with pytest.raises(ValueError, match="order is 3: use 1 or 2"):
        replace(family(6, 1.0), order=3)


def test_a_missing_history_is_refused(family):
    x = image(1, 4, 5, 7)
    with pytest.raises(ValueError, match="this step is of second order, and the prediction of the step before"):
        second_order(family(6, 1.0)).step(2).mean_after(x, x, None)


def test_nothing_is_extrapolated_further_than_it_has_come():
    """Steps even in time end with one that is long in log signal-to-noise: of first order, as the last is."""
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.1, 0.0])
    schedule = second_order(NoiseSchedule.variance_exploding(sigmas))
    assert [schedule.step(i).history for i in range(5)] == pytest.approx([0, 0.5, 0.5, 0, 0])


@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_or_two_are_of_first_order(family, denoiser, steps):
    x_0 = image(1, 4, 5, 7)
    first, second = (inverted(denoiser, x_0, replace(family(steps, 1.0), order=order)) for order in (1, 2))
    assert torch.equal(first.residuals, second.residuals)
