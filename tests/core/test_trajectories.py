"""The other inversions: exact replay, closed forms on Gaussian data, parity with the published steps, cost."""

import math

import pytest
import torch

from ddpm_core import (
    NoiseSchedule,
    generate,
    invert,
    pure_noise,
    sample,
    trajectories,
    with_replayed_states,
    without_residuals,
)

COUNT = 40_000  # rows of the closed-form tests; errors below are five standard errors


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cycle_diffusion(denoiser, x_0, schedule, seeds):
    return invert(denoiser, trajectories.cycle_diffusion(x_0, schedule, seeds), schedule)


def ddim(denoiser, x_0, schedule, seeds, **options):
    states = trajectories.ddim(denoiser, x_0, schedule, seeds, **options)
    return invert(denoiser, states, schedule.with_eta(0.0))


def native(denoiser, x_0, schedule, seeds):
    return generate(denoiser, pure_noise(x_0, schedule, seeds), schedule, seeds)


EXACT = {"cycle diffusion": cycle_diffusion, "ddim with residuals": ddim, "native": native}


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("eta", [0.25, 1.0])
@pytest.mark.parametrize("sample_shape", [(4, 8, 8), (3, 5, 7), (2, 3, 4, 5)])
def test_replay_is_exact(family, denoiser, method, eta, sample_shape):
    noise_maps = EXACT[method](denoiser, image(2, *sample_shape), family(9, eta), [3, 4])
    assert (sample(denoiser, noise_maps) - noise_maps.image).abs().max() <= 1e-6 * noise_maps.image.abs().max().clamp(1)


@pytest.mark.parametrize("method", EXACT)
def test_a_batch_is_its_images_alone(family, denoiser, method):
    schedule, x_0 = family(6, 1.0), image(2, 4, 6, 6)
    batch = EXACT[method](denoiser, x_0, schedule, [7, 8])
    for k in range(2):
        alone = EXACT[method](denoiser, x_0[k : k + 1], schedule, [7 + k])
        assert torch.equal(batch.states[:, k], alone.states[:, 0])
        assert torch.equal(batch.residuals[:, k], alone.residuals[:, 0])


def test_cycle_diffusion_on_gaussian_data(family, gaussian):
    """Marginals N(a_t m, (a_t s)^2 + b_t^2); z has the variance of the posterior's closed form and no correlation."""
    mean, deviation, schedule = 3.0, 0.8, family(12, 1.0)
    posterior_mean, gains = gaussian(schedule, mean, deviation)
    x_0 = mean + deviation * image(1, COUNT).double()
    noise_maps = cycle_diffusion(posterior_mean, x_0, schedule, [0])
    z = noise_maps.z[:, 0]
    for i in range(schedule.steps - 1):
        a, b, step = schedule.signal[i].item(), schedule.noise[i].item(), schedule.step(i)
        variance = (a * deviation) ** 2 + b**2
        assert noise_maps.states[i].mean().item() == pytest.approx(a * mean, abs=5 * math.sqrt(variance / COUNT))
        assert noise_maps.states[i].var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / COUNT))
        # x_s differs from mu_t(x_t, x_0) by sigma_t eps and x_0 from its prediction by the posterior's deviation
        posterior_variance = deviation**2 * (1 - a * gains[i])
        expected = 1 + (step.denoised_weight / step.sigma_t) ** 2 * posterior_variance
        assert z[i].var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / COUNT))
        assert z[i].mean().item() == pytest.approx(0, abs=5 * math.sqrt(expected / COUNT))
    correlation = torch.corrcoef(z) - torch.eye(len(z))
    assert correlation.abs().max() < 5 / math.sqrt(COUNT)


def test_cycle_diffusion_nears_native_noise_as_steps_grow(gaussian):
    """With many steps the posterior's spread within a step vanishes, and z is N(0, I)."""
    sigmas = torch.cat([torch.linspace(math.log(14.6), math.log(0.03), 400).exp(), torch.zeros(1)])
    schedule = NoiseSchedule.variance_exploding(sigmas)
    posterior_mean, _ = gaussian(schedule, 3.0, 0.8)
    x_0 = 3.0 + 0.8 * image(1, 2000).double()
    # the step to 0.03 and the last one are not small; all before them are
    assert cycle_diffusion(posterior_mean, x_0, schedule, [0]).z.std().item() == pytest.approx(1, abs=0.02)


