"""Bad input: a ValueError that names both sides, before any call of the network."""

import dataclasses

import pytest
import torch


@pytest.fixture
def no_network(random_model, monkeypatch):
    """Fails the test if the network of a model is called."""

    def forbid(kind: str):
        model = random_model(kind)
        monkeypatch.setattr(model.model.diffusion_model, "forward", lambda *_, **__: pytest.fail("the network ran"))
        return model

    return forbid


@pytest.fixture
def noise_maps(random_model, invert):
    return invert(random_model("sd15"))


def test_maps_of_another_family(no_network, noise_maps, sample):
    with pytest.raises(ValueError, match="model family SD15, this model has SDXL"):
        sample(no_network("sdxl"), noise_maps, "sdxl")


def changed(noise_maps, **space):
    space = dataclasses.replace(noise_maps.space, **space)
    return dataclasses.replace(noise_maps, facts=dataclasses.replace(noise_maps.facts, space=space))


def test_maps_of_another_latent_format(no_network, noise_maps, sample):
    with pytest.raises(ValueError, match="latent format SDXL, this model has SD15"):
        sample(no_network("sd15"), changed(noise_maps, format="SDXL"))


def test_maps_of_another_channel_count(no_network, noise_maps, sample):
    unlabelled = changed(noise_maps, family="", format="")
    with pytest.raises(ValueError, match="have 4 channels, this model's latents have 16"):
        sample(no_network("flow"), unlabelled, "flow")


def test_maps_of_another_noising_process(no_network, pack, noise_maps, sample):
    schedule = pack.core.NoiseSchedule.flow(noise_maps.schedule.sigmas / 20)
    with pytest.raises(ValueError, match="in different ways"):
        sample(no_network("sd15"), dataclasses.replace(noise_maps, schedule=schedule))


