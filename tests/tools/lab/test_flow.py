"""A demo model that is a rectified flow: as exact as the other, and the equation from DDS to FlowEdit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddpm_core import NoiseSchedule, edit, invert, sample, trajectories
from tools.lab import __main__ as lab
from tools.lab.edits import choose_edits, source_images
from tools.lab.methods import METHODS
from tools.lab.settings import LabSettings


def test_it_says_that_it_is_a_flow(flow, untrained):
    assert flow.is_flow
    assert not untrained.is_flow


@pytest.mark.parametrize("eta", [1.0, 0.3, 0.0])
def test_replay_is_exact(flow, eta):
    edits = choose_edits(1, kinds=("color", "season"))
    latents = flow.autoencoder.encode(source_images(edits))
    schedule = LabSettings(steps=12, flow=True, eta=eta).schedule()
    denoiser = flow.denoiser([scene.source.caption for scene in edits], 3.0)
    states = trajectories.edit_friendly(latents, schedule, [0, 1])
    torch.testing.assert_close(sample(denoiser, invert(denoiser, states, schedule)), latents, atol=1e-5, rtol=0)


def test_with_eta_1_it_is_dds_and_with_eta_0_flow_edit(flow):
    """d <- r d + (1 - r) (D_tar(x + a d) - D_src(x)), r = SNR_t / SNR_s, and FlowEdit's Alg. 1, both written out."""
    (scene,) = choose_edits(1, kinds=("color",))
    x_0, steps = flow.autoencoder.encode(source_images([scene])), 8
    source, target = flow.denoiser(scene.source.caption), flow.denoiser(scene.target.caption, 2.0)
    levels = LabSettings(steps=steps, flow=True).schedule().after(1)

    def pair(x, sigma):
        return torch.cat([source(x[:1], sigma[:1]), target(x[1:], sigma[1:])])

    def state(schedule: NoiseSchedule, i: int):
        return trajectories.edit_friendly_state(x_0, schedule, [3], i)

    delta, moved = torch.zeros_like(x_0), torch.zeros_like(x_0)
    for i in range(levels.steps):
        sigma, (a, b), (a_s, b_s) = (
            levels.sigmas[i : i + 1].float(),
            *((levels.signal[j].item(), levels.noise[j].item()) for j in (i, i + 1)),
        )
        x = state(levels, i)
        r = (a / b / (a_s / b_s)) ** 2 if b_s else 0.0
        delta = r * delta + (1 - r) * (target(x + a * delta, sigma) - source(x, sigma))
        # the velocities of the flow, v = (x_t - D) / t
        there = x + moved
        velocity = (there - target(there, sigma)) / b - (x - source(x, sigma)) / b
        moved = moved + (b_s - b) * velocity
    for eta, expected in ((1.0, x_0 + delta), (0.0, x_0 + moved)):
        ours = edit(pair, x_0, levels.with_eta(eta), [3])
        assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (delta - moved).abs().max() > 0.01


def test_what_null_text_is_given_is_the_flows(flow):
    x, sigma = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.8, 0.3])
    captions = ["a house by day in summer", "a woman with red hair"]
    opened = flow.guided_denoiser(captions, 3.0)(x, sigma)(flow.encode([""]).expand(2, -1, -1))
    torch.testing.assert_close(opened, flow.denoiser(captions, 3.0)(x, sigma))


@pytest.mark.parametrize("method", [method for method in METHODS if method.by_core], ids=lambda method: method.name)
def test_every_method_of_the_core_is_the_flows(flow, method):
    """By the levels of another process, which begin at 14.6 and not at 1, the result would be far from any picture."""
    edits = choose_edits(1, kinds=("color",))
    images, settings = source_images(edits), replace(method.rows[""], flow=True, steps=10)
    assert method.run(flow, edits, images, settings).abs().max() < 6


@pytest.mark.parametrize("command", [["two"], ["masks"], ["evaluate", "--method", "few steps"]])
def test_the_command_line_measures_the_flow(flow, monkeypatch, capsys, command):
    monkeypatch.setattr(lab, "load_model", lambda path: flow)
    assert lab.main([*command, "--weights", "flow.safetensors", "--per-kind", "1"]) == 0
    assert "held-out" in capsys.readouterr().out
