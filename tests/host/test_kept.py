"""Noise masks as KSampler reads them: kept frames are shown by the model's own rule, soft masks open step by step."""

from __future__ import annotations

import pytest
import torch

from support.rounding import relative, rounding

SETTINGS = {"steps": 5, "scheduler": "simple"}
PROMPTS = {"positive": 1, "negative": 2}


@pytest.fixture
def shown(monkeypatch):
    """shown(model): a list that grows by what the network of a MODEL is shown, (x, timesteps) for each call."""

    def watch(model):
        seen, network = [], model.model.diffusion_model
        forward = network.forward

        def watched(x, timesteps, *args, **kwargs):
            seen.append((x.clone(), timesteps.clone()))
            return forward(x, timesteps, *args, **kwargs)

        monkeypatch.setattr(network, "forward", watched)
        return seen

    return watch


@pytest.fixture
def video():
    """A LATENT of three frames of which the first is kept."""
    samples = torch.randn(1, 48, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, 3, 4, 4)
    mask[:, :, 0] = 0
    return {"samples": samples, "noise_mask": mask}


def of_first_frame(model, latent):
    """The kept frame in the model's scaling."""
    return model.model.process_latent_in(latent["samples"])[:, :, :1]


def assert_kept(model, video, seen):
    """Every call saw the first frame without noise, and was told timestep 0 there, as by KSampler."""
    assert seen
    for x, timesteps in seen:
        assert (x[:, :, :1] - of_first_frame(model, video)).abs().max() <= 1e-5
        assert (x[:, :, 1:] - model.model.process_latent_in(video["samples"])[:, :, 1:]).abs().max() > 0.1
        assert (timesteps.reshape(len(x), 3, -1)[:, 0] == 0).all() and (
            timesteps.reshape(len(x), 3, -1)[:, 1:] > 0
        ).all()


def test_ksampler_shows_a_kept_frame_without_noise(host_node, random_model, conditioning, video, shown):
    """The rule that the tests below hold the pack's nodes to."""
    model = random_model("wan22")
    seen = shown(model)
    prompts = {name: conditioning("wan", k) for name, k in PROMPTS.items()}
    sampling = {"seed": 3, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    host_node("KSampler", model=model, latent_image=video, **prompts, **sampling)
    assert_kept(model, video, seen)


@pytest.mark.parametrize(
    "node_id", ["EditFriendlyInvert", "EditFriendlyCycleDiffusionInvert", "EditFriendlyDDIMInvert"]
)
def test_kept_frames_are_shown_by_the_models_own_rule(
    random_model, run_node, sample, video, shown, node_id, conditioning
):
    model = random_model("wan22")
    seen = shown(model)
    prompts = {name: conditioning("wan", k) for name, k in PROMPTS.items()}
    (maps,) = run_node(node_id, model, "wan", latent_image=video, **SETTINGS, **prompts)
    assert_kept(model, video, seen)
    seen.clear()
    back = sample(model, maps, "wan")
    assert_kept(model, video, seen)
    assert (back - video["samples"]).abs().max() <= 1e-5
    seen.clear()
    edited = sample(model, maps, "wan", positive=conditioning("wan", 9), cfg=7.0)
    assert_kept(model, video, seen)
    assert torch.equal(edited[:, :, 0], back[:, :, 0]) and (edited - back).abs().max() > 0.01


def test_so_are_they_in_one_pass_and_with_several_timesteps_a_call(
    random_model, conditioning, invert, sample, edit, video, shown
):
    model = random_model("wan22")
    maps = invert(model, "wan", latent_image=video, **SETTINGS)
    expected = sample(model, maps, "wan", positive=conditioning("wan", 9), cfg=7.0, skip_steps=1)
    seen = shown(model)
    edited = edit(model, "wan", latent_image=video)
    assert_kept(model, video, seen)
    assert relative(edited, expected) <= rounding(lambda image: edit(model, "wan", latent_image=image), video)
    seen.clear()
    together = invert(model, "wan", latent_image=video, **SETTINGS, timesteps_per_call=5)
    assert max(len(x) for x, _ in seen) == 10  # both prompts
    assert_kept(model, video, seen)
    assert (together.residuals - maps.residuals).abs().max() <= 1e-4 * maps.residuals.abs().max()


def test_so_are_they_when_a_video_is_generated(random_model, conditioning, run_node, sample, video, shown):
    model = random_model("wan22")
    seen = shown(model)
    made, maps = run_node("EditFriendlySampleWithNoiseMaps", model, "wan", latent_image=video, **SETTINGS)
    assert_kept(model, video, seen)
    assert (made["samples"][:, :, 0] - video["samples"][:, :, 0]).abs().max() <= 1e-5
    assert (sample(model, maps, "wan") - made["samples"]).abs().max() <= 1e-5


def assert_a_sampler_needs_the_mask(model, maps, latent, conditioning, host_node, run_custom, kind):
    inputs = {"positive": conditioning(kind, 1), "negative": conditioning(kind, 2), "cfg": 3.0}
    (guider,) = host_node("CFGGuider", model=model, **inputs)
    assert relative(run_custom(guider, maps, latent), latent["samples"]) <= 1e-4
    with pytest.raises(ValueError, match="with a noise mask.*and the latent has none: connect the LATENT that was inv"):
        run_custom(guider, maps, {"samples": latent["samples"]})


def test_a_sampler_is_not_told_what_is_kept_by_a_latent_without_the_mask(
    random_model, conditioning, invert, host_node, video, run_custom
):
    model = random_model("wan22")
    maps = invert(model, "wan", latent_image=video, **SETTINGS, cfg=3.0)
    assert_a_sampler_needs_the_mask(model, maps, video, conditioning, host_node, run_custom, "wan")


def test_nor_where_the_mask_opens_or_is_a_channel_of_the_network(
    opening, random_model, conditioning, invert, host_node, run_custom
):
    model, latent = opening
    maps = invert(model, latent_image=latent, **SETTINGS, cfg=3.0)
    assert_a_sampler_needs_the_mask(model, maps, latent, conditioning, host_node, run_custom, "sd15")
    inpainting = random_model("inpaint")
    maps = invert(inpainting, "inpaint", latent_image=latent, **SETTINGS, cfg=3.0)
    assert_a_sampler_needs_the_mask(inpainting, maps, latent, conditioning, host_node, run_custom, "inpaint")


def test_elsewhere_the_maps_hold_by_their_own_mask(random_model, conditioning, invert, host_node, opening, run_custom):
    model, (_, latent) = random_model("sd15"), opening
    maps = invert(model, latent_image=latent, **SETTINGS, cfg=3.0)
    inputs = {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 2), "cfg": 3.0}
    (guider,) = host_node("CFGGuider", model=model, **inputs)
    with_mask, without = (run_custom(guider, maps, part) for part in (latent, {"samples": latent["samples"]}))
    assert torch.equal(with_mask, without)


