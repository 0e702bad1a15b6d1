"""Inversion and sampling: exactness, parity with the paper, closed-form oracles, cost."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_core import NoiseSchedule, edit, generate, invert, null_text, sample, trajectories


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inverted(denoiser, x_0, schedule, seeds=None, **options):
    states = trajectories.edit_friendly(x_0, schedule, list(range(len(x_0))) if seeds is None else seeds)
    return invert(denoiser, states, schedule, **options)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 12),
    eta=st.sampled_from([0.25, 0.5, 1.0]),
    batch=st.integers(1, 3),
    sample_shape=st.sampled_from([(4, 8, 8), (3, 5, 7), (2, 3, 4, 5), (6,)]),
    seed=st.integers(0, 2**63),
)
def test_replay_is_exact(family_at, denoiser_at, steps, eta, batch, sample_shape, seed):
    """Eq. 3 with the noise of Eq. 5 returns the image, for images, odd sizes, video and plain vectors."""
    for schedule in (make(steps, eta) for make in family_at):
        x_0 = image(batch, *sample_shape, seed=seed)
        noise_maps = inverted(denoiser_at, x_0, schedule, [seed + k for k in range(batch)])
        assert (sample(denoiser_at, noise_maps) - x_0).abs().max() <= 1e-6 * max(1, x_0.abs().max())


def test_z_is_the_papers(denoiser):
    """Eqs. 2-6 in the paper's variables, written out plainly in float64 for an eps-predicting network."""
    alphas_cumprod = torch.cat([torch.linspace(0.01, 0.98, 20, dtype=torch.float64), torch.ones(1)])
    schedule = NoiseSchedule.variance_preserving(alphas_cumprod)
    x_0 = image(1, 4, 8, 8).double()
    noise_maps = inverted(denoiser, x_0, schedule)

    for i in range(schedule.steps - 1):
        abar_t, abar_s = alphas_cumprod[i], alphas_cumprod[i + 1]
        x_t, x_s = noise_maps.states[i], noise_maps.states[i + 1]
        f_t = (x_t - abar_t.sqrt() * denoiser(x_t, schedule.sigmas[i : i + 1])) / (1 - abar_t).sqrt()
        predicted = (x_t - (1 - abar_t).sqrt() * f_t) / abar_t.sqrt()  # P(f_t(x_t))
        variance = (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)  # sigma_t^2 at eta = 1
        direction = (1 - abar_s - variance).sqrt() * f_t  # D(f_t(x_t))
        z_t = (x_s - abar_s.sqrt() * predicted - direction) / variance.sqrt()  # Eq. 5
        assert (noise_maps.z[i] - z_t).abs().max() <= 1e-5 * z_t.abs().max()