def test_native_noise_on_gaussian_data(family, gaussian):
    """z is N(0, I) and uncorrelated, and the mean of what is generated that of the data."""
    schedule = family(40, 1.0)
    posterior_mean, _ = gaussian(schedule, 3.0, 0.8)
    noise_maps = native(posterior_mean, torch.zeros(1, COUNT, dtype=torch.float64), schedule, [0])
    z = noise_maps.z[:, 0]
    assert (z.mean(dim=1).abs() < 5 / math.sqrt(COUNT)).all()
    assert ((z.var(dim=1) - 1).abs() < 5 * math.sqrt(2 / COUNT)).all()
    assert (torch.corrcoef(z) - torch.eye(len(z))).abs().max() < 5 / math.sqrt(COUNT)
    assert noise_maps.image.mean().item() == pytest.approx(3.0, abs=0.05)
    assert torch.equal(sample(posterior_mean, noise_maps), noise_maps.image)


def test_ddim_follows_the_ode_of_gaussian_data(family, gaussian):
    """The exact ODE keeps (x_t - a_t m) / sqrt((a_t s)^2 + b_t^2); the error halves as the steps double."""
    mean, deviation = 3.0, 0.8
    x_0 = mean + deviation * image(1, 50).double()

    def error(steps: int) -> float:
        schedule = family(steps, 1.0)
        posterior_mean, _ = gaussian(schedule, mean, deviation)
        states = trajectories.ddim(posterior_mean, x_0, schedule, [0], fixed_point_iterations=8)
        deviations = ((schedule.signal * deviation) ** 2 + schedule.noise**2).sqrt()
        standardised = (states[:, 0] - schedule.signal[:, None] * mean) / deviations[:, None]
        return (standardised - standardised[-1]).abs().max().item()

    assert error(400) < 0.08
    assert error(800) == pytest.approx(0.5 * error(400), rel=0.2)


def test_the_plain_ddim_step_is_the_textbooks(denoiser):
    """x_t = sqrt(abar_t / abar_s) x_s + (sqrt(1 - abar_t) - sqrt(abar_t (1 - abar_s) / abar_s)) eps(x_s, t)."""
    alphas_cumprod = torch.cat([torch.linspace(0.01, 0.98, 20, dtype=torch.float64), torch.ones(1)])
    schedule = NoiseSchedule.variance_preserving(alphas_cumprod)
    states = trajectories.ddim(denoiser, image(1, 4, 8, 8).double(), schedule, [0])
    for i in range(schedule.steps):
        abar_t, abar_s = alphas_cumprod[i], alphas_cumprod[i + 1]
        x_s = states[i + 1]
        eps = (x_s - abar_t.sqrt() * denoiser(x_s, schedule.sigmas[i : i + 1])) / (1 - abar_t).sqrt()
        textbook = (abar_t / abar_s).sqrt() * x_s + (
            (1 - abar_t).sqrt() - (abar_t * (1 - abar_s) / abar_s).sqrt()
        ) * eps
        assert torch.allclose(states[i], textbook, rtol=1e-9)


