"""Several edits at once in real ComfyUI: the host's own guidance where there is one, calls, masks, bad input."""

from __future__ import annotations

import pytest
import torch

from support.attention_edits import rows_of_calls


@pytest.fixture
def chain(pack, conditioning):
    """chain(kind, (prompt, inputs), ...): EDITS of conditionings by their seeds."""

    def make(kind: str, *edits: tuple[int, dict]):
        made = ()
        for seed, inputs in edits:
            defaults = {"direction": "add", "scale": 5.0, "quantile": 0.9, "start": 0.0, "end": 1.0}
            (made,) = pack.run(
                "EditFriendlyAddEdit", prompt=conditioning(kind, seed), edits=made, **(defaults | inputs)
            )
        return made

    return make


@pytest.fixture
def sample_edits(pack, conditioning):
    """sample_edits(model, maps, edits, kind, **inputs): latent and masks, from conditioning 1 on."""

    def run(model, maps, edits, kind: str = "sd15", **inputs):
        common = {"source": conditioning(kind, 1), "skip_steps": maps.skipped}
        latent, masks = pack.run(
            "EditFriendlySampleEdits", model=model, noise_maps=maps, edits=edits, **(common | inputs)
        )
        return latent["samples"], masks

    return run


EVERYWHERE = {"quantile": 0.0}


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flow", "flux", "wan"])
def test_one_edit_everywhere_is_the_hosts_guidance_away_from_the_source(
    random_model, conditioning, latent, invert, sample, chain, sample_edits, kind
):
    model = random_model(kind)
    maps = invert(model, kind, latent_image=latent(kind, batch=2), cfg=1.0, scheduler="simple")
    prompts = {"positive": conditioning(kind, 9), "negative": conditioning(kind, 1)}
    expected = sample(model, maps, kind, cfg=5.0, skip_steps=1, **prompts)
    ours, masks = sample_edits(model, maps, chain(kind, (9, EVERYWHERE)), kind, skip_steps=1)
    assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert masks.min() == 1


def test_without_an_edit_that_acts_the_image_comes_back(random_model, latent, invert, chain, sample_edits):
    model, image = random_model("flow"), latent("flow", batch=2)
    maps = invert(model, "flow", latent_image=image, cfg=1.0, scheduler="simple", order=2)
    ours, masks = sample_edits(model, maps, chain("flow", (9, {"end": 0.0}), (8, EVERYWHERE | {"scale": 0.0})), "flow")
    assert (ours - image["samples"]).abs().max() <= 1e-5
    assert masks[:2].max() == 0
    assert masks[2:].min() == 1


def test_one_call_a_step_for_all_that_act(random_model, latent, invert, chain, sample_edits, monkeypatch):
    model = random_model("sd15")
    maps = invert(model, latent_image=latent("sd15"), cfg=1.0, steps=4)
    seen = rows_of_calls(model, monkeypatch)
    sample_edits(model, maps, chain("sd15", (9, {}), (8, {"start": 0.5}), (7, {"end": 0.25})))
    assert seen == [3, 2, 3, 3]


def test_a_patch_that_calls_the_model_twice_counts_once_in_the_masks(random_model, latent, invert, chain, sample_edits):
    """The masks of a run are a mean over its steps, however often the guider is asked in one."""
    import comfy.patcher_extension as patches

    model = random_model("sd15").clone()
    maps = invert(model, latent_image=latent("sd15"), cfg=1.0, steps=4)
    edits = chain("sd15", (9, {"quantile": 0.5}))
    _, once = sample_edits(model, maps, edits)
    twice = model.clone()

    def again(executor, x, timestep, *rest):
        """In the first steps alone, so that these would weigh more."""
        if timestep.max() > maps.schedule.sigmas[1] * 1.01:
            executor(x, timestep, *rest)
        return executor(x, timestep, *rest)

    twice.add_wrapper(patches.WrappersMP.PREDICT_NOISE, again)
    _, masks = sample_edits(twice, maps, edits)
    assert torch.equal(masks, once)


def test_to_remove_is_to_add_with_the_other_sign(random_model, latent, invert, chain, sample_edits):
    model, image = random_model("flow"), latent("flow")
    maps = invert(model, "flow", latent_image=image, cfg=1.0, scheduler="simple")
    added, removed = (
        sample_edits(model, maps, chain("flow", (9, EVERYWHERE | {"direction": way, "scale": 0.01})), "flow")[0]
        for way in ("add", "remove")
    )
    there, back = added - image["samples"], removed - image["samples"]
    assert torch.corrcoef(torch.stack([there.flatten(), back.flatten()]))[0, 1] < -0.9


