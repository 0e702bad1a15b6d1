"""One inversion at several skips and cfgs, on one sheet."""

import numpy as np
import pytest
import torch

from ddpm_core import contact_sheet


@pytest.fixture
def grid(pack, conditioning):
    """grid(model, noise_maps, vae, **inputs): sheet and images under conditioning 9."""

    def run(model, noise_maps, vae, **inputs):
        defaults = {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 2), "row": 0}
        defaults |= {"skips": "0, 2", "cfgs": "1, 3.5, 9"}
        return pack.run("EditFriendlyEditGrid", model=model, noise_maps=noise_maps, vae=vae, **(defaults | inputs))

    return run


class Plain:
    """A VAE that shows the first three channels, each cell a pixel."""

    def decode(self, samples):
        return samples[:, :3].movedim(1, -1) / 10 + 0.5


@pytest.fixture
def sheets_kept(comfy, monkeypatch, tmp_path):
    """Previews go into a folder of the test."""
    monkeypatch.setattr(comfy.folder_paths, "temp_directory", str(tmp_path))


def test_each_tile_is_what_the_sampler_makes(random_model, invert, sample, conditioning, latent, grid, sheets_kept):
    model = random_model("sd15")
    noise_maps = invert(model, latent_image=latent("sd15", batch=2), variations=2)
    sheet, images = grid(model, noise_maps, Plain(), row=3)
    assert images.shape == (6, 8, 8, 3)
    settings = [(skip, cfg) for skip in (0, 2) for cfg in (1.0, 3.5, 9.0)]
    for image, (skip_steps, cfg) in zip(images, settings, strict=True):
        alone = sample(model, noise_maps, positive=conditioning("sd15", 9), skip_steps=skip_steps, cfg=cfg)
        # to rounding, for the row is run without the others
        assert (image - Plain().decode(alone[3:])[0]).abs().max() < 1e-4
    side, label, margin, top = 112, 76, 8, 32
    assert sheet.shape == (1, top + 3 * (side + margin), label + 3 * (side + margin), 3)
    for k, image in enumerate([*images, Plain().decode(model.model.process_latent_out(noise_maps.image[3:]))[0]]):
        y, x = top + k // 3 * (side + margin), label + k % 3 * (side + margin)
        tile = sheet[0, y : y + side, x : x + side].unflatten(0, (8, 14)).unflatten(2, (8, 14))[:, 7, :, 7]
        assert (tile - image.clamp(0, 1)).abs().max() < 0.005
    assert (sheet[0, :, :label] < 0.5).any() and (sheet[0, :top] < 0.5).any()  # the labels


def test_the_source_as_negative_makes_a_strip_over_the_strength(
    random_model, invert, edit, conditioning, latent, grid, sheets_kept
):
    """Each tile is Edit Image at that strength, the first is the image itself, and the sheet calls them strengths."""
    model, image = random_model("sd15"), latent("sd15")
    strengths = {"skips": "1", "cfgs": "0, 0.5, 1, 2, 5"}
    levels = {"steps": 5, "scheduler": "simple"}
    plain, guided = (invert(model, latent_image=image, cfg=cfg, **levels) for cfg in (1.0, 2.0))
    sheet, images = grid(model, plain, Plain(), negative=conditioning("sd15", 1), **strengths)
    for shown, strength in zip(images, (0.0, 0.5, 1.0, 2.0, 5.0), strict=True):
        alone = edit(model, latent_image=image, skip_steps=1, strength=strength)
        assert (shown - Plain().decode(alone)[0]).abs().max() < 1e-4
    source = Plain().decode(image["samples"])[0]
    assert (images[0] - source).abs().max() < 1e-5
    for maps, negative, word in ((plain, 1, "strength"), (plain, 2, "cfg"), (guided, 1, "cfg")):
        sheet, images = grid(model, maps, Plain(), negative=conditioning("sd15", negative), **strengths)
        tiles = [tile.movedim(-1, 0) * 2 - 1 for tile in (*images, source)]
        columns = [f"{word} {w}" for w in ("0", "0.5", "1", "2", "5")]
        expected = contact_sheet.grid([tiles[:5], tiles[5:]], ["skip 1", "image"], columns)
        assert (sheet[0] - torch.from_numpy(np.array(expected)) / 255).abs().max() < 0.005


