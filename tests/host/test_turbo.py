"""Few steps in real ComfyUI, as in TurboEdit: exact without the clip, told its timesteps, edited by its formula."""

from __future__ import annotations

import logging

import pytest
import torch

from .test_exactness import EXACT

W = 1.5  # TurboEdit's guidance


@pytest.fixture
def few(run_node):
    """few(model, kind, **inputs): NOISE_MAPS with the node's defaults."""
    return lambda model, kind="sd15", **inputs: run_node("EditFriendlyTurboInvert", model, kind, **inputs)[0]


@pytest.fixture
def guider(pack, conditioning):
    """guider(model, kind, target=9): the source, conditioning 1, as negative."""

    def make(model, kind: str, target: int = 9):
        names = zip(("source", "target", "negative"), (1, target, 2), strict=True)
        prompts = {name: conditioning(kind, seed) for name, seed in names}
        settings = {"guidance": "source as negative", "cfg": W, "source_cfg": 1.0}
        return pack.run("EditFriendlyEditGuider", model=model, **prompts, **settings)[0]

    return make


@pytest.fixture
def predict(comfy, conditioning):
    """predict(model, kind, prompt, x, sigma): what the host predicts without guidance; x in the model's scaling."""

    class Once(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_, **__):
            self.seen = model_wrap(noise, noise.new_full((len(noise),), float(sigmas[0])), **extra_args)
            return torch.zeros_like(noise)

    def run(model, kind: str, prompt: int, x, sigma: float) -> torch.Tensor:
        guider, once = comfy.samplers.CFGGuider(model), Once()
        guider.set_conds(conditioning(kind, prompt), conditioning(kind, 2))
        guider.set_cfg(1.0)
        guider.sample(x, torch.ones_like(x), once, torch.tensor([sigma, 0.0]), seed=1)
        return once.seen.cpu()

    return run