def test_an_input_that_no_node_has(no_network, run_node):
    """It is not remembered as if it were one."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'strength'"):
        run_node("EditFriendlyDDIMInvert", no_network("sd15"), strength=0.5)


@pytest.mark.parametrize("skip_steps", [5, 40])
def test_a_skip_outside_the_maps(no_network, noise_maps, sample, skip_steps):
    with pytest.raises(ValueError, match=f"skip_steps is {skip_steps}, the noise maps hold steps 0 to 4 of 5"):
        sample(no_network("sd15"), noise_maps, skip_steps=skip_steps)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"skip_steps": 5}, "skip_steps is 5, the schedule has 5 steps"),
        ({"sigmas": torch.tensor([5.0])}, "at least one step"),
        ({"sigmas": torch.tensor([])}, "at least one step"),
        ({"sigmas": torch.tensor([1.0, 2.0, 0.0])}, "must descend"),
        ({"sigmas": torch.tensor([3.0, 2.0, 1.0])}, "must end at 0"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"eta": 1.1}, "eta is 1.1"),
        ({"latent_image": {"samples": torch.full((1, 4, 8, 8), float("nan"))}}, "NaN or infinity.*fp32-vae"),
        ({"latent_image": {"samples": torch.full((1, 4, 8, 8), float("inf"))}}, "NaN or infinity.*fp32-vae"),
        ({"latent_image": {"samples": torch.ones(1, 16, 8, 8)}}, "has 16 channels, this model takes 4"),
        (
            {"latent_image": {"samples": torch.ones(0, 4, 8, 8)}},
            r"shape \(0, 4, 8, 8\), this model takes a batch",
        ),
        ({"latent_image": {"samples": torch.ones(4, 8, 8)}}, r"shape \(4, 8, 8\), this model takes .* 2 further axes"),
        ({"latent_image": {"samples": torch.ones(1)}}, r"shape \(1,\), this model takes"),
    ],
)
def test_an_inversion_that_cannot_be(no_network, invert, inputs, message):
    with pytest.raises(ValueError, match=message):
        invert(no_network("sd15"), **inputs)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 64, 64), "mask is empty"),
        (torch.ones(0, 64, 64), "mask is empty"),
        (torch.ones(1, 0, 64), "mask is empty"),
        (torch.ones(1, 96, 64), "64 x 96 pixels, the inverted image is 64 x 64"),
        (torch.ones(2, 64, 64), "2 masks for 1 image:"),
    ],
)
def test_a_mask_that_does_not_fit(no_network, pack, noise_maps, sample, mask, message):
    with pytest.raises(ValueError, match=message):
        sample(no_network("sd15"), noise_maps, mask=mask)
    color = {"samples": torch.ones(1, 4, 8, 8)}
    with pytest.raises(ValueError, match=message):
        recolor(pack, noise_maps, mask=mask, color=color)


def recolor(pack, noise_maps, **inputs):
    defaults = {"mask": torch.ones(1, 64, 64), "color": {"samples": torch.ones(1, 4, 8, 8)}}
    defaults |= {"strength": 0.05, "start_percent": 0.3, "end_percent": 0.8}
    return pack.run("MaskColorEdit", noise_maps=noise_maps, **(defaults | inputs))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"color": {"samples": torch.ones(1, 4, 8, 9)}}, r"\(1, 4, 8, 9\).*\(1, 4, 8, 8\)"),
        ({"color": {"samples": torch.ones(1, 16, 8, 8)}}, r"\(1, 16, 8, 8\).*\(1, 4, 8, 8\)"),
        ({"color": {"samples": torch.ones(0, 4, 8, 8)}}, r"\(0, 4, 8, 8\).*\(1, 4, 8, 8\)"),
        ({"color": {"samples": torch.full((1, 4, 8, 8), float("nan"))}}, "NaN or infinity"),
        ({"start_percent": 0.8, "end_percent": 0.3}, "start 0.8 and end 0.3"),
    ],
)
def test_a_color_edit_that_cannot_be(pack, noise_maps, inputs, message):
    with pytest.raises(ValueError, match=message):
        recolor(pack, noise_maps, **inputs)


def test_a_sampler_run_that_does_not_fit_its_maps(comfy, pack, no_network, conditioning, noise_maps):
    model = no_network("sd15")
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=2)
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    (guider,) = nodes["CFGGuider"]().get_guider(model, conditioning("sd15", 1), conditioning("sd15", 2), 7.0)
    (noise,) = nodes["DisableNoise"]().get_noise()
    run = nodes["SamplerCustomAdvanced"]().sample
    with pytest.raises(ValueError, match="runs 2 steps .*, the noise maps hold 3 steps"):
        run(noise, guider, sampler, sigmas[1:] * 1.1, {"samples": torch.ones(1, 4, 8, 8)})
    with pytest.raises(ValueError, match="has not the noise of the noise maps"):
        run(noise, guider, sampler, sigmas[1:], {"samples": torch.ones(1, 4, 8, 8)})
    with pytest.raises(ValueError, match=r"latent has shape \(2, 4, 8, 8\), the noise maps have \(1, 4, 8, 8\)"):
        run(noise, guider, sampler, sigmas, {"samples": torch.ones(2, 4, 8, 8)})
    with pytest.raises(ValueError, match=r"latent has shape \(1, 4, 8, 9\), the noise maps have \(1, 4, 8, 8\)"):
        run(noise, guider, sampler, sigmas, {"samples": torch.ones(1, 4, 8, 9)})


@pytest.fixture
def video_with_sound():
    """The samples of a LATENT of two parts, as newer hosts have them."""
    try:
        from comfy.nested_tensor import NestedTensor
    except ImportError:
        pytest.skip("this ComfyUI has no latents of several parts")
    return NestedTensor([torch.ones(1, 4, 8, 8), torch.ones(1, 8, 16)])


TWO_PARTS = r"has 2 parts, of shapes \(1, 4, 8, 8\) and \(1, 8, 16\).*LTXVSeparateAVLatent"
JOINED = (
    r"latent has shape \(1, 1, 384\), the noise maps have \(1, 4, 8, 8\)"  # all that ComfyUI 0.17.0 tells a sampler
)


@pytest.mark.parametrize(
    "node_id",
    [
        "EditFriendlyInvert",
        "EditFriendlyCycleDiffusionInvert",
        "EditFriendlyTurboInvert",
        "EditFriendlyDDIMInvert",
        "EditFriendlyNullTextInvert",
        "EditFriendlySampleWithNoiseMaps",
    ],
)
def test_a_latent_of_several_parts(no_network, run_node, video_with_sound, node_id):
    with pytest.raises(ValueError, match=TWO_PARTS):
        run_node(node_id, no_network("sd15"), latent_image={"samples": video_with_sound})


def test_a_latent_of_several_parts_in_one_pass(no_network, pack, conditioning, video_with_sound):
    prompts = {name: conditioning("sd15", k) for k, name in enumerate(("source", "target", "negative"))}
    settings = {"steps": 5, "source_cfg": 3.5, "target_cfg": 9.0, "eta": 1.0, "scheduler": "ddim_uniform", "seed": 3}
    settings |= {"skip_steps": 1, "variations": 1, "latent_image": {"samples": video_with_sound}}
    with pytest.raises(ValueError, match=TWO_PARTS):
        pack.run("EditFriendlyEdit", model=no_network("sd15"), **prompts, **settings)


def test_a_color_latent_of_several_parts(pack, noise_maps, video_with_sound):
    with pytest.raises(ValueError, match=TWO_PARTS):
        recolor(pack, noise_maps, color={"samples": video_with_sound})


@pytest.mark.parametrize("guider", ["host's", "ours"])
def test_a_sampler_run_on_a_latent_of_several_parts(
    comfy, pack, no_network, conditioning, noise_maps, video_with_sound, guider
):
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=2)
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    prompts = conditioning("sd15", 1), conditioning("sd15", 2)
    if guider == "host's":
        (guider,) = nodes["CFGGuider"]().get_guider(no_network("sd15"), *prompts, 7.0)
    else:
        inputs = dict(zip(("positive", "negative"), prompts, strict=True)) | {"cfg": 7.0, "end_cfg": 1.0}
        constant = {"cfg_schedule": "constant", **inputs}
        (guider,) = pack.run("EditFriendlyCFGScheduleGuider", model=no_network("sd15"), **constant)
    (noise,) = nodes["RandomNoise"]().get_noise(1)
    with pytest.raises(ValueError, match=f"{TWO_PARTS}|{JOINED}"):
        nodes["SamplerCustomAdvanced"]().sample(noise, guider, sampler, sigmas, {"samples": video_with_sound})


def test_a_sampler_knows_the_parts_from_a_model_that_has_several(
    comfy, pack, random_model, conditioning, noise_maps, video_with_sound, monkeypatch
):
    """On hosts that do not tell other models, too: such a model keeps the shapes beside its prompts."""
    import comfy.conds

    model = random_model("sd15")
    extra_conds = model.model.extra_conds

    def of_parts(**kwargs):
        return extra_conds(**kwargs) | {"latent_shapes": comfy.conds.CONDConstant(kwargs["latent_shapes"])}

    monkeypatch.setattr(model.model, "extra_conds", of_parts)
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=0)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning("sd15", 1), conditioning("sd15", 2))
    with pytest.raises(ValueError, match=TWO_PARTS):
        guider.sample(video_with_sound, video_with_sound, sampler, sigmas)


def test_a_model_that_folds_its_latents(random_model, run_node):
    """HunyuanImage's refiner, with a picture and with an empty latent."""
    from comfy.latent_formats import HunyuanImage21Refiner

    model = random_model("wan").clone()
    model.add_object_patch("latent_format", HunyuanImage21Refiner())
    for samples in (torch.ones(1, 32, 1, 8, 8), torch.zeros(1, 32, 1, 8, 8)):
        with pytest.raises(ValueError, match="folds latents of shape .*HunyuanImage21Refiner.*that this refines"):
            run_node("EditFriendlyInvert", model, "wan", latent_image={"samples": samples})


def test_a_model_without_noise(random_model, run_node):
    """FlowRVS: from one image to another."""
    from comfy.model_sampling import IMG_TO_IMG_FLOW, ModelSamplingDiscreteFlow

    model = random_model("wan").clone()
    model.add_object_patch("model_sampling", type("Sampling", (ModelSamplingDiscreteFlow, IMG_TO_IMG_FLOW), {})())
    with pytest.raises(ValueError, match="without noise .as FlowRVS does.*use a model that generates"):
        run_node("EditFriendlyInvert", model, "wan")


def test_a_latent_that_is_no_picture_video_or_sound(random_model, run_node):
    with pytest.raises(ValueError, match="3 axes beside batch and channels, this model's format 2: it is no picture"):
        run_node("EditFriendlyInvert", random_model("sd15"), latent_image={"samples": torch.ones(1, 4, 4, 8, 8)})