def test_only_the_row_that_is_shown_is_run(
    random_model, invert, conditioning, latent, grid, sheets_kept, count_calls, sample
):
    """Eight variations cost what one does. Of a batch with a prompt for each image, that variation's images are run."""
    model = random_model("sd15")
    noise_maps = invert(model, latent_image=latent("sd15", batch=2), variations=4)
    count_calls.clear()
    grid(model, noise_maps, Plain(), row=5, skips="3", cfgs="2")
    assert set(count_calls) == {1} and len(count_calls) == 2
    count_calls.clear()
    embedding, options = conditioning("sd15", 9)[0]
    each = [[torch.cat([embedding, -embedding]), options]]
    _, (image,) = grid(model, noise_maps, Plain(), row=5, skips="3", cfgs="2", positive=each)
    assert set(count_calls) == {2} and len(count_calls) == 2
    expected = Plain().decode(sample(model, noise_maps, positive=each, skip_steps=3, cfg=2.0)[5:6])[0]
    assert (image - expected).abs().max() < 1e-4


def test_the_mask_limits_every_tile(random_model, invert, grid, sheets_kept):
    model = random_model("sd15")
    noise_maps = invert(model)
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    _, images = grid(model, noise_maps, Plain(), mask=mask, skips="0", cfgs="3, 9")
    source = Plain().decode(model.model.process_latent_out(noise_maps.image))
    assert (images - source)[:, :, :4].abs().max() <= 1e-5
    assert (images - source)[:, :, 4:].abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_progress_counts_all_runs(comfy, unthrottled, random_model, invert, grid, sheets_kept):
    model = random_model("sd15")
    noise_maps, reported = invert(model), []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: reported.append((value, total)))
    try:
        grid(model, noise_maps, Plain())
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert {total for _, total in reported} == {3 * 5 + 3 * 3}
    assert [value for value, _ in reported] == list(range(1, 25))


def test_it_can_be_interrupted_in_any_run(comfy, unthrottled, random_model, invert, grid, sheets_kept):
    def stop(value, *_, **__):
        if value == 7:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    class Counting(Plain):
        decoded = 0

        def decode(self, samples):
            self.decoded += 1
            return super().decode(samples)

    model, vae = random_model("sd15"), Counting()
    noise_maps = invert(model)
    comfy.utils.set_progress_bar_global_hook(stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            grid(model, noise_maps, vae)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert vae.decoded == 1  # five steps are the first run, the seventh is in the second


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"skips": "1, 1o"}, "skips holds '1o', which is not a whole number of 0 or more"),
        ({"skips": "1.5"}, "skips holds '1.5'"),
        ({"skips": "-1"}, "skips holds '-1'"),
        ({"skips": " , "}, "skips is empty: list at least one number, such as 12, 24"),
        ({"cfgs": "5 10"}, "cfgs holds '5 10', which is not a number from 0 to 100"),
        ({"cfgs": "nan"}, "cfgs holds 'nan'"),
        ({"cfgs": "101"}, "cfgs holds '101'"),
        ({"skips": "0, 5"}, "skip_steps is 5, the noise maps hold steps 0 to 4 of 5"),
        ({"row": 1}, "row is 1, the noise maps have 1 rows"),
    ],
)
def test_lists_that_cannot_be(random_model, invert, grid, count_calls, inputs, message):
    noise_maps = invert(random_model("sd15"))
    count_calls.clear()
    with pytest.raises(ValueError, match=message):
        grid(random_model("sd15"), noise_maps, Plain(), **inputs)
    assert count_calls == []  # said before the first run


def test_a_patch_finds_all_images_of_the_batch(random_model, latent, invert, sample, conditioning, grid, sheets_kept):
    """One row alone would be given what is the first picture's."""
    own = torch.randn(2, 4, 768, generator=torch.Generator().manual_seed(5))

    def with_own(query, context, value, extra_options):
        rows = len(context) // len(extra_options["cond_or_uncond"])
        more = torch.cat([context, own[:rows].repeat(len(context) // rows, 1, 1).to(context)], dim=1)
        return query, more, more

    model = random_model("sd15").clone()
    model.set_model_attn2_patch(with_own)
    maps = invert(model, latent_image=latent("sd15", batch=2), cfg=1.0)
    whole = sample(model, maps, positive=conditioning("sd15", 9), cfg=3.5)
    vae = Plain()
    _, images = grid(model, maps, vae, skips="0", cfgs="3.5", row=1)
    assert torch.allclose(images[0], vae.decode(whole)[1], atol=1e-5)