@pytest.fixture
def opening(host_node, random_model):
    """Differential Diffusion on sd15, and a LATENT whose columns open one after the other."""
    (model,) = host_node("DifferentialDiffusion", model=random_model("sd15"))
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8).clone()
    samples = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return model, {"samples": samples, "noise_mask": ramp}


def columns_that_are_open(model, seen, states):
    """For each call, how many columns from the right are not what the inversion has there."""
    found = []
    for (x, _), state in zip(seen, states, strict=True):
        level = model.model.model_sampling
        moved = (x[:1] - level.calculate_input(state[1], state[0])).abs().amax(dim=(0, 1, 2)) > 1e-4
        found.append(int(moved.sum()))
        assert moved.tolist() == sorted(moved.tolist())
    return found


def test_a_soft_mask_opens_step_by_step(pack, opening, random_model, conditioning, invert, sample, edit, shown):
    model, latent = opening
    maps = invert(model, latent_image=latent, steps=8, scheduler="simple")
    seen = shown(model)
    edited = sample(model, maps, positive=conditioning("sd15", 9), cfg=7.0)
    levels = [(maps.states[i], torch.tensor([float(maps.schedule.sigmas[i])])) for i in range(8)]
    opened = columns_that_are_open(model, seen, levels)
    assert opened[0] == 0 and opened == sorted(opened) and len(set(opened)) >= 4
    back = sample(model, maps)
    assert (back - latent["samples"]).abs().max() <= 1e-3  # what becomes of a last bit in this network
    assert (edited - latent["samples"])[..., 0].abs().max() <= 1e-5  # never opens
    linear = sample(random_model("sd15"), maps, positive=conditioning("sd15", 9), cfg=7.0)
    assert (linear - edited).abs().max() > 0.01
    one_pass = edit(model, latent_image=latent, steps=8, skip_steps=0)
    assert (one_pass - edited).abs().max() <= 1e-4 * edited.abs().max()


def test_it_opens_as_it_does_for_ksampler(host_node, opening, conditioning, run_node, monkeypatch):
    """The same masks at the same levels, when an image is generated."""
    model, latent = opening
    function, told = model.model_options["denoise_mask_function"], []

    def watched(sigma, mask, extra_options):
        told.append((float(sigma[0]), function(sigma, mask, extra_options=extra_options).mean().item()))
        return function(sigma, mask, extra_options=extra_options)

    model.set_model_denoise_mask_function(watched)
    prompts = {name: conditioning("sd15", k) for name, k in PROMPTS.items()}
    sampling = {"seed": 3, "steps": 8, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    host_node("KSampler", model=model, latent_image=latent, **prompts, **sampling)
    hosts = dict(told)
    told.clear()
    image, _ = run_node("EditFriendlySampleWithNoiseMaps", model, latent_image=latent, steps=8, scheduler="simple")
    assert dict(told) == pytest.approx(hosts)
    assert (image["samples"] - latent["samples"]).abs().amax(dim=(0, 1, 2))[0] <= 1e-5
