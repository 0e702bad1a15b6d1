"""The formulas of flow edits, beside the papers' loops over velocities, written out plainly."""

from __future__ import annotations

import math

import pytest
import torch

from ddpm_core import NoiseSchedule, edit, trajectories
from tools.lab import flow_edits
from tools.lab.flow_edits import Predictors

SHAPES = [(3, 4, 6, 5), (2, 3, 2, 4, 4), (2, 2, 9)]
STEPS, SEEDS = 7, (3, 8, 1)


def predicts(k: float):
    """A stand-in for a network under a prompt: not linear, mixes cells, looks at the level."""

    def predict(x, sigma):
        t = sigma.to(x).view(-1, *[1] * (x.ndim - 1))
        return torch.tanh(x.roll(1, -1) * (1 - 0.5 * t) + k) + 0.2 * k * x

    return predict


MODEL = Predictors(source=predicts(0.3), target=predicts(-0.4), empty=predicts(0.05))
LEVELS = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
SCHEDULE = NoiseSchedule.flow(LEVELS, 0.0)


def velocity(denoiser, x, t):
    return (x - denoiser(x, x.new_full((len(x),), t))) / t


@pytest.fixture(params=SHAPES, ids=str)
def image(request):
    return torch.randn(request.param, generator=torch.Generator().manual_seed(0)).double()


def states_of(image, noise):
    choose = {"anew": trajectories.edit_friendly, "one": flow_edits.one_noise}[noise]
    return choose(image, SCHEDULE, SEEDS[: len(image)])


def close(found, expected):
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-6 * expected.abs().max().item()
    )  # levels are told in float32


def test_one_noise_is_in_all_states(image):
    states = states_of(image, "one")
    for t, state in zip(LEVELS[:-1], states, strict=False):
        torch.testing.assert_close((state - (1 - t) * image) / t, states[0])  # at level 1 the noise itself
    assert torch.equal(states[-1], image)


@pytest.mark.parametrize("noise", ["anew", "one"])
def test_flow_align_is_the_loop_of_its_code(image, noise):
    """x <- x + (t' - t) (v_p - v_q) + zeta ((q - t v_q) - (p - t v_p)), with p = x + q - image."""
    w, zeta, states = 2.5, 0.04, states_of(image, noise)
    x = image.clone()
    for i, (t, after) in enumerate(zip(LEVELS[:-1].tolist(), LEVELS[1:].tolist(), strict=True)):
        q = states[i]
        p = x + q - image
        away = velocity(MODEL.source, p, t)
        v_p = away + w * (velocity(MODEL.target, p, t) - away)
        v_q = velocity(MODEL.source, q, t)
        x = x + (after - t) * (v_p - v_q) + zeta * (q - t * v_q - p + t * v_p)
    lead = flow_edits.pulled(flow_edits.by_strength(MODEL, w), zeta)
    close(flow_edits.edited(MODEL.source, lead, states, SCHEDULE), x)


def test_without_a_pull_it_is_edit_image_by_strength(image):
    def pair(x, sigma):
        (x_source, x_target), (sigma, _) = x.chunk(2), sigma.chunk(2)
        led = MODEL.source(x_target, sigma)
        return torch.cat([MODEL.source(x_source, sigma), led + 2.5 * (MODEL.target(x_target, sigma) - led)])

    seeds = SEEDS[: len(image)]
    lead = flow_edits.pulled(flow_edits.by_strength(MODEL, 2.5), 0.0)
    found = flow_edits.edited(MODEL.source, lead, states_of(image, "anew"), SCHEDULE)
    close(found, edit(pair, image, SCHEDULE, seeds))


def test_a_pull_is_a_strength_that_rises_evenly_where_the_source_predicts_one_thing(image):
    """In T even steps the weight of D^ is 1 / (T - i), so w counts 1 - zeta (T - i) times."""
    model = Predictors(lambda x, sigma: image, MODEL.target, MODEL.empty)
    states, zeta, w = states_of(image, "anew"), 0.1, 3.0

    def rising(x, at):
        strength = w * (1 - zeta * round(at.step.sigma * STEPS))
        return image + strength * (model.target(x, at.sigma) - image)

    lead = flow_edits.pulled(flow_edits.by_strength(model, w), zeta)
    found = (flow_edits.edited(model.source, each, states, SCHEDULE) for each in (lead, rising))
    close(*found)


def test_the_whole_pull_is_the_image(image):
    """As much of a pull in each step as the step moves: D^_a of a = 1."""
    states = states_of(image, "anew")

    def lead(x, at):
        return flow_edits.pulled(MODEL.target, at.step.denoised_weight)(x, at)

    close(flow_edits.edited(MODEL.source, lead, states, SCHEDULE), image)


