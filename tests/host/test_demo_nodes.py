"""The bundled model as MODEL, CLIP and VAE of the host."""

import pytest
import torch


def test_the_host_predicts_what_the_core_predicts(comfy, pack, demo_model):
    """The same file, the host's UNetModel, text encoding and guidance against the plain network."""
    prompt = demo_model.prompt
    core = pack.load_model().denoiser("a red circle on a blue ground", cfg=3.0)
    x = 5 * torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    seen = []

    class OneCall(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_):
            seen.append(model_wrap(x, torch.full((2,), 5.0), **extra_args))
            return noise

    guider = pack.host.guiders.guider_for(demo_model.model, prompt("a red circle on a blue ground"), prompt(""), 3.0)
    guider.sample(torch.zeros_like(x), torch.zeros_like(x), OneCall(), torch.tensor([5.0, 0.0]), seed=0)
    assert (seen[0] - core(x, torch.full((2,), 5.0))).abs().max() <= 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_replay_of_a_held_out_scene(demo_model, demo_scene, invert, sample, seed):
    model, scene = demo_model.model, demo_scene(seed=seed)
    prompts = {"positive": scene.prompt, "negative": demo_model.prompt("")}
    noise_maps = invert(model, latent_image=scene.latent, steps=20, cfg=1.0, **prompts)
    replayed = sample(model, noise_maps, cfg=1.0, **prompts)
    assert (replayed - scene.latent["samples"]).abs().max() <= 1e-5
    assert (demo_model.vae.decode(replayed) - scene.image).abs().max() <= 1e-5


def test_an_edit_changes_what_the_prompt_changed_and_keeps_the_rest(demo_model, demo_scene, invert, sample):
    model, scene = demo_model.model, demo_scene("a red circle left on a blue ground", seed=1)
    assert scene.caption == "a red circle left on a blue ground"
    target, empty = (demo_model.prompt(text) for text in ("a green circle left on a blue ground", ""))
    settings = {"latent_image": scene.latent, "positive": scene.prompt, "negative": empty}
    noise_maps = invert(model, steps=50, cfg=1.0, variations=3, **settings)
    edited = sample(model, noise_maps, positive=target, negative=empty, cfg=3.0, skip_steps=6)
    edits = demo_model.vae.decode(edited)
    inside, outside = scene.mask[0] > 0.9, scene.mask[0] < 0.01
    for edit in edits:
        red, green, blue = edit[inside].mean(0)
        assert green > red + 0.2
        assert green > blue + 0.2
        assert (edit - scene.image[0])[outside].abs().mean() < 0.06
    assert (edits[0] - edits[1]).abs().max() > 0.01  # another seed gives another variation


def test_shift_moves_by_pixels(pack, demo_model, demo_scene, invert):
    """One pixel a cell: the shift of the node is not rounded to eights."""
    empty = demo_model.prompt("")
    noise_maps = invert(demo_model.model, latent_image=demo_scene().latent, positive=empty, negative=empty)
    (moved,) = pack.run("LatentShift", noise_maps=noise_maps, x=3, y=0, fill="wrap")
    assert torch.equal(moved.image, noise_maps.image.roll(3, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a zebra on a blue ground", "does not know the words: zebra.*It knows:.*circle"),
        ("a " * 9, "9 words.*at most 8"),
    ],
)
def test_prompts_that_the_model_cannot_read(demo_model, text, message):
    with pytest.raises(ValueError, match=message):
        demo_model.prompt(text)


def test_scenes_that_cannot_be_drawn(demo_scene):
    with pytest.raises(ValueError, match="names 0"):
        demo_scene("a green ground")
