"""The node that shows noise maps, in the host."""

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def preview(comfy, pack, tmp_path, monkeypatch):
    """preview(noise_maps, **inputs): the sheet, and the file that the node shows."""
    monkeypatch.setattr(comfy.folder_paths, "temp_directory", str(tmp_path))

    def run(noise_maps, **inputs):
        output = pack.NoiseMapsPreview.execute(noise_maps, **({"columns": 4, "row": 0} | inputs))
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


def test_colors_are_those_of_the_hosts_live_preview(comfy, pack, random_model, invert):
    """The image at the end of the sheet, by the host's own previewer."""
    import latent_preview

    model = random_model("sd15")
    noise_maps = invert(model)
    latent_format = model.get_model_object("latent_format")
    previewer = latent_preview.Latent2RGBPreviewer(latent_format.latent_rgb_factors)
    expected = np.asarray(previewer.decode_latent_to_preview(noise_maps.image)).astype(float)
    ours = pack.inspect._preview(noise_maps, noise_maps.image[0])
    assert np.abs((ours.clamp(-1, 1) + 1).movedim(0, -1).numpy() * 127.5 - expected).max() <= 1


def test_noise_is_drawn_with_variance_1(pack, random_model, invert):
    noise_maps = invert(random_model("flow"), "flow", scheduler="simple")
    z = torch.randn((16, 100, 100), generator=torch.Generator().manual_seed(0))
    assert pack.inspect._noise(noise_maps, z).std(dim=(1, 2)) == pytest.approx([1, 1, 1], abs=0.03)


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
    info = {name: value for name, value in noise_maps.info.items() if not name.startswith("latent_rgb")}
    parts = (getattr(noise_maps, name) for name in ("schedule", "states", "residuals"))
    sheet, _ = preview(pack.core.NoiseMaps(*parts, info=info))
    assert (sheet[..., 0] == sheet[..., 2]).all()


def test_a_video_shows_its_first_frame(pack, preview):
    schedule = pack.core.NoiseSchedule.flow(torch.linspace(1, 0, 4))
    sizes = {"states": 4, "residuals": 3}
    generator = torch.Generator().manual_seed(0)
    parts = {name: torch.randn((n, 1, 16, 3, 8, 8), generator=generator) for name, n in sizes.items()}
    video = pack.core.NoiseMaps(schedule, **parts)
    first = pack.core.NoiseMaps(schedule, **{name: part[:, :, :, 0] for name, part in parts.items()})
    assert torch.equal(preview(video)[0], preview(first)[0])
