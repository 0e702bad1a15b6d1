"""What a row is: pictures with a frame axis, videos that are batches, places in a batch, and the number of masks."""

from __future__ import annotations

import pytest
import torch

from support.rounding import relative, rounding

SETTINGS = {"steps": 5, "scheduler": "simple"}


def pictures(count: int = 2) -> dict:
    """Pictures as models of pictures and videos have them, with one frame."""
    return {"samples": torch.randn(count, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def halves(count: int = 2) -> torch.Tensor:
    """(count, 64, 64) masks, of the left half, of the right half, and so on."""
    masks = torch.zeros(count, 64, 64)
    masks[0::2, :, :32] = 1
    masks[1::2, :, 32:] = 1
    return masks


def test_pictures_with_a_frame_axis_have_a_mask_each(pack, random_model, conditioning, invert, sample, edit):
    model, image = random_model("wan"), pictures()
    maps = invert(model, "wan", latent_image=image, **SETTINGS)
    target = {"positive": conditioning("wan", 9), "cfg": 7.0, "skip_steps": 1}
    edited = sample(model, maps, "wan", mask=halves(), **target)
    moved = (edited - image["samples"]).abs().amax(dim=(1, 2, 3))
    assert (moved[0, 4:] <= 1e-5).all() and (moved[1, :4] <= 1e-5).all()
    assert (moved[0, :4] > 1e-3).all() and (moved[1, 4:] > 1e-3).all()

    def in_one_pass(image: dict) -> torch.Tensor:
        return edit(model, "wan", latent_image=image, mask=halves())

    assert relative(in_one_pass(image), edited) <= rounding(in_one_pass, image)
    with pytest.raises(ValueError, match="there are 3 masks for 2 images: use one, or one for each"):
        sample(model, maps, "wan", mask=halves(3), **target)


def test_masks_are_found_for_each_of_them(pack, random_model, conditioning, invert):
    model, image = random_model("wan"), pictures()
    prompts = {"source": conditioning("wan", 1), "target": conditioning("wan", 9)}
    found = {"threshold": 0.9, "levels": 3, "start": 0.1, "end": 0.8, "grow": 0}

    def masks_of(latent):
        maps = invert(model, "wan", latent_image=latent, **SETTINGS)
        return pack.run("EditFriendlyDifferenceMask", model=model, noise_maps=maps, **prompts, **found)

    both, shown = masks_of(image)
    assert both.shape == (2, 64, 64) and len(shown) == 2
    for b in range(2):
        assert torch.equal(both[b : b + 1], masks_of({"samples": image["samples"][b : b + 1]})[0])
    assert not torch.equal(both[0], both[1])
    settings = {"steps": 5, "source_cfg": 3.5, "target_cfg": 7.0, "eta": 1.0, "scheduler": "simple", "seed": 3}
    settings |= {"skip_steps": 1, "variations": 1, "negative": conditioning("wan", 2), "auto_mask": 0.9}
    _, mask = pack.run("EditFriendlyEdit", model=model, latent_image=image, **prompts, **settings)
    assert mask.shape == (2, 64, 64) and not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize("kind", ["sd15", "wan"])
def test_so_are_noise_masks(random_model, latent, conditioning, invert, sample, kind):
    image = pictures() if kind == "wan" else latent("sd15", batch=2)
    masked = image | {"noise_mask": halves()[:, None]}
    maps = invert(random_model(kind), kind, latent_image=masked, **SETTINGS)
    edited = sample(random_model(kind), maps, kind, positive=conditioning(kind, 9), cfg=7.0)
    moved = (edited - image["samples"]).abs().amax(dim=(1, -2) if kind == "sd15" else (1, 2, 3))
    assert (moved[0, 5:] <= 1e-5).all() and (moved[1, :3] <= 1e-5).all()
    assert (moved[0, :3] > 1e-3).all() and (moved[1, 5:] > 1e-3).all()
    with pytest.raises(ValueError, match="there are 3 masks for 2 images: use one, or one for each"):
        invert(random_model(kind), kind, latent_image=image | {"noise_mask": halves(3)[:, None]}, **SETTINGS)


def test_a_place_in_a_batch_names_its_noise(random_model, run_node):
    """As LatentFromBatch leaves it: image 2 of four, and image 2 alone."""
    model, empty = random_model("sd15"), torch.zeros(4, 4, 8, 8)
    generate = "EditFriendlySampleWithNoiseMaps"
    of_four, maps = run_node(generate, model, latent_image={"samples": empty}, **SETTINGS)
    alone, its = run_node(generate, model, latent_image={"samples": empty[:1], "batch_index": [2]}, **SETTINGS)
    assert torch.equal(its.states[0], maps.states[0][2:3]) and its.seeds == maps.seeds[2:3]
    assert (alone["samples"] - of_four["samples"][2:3]).abs().max() <= 1e-4 * alone["samples"].abs().max()
    assert alone["batch_index"] == [2]


def test_what_else_a_latent_holds_goes_along_as_with_ksampler(
    pack, host_node, random_model, latent, conditioning, run_node
):
    image = latent("sd15") | {"type": "audio", "batch_index": [3], "noise_mask": torch.ones(1, 1, 64, 64)}
    image["downscale_ratio_spacial"] = 8
    prompts = {"positive": conditioning("sd15", 1), "negative": conditioning("sd15", 2)}
    sampling = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    (of_ksampler,) = host_node("KSampler", model=random_model("sd15"), latent_image=image, **prompts, **sampling)
    made, _ = run_node("EditFriendlySampleWithNoiseMaps", random_model("sd15"), latent_image=image, **SETTINGS)
    settings = {"steps": 5, "source_cfg": 3.5, "target_cfg": 7.0, "eta": 1.0, "scheduler": "simple", "seed": 3}
    settings |= {"skip_steps": 1, "source": prompts["positive"], "target": conditioning("sd15", 9)}
    settings |= {"negative": prompts["negative"], "model": random_model("sd15"), "latent_image": image}
    edited, _ = pack.run("EditFriendlyEdit", **settings, variations=1)
    assert made.keys() == edited.keys() == of_ksampler.keys() - {"downscale_ratio_spacial"}
    assert (edited["type"], edited["batch_index"]) == ("audio", [3])
    varied, _ = pack.run("EditFriendlyEdit", **settings, variations=2)
    assert varied.keys() == edited.keys() - {"batch_index"}  # there are other rows now


def test_frames_of_a_video_that_is_a_batch_have_noise_of_their_own(pack, random_model, latent, invert, monkeypatch):
    """As Stable Video Diffusion takes them; known by its layers, here by their name."""
    model, video = random_model("sd15"), latent("sd15", batch=3)
    same = invert(model, latent_image={"samples": video["samples"][:1].repeat(3, 1, 1, 1)}, **SETTINGS)
    assert torch.equal(same.states[0][0], same.states[0][1])
    monkeypatch.setattr(pack.host.plan, "rows_are_frames", lambda model: True)
    maps = invert(model, latent_image={"samples": video["samples"][:1].repeat(3, 1, 1, 1)}, variations=2, **SETTINGS)
    assert len(set(maps.seeds)) == 6
    noises = maps.states[0].flatten(1)
    assert (torch.corrcoef(noises).fill_diagonal_(0).abs() < 0.5).all()
    first = invert(model, latent_image={"samples": video["samples"][:1].repeat(3, 1, 1, 1)}, seed=4, **SETTINGS)
    assert maps.seeds[3:] == first.seeds  # a variation is the run with its seed