def test_each_edit_stays_under_its_painted_mask(random_model, latent, invert, chain, sample_edits):
    """Two images with two variations; one mask for all, and one for each image. The masks of the run tell where."""
    model, image = random_model("sd15"), latent("sd15", batch=2)
    maps = invert(model, latent_image=image, cfg=1.0, variations=2)
    left, each = torch.zeros(1, 64, 64), torch.zeros(2, 64, 64)
    left[..., :32] = 1
    each[0, :16], each[1, 48:] = 1, 1
    edits = chain("sd15", (9, {"mask": left, "quantile": 0.5}), (8, {"mask": each, "quantile": 0.0}))
    ours, masks = sample_edits(model, maps, edits)
    assert ours.shape == (4, *image["samples"].shape[1:])
    assert masks.shape == (4, 64, 64)  # images of the first edit, then of the second
    assert masks[:2, :, 32:].max() == 0
    assert 0 < masks[:2, :, :32].mean() <= 1
    assert torch.equal(masks[2:], each)


def test_outside_the_mask_of_the_sampler_nothing_changes(random_model, latent, invert, chain, sample_edits):
    model, image = random_model("sd15"), latent("sd15")
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    maps = invert(model, latent_image=image, cfg=1.0)
    ours, _ = sample_edits(model, maps, chain("sd15", (9, EVERYWHERE)), mask=mask)
    assert (ours - image["samples"])[..., 4:].abs().max() <= 1e-5
    assert (ours - image["samples"])[..., :4].abs().max() > 0.01


def test_a_mask_of_another_size_is_refused(random_model, latent, invert, chain, sample_edits):
    model = random_model("sd15")
    maps = invert(model, latent_image=latent("sd15"), cfg=1.0)
    with pytest.raises(ValueError, match="the mask is 40 x 40 pixels, the inverted image is 64 x 64"):
        sample_edits(model, maps, chain("sd15", (9, {"mask": torch.ones(1, 40, 40)})))


def test_a_chain_without_an_edit_is_refused(random_model, latent, invert, sample_edits):
    model = random_model("sd15")
    with pytest.raises(ValueError, match="chain holds no edit: connect the last Add an Edit"):
        sample_edits(model, invert(model, latent_image=latent("sd15"), cfg=1.0), ())


def test_a_quantile_of_1_is_refused(chain):
    with pytest.raises(ValueError, match="quantile of an edit is 1: use 0"):
        chain("sd15", (9, {"quantile": 1.0}))


def test_patches_of_the_guidance_act_as_in_the_hosts_own(
    host_node, random_model, conditioning, latent, invert, sample, chain, sample_edits
):
    """One adds to the sum, one changes what is summed; without an edit that acts, all is as with cfg 1."""
    plain, image = random_model("sd15"), latent("sd15")
    maps = invert(plain, latent_image=image, cfg=1.0, scheduler="simple")
    (perturbed,) = host_node("PerturbedAttentionGuidance", model=plain, scale=3.0)
    halved = plain.clone()
    halved.set_model_sampler_pre_cfg_function(lambda args: [0.5 * part for part in args["conds_out"]])
    unmoved = sample(plain, maps, cfg=1.0, skip_steps=1)
    for model in (perturbed, halved):
        expected = sample(model, maps, cfg=1.0, skip_steps=1)
        ours, _ = sample_edits(model, maps, chain("sd15", (9, {"scale": 0.0})), skip_steps=1)
        assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert (ours - unmoved).abs().max() > 0.01
        edited, _ = sample_edits(model, maps, chain("sd15", (9, EVERYWHERE)), skip_steps=1)
        assert (edited - ours).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["sd15", "flow"])
@pytest.mark.parametrize("variations", [1, 2])
def test_a_mask_holds_each_variation_of_each_image(
    pack, random_model, latent, invert, conditioning, host_node, kind, variations
):
    """Also where a patch, or the network, takes a variation a call: as each image has it alone."""
    (model,) = host_node("RescaleCFG", model=random_model(kind), multiplier=0.7)
    image, masks = latent(kind, batch=2), torch.zeros(2, 64, 64)
    masks[0, :32], masks[1, :, 32:] = 1, 1

    def edited(image: dict, mask: torch.Tensor) -> torch.Tensor:
        run = {"steps": 3, "scheduler": "simple", "cfg": 1.0, "variations": variations}
        maps = invert(model, kind, latent_image=image, **run)
        one = {"direction": "add", "scale": 5.0, "quantile": 0.5, "start": 0.0, "end": 1.0, "mask": mask}
        (edits,) = pack.run("EditFriendlyAddEdit", prompt=conditioning(kind, 9), **one)
        told = {"model": model, "source": conditioning(kind, 1), "edits": edits, "noise_maps": maps, "skip_steps": 1}
        return pack.run("EditFriendlySampleEdits", **told)[0]["samples"]

    together = edited(image, masks)[::2]
    first = edited({"samples": image["samples"][:1]}, masks[:1])
    assert (together - first).abs().max() <= 1e-5 * first.abs().max()