def test_the_defaults_are_turbo_edits(pack):
    defaults = {part.id: getattr(part, "default", None) for part in pack.EditFriendlyTurboInvert.GET_SCHEMA().inputs}
    expected = {"steps": 5, "skip_steps": 1, "scheduler": "sgm_uniform", "cfg": 1.0, "eta": 1.0}
    expected |= {"noise_shift": 1, "clip_last": 0.121}
    assert {name: defaults[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_the_model_is_told_turbo_edits_timesteps(random_model, few, kind):
    schedule = few(random_model(kind), kind).schedule
    timesteps = random_model(kind).get_model_object("model_sampling").timestep(schedule.sigmas[:-1])
    assert timesteps.tolist() == pytest.approx([799, 599, 399, 199], abs=1.5)


PRESETS = {
    "TurboEdit, 4 steps (paper)": ([799, 599, 399, 199], [599, 399, 199]),
    "TurboEdit, 3 steps (paper)": ([799, 499, 199], [599, 299]),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_tells_turbo_edits_timesteps_of_its_noise(pack, random_model, latent, few, sample, preset):
    """States are of the noise that is there, rescaled to what the model is told; 200 below it, so clean at the last."""
    model, image = random_model("sdxl"), latent("sdxl", batch=2)
    settings, _ = pack.run("EditFriendlyEditPreset", model=model, preset=preset)
    chosen, sigmas = settings.preset, settings.sigmas
    assert (chosen.skip_steps, chosen.source_cfg, chosen.target_cfg, chosen.eta) == (0, 1.0, W, 1.0)
    told, there = PRESETS[preset]
    of_training = model.get_model_object("model_sampling").sigmas.double()
    torch.testing.assert_close(sigmas.double(), torch.cat([of_training[told], torch.zeros(1)]), rtol=1e-5, atol=0)
    noise_maps = few(model, "sdxl", latent_image=image, settings=settings, clip_last=0.0)
    assert (noise_maps.skipped, noise_maps.steps) == (0, len(told))
    x_0 = noise_maps.image.double()
    eps = (noise_maps.states[0].double() / (1 + of_training[told[0]] ** 2).sqrt()) * (
        1 + of_training[there[0]] ** 2
    ).sqrt() - x_0
    assert (eps / of_training[there[0]]).std().item() == pytest.approx(1, rel=0.15)  # of 512 numbers
    last = noise_maps.states[-2].double() / (1 + of_training[told[-1]] ** 2).sqrt()
    torch.testing.assert_close(last, x_0, rtol=1e-5, atol=1e-5)
    assert (sample(model, noise_maps, "sdxl", cfg=1.0) - image["samples"]).abs().max() <= EXACT


def test_noise_sigmas_are_skipped_along(random_model, few):
    model = random_model("sd15")
    sigmas, there = torch.tensor([9.0, 5.0, 3.0, 1.0, 0.0]), torch.tensor([5.0, 3.0, 2.0, 0.5, 0.0])
    noise_maps = few(model, sigmas=sigmas, noise_sigmas=there, skip_steps=1)
    whole = few(model, sigmas=sigmas, noise_sigmas=there, skip_steps=0)
    assert torch.equal(noise_maps.states, whole.states[1:])
    assert noise_maps.notes["noise_shift"] == "to sigmas 3, 2, 0.5, 0"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flow"])
def test_replay_returns_the_latent_without_the_clip(random_model, latent, few, sample, kind, order):
    model, image = random_model(kind), latent(kind, batch=2, height=8, width=12)
    noise_maps = few(model, kind, latent_image=image, clip_last=0.0, order=order, variations=2)
    assert (noise_maps.steps, noise_maps.full_steps, noise_maps.schedule.order) == (4, 5, order)
    expected = image["samples"].repeat(2, 1, 1, 1)
    assert (sample(model, noise_maps, kind, cfg=1.0) - expected).abs().max() <= EXACT


@pytest.mark.parametrize("kind", ["wan", "flow"])
def test_replay_of_video_and_of_an_all_zero_latent(random_model, latent, few, sample, kind):
    image = latent(kind)
    for start in (image, {"samples": torch.zeros_like(image["samples"])}):
        noise_maps = few(random_model(kind), kind, latent_image=start, clip_last=0.0)
        assert (sample(random_model(kind), noise_maps, kind, cfg=1.0) - start["samples"]).abs().max() <= EXACT


def test_without_shift_and_clip_it_is_the_edit_friendly_inversion(random_model, few, invert):
    model, settings = random_model("sd15"), {"scheduler": "sgm_uniform", "cfg": 1.0, "skip_steps": 1}
    ours, theirs = few(model, noise_shift=0, clip_last=0.0), invert(model, **settings)
    for part in ("states", "residuals"):
        assert torch.equal(getattr(ours, part), getattr(theirs, part))
    assert not torch.equal(few(model).states[0], theirs.states[0])


@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_the_clip_bounds_the_last_residual_and_the_change(pack, random_model, latent, few, sample, kind):
    """The source prompt comes back but for what was clipped."""
    model, image = random_model(kind), latent(kind, batch=2)
    whole, clipped = (few(model, kind, latent_image=image, clip_last=limit) for limit in (0.0, 0.121))
    rms = [maps.residuals[-1].flatten(1).square().mean(dim=1).sqrt() for maps in (whole, clipped)]
    assert (rms[0] > 0.13).all()
    torch.testing.assert_close(rms[1], torch.full_like(rms[1], 0.121))
    missed = whole.residuals[-1] - clipped.residuals[-1]
    expected = model.model.process_latent_out(whole.image - missed)
    assert (sample(model, clipped, kind, cfg=1.0) - expected).abs().max() <= EXACT
    assert torch.equal(few(model, kind, latent_image=image, clip_last=10.0).residuals, whole.residuals)


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flow"])
def test_an_edit_is_turbo_edits_formula(
    pack, random_model, conditioning, latent, few, guider, predict, run_custom, sample, kind
):
    """By the guider of source and target, and by the sampler with the source for negative prompt."""
    model, image = random_model(kind), latent(kind, batch=2)
    noise_maps = few(model, kind, latent_image=image)
    x = noise_maps.states[0]
    for i in range(noise_maps.steps):
        step = noise_maps.schedule.step(i)
        source, target = (predict(model, kind, prompt, x, step.sigma) for prompt in (1, 9))
        x = step.mean(x, source + W * (target - source)) + noise_maps.residuals[i]
    expected = model.model.process_latent_out(x)
    by_guider = run_custom(guider(model, kind), noise_maps, image)
    assert (by_guider - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (by_guider - image["samples"]).abs().max() > 0.01
    prompts = {"positive": conditioning(kind, 9), "negative": conditioning(kind, 1)}
    assert torch.equal(sample(model, noise_maps, kind, cfg=W, **prompts), by_guider)


def test_the_source_prompt_gives_the_image_back_through_the_guider(random_model, latent, few, guider, run_custom):
    model, image = random_model("flow"), latent("flow", batch=2)
    noise_maps = few(model, "flow", latent_image=image, clip_last=0.0)
    same = run_custom(guider(model, "flow", target=1), noise_maps, image)
    assert (same - image["samples"]).abs().max() <= EXACT


@pytest.mark.parametrize("where", ["on the latent", "on the sampler"])
def test_outside_a_mask_the_image_stays(random_model, conditioning, latent, few, sample, where):
    """Clipped or not: each state there is the source's own."""
    model, image, mask = random_model("sd15"), latent("sd15", batch=2), torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    start, masked = (image | {"noise_mask": mask}, {}) if where == "on the latent" else (image, {"mask": mask})
    edited = sample(model, few(model, latent_image=start), positive=conditioning("sd15", 9), **masked)
    difference = (edited - image["samples"]).abs()
    assert difference[..., 4:, :].max() <= EXACT
    assert difference[..., :4, :].mean() > 0.01


def test_the_maps_say_how_they_were_made(random_model, few):
    maps = few(random_model("sd15"))
    assert (maps.origin.method.value, maps.origin.cfg) == ("few steps", 1.0)
    kept = {"noise_shift": "1", "clip_last": "0.121", "scheduler": "sgm_uniform"}
    assert {name: maps.notes[name] for name in kept} == kept
    states = maps.states - maps.weights(0)[0] * maps.image
    assert states[0].std().item() == pytest.approx(maps.weights(0)[1], rel=0.15)  # of 256 numbers


@pytest.mark.parametrize(("steps", "said"), [(5, False), (13, False), (14, True), (50, True)])
def test_many_steps_are_remarked_on(random_model, few, latent, caplog, steps, said):
    """12 that run are still few."""
    with caplog.at_level(logging.WARNING):
        noise_maps = few(random_model("sd15"), steps=steps, latent_image=latent("sd15", height=4, width=4))
    assert noise_maps.steps == steps - 1
    assert (f"these are {steps - 1} steps, and the settings here are for turbo" in caplog.text) == said


def test_what_suits_other_maps_is_remarked_on(random_model, few, sample, caplog):
    model = random_model("sd15")
    noise_maps = few(model)
    with caplog.at_level(logging.WARNING):
        sample(model, noise_maps, cfg=W)
        assert "few steps maps" not in caplog.text
        sample(model, noise_maps, cfg=15.0)
    assert "cfg 15 is a lot for few steps maps" in caplog.text and "about 1.5" in caplog.text


def test_nodes_that_show_and_move_maps_take_those_of_few_steps(pack, random_model, few, sample):
    model = random_model("sd15")
    noise_maps = few(model, clip_last=0.0)
    sheet, *_ = pack.run("EditFriendlyNoiseMapsPreview", noise_maps=noise_maps, columns=8, row=0)
    assert sheet.isfinite().all()
    _, numbers = pack.run("EditFriendlyNoiseMapsStatistics", noise_maps=noise_maps, noise_maps_2=few(model))
    assert numbers.splitlines()[0].split() == ["few", "steps", "few", "steps", "(2)"]
    (moved,) = pack.run("LatentShift", noise_maps=few(model), x=16, y=0, fill="gaussian")
    assert sample(model, moved, cfg=1.0).isfinite().all()
