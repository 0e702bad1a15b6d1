"""The mask from two prompts as a node, and within the edit in one pass."""

import dataclasses

import pytest
import torch

from tools.lab.settings import LabSettings

PROMPTS = {"source": 1, "target": 9}


@pytest.fixture
def find(pack, conditioning):
    """find(model, noise_maps, kind, **inputs): MASK and preview, by default between conditioning 1 and 9."""

    def run(model, noise_maps, kind="sd15", **inputs):
        defaults = {name: conditioning(kind, seed) for name, seed in PROMPTS.items()}
        defaults |= {"threshold": 0.9, "levels": 3, "start": 0.1, "end": 0.8, "grow": 0}
        return pack.run("EditFriendlyDifferenceMask", model=model, noise_maps=noise_maps, **(defaults | inputs))

    return run


@pytest.fixture
def edit_and_mask(pack, conditioning, latent):
    """edit_and_mask(model, kind, **inputs): samples and MASK of EditFriendlyEdit from conditioning 1 to 9."""

    def run(model, kind="sd15", **inputs):
        defaults = {name: conditioning(kind, seed) for name, seed in PROMPTS.items()}
        defaults |= {"negative": conditioning(kind, 2), "latent_image": latent(kind, batch=2), "seed": 3, "eta": 1.0}
        defaults |= {"source_cfg": 3.5, "target_cfg": 7.0, "scheduler": "simple", "variations": 1}
        samples, mask = pack.run("EditFriendlyEdit", model=model, **(defaults | inputs))
        return samples["samples"], mask

    return run


def test_it_shows_what_it_finds_on_the_image_and_beside_it(pack, demo_model, demo_scene, invert, find):
    """With any weights; that it finds what the prompts disagree about is measured with trained ones."""
    model, prompt, scene = demo_model.model, demo_model.prompt, demo_scene("a red house by the sea", seed=1)
    noise_maps = invert(
        model, latent_image=scene.latent, positive=scene.prompt, negative=prompt(""), cfg=1.0, steps=10, variations=2
    )
    defaults = {
        part.id: part.default
        for part in pack.EditFriendlyDifferenceMask.GET_SCHEMA().inputs
        if hasattr(part, "default")
    }
    settings = {name: defaults[name] for name in ("threshold", "levels", "start", "end")}
    assert settings == dataclasses.asdict(LabSettings().mask)  # what the evaluation measures
    settings["threshold"], target = 0.6, prompt("a green house by the sea")
    found, preview = find(model, noise_maps, source=scene.prompt, target=target, image=scene.image, **settings)
    assert found.shape == scene.mask.shape == (1, 128, 128) and preview.shape == (1, 128, 256, 3)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert 0 <= preview.amin() and preview.amax() <= 1
    gray = 0.35 * scene.image.mean(-1, keepdim=True).expand_as(scene.image)
    torch.testing.assert_close(preview[:, :, :128], torch.where(found[..., None] > 0, scene.image, gray))
    brightness = preview[0, :, 128:].sum(-1)
    assert brightness[found[0] > 0].min() >= brightness[found[0] == 0].max()


@pytest.mark.parametrize("kind", ["sd15", "v", "sdxl", "flow", "flux", "wan"])
def test_any_model(random_model, conditioning, latent, invert, sample, find, kind):
    """One mask for each image, or each frame of a video; the sampler takes it as it comes."""
    prompts = "sd15" if kind == "v" else kind
    model = random_model(kind)
    noise_maps = invert(
        model, prompts, latent_image=latent(prompts, batch=2), steps=3, scheduler="simple", variations=2
    )
    mask, preview = find(model, noise_maps, prompts)
    cell = noise_maps.space.cell
    height, width = (cell * size for size in noise_maps.image.shape[-2:])
    masks = 3 if kind == "wan" else 2
    assert mask.shape == (masks, height, width) and preview.shape == (masks, height, 2 * width, 3)
    assert 0 < mask.mean() < 1
    edited = sample(model, noise_maps, prompts, positive=conditioning(prompts, 9), mask=mask)
    assert edited.isfinite().all()


def test_both_prompts_share_a_call_a_level(random_model, invert, latent, find, count_calls):
    model = random_model("sd15")
    noise_maps = invert(model, latent_image=latent("sd15", batch=2), variations=2)
    count_calls.clear()
    find(model, noise_maps)
    assert count_calls == [8, 8, 8]


