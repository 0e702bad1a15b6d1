"""What the nodes know of a model's latents: pixels to a cell, scale and shift of each channel."""

import inspect

import pytest
import torch

CELLS = {"SC_B": 4, "Wan22": 16, "Flux2": 16, "HunyuanVideo15": 16, "HunyuanImage21": 32, "LTXV": 32, "SC_Prior": 42}


@pytest.fixture
def of_format(random_model):
    """of_format(latent_format): a MODEL that says it has it."""

    def make(latent_format):
        model = random_model("sd15").clone()
        model.add_object_patch("latent_format", latent_format)
        return model

    return make


def formats(comfy) -> dict:
    import comfy.latent_formats as host

    classes = {name: cls for name, cls in vars(host).items() if inspect.isclass(cls)}
    # Trellis2SLAT is what others are made from, and has no numbers of its own.
    abstract = ("LatentFormat", "Trellis2SLAT")
    return {n: c for n, c in classes.items() if issubclass(c, host.LatentFormat) and n not in abstract}


def test_every_latent_format_of_the_host_has_a_space(comfy, pack, of_format):
    for name, latent_format in formats(comfy).items():
        space = pack.host.model.latent_space(of_format(latent_format()))
        space.check_channels(latent_format.latent_channels)
        assert space.format == name
        if latent_format.latent_channels == 3:
            assert space.cell == 1, name
    for name, cell in CELLS.items():
        if name in formats(comfy):
            assert pack.host.model.cell_of(formats(comfy)[name]()) == cell, name


def test_latents_that_are_not_scaled_by_channel_are_refused_beside_the_maps(comfy, pack, of_format):
    """As those of HunyuanImage's refiner on newer hosts, which fold two frames into the channels of one."""
    import comfy.latent_formats as host

    class Folded(host.HunyuanImage21Refiner):
        def process_in(self, latent):
            return latent.repeat(1, 2, 1, 1, 1)

    noise_maps = maps_of(pack, of_format(Folded()))
    with pytest.raises(ValueError, match="Folded are not scaled channel by channel"):
        noise_maps.space.of_latent(noise_maps.image)


def test_a_shift_in_pixels_moves_by_the_models_cells(comfy, pack, of_format, invert):
    """Cells of 16 or 32 pixels are not taken for 8, and where nobody knows, the node asks."""
    import comfy.latent_formats as host

    class Unheard(host.LatentFormat):
        spacial_downscale_ratio = None

    def shifted(latent_format, **inputs):
        noise_maps = maps_of(pack, of_format(latent_format))
        (moved,) = pack.run("LatentShift", noise_maps=noise_maps, x=64, y=0, fill="wrap", **inputs)
        return next(k for k in range(8) if torch.equal(moved.states, noise_maps.states.roll(k, -1)))

    assert shifted(host.Wan22()) == 4
    assert shifted(host.LTXV()) == 2
    assert shifted(Unheard(), pixels_per_cell=32) == 2
    with pytest.raises(ValueError, match="not known how many pixels a cell of these maps' latent format Unheard has"):
        shifted(Unheard())


@pytest.mark.parametrize("together", [1, 4, 8])
def test_a_video_takes_a_mask_for_each_of_its_frames(pack, together):
    """A latent frame is the first frame, or `together` of those after it."""
    frames, shape = 1 + 2 * together, torch.Size((2, 16, 3, 8, 8))
    mask = torch.zeros(frames, 64, 64)
    mask[0], mask[-1, :, :32] = 1, 1
    cells = pack.host.latents.mask_rows(shape, 8, mask)
    assert cells.shape == (1, 1, 3, 8, 8)
    assert cells[0, 0, 0].min() == 1 and cells[0, 0, 1].max() == 0
    assert cells[0, 0, 2, :, :4].unique().tolist() == [1 / together] and cells[0, 0, 2, :, 4:].max() == 0
    assert torch.equal(pack.host.latents.mask_rows(shape, 8, mask[:1]), torch.ones(1, 1, 3, 8, 8))


@pytest.mark.parametrize(("masks", "frames"), [(2, 3), (4, 3), (6, 3)])
def test_a_video_refuses_masks_of_another_number_of_frames(pack, masks, frames):
    with pytest.raises(ValueError, match=f"{masks} masks for a video of {frames} latent frames: use one, one for each"):
        pack.host.latents.mask_rows(torch.Size((1, 16, frames, 8, 8)), 8, torch.ones(masks, 64, 64))


def test_a_mask_of_the_images_size_fits_cells_of_any_size(pack):
    mask = torch.zeros(1, 256, 256)
    mask[:, :64] = 1
    for cell in (32, None):
        cells = pack.host.latents.mask_rows(torch.Size((1, 4, 8, 8)), cell, mask)
        assert cells[0, 0, :2].eq(1).all() and cells.sum() == 16
    with pytest.raises(ValueError, match="the mask is 256 x 256 pixels, the inverted image is 64 x 64"):
        pack.host.latents.mask_rows(torch.Size((1, 4, 8, 8)), 8, mask)
    with pytest.raises(ValueError, match="use a mask of the image's size"):
        pack.host.latents.mask_rows(torch.Size((1, 4, 8, 16)), None, mask)


def maps_of(pack, model):
    channels = model.get_model_object("latent_format").latent_channels
    states = torch.randn((3, 1, channels, 8, 8), generator=torch.Generator().manual_seed(0))
    return pack.core.without_residuals(
        _schedule(pack), states, facts=pack.core.Facts(space=pack.host.model.latent_space(model))
    )


def _schedule(pack):
    sigmas = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    return pack.core.NoiseSchedule(sigmas, torch.ones(3, dtype=torch.float64), sigmas, 0.0)