def test_z_does_not_depend_on_the_scaling_of_the_network(denoiser):
    """The variance-preserving and the k-diffusion form of one network and one noise have the same z."""
    levels = torch.cat([torch.linspace(14, 0.1, 15, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    exploding = NoiseSchedule.variance_exploding(levels)
    preserving = NoiseSchedule.variance_preserving(1 / (1 + levels**2))

    def rescaled(x, sigma):
        return denoiser(x * (1 + sigma.double().view(-1, 1, 1, 1) ** 2).sqrt(), sigma)

    x_0 = image(2, 4, 6, 6).double()
    z = inverted(denoiser, x_0, exploding).z
    assert (z - inverted(rescaled, x_0, preserving).z).abs().max() <= 1e-5 * z.abs().max()


def test_gaussian_data_has_the_variance_and_correlation_of_the_closed_form(family, gaussian):
    """Data N(m, s^2): the posterior mean is linear, so z is Gaussian with moments in closed form (cf. Figs. 5, 6)."""
    mean, deviation, count = 10.0, 1.0, 40_000
    schedule = family(12, 1.0)
    a, b = schedule.signal.tolist(), schedule.noise.tolist()
    posterior_mean, gain = gaussian(schedule, mean, deviation)

    x_0 = mean + deviation * image(1, count).double()
    z = inverted(posterior_mean, x_0, schedule).z[:, 0]

    # z_t = ((a_s - K a_t) x_0 + b_s eps_s - K b_t eps_t + const) / sigma_t
    coefficients = []
    for i in range(schedule.steps - 1):
        step = schedule.step(i)
        slope = step.x_weight + step.denoised_weight * gain[i]
        coefficients.append([k / step.sigma_t for k in (a[i + 1] - slope * a[i], b[i + 1], -slope * b[i])])
    for i, (k_0, k_s, k_t) in enumerate(coefficients):
        variance = (k_0 * deviation) ** 2 + k_s**2 + k_t**2
        assert z[i].var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / count))
        assert z[i].mean().item() == pytest.approx(0, abs=5 * math.sqrt(variance / count))
        if i:  # eps of the shared level enters both neighbours, with opposite signs
            before = coefficients[i - 1]
            covariance = before[0] * k_0 * deviation**2 + before[1] * k_t
            measured = torch.cov(torch.stack([z[i - 1], z[i]]))[0, 1].item()
            assert measured == pytest.approx(covariance, abs=5 * math.sqrt(2 * z[i - 1].var() * z[i].var() / count))
            assert covariance < 0


def test_a_batch_is_its_images_alone(family, denoiser):
    """Image k, variation v of a batch: states, maps and edit bit for bit those of the image alone with that seed."""
    schedule, x_0, variations = family(8, 1.0), image(2, 4, 8, 8), 3
    seeds = trajectories.seeds_of_rows(41, [0] * len(x_0), variations)
    batch = inverted(denoiser, x_0.repeat(variations, 1, 1, 1), schedule, seeds)
    edited = sample(lambda x, sigma: 0.5 * denoiser(x, sigma), batch, skip_steps=2)
    for v in range(variations):
        for k in range(len(x_0)):
            alone = inverted(denoiser, x_0[k : k + 1], schedule, [41 + v])
            row = v * len(x_0) + k
            for name in ("states", "residuals", "denoised"):
                assert torch.equal(getattr(batch, name)[:, row], getattr(alone, name)[:, 0]), name
            edited_alone = sample(lambda x, sigma: 0.5 * denoiser(x, sigma), alone, skip_steps=2)
            assert torch.equal(edited[row], edited_alone[0])
    assert not torch.equal(batch.states[:, 0], batch.states[:, 2])


def test_noise_is_independent_across_levels():
    """Eq. 6: no two levels share noise; a shared eps, as a plain forward process has it, would correlate fully."""
    schedule = NoiseSchedule.variance_exploding(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    states = trajectories.edit_friendly(torch.zeros(1, 100_000), schedule, [0])[:-1, 0]
    correlation = torch.corrcoef(states) - torch.eye(3)
    assert correlation.abs().max() < 5 / math.sqrt(100_000)
    assert torch.allclose(states.std(dim=1), torch.tensor([3.0, 2.0, 1.0]), rtol=0.02)


def test_an_inversion_that_skips_holds_the_tail_of_one_that_does_not(family, denoiser):
    schedule, x_0 = family(10, 1.0), image(1, 4, 8, 8)
    full = inverted(denoiser, x_0, schedule)
    short = inverted(denoiser, x_0, schedule.after(4), skipped=4)
    assert torch.equal(short.states, full.states[4:])
    assert torch.equal(sample(denoiser, short), sample(denoiser, short, skip_steps=4))
    assert (sample(denoiser, short) - x_0).abs().max() <= 1e-6
    for skip in (4, 6):  # in steps of the full schedule, also of an edit
        edited = [sample(lambda x, sigma: 0.5 * denoiser(x, sigma), maps, skip_steps=skip) for maps in (short, full)]
        torch.testing.assert_close(*edited, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="skip_steps is 3, the noise maps hold steps 4 to 9 of 10"):
        sample(denoiser, short, skip_steps=3)


def test_calls_of_the_denoiser(family, denoiser):
    """T to invert, T - skip to sample, whatever the batch; skipped steps cost nothing at inversion either."""
    calls = []

    def counted(x, sigma):
        calls.append(len(x))
        return denoiser(x, sigma)

    noise_maps = inverted(counted, image(3, 4, 8, 8), family(10, 1.0))
    assert calls == [3] * 10
    calls.clear()
    sample(counted, noise_maps, skip_steps=4)
    assert calls == [3] * 6
    calls.clear()
    inverted(counted, image(3, 4, 8, 8), family(10, 1.0).after(4), skipped=4)
    assert calls == [3] * 6


def test_outside_the_mask_the_image_stays(family, denoiser):
    x_0 = image(2, 4, 8, 8)
    noise_maps = inverted(denoiser, x_0, family(10, 1.0))
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    edit = sample(lambda x, sigma: denoiser(x, sigma) + 1, noise_maps, skip_steps=2, mask=mask)
    outside = (mask == 0).expand_as(x_0)
    assert torch.equal(edit[outside], x_0[outside])
    assert (edit - x_0)[~outside].abs().mean() > 0.1
    everywhere = sample(lambda x, sigma: denoiser(x, sigma) + 1, noise_maps, skip_steps=2, mask=torch.ones(1))
    assert torch.equal(everywhere, sample(lambda x, sigma: denoiser(x, sigma) + 1, noise_maps, skip_steps=2))


def test_a_mask_is_between_0_and_1(family, denoiser):
    """What lies beyond, as a blur leaves it, counts as these; what is no number there is refused."""
    noise_maps = inverted(denoiser, image(1, 4, 8, 8), family(10, 1.0))
    mask = torch.tensor([-0.5, 0.0, 1.0, 3e38]).repeat(2)
    beyond, within = (
        sample(lambda x, sigma: denoiser(x, sigma) + 1, noise_maps, mask=part) for part in (mask, mask.clamp(0, 1))
    )
    assert torch.equal(beyond, within)
    for beyond in (math.nan, math.inf, 1e300):
        with pytest.raises(ValueError, match="the mask holds NaN or infinity"):
            sample(denoiser, noise_maps, mask=torch.tensor(beyond, dtype=torch.float64))


@pytest.mark.parametrize(
    "loop",
    [
        lambda denoiser, maps: invert(denoiser, maps.states, maps.schedule),
        lambda denoiser, maps: invert(denoiser, maps.states, maps.schedule, chunks=[range(3), range(3, 5)]),
        lambda denoiser, maps: sample(denoiser, maps),
        lambda denoiser, maps: generate(denoiser, maps.states[0], maps.schedule, [0]),
        lambda denoiser, maps: trajectories.ddim(denoiser, maps.image, maps.schedule, [0]),
        lambda denoiser, maps: edit(denoiser, maps.image, maps.schedule, [0]),
        lambda denoiser, maps: null_text(
            lambda x, sigma: lambda uncond: denoiser(x, sigma) + uncond.mean(),
            maps.states,
            maps.schedule,
            torch.zeros(1, 2, 3),
        ),
    ],
    ids=["invert", "invert chunks", "sample", "generate", "ddim", "edit", "null_text"],
)
def test_nothing_given_is_changed(family, denoiser, loop):
    """Not even by a denoiser that writes into its input, as patches of a model may."""
    noise_maps = inverted(denoiser, image(1, 4, 8, 8), family(5, 1.0))
    kept = copy.deepcopy(noise_maps)
    state = torch.random.get_rng_state()
    loop(lambda x, sigma: x.mul_(0.5), noise_maps)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(noise_maps.states, kept.states)
    assert torch.equal(noise_maps.residuals, kept.residuals)


def test_half_precision_latents_are_kept_in_float32(denoiser, family):
    noise_maps = inverted(denoiser, image(1, 4, 8, 8).half(), family(5, 1.0))
    assert noise_maps.states.dtype == noise_maps.residuals.dtype == torch.float32


def test_the_callback_sees_each_step_and_may_interrupt(denoiser, family):
    seen = []
    noise_maps = inverted(denoiser, image(1, 4, 8, 8), family(5, 1.0), callback=seen.append)
    assert [step["i"] for step in seen] == list(range(5))
    assert all(torch.allclose(step["denoised"], noise_maps.denoised_at(step["i"]), atol=1e-5) for step in seen)

    class Interrupt(Exception):
        pass

    def interrupt(step):
        if step["i"] == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        sample(denoiser, noise_maps, callback=interrupt)
    assert (sample(denoiser, noise_maps) - noise_maps.image).abs().max() <= 1e-6


def test_a_prediction_of_nan_is_named(family):
    def broken(x, sigma):
        return x * (float("nan") if sigma[0] < 1 else 1)

    with pytest.raises(ValueError, match=r"residuals of the noise maps holds NaN or infinity at step \d+.*bfloat16"):
        inverted(broken, image(1, 4, 8, 8), family(8, 1.0))
