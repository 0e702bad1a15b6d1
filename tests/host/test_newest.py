"""What newer hosts have and the oldest supported one lacks, in the nodes: sizes of empty latents, dynamic loading."""

from inspect import signature

import pytest
import torch


@pytest.fixture
def demo(pack):
    """The demo model, with prompts."""
    model, clip, _ = pack.run("EditFriendlyLoadDemoModel")
    tokens = clip.tokenize("a red house by the sea")
    return model, {name: [[clip.encode_from_tokens(tokens), {}]] for name in ("positive", "negative")}


@pytest.fixture
def sized_latents(comfy):
    """An empty LATENT of 32 x 32 pixels by the host's own node, which says at which ratio it was made."""
    (empty,) = comfy.nodes.NODE_CLASS_MAPPINGS["EmptyLatentImage"]().generate(32, 32)
    if "downscale_ratio_spacial" not in empty:
        pytest.skip("this ComfyUI does not tell the ratio of its empty latents")
    return empty


def test_generated_images_have_the_size_that_ksampler_gives_them(comfy, demo, run_node):
    model, prompts = demo
    (empty,) = comfy.nodes.NODE_CLASS_MAPPINGS["EmptyLatentImage"]().generate(32, 64, 2)
    (expected,) = comfy.nodes.NODE_CLASS_MAPPINGS["KSampler"]().sample(
        model, 3, 2, 1.0, "euler", "simple", prompts["positive"], prompts["negative"], empty
    )
    image, noise_maps = run_node("EditFriendlySampleWithNoiseMaps", model, latent_image=empty, steps=2, **prompts)
    assert image["samples"].shape == noise_maps.image.shape == expected["samples"].shape


@pytest.fixture
def of_pixels(random_model):
    """A model whose latents are pixels."""
    from comfy.latent_formats import LatentFormat

    class Pixels(LatentFormat):
        latent_channels = 3
        spacial_downscale_ratio = 1

    model = random_model("sd15").clone()
    model.add_object_patch("latent_format", Pixels())
    return model


def test_an_empty_latent_of_32_pixels_is_32_pixels(sized_latents, pack, of_pixels):
    assert pack.host.latents.rows_to_invert(of_pixels, sized_latents, 1).shape == (1, 3, 32, 32)


def test_a_picture_keeps_its_size_whatever_its_latent_says(sized_latents, pack, of_pixels):
    painted = sized_latents | {"samples": torch.full((1, 3, 4, 4), 0.1)}
    grey = {"samples": torch.zeros(1, 3, 4, 4)}  # what the pixels of a grey picture are
    for latent in (painted, grey):
        assert pack.host.latents.rows_to_invert(of_pixels, latent, 1).shape == (1, 3, 4, 4)


def test_an_empty_video_takes_the_frames_that_the_hosts_samplers_give_it(sized_latents, pack, random_model):
    from comfy.latent_formats import Wan21
    from comfy.sample import fix_empty_latent_channels

    model = random_model("sd15").clone()
    model.add_object_patch("latent_format", Wan21())  # four pictures a frame
    empty = {"samples": torch.zeros(1, 4, 2, 4, 4), "downscale_ratio_spacial": 16, "downscale_ratio_temporal": 8}
    frames = 4 if "downscale_ratio_temporal" in signature(fix_empty_latent_channels).parameters else 2
    assert pack.host.latents.rows_to_invert(model, empty, 1).shape == (1, 16, frames, 8, 8)


@pytest.fixture
def dynamic(comfy):
    """dynamic(model, lasting): a MODEL that is loaded dynamically, and whose loader gives `lasting` where it may not.

    The network of `model` fails the test if it runs.
    """
    if not hasattr(comfy.model_patcher.ModelPatcher, "is_dynamic"):
        pytest.skip("this ComfyUI does not load weights dynamically")

    class Dynamic(comfy.model_patcher.ModelPatcher):
        # The host's own needs a GPU: on a CPU it makes an ordinary one of itself.
        def is_dynamic(self):
            return True

    def make(model, lasting):
        patcher = Dynamic(model.model, model.load_device, model.offload_device)
        if lasting is not None:
            patcher.cached_patcher_init = (lambda disable_dynamic=False: lasting.clone(), ())
        return patcher

    return make


