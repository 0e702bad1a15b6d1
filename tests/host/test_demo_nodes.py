"""The bundled model as MODEL, CLIP and VAE of the host, and its scenes as images; with any weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from demo.model import load_model
from demo.rendering import render
from demo.scenes import TEST_SEED, Landscape, Portrait, StillLife, sample_scene
from demo.weights import load_weights

CAPTION = "a red house by the sea on a clear day in summer"


def test_the_host_predicts_what_the_core_predicts(comfy, pack, demo_model):
    """The same file, the host's UNetModel, text encoding and guidance against the plain network."""
    prompt = demo_model.prompt
    core = load_model().denoiser(CAPTION, cfg=3.0)
    x = 5 * torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    seen = []

    class OneCall(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_):
            seen.append(model_wrap(x, torch.full((2,), 5.0), **extra_args))
            return noise

    guider = pack.host.guiders.guider_for(demo_model.model, prompt(CAPTION), prompt(""), 3.0)
    guider.sample(torch.zeros_like(x), torch.zeros_like(x), OneCall(), torch.tensor([5.0, 0.0]), seed=0)
    assert (seen[0] - core(x, torch.full((2,), 5.0))).abs().max() <= 1e-4


def test_the_vae_is_the_models_autoencoder(pack, demo_model, demo_scene):
    scene, autoencoder = demo_scene(CAPTION, seed=1), load_model().autoencoder
    latent = scene.latent["samples"]
    assert scene.image.shape == (1, 128, 128, 3) and latent.shape == (1, 4, 16, 16)
    torch.testing.assert_close(latent, autoencoder.encode(scene.image.movedim(-1, 1) * 2 - 1), atol=1e-4, rtol=1e-4)
    decoded = ((autoencoder.decode(latent) + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(demo_model.vae.decode(latent), decoded, atol=1e-4, rtol=1e-4)


def test_the_preview_has_the_colors_of_the_weights(pack):
    colors = [[0.1, 0.2, 0.3], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.5], [0.25, 0.0, -0.25]]
    for latent_rgb, factors, bias in ((colors, colors[:4], colors[4]), (None, None, None)):
        weights = replace(load_weights(), latent_rgb=latent_rgb)
        latent_format = pack.host.demo.diffusion_model(weights).model.latent_format
        assert (latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias) == (factors, bias)


@pytest.mark.parametrize("seed", range(2))
def test_replay_of_a_held_out_scene(demo_model, demo_scene, invert, sample, seed):
    model, scene = demo_model.model, demo_scene(seed=seed)
    prompts = {"positive": scene.prompt, "negative": demo_model.prompt("")}
    noise_maps = invert(model, latent_image=scene.latent, steps=10, cfg=1.0, **prompts)
    replayed = sample(model, noise_maps, cfg=1.0, **prompts)
    assert (replayed - scene.latent["samples"]).abs().max() <= 1e-5


@pytest.mark.parametrize("family", [Landscape, StillLife, Portrait])
def test_every_mask_of_a_scene_can_be_had_and_no_other(pack, family):
    seed = next(seed for seed in range(100) if isinstance(sample_scene(TEST_SEED + seed), family))
    drawn = render(sample_scene(TEST_SEED + seed))
    parts = next(each for each in pack.EditFriendlyLoadDemoImage.define_schema().inputs if each.id == "part").options
    for part in parts:
        if part in drawn.masks:
            _, mask, _ = pack.run("EditFriendlyLoadDemoImage", scene="", seed=seed, part=part)
            assert np.array_equal(mask[0], drawn.masks[part])
        else:
            with pytest.raises(ValueError, match=f"has no mask of its {part}: set part to one of object, "):
                pack.run("EditFriendlyLoadDemoImage", scene="", seed=seed, part=part)
    assert {*drawn.masks} - {family.subject} <= {*parts}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a zebra by the sea", "does not know the words: zebra.*It knows:.*sheep"),
        ("a " * 21, "21 words.*at most 20"),
    ],
)
def test_prompts_that_the_model_cannot_read(demo_model, text, message):
    with pytest.raises(ValueError, match=message):
        demo_model.prompt(text)


def test_scenes_that_cannot_be_drawn(demo_scene):
    with pytest.raises(ValueError, match="names none"):
        demo_scene("by the sea")
