"""The node that shows noise maps, in the host."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def preview(comfy, pack, tmp_path, monkeypatch):
    """preview(noise_maps, **inputs): the sheet, and the file that the node shows."""
    monkeypatch.setattr(comfy.folder_paths, "temp_directory", str(tmp_path))

    def run(noise_maps, **inputs):
        output = pack.EditFriendlyNoiseMapsPreview.execute(noise_maps, **({"columns": 4, "row": 0} | inputs))
        (shown,) = output.ui.as_dict()["images"]
        assert shown["type"] == "temp"
        return output.args[0], Image.open(tmp_path / shown["subfolder"] / shown["filename"])

    return run


@pytest.mark.parametrize("kind", ["sd15", "flow"])  # latents of 4 and of 16 channels
def test_the_node_shows_the_sheet_that_it_returns(random_model, invert, preview, kind):
    noise_maps = invert(random_model(kind), kind, scheduler="simple")
    sheet, shown = preview(noise_maps)
    assert sheet.shape[0] == 1 and sheet.shape[-1] == 3
    assert sheet.min() >= 0 and sheet.max() == 1
    assert np.abs(np.asarray(shown) / 255 - sheet[0].numpy()).max() <= 1 / 255
    fewer, _ = preview(noise_maps, columns=2)
    assert fewer.shape[2] < sheet.shape[2]


@pytest.fixture
def live_preview(comfy, monkeypatch):
    """live_preview(latent_format, x0): the host's own preview of a latent (1, C, ...), as floats of 0 to 255."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)

    def show(latent_format, x0):
        previewer = latent_preview.get_previewer(torch.device("cpu"), latent_format)
        return np.asarray(previewer.decode_latent_to_preview(x0)).astype(float)

    return show


def test_colors_are_those_of_the_hosts_live_preview(pack, random_model, invert, live_preview):
    """The image at the end of the sheet, by the host's own previewer."""
    model = random_model("sd15")
    noise_maps = invert(model)
    expected = live_preview(model.get_model_object("latent_format"), noise_maps.image)
    ours = noise_maps.space.colored(noise_maps.image[0])
    assert np.abs((ours.clamp(-1, 1) + 1).movedim(0, -1).numpy() * 127.5 - expected).max() <= 1


def test_colors_of_every_latent_format_of_the_host(comfy, pack, random_model, live_preview, preview):
    """Among them, on newer hosts, cells that are several pixels of a preview (Flux 2)."""
    import comfy.latent_formats

    formats = [cls() for cls in vars(comfy.latent_formats).values() if isinstance(cls, type)]
    shown = 0
    for latent_format in (latent_format for latent_format in formats if latent_format.latent_rgb_factors):
        model = random_model("sd15").clone()
        model.add_object_patch("latent_format", latent_format)
        frames = (1,) * (latent_format.latent_dimensions - 2)
        shape = (1, latent_format.latent_channels, *frames, 6, 8)
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        noise_maps = pack.core.NoiseMaps(
            pack.core.NoiseSchedule.flow(torch.tensor([1.0, 0.0])),
            torch.stack([image, image]),
            image[None],
            facts=pack.core.Facts(space=pack.host.model.latent_space(model)),
        )
        preview(noise_maps)
        try:
            expected = live_preview(latent_format, image)
        except RuntimeError:  # the host's colors are not for that many channels: a live preview would fail
            assert noise_maps.space.colors is None, type(latent_format)
            continue
        shown += 1
        ours = noise_maps.space.colored(image.reshape(-1, 6, 8))
        apart = np.abs((ours.clamp(-1, 1) + 1).movedim(0, -1).numpy() * 127.5 - expected)
        assert apart.max() <= 1, type(latent_format)
        z = torch.randn((latent_format.latent_channels, 60, 80), generator=torch.Generator().manual_seed(1))
        spread = noise_maps.space.colored_noise(z).std(dim=(1, 2))
        assert spread == pytest.approx([1, 1, 1], abs=0.05), type(latent_format)
    assert shown >= 10


def test_noise_is_drawn_with_variance_1(pack, random_model, invert):
    noise_maps = invert(random_model("flow"), "flow", scheduler="simple")
    z = torch.randn((16, 100, 100), generator=torch.Generator().manual_seed(0))
    assert noise_maps.space.colored_noise(z).std(dim=(1, 2)) == pytest.approx([1, 1, 1], abs=0.03)


def test_a_vae_decodes_states_and_predictions_but_not_the_noise(pack, random_model, invert, preview):
    """A VAE that gives back the LATENT it was handed, twice enlarged: the image is the one that was inverted."""
    seen = []

    class Vae:
        def decode(self, latent):
            seen.append(latent)
            return torch.full((1, 16, 16, 3), 0.5)

    noise_maps = invert(random_model("sd15"), steps=4)
    preview(noise_maps, columns=5, vae=Vae())
    assert len(seen) == 5 + 4
    image = torch.stack([noise_maps.image]) / 0.18215  # what the LATENT was before the model scaled it
    assert min((latent - image[0]).abs().max().item() for latent in seen) <= 1e-4


def test_each_row_has_a_sheet_of_its_own(random_model, latent, invert, preview):
    noise_maps = invert(random_model("sd15"), latent_image=latent("sd15", batch=2))
    first, second = (preview(noise_maps, row=row)[0] for row in (0, 1))
    assert first.shape == second.shape
    assert (first - second).abs().max() > 0.1
    with pytest.raises(ValueError, match="row is 2, the noise maps have 2 rows"):
        preview(noise_maps, row=2)


def test_maps_that_name_no_colors_are_shown_in_grey(pack, random_model, invert, preview):
    """Such as a file of an older version."""
    noise_maps = invert(random_model("sd15"))
    space = dataclasses.replace(noise_maps.space, colors=None, color_bias=torch.zeros(3))
    sheet, _ = preview(dataclasses.replace(noise_maps, facts=dataclasses.replace(noise_maps.facts, space=space)))
    assert (sheet[..., 0] == sheet[..., 2]).all()


def test_a_video_shows_its_first_frame(pack, preview):
    schedule = pack.core.NoiseSchedule.flow(torch.linspace(1, 0, 4))
    sizes = {"states": 4, "residuals": 3}
    generator = torch.Generator().manual_seed(0)
    parts = {name: torch.randn((n, 1, 16, 3, 8, 8), generator=generator) for name, n in sizes.items()}
    video = pack.core.NoiseMaps(schedule, **parts)
    first = pack.core.NoiseMaps(schedule, **{name: part[:, :, :, 0] for name, part in parts.items()})
    assert torch.equal(preview(video)[0], preview(first)[0])
