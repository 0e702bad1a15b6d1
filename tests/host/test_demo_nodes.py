"""The bundled model as MODEL, CLIP and VAE of the host."""

import pytest
import torch


@pytest.fixture(scope="module")
def demo(comfy, pack):
    """The host's view of the demo model, and its prompts."""
    model, clip, vae = pack.run("LoadDemoModel")
    encode = comfy.nodes.NODE_CLASS_MAPPINGS["CLIPTextEncode"]().encode
    return model, vae, lambda text: encode(clip, text)[0]


@pytest.fixture(scope="module")
def scene(pack):
    """scene(words, seed): IMAGE, MASK, caption."""
    return lambda words="", seed=0: pack.run("LoadDemoImage", scene=words, seed=seed)


def test_the_host_predicts_what_the_core_predicts(comfy, pack, demo):
    """The same file, the host's UNetModel, text encoding and guidance against the plain network."""
    model, _, prompt = demo
    core = pack.load_model().denoiser("a red circle on a blue ground", cfg=3.0)
    x = 5 * torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    seen = []

    class OneCall(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_):
            seen.append(model_wrap(x, torch.full((2,), 5.0), **extra_args))
            return noise

    guider = pack.guide.guider_for(model, prompt("a red circle on a blue ground"), prompt(""), 3.0)
    guider.sample(torch.zeros_like(x), torch.zeros_like(x), OneCall(), torch.tensor([5.0, 0.0]), seed=0)
    assert (seen[0] - core(x, torch.full((2,), 5.0))).abs().max() <= 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_replay_of_a_held_out_scene(comfy, demo, scene, invert, sample, seed):
    model, vae, prompt = demo
    image, _, caption = scene(seed=seed)
    latent = {"samples": vae.encode(image)}
    prompts = {"positive": prompt(caption), "negative": prompt("")}
    noise_maps = invert(model, latent_image=latent, steps=20, cfg=1.0, **prompts)
    replayed = sample(model, noise_maps, cfg=1.0, **prompts)
    assert (replayed - latent["samples"]).abs().max() <= 1e-5
    assert (vae.decode(replayed) - image).abs().max() <= 1e-5


def test_an_edit_changes_what_the_prompt_changed_and_keeps_the_rest(demo, scene, invert, sample):
    model, vae, prompt = demo
    image, mask, caption = scene("a red circle left on a blue ground", 1)
    assert caption == "a red circle left on a blue ground"
    noise_maps = invert(
        model, latent_image={"samples": vae.encode(image)}, steps=50, cfg=1.0, positive=prompt(caption),
        negative=prompt(""), variations=3,
    )  # fmt: skip
    target = prompt("a green circle left on a blue ground")
    edits = vae.decode(sample(model, noise_maps, positive=target, negative=prompt(""), cfg=3.0, skip_steps=6))
    inside, outside = mask[0] > 0.9, mask[0] < 0.01
    for edit in edits:
        red, green, blue = edit[inside].mean(0)
        assert green > red + 0.2
        assert green > blue + 0.2
        assert (edit - image[0])[outside].abs().mean() < 0.06
    assert (edits[0] - edits[1]).abs().max() > 0.01  # another seed gives another variation


def test_shift_moves_by_pixels(pack, demo, scene, invert):
    """One pixel a cell: the shift of the node is not rounded to eights."""
    model, vae, prompt = demo
    image, *_ = scene()
    noise_maps = invert(model, latent_image={"samples": vae.encode(image)}, positive=prompt(""), negative=prompt(""))
    (moved,) = pack.run("LatentShift", noise_maps=noise_maps, x=3, y=0, fill="wrap")
    assert torch.equal(moved.image, noise_maps.image.roll(3, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a zebra on a blue ground", "does not know the words: zebra.*It knows:.*circle"),
        ("a " * 9, "9 words.*at most 8"),
    ],
)
def test_prompts_that_the_model_cannot_read(demo, text, message):
    with pytest.raises(ValueError, match=message):
        demo[2](text)


def test_scenes_that_cannot_be_drawn(scene):
    with pytest.raises(ValueError, match="names 0"):
        scene("a green ground")