def test_variations_of_an_image_share_its_mask(random_model, invert, sample, latent, conditioning, find):
    """Row v * B + b is masked by mask b, and outside it the image comes back as it was."""
    model = random_model("sd15")
    noise_maps = invert(model, latent_image=latent("sd15", batch=2), variations=3)
    mask, _ = find(model, noise_maps, grow=1)
    edited = sample(model, noise_maps, positive=conditioning("sd15", 9), mask=mask, cfg=9.0)
    kept = sample(model, noise_maps, positive=conditioning("sd15", 9), cfg=9.0, skip_steps=4)
    cells = mask[:, ::8, ::8]
    image = model.model.process_latent_out(noise_maps.image)
    assert kept.shape == image.shape
    for row in range(6):
        changed = (edited[row] - image[row]).abs().amax(0)
        assert changed[cells[row % 2] == 0].max() <= 1e-5 < changed[cells[row % 2] == 1].max()


def test_a_mask_grows_by_cells_and_shrinks_by_the_threshold(random_model, invert, find):
    noise_maps = invert(random_model("sd15"))
    areas = [
        find(random_model("sd15"), noise_maps, **given)[0].mean()
        for given in ({"threshold": 0.97}, {"threshold": 0.9}, {"threshold": 0.9, "grow": 1})
    ]
    assert areas == sorted(areas) and len(set(areas)) == 3


def test_what_cannot_have_a_mask(random_model, conditioning, invert, find):
    model = random_model("sd15")
    noise_maps = invert(model, skip_steps=2)
    for given, message in (
        ({"start": 0.8, "end": 0.2}, "start <= end"),
        ({"start": 0.0, "end": 0.2}, "no level from 0 to 0.2 of 5 steps, of which 2 are skipped: use an end of 0.4"),
    ):
        with pytest.raises(ValueError, match=message):
            find(model, noise_maps, **given)
    with pytest.raises(ValueError, match="made with model family SD15"):
        find(random_model("sdxl"), noise_maps, "sdxl")


def test_equal_prompts_give_the_picture_and_a_word(random_model, conditioning, invert, find, edit_and_mask, caplog):
    """As a row of a list may have them, with a mask from a node or one that the edit finds."""
    model, same = random_model("sd15"), conditioning("sd15", 1)
    maps = invert(model)
    mask = find(model, maps, target=same)[0]
    assert mask.min() == 1 and "predict the same about an image" in caplog.text
    caplog.clear()
    equal = {"source": same, "target": same, "source_cfg": 3.5, "target_cfg": 3.5, "steps": 5, "skip_steps": 1}
    samples, found = edit_and_mask(model, auto_mask=0.2, **equal)
    assert found.min() == 1 and "predict the same about an image" in caplog.text
    unmasked, _ = edit_and_mask(model, **equal)
    assert (samples - unmasked).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["sd15", "flow", "wan"])
def test_an_edit_finds_its_mask_by_itself(pack, random_model, edit_and_mask, latent, kind):
    """As if it had been given the mask that it finds; outside, the image comes back exactly."""
    model, image = random_model(kind), latent(kind, batch=1 if kind == "wan" else 2)
    settings = {"latent_image": image, "steps": 20, "skip_steps": 2, "variations": 2}
    samples, mask = edit_and_mask(model, kind, auto_mask=0.9, **settings)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    by_hand, given = edit_and_mask(model, kind, mask=mask, **settings)
    assert torch.equal(given, mask)
    torch.testing.assert_close(samples, by_hand, rtol=0, atol=1e-5)
    free, everywhere = edit_and_mask(model, kind, **settings)
    assert everywhere.min() == 1
    cells = mask[:, :: mask.shape[-2] // 8, :: mask.shape[-1] // 8]
    cells = cells[None, None] if kind == "wan" else cells.repeat(2, 1, 1)[:, None]
    source = image["samples"].repeat(2, *[1] * (image["samples"].ndim - 1))
    outside = (cells == 0).expand_as(samples)
    assert (samples - source)[outside].abs().max() <= 1e-5 < (free - source)[outside].abs().max()


@pytest.mark.parametrize("skip_steps", [0, 9, 17, 19])
def test_an_edit_finds_its_mask_whatever_it_skips(random_model, edit_and_mask, skip_steps):
    samples, mask = edit_and_mask(random_model("sd15"), steps=20, skip_steps=skip_steps, auto_mask=0.9)
    assert samples.isfinite().all() and 0 < mask.mean() < 1


def test_an_edit_with_a_mask_of_its_own_stays_within_the_given_one(random_model, edit_and_mask):
    half = torch.zeros(1, 64, 64)
    half[..., 32:] = 1
    settings = {"steps": 20, "skip_steps": 2}
    _, mask = edit_and_mask(random_model("sd15"), mask=half, auto_mask=0.9, **settings)
    assert mask.shape == (2, 64, 64) and mask[..., :32].max() == 0 < mask[..., 32:].mean() < 1
    image = {"samples": torch.ones(1, 4, 8, 8), "noise_mask": half}
    _, limited = edit_and_mask(random_model("sd15"), latent_image=image, auto_mask=0.9, **settings)
    assert limited[..., :32].max() == 0 < limited[..., 32:].mean() < 1
