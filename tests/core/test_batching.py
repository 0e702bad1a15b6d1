"""Several timesteps a call, and inversion and edit in one pass."""

import math

import pytest
import torch

from ddpm_core import NoiseSchedule, chunks_of, edit, invert, sample, trajectories


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("timesteps_per_call", [1, 3, 4, 10, 50])
def test_a_batched_inversion_has_the_same_maps_in_fewer_calls(family, denoiser, timesteps_per_call):
    schedule, x_0, rows = family(10, 1.0), image(2, 4, 8, 8), []

    def counted(x, sigma):
        rows.append(len(x))
        return denoiser(x, sigma)

    states = trajectories.edit_friendly(x_0, schedule, [1, 2])
    one_at_a_time = invert(denoiser, states, schedule)
    batched = invert(counted, states, schedule, chunks=chunks_of(10, timesteps_per_call))
    assert len(rows) == math.ceil(10 / timesteps_per_call)
    assert sum(rows) == 10 * 2
    assert torch.equal(batched.states, one_at_a_time.states)
    scale = one_at_a_time.residuals.abs().max()
    assert (batched.residuals - one_at_a_time.residuals).abs().max() <= 1e-5 * scale
    assert (sample(denoiser, batched) - x_0).abs().max() <= 1e-5


def test_each_row_of_a_call_has_its_own_level(family):
    schedule = family(6, 1.0)
    seen = []

    def denoiser(x, sigma):
        seen.append(sigma.tolist())
        return x

    states = trajectories.edit_friendly(image(2, 4, 8, 8), schedule, [1, 2])
    invert(denoiser, states, schedule, chunks=[range(0, 2), range(2, 5), range(5, 6)])
    levels = schedule.sigmas.float().tolist()
    expected = [levels[0:2], levels[2:5], levels[5:6]]
    assert seen == [[level for level in chunk for _ in range(2)] for chunk in expected]


@pytest.mark.parametrize("masked", [False, True])
def test_one_pass_is_invert_then_sample(family, denoiser, masked):
    schedule, x_0, seeds = family(10, 1.0), image(2, 4, 8, 8), [1, 2]
    mask = None
    if masked:
        mask = torch.zeros(1, 1, 8, 8)
        mask[..., 2:6, 2:6] = 1

    def target(x, sigma):
        return 0.7 * denoiser(x, sigma) + 0.2

    calls = []

    def pair(x, sigma):
        calls.append(len(x))
        source_rows, target_rows = x.chunk(2)
        source_sigma, target_sigma = sigma.chunk(2)
        return torch.cat([denoiser(source_rows, source_sigma), target(target_rows, target_sigma)])

    noise_maps = invert(denoiser, trajectories.edit_friendly(x_0, schedule, seeds), schedule)
    expected = sample(target, noise_maps, skip_steps=3, mask=mask)
    edited = edit(pair, x_0, schedule.after(3), seeds, mask=mask)
    assert calls == [4] * 7
    assert (edited - expected).abs().max() <= 1e-5 * expected.abs().max()
    if masked:
        outside = (mask == 0).expand_as(x_0)
        assert torch.equal(edited[outside], x_0[outside])


def test_one_pass_with_equal_prompts_returns_the_image(family, denoiser):
    x_0 = image(2, 4, 8, 8)
    assert torch.equal(edit(denoiser, x_0, family(10, 1.0), [1, 2]), x_0)


def apart_by(delta: float, denoiser):
    """A pair of prompts: the target's prediction is the source's and `delta`."""

    def pair(x, sigma):
        source, target = denoiser(x, sigma).chunk(2)
        return torch.cat([source, target + delta])

    return pair


@pytest.mark.parametrize(("eta", "power"), [(1.0, 2), (0.0, 1)])
def test_a_lower_eta_puts_an_edit_off_to_cleaner_steps(family, eta, power):
    """Where the predictions differ by a constant, the state at level s has moved by a_s (1 - (s / s_0)^power) of it."""
    schedule, x_0, seen = family(10, eta).after(3), image(1, 4, 8, 8), []
    pair = apart_by(0.5, lambda x, sigma: torch.zeros_like(x))
    edited = edit(pair, x_0, schedule, [1], callback=lambda step: seen.append(step["x"]))
    sigma = schedule.noise / schedule.signal
    expected = schedule.signal * 0.5 * (1 - (sigma / sigma[0]) ** power)
    states = trajectories.edit_friendly(x_0, schedule, [1])
    moved = (torch.stack([*seen, edited]) - states).flatten(1)
    torch.testing.assert_close(moved, expected.float()[:, None].expand_as(moved), atol=1e-4, rtol=1e-4)


def test_eta_0_on_a_flow_is_flow_edit(denoiser):
    """arXiv 2412.08629, Alg. 1 with n_avg 1, in its own variables: the velocities v = (x_t - x_0) / t."""
    levels = torch.linspace(0.9, 0.0, 10)
    schedule, x_0 = NoiseSchedule.flow(levels, eta=0.0), image(1, 4, 8, 8)
    states = trajectories.edit_friendly(x_0, schedule, [1])
    z = x_0
    for i in range(schedule.steps):
        t, s = levels[i : i + 2].tolist()
        z_src = states[i]
        z_tar = z + z_src - x_0
        v_src, v_tar = ((x - denoiser(x, levels[i : i + 1]) - edit_of) / t for x, edit_of in ((z_src, 0), (z_tar, 0.5)))
        z = z + (s - t) * (v_tar - v_src)
    torch.testing.assert_close(edit(apart_by(0.5, denoiser), x_0, schedule, [1]), z, atol=1e-5, rtol=1e-5)


def test_one_pass_keeps_no_trajectory(family, denoiser, monkeypatch):
    """Its memory does not grow with the steps: it asks for one state at a time."""
    asked = []
    draw = trajectories.edit_friendly_state

    def recorded(x_0, schedule, seeds, i):
        asked.append(i)
        return draw(x_0, schedule, seeds, i)

    monkeypatch.setattr("ddpm_core.editing.edit_friendly_state", recorded)
    edit(denoiser, image(1, 4, 8, 8), family(10, 1.0), [1])
    assert asked == list(range(11))