def test_ddim_does_not_depend_on_the_scaling_of_the_network(denoiser):
    """The variance-preserving and the k-diffusion form of one network have the same states but for their scale."""
    levels = torch.cat([torch.linspace(14, 0.1, 15, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    exploding = NoiseSchedule.variance_exploding(levels)
    preserving = NoiseSchedule.variance_preserving(1 / (1 + levels**2))

    def rescaled(x, sigma):
        return denoiser(x * (1 + sigma.double().view(-1, 1, 1, 1) ** 2).sqrt(), sigma)

    x_0 = image(2, 4, 6, 6).double()
    in_ve = trajectories.ddim(denoiser, x_0, exploding, [0, 1])
    in_vp = trajectories.ddim(rescaled, x_0, preserving, [0, 1])
    # 1e-6: the levels reach the network in float32
    assert torch.allclose(in_ve, in_vp / preserving.signal.view(-1, 1, 1, 1, 1), rtol=1e-4, atol=1e-6)


def test_ddim_without_residuals_misses_and_the_fixed_point_nears(family, gaussian):
    schedule, x_0 = family(20, 1.0), image(1, 4, 8, 8)
    posterior_mean, _ = gaussian(schedule, 0.5, 0.8)

    def replay_error(**options) -> float:
        states = trajectories.ddim(posterior_mean, x_0, schedule, [0], **options)
        maps = without_residuals(schedule, states)
        return (sample(posterior_mean, maps) - x_0).abs().mean().item()

    assert replay_error() > 1e-3
    assert replay_error(fixed_point_iterations=10) < 0.6 * replay_error()


def test_a_warm_start_is_the_loop_of_uni_inv(denoiser):
    """Z' = Z + h v_last, v = v(Z', t), Z = Z + h v, from v_last = 0 on (arXiv 2504.13109): a flow in velocities."""
    levels = torch.linspace(1, 0, 13, dtype=torch.float64)
    x_0 = image(2, 4, 8, 8).double()
    states = trajectories.ddim(denoiser, x_0, NoiseSchedule.flow(levels), [0, 1], warm_start=True)
    z, v = x_0, torch.zeros_like(x_0)
    for i in reversed(range(12)):
        h = levels[i] - levels[i + 1]
        ahead = z + h * v
        v = (ahead - denoiser(ahead, levels[i : i + 1].float())) / levels[i]
        z = z + h * v
        torch.testing.assert_close(states[i], z, rtol=1e-9, atol=1e-9)


def test_a_warm_start_goes_on_from_the_steps_that_are_known(denoiser):
    """Noised steps lead along the image and its noise: of a predictor that knows the image the rest is the same."""
    x_0 = image(2, 4, 8, 8).double()
    schedule = NoiseSchedule.flow(torch.linspace(1, 0, 13, dtype=torch.float64))
    options = {"forward_noise_steps": 3, "warm_start": True}
    states = trajectories.ddim(lambda x, sigma: x_0.expand_as(x), x_0, schedule, [0, 1], **options)
    noise = (states[9] - schedule.signal[9] * x_0) / schedule.noise[9]
    for i in range(10):
        torch.testing.assert_close(states[i], schedule.signal[i] * x_0 + schedule.noise[i] * noise)


@pytest.mark.parametrize(
    ("options", "calls", "order"),
    [({}, 1, 1), ({"fixed_point_iterations": 1}, 2, 2), ({"warm_start": True}, 1, 2)],
    ids=["textbook", "one iteration", "warm start"],
)
@pytest.mark.parametrize("first", [1.0, 0.7])
def test_order_of_the_way_there_and_back(options, calls, order, first):
    """The error falls with the power `order` of the steps, from pure noise too, at so many calls a step.

    Data are at -1 and 1, each with a deviation of 0.5, whose prediction has a closed form.
    """
    x_0, made = image(1, 4, 8, 8).double(), []

    def denoiser(x, sigma):
        made.append(len(x))
        t = sigma.double().view(-1, 1, 1, 1)
        a, variance = 1 - t, (0.5 * (1 - t)) ** 2 + t**2
        side = torch.tanh(a * x / variance)
        return side + a * 0.25 / variance * (x - a * side)

    def error(steps: int) -> float:
        schedule = NoiseSchedule.flow(torch.linspace(first, 0, steps + 1, dtype=torch.float64))
        made.clear()
        states = trajectories.ddim(denoiser, x_0, schedule, [0], **options)
        assert len(made) == calls * steps
        return (sample(denoiser, without_residuals(schedule, states)) - x_0).square().mean().sqrt().item()

    assert math.log2(error(40) / error(80)) == pytest.approx(order, abs=0.2)


def test_forward_noise_steps_noise_the_image_with_one_eps(family, denoiser):
    schedule, x_0, n = family(10, 1.0), image(2, 4, 8, 8), 4
    states = trajectories.ddim(denoiser, x_0, schedule, [3, 4], forward_noise_steps=n)
    for i in range(schedule.steps - n, schedule.steps):
        eps = (states[i] - schedule.signal[i].item() * x_0) / schedule.noise[i].item()
        assert torch.allclose(eps, trajectories.standard_normal(x_0, [3, 4], schedule.steps), atol=2e-3)
    plain = trajectories.ddim(denoiser, x_0, schedule, [3, 4])
    assert (states[0] - plain[0]).abs().mean() > 0.01


def test_true_predictions_lead_back_along_the_generation(family, denoiser):
    """The first n states are the generation's own; all T of them find its noise again (arXiv 2410.23530, Sec. 5)."""
    schedule, seeds = family(10, 0.0), [3, 4]
    native = generate(denoiser, pure_noise(image(2, 4, 8, 8), schedule, seeds), schedule, seeds)
    calls = []

    def counted(x, sigma):
        calls.append(len(x))
        return denoiser(x, sigma)

    def states(n: int) -> torch.Tensor:
        return trajectories.ddim(counted, native.image, schedule, seeds, true_prediction_steps=n, native=native)

    assert torch.equal(states(4)[-5:], native.states[-5:])
    assert calls == [2] * 6
    assert torch.equal(states(10), native.states)
    errors = [(states(n)[0] - native.states[0]).abs().mean() for n in (0, 9)]
    assert errors[1] < errors[0]


def test_the_noise_of_each_step_and_what_the_inversion_takes_for_it(family, denoiser):
    """Eq. 5 of arXiv 2410.23530v2, written out: both at the step's own level, at its state and at the cleaner one's,
    which is as large as a state of this level."""
    schedule, seeds = family(10, 0.0), [3, 4]
    native = generate(denoiser, pure_noise(image(2, 4, 8, 8), schedule, seeds), schedule, seeds)
    true, taken = trajectories.ddim_noises(denoiser, native)
    for i in range(schedule.steps):
        a, b = schedule.signal[i].item(), schedule.noise[i].item()
        level = schedule.sigmas[i].float().expand(2)
        cleaner = native.states[i + 1] * (schedule.scale(i) / schedule.scale(i + 1))
        for found, x in ((true[i], native.states[i]), (taken[i], cleaner)):
            assert torch.allclose(found, (x - a * denoiser(x, level)) / b, atol=1e-4)
    noisy = generate(denoiser, native.states[0], family(10, 1.0), seeds)
    with pytest.raises(ValueError, match="have eta 1: generate with eta 0"):
        trajectories.ddim_noises(denoiser, noisy)


def test_native_maps_that_are_not_of_this_inversion_are_refused(family, denoiser):
    schedule, x_0 = family(10, 0.0), image(1, 4, 8, 8)
    native = generate(denoiser, pure_noise(x_0, schedule, [3]), schedule, [3])
    still = generate(denoiser, pure_noise(x_0, schedule, [3]), family(10, 1.0), [3])
    for maps, picture, levels, message in (
        (None, native.image, schedule, "needs the noise maps that generated these very images with eta 0"),
        (still, still.image, schedule, "with eta 0"),
        (native, x_0, schedule, "of other images or other levels"),
        (native, native.image, family(9, 0.0), "of other images or other levels"),
    ):
        with pytest.raises(ValueError, match=message):
            trajectories.ddim(denoiser, picture, levels, [0], true_prediction_steps=2, native=maps)


def test_calls_of_ddim(family, denoiser):
    calls = []

    def counted(x, sigma):
        calls.append(len(x))
        return denoiser(x, sigma)

    seen = []
    options = {"fixed_point_iterations": 2, "forward_noise_steps": 3}
    trajectories.ddim(counted, image(2, 4, 8, 8), family(10, 1.0), [0, 1], callback=seen.append, **options)
    assert calls == [2] * (10 - 3) * 3
    assert [step["i"] for step in seen] == list(range(7))


def test_a_finer_schedule_inverts_in_more_steps_and_keeps_the_states_of_the_coarser(family, denoiser):
    """As Plug-and-Play inverts in 1000 steps and samples in 50."""
    finer, x_0, calls = family(20, 0.0), image(2, 4, 8, 8), []
    chosen = [0, 5, 6, 15, 20]
    coarser = NoiseSchedule(finer.sigmas[chosen], finer.signal[chosen], finer.noise[chosen], 0.0)

    def counted(x, sigma):
        calls.append(len(x))
        return denoiser(x, sigma)

    states = trajectories.ddim(counted, x_0, coarser, [0, 1], finer=finer)
    assert len(calls) == 20
    assert torch.equal(states, trajectories.ddim(denoiser, x_0, finer, [0, 1])[chosen])
    for wrong in (coarser.after(1), family(7, 0.0)):
        with pytest.raises(ValueError, match=f"a schedule of 20 steps lacks levels of one of {wrong.steps}"):
            trajectories.ddim(denoiser, x_0, wrong, [0, 1], finer=finer)


def test_a_replayed_source_has_drifted_as_sampling_has(family, denoiser):
    """As Prompt-to-Prompt on DDIM reads its source: the states of sampling from x_T, which ends beside the image."""
    schedule, x_0 = family(10, 0.0), image(2, 4, 8, 8)
    maps = without_residuals(schedule, trajectories.ddim(denoiser, x_0, schedule, [0, 1]))
    again = with_replayed_states(denoiser, maps)
    native = generate(denoiser, maps.states[0], schedule, [0, 1])
    assert torch.equal(again.states[:-1], native.states[:-1])
    assert torch.equal(again.image, x_0)
    assert not torch.allclose(again.states[1:-1], maps.states[1:-1], atol=1e-3)
    assert torch.equal(sample(denoiser, again), sample(denoiser, maps))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed_point_iterations": -1}, "fixed_point_iterations is -1: use 0 or more"),
        ({"forward_noise_steps": 11}, "forward_noise_steps is 11, the inversion has 10 steps: use 0 to 10"),
        ({"true_prediction_steps": -1}, "true_prediction_steps is -1, the inversion has 10 steps"),
        ({"true_prediction_steps": 1, "forward_noise_steps": 1}, "use one of them"),
    ],
)
def test_ddim_refuses(family, denoiser, options, message):
    with pytest.raises(ValueError, match=message):
        trajectories.ddim(denoiser, image(1, 4, 8, 8), family(10, 1.0), [0], **options)


def test_an_inversion_does_not_meet_the_noise_that_made_its_image(family, denoiser):
    """With the very seed of the generation, z is as far from the native one as with any other."""
    schedule, seeds, like = family(10, 1.0), [5, 6], image(2, 4, 16, 16)
    native = generate(denoiser, pure_noise(like, schedule, seeds), schedule, seeds)
    for trajectory in (trajectories.edit_friendly, trajectories.cycle_diffusion):
        states = trajectory(native.image, schedule, seeds)
        found = invert(denoiser, states, schedule)
        pairs = [(states[0], native.states[0]), *zip(found.z, native.z, strict=True)]
        correlations = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in pairs[:-1]]
        assert max(abs(value) for value in correlations) < 0.1


def test_sampling_from_a_noised_image_is_sdedit(family, denoiser):
    """generate() from a state of the image: the levels before the skip are never visited."""
    schedule, x_0 = family(10, 1.0), image(1, 4, 8, 8)
    tail = schedule.after(6)
    start = trajectories.edit_friendly_state(x_0, tail, [0], 0)
    noise_maps = generate(denoiser, start, tail, [1], skipped=6)
    assert (noise_maps.steps, noise_maps.full_steps) == (4, 10)
    assert torch.equal(noise_maps.states[0], start)


def test_maps_of_eta_0_have_no_z(family, denoiser):
    with pytest.raises(ValueError, match="eta 0"):
        _ = ddim(denoiser, image(1, 4, 8, 8), family(5, 1.0), [0]).z