@pytest.mark.parametrize("omega", [0.0, 0.5, 5.0])
def test_uni_edit_is_the_loop_of_its_code(image, omega):
    """x <- x + (t' - t) (m v_tar + (1 - m) v_src + omega (1 + m) (v_tar - v_src))."""
    x = noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(2)).double()
    for t, after in zip(LEVELS[:-1].tolist(), LEVELS[1:].tolist(), strict=True):
        source, target = velocity(MODEL.source, x, t), velocity(MODEL.target, x, t)
        m = (target - source).abs().mean(dim=1, keepdim=True)
        for row in range(len(m)):
            m[row] = (m[row] - m[row].min()) / (m[row].max() - m[row].min())
        x = x + (after - t) * (m * target + (1 - m) * source + omega * (1 + m) * (target - source))
    fused, y = flow_edits.fused(MODEL, omega), noise
    for i in range(STEPS):
        step = SCHEDULE.step(i)
        y = step.mean(y, fused(y, y.new_full((len(y),), step.sigma)))
    torch.testing.assert_close(y, x, rtol=0, atol=1e-5 * x.abs().max().item())  # a map in velocities is 1 / t of this


def test_a_soft_field_is_1_where_the_prompts_differ_most_and_0_where_they_agree(image):
    difference = torch.zeros_like(image)
    difference[:, :, ..., 0], difference[:, 0, ..., 1] = -2.0, 2.0
    m = flow_edits.soft_field(difference)
    assert m.shape == (len(image), 1, *image.shape[2:])
    for place, value in ((0, 1.0), (1, 1 / image.shape[1]), (2, 0.0)):
        torch.testing.assert_close(m[..., place], torch.full_like(m[..., place], value))


@pytest.mark.parametrize("kappa", [0.0, 0.9])
def test_vags_is_the_papers_scale(image, kappa):
    """w_i = w exp(kappa (2 s_i - 1) cos(v_src, v_tar)), s_i = 1 - t_i; the cosine is of each row, over all of it."""
    w, w_source, states = 6.0, 3.5, states_of(image, "anew")
    source = flow_edits.by_cfg(MODEL.empty, MODEL.source, w_source)
    x = image.clone()
    for i, (t, after) in enumerate(zip(LEVELS[:-1].tolist(), LEVELS[1:].tolist(), strict=True)):
        p, v_source = x + states[i] - image, velocity(source, states[i], t)
        away, towards = velocity(MODEL.empty, p, t), velocity(MODEL.target, p, t)
        signal = 2 * (1 - t) - 1
        first = away + w * math.exp(kappa * signal) * (towards - away)
        moved = []
        for row in range(len(x)):
            a, b = v_source[row].flatten(), first[row].flatten()
            scale = w * math.exp(kappa * signal * float(a @ b / (a.norm() * b.norm())))
            moved.append(away[row] + scale * (towards[row] - away[row]) - v_source[row])
        x = x + (after - t) * torch.stack(moved)
    close(flow_edits.edited(source, flow_edits.adapted(MODEL, w, kappa), states, SCHEDULE), x)


def test_chord_edit_is_the_average_of_two_levels(image):
    eps, t, delta = torch.randn(image.shape, generator=torch.Generator().manual_seed(4)).double(), 0.9, 0.15

    def moved(level):
        x, sigma = (1 - level) * image + level * eps, image.new_full((len(image),), level)
        return MODEL.target(x, sigma) - MODEL.source(x, sigma)

    close(
        flow_edits.chord(MODEL, image, eps, t, delta), image + (delta * moved(t) + t * moved(t - delta)) / (t + delta)
    )
    close(flow_edits.chord(MODEL, image, eps, t, 0.0), image + moved(t))


def test_equal_prompts_give_the_image_back(image):
    same = Predictors(MODEL.source, MODEL.source, MODEL.empty)
    guided = flow_edits.by_cfg(same.empty, same.source, 3.0)
    leads = {
        "pull": (same.source, flow_edits.pulled(flow_edits.by_strength(same, 3.0), 0.05)),
        "soft field": (same.source, flow_edits.alone(flow_edits.fused(same, 0.5))),
        "VAGS": (guided, flow_edits.adapted(same, 3.0, 0.0)),
    }
    for source, lead in leads.values():
        close(flow_edits.edited(source, lead, states_of(image, "anew"), SCHEDULE), image)
    close(flow_edits.chord(same, image, torch.randn_like(image)), image)