def test_null_text_runs_on_weights_that_last(dynamic, random_model, run_node, monkeypatch):
    lasting, loaded = random_model("sd15"), random_model("sd15", torch.float16)
    monkeypatch.setattr(loaded.model.diffusion_model, "forward", lambda *_, **__: pytest.fail("weights do not last"))
    settings = {"steps": 2, "inner_steps": 2, "early_stop": 0.0}
    (expected,) = run_node("EditFriendlyNullTextInvert", lasting, **settings)
    with torch.inference_mode():
        (found,) = run_node("EditFriendlyNullTextInvert", dynamic(loaded, lasting), **settings)
    assert torch.equal(found.uncond, expected.uncond)
    with pytest.raises(ValueError, match="load it with a node of ComfyUI's own.*--disable-dynamic-vram"):
        run_node("EditFriendlyNullTextInvert", dynamic(loaded, None), **settings)


def test_what_has_been_patched_is_kept_where_weights_last(
    comfy, dynamic, host_node, random_lora, random_model, run_node, monkeypatch
):
    """LoRA, sampling, attention, guidance and wrappers of a MODEL, each of which changes what is found."""
    lasting, loaded = random_model("sd15"), random_model("sd15", torch.float16)
    monkeypatch.setattr(loaded.model.diffusion_model, "forward", lambda *_, **__: pytest.fail("weights do not last"))

    def lora(model):
        return comfy.sd.load_lora_for_models(model, None, random_lora(lasting), 1.0, 0.0)[0]

    def wrapped(model):
        model = model.clone()
        model.add_wrapper("apply_model", lambda executor, *args, **kwargs: 0.9 * executor(*args, **kwargs))
        return model

    patches = {
        "nothing": lambda model: model,
        "lora": lora,
        "sampling": lambda model: host_node("ModelSamplingDiscrete", model=model, sampling="v_prediction", zsnr=False)[
            0
        ],
        "attention": lambda model: host_node("UNetCrossAttentionMultiply", model=model, q=1.0, k=1.1, v=1.0, out=1.2)[
            0
        ],
        "guidance": lambda model: host_node("RescaleCFG", model=model, multiplier=0.7)[0],
        "wrapper": wrapped,
    }
    settings = {"steps": 2, "inner_steps": 2, "early_stop": 0.0}
    found = []
    for name, patch in patches.items():
        (expected,) = run_node("EditFriendlyNullTextInvert", patch(lasting), **settings)
        with torch.inference_mode():
            (maps,) = run_node("EditFriendlyNullTextInvert", patch(dynamic(loaded, lasting)), **settings)
        assert torch.equal(maps.uncond, expected.uncond), name
        assert not any(torch.equal(maps.uncond, other) for other in found), name
        found.append(maps.uncond)


def test_what_holds_the_network_as_it_was_loaded_is_refused_where_it_is_loaded_again(
    comfy, dynamic, random_lora, random_model, run_node
):
    """A LoRA in its layers' place, an object patch with a layer of its own: neither would act on the other network."""
    lasting = random_model("sd15")
    model = dynamic(random_model("sd15", torch.float16), lasting)
    bypassed, _ = comfy.sd.load_bypass_lora_for_models(model, None, random_lora(lasting), 1.0, 0.0)
    patched = model.clone()
    patched.add_object_patch("diffusion_model.time_embed", model.model.diffusion_model.time_embed)
    settings = {"steps": 2, "inner_steps": 2, "early_stop": 0.0}
    for held, name in ((bypassed, "bypass_lora"), (patched, r"diffusion_model\.time_embed")):
        with pytest.raises(ValueError, match=rf"\({name}\) hold layers of this model.*--disable-dynamic-vram"):
            run_node("EditFriendlyNullTextInvert", held, **settings)
