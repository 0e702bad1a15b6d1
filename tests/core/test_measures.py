"""MSE, PSNR and SSIM of 8-bit pictures against scikit-image and torchmetrics, over all pixels and over a background."""

import math

import numpy as np
import pytest
import torch
from skimage import metrics as oracle

from ddpm_core import measures

SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 2}


def picture(seed: int, height: int = 40, width: int = 48) -> torch.Tensor:
    """(H, W, 3) uint8 of smooth noise."""
    coarse = torch.rand((1, 3, height // 4, width // 4), generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (255 * fine[0].movedim(0, -1)).round().to(torch.uint8)


def in_one(picture) -> np.ndarray:
    return picture.numpy().astype(np.float64) / 255


@pytest.mark.parametrize("seed", range(4))
def test_as_scikit_image_has_them(seed):
    source, edited = picture(seed), picture(seed + 100)
    a, b = in_one(source), in_one(edited)
    error = measures.mse(source, edited)
    assert error == pytest.approx(oracle.mean_squared_error(a, b), abs=1e-5)
    assert measures.psnr_of(error) == pytest.approx(oracle.peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-5)
    assert measures.ssim(source, edited) == pytest.approx(oracle.structural_similarity(a, b, **SSIM), abs=1e-5)


def test_ssim_is_that_of_torchmetrics_with_its_padding_cropped():
    from torchmetrics.functional.image import structural_similarity_index_measure

    source, edited = picture(1), picture(2)
    a, b = (part.movedim(-1, 0)[None].double() / 255 for part in (source, edited))
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    assert measures.ssim(source, edited) == pytest.approx(full[..., 5:-5, 5:-5].mean().item(), abs=1e-5)


def test_ssim_of_one_window_by_hand():
    """Alg. 1 of the report: means, variances and the covariance of the whole gray pictures."""
    from PIL import Image

    source, edited = picture(1), picture(2)
    a, b = (np.asarray(Image.fromarray(part.numpy()).convert("L")).astype(float).ravel() for part in (source, edited))
    covariance = np.cov(a, b, bias=True)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert measures.ssim_of_gray(source, edited) == pytest.approx(expected, abs=2e-3)  # "L" is rounded to a byte
    assert measures.ssim_of_gray(source, source) == pytest.approx(1.0)


def test_a_picture_smaller_than_the_window_has_no_ssim():
    small = picture(1, height=8, width=8)
    assert math.isnan(measures.ssim(small, small))
    assert math.isnan(measures.ssim_within(small, small, torch.ones(8, 8, dtype=torch.bool)))


def test_a_background_by_hand():
    """`blackened` divides by all pixels, the `_within` forms by the background's."""
    source, edited = picture(1), picture(2)
    background = torch.zeros(40, 48, dtype=torch.bool)
    background[:, 20:] = True
    squares = ((in_one(source) - in_one(edited)) ** 2)[background.numpy()]
    within, all_pixels = squares.mean(), squares.sum() / (40 * 48 * 3)
    assert measures.mse_within(source, edited, background) == pytest.approx(within, rel=1e-9)
    assert measures.psnr_within(source, edited, background) == pytest.approx(-10 * math.log10(within), rel=1e-9)
    assert measures.blackened(measures.mse)(source, edited, background) == pytest.approx(all_pixels, rel=1e-9)
    assert measures.blackened(measures.psnr)(source, edited, background) == pytest.approx(
        -10 * math.log10(all_pixels), rel=1e-9
    )
    nowhere = torch.zeros_like(background)
    assert math.isnan(measures.mse_within(source, edited, nowhere))
    assert math.isnan(measures.psnr_within(source, edited, nowhere))
    assert math.isnan(measures.ssim_within(source, edited, nowhere))


def test_ssim_of_a_background_is_over_the_windows_centred_in_it():
    """Of pictures that are black elsewhere, as scikit-image has each window."""
    source, edited = picture(1), picture(2)
    background = torch.zeros(40, 48, dtype=torch.bool)
    background[4:30, 20:] = True
    a, b = (in_one(measures.black_outside(part, background)) for part in (source, edited))
    _, full = oracle.structural_similarity(a, b, full=True, **SSIM)
    expected = full[5:-5, 5:-5][background[5:-5, 5:-5].numpy()].mean()
    assert measures.ssim_within(source, edited, background) == pytest.approx(expected, abs=1e-5)


def test_a_pixel_is_seen_to_change_by_its_channel_that_changes_most():
    edited = torch.zeros(8, 8, 3)
    edited[..., 1] = 0.15
    (whole, _) = measures.change(torch.zeros(8, 8, 3), edited)
    assert (whole.mean, whole.visible) == (pytest.approx(5), 100)


def test_a_vae_keeps_the_middle():
    assert measures.middle((70, 65), (64, 64)) == (slice(3, 67), slice(0, 64))
    assert measures.middle((64, 128), (64, 64)) is measures.middle((60, 64), (64, 64)) is None


def test_a_change_in_percent_inside_a_soft_mask_and_outside():
    source, edited = torch.zeros(8, 8, 3), torch.zeros(8, 8, 3)
    edited[:, :4], edited[:, 4:] = 0.25, 0.05
    mask = torch.zeros(8, 8)
    mask[:, :4] = 1
    inside, outside = measures.change(source, edited, mask)
    assert (inside.mean, inside.visible) == (pytest.approx(25), 100)
    assert (outside.mean, outside.visible) == (pytest.approx(5), 0)
    inside, outside = measures.change(source, edited, mask / 2)
    assert (inside.mean, outside.mean) == (pytest.approx(25), pytest.approx((16 * 25 + 32 * 5) / 48))
    whole, nowhere = measures.change(source, edited)
    assert whole.mean == pytest.approx(15) and math.isnan(nowhere.mean)


def test_pixels_are_rounded_as_saveimage_rounds_them():
    pixels = torch.tensor([-0.1, 0.0, 0.0039, 0.5, 0.9999, 1.2])
    expected = np.clip(255.0 * pixels.numpy(), 0, 255).astype(np.uint8)
    assert measures.as_saved(pixels).tolist() == expected.tolist()


@pytest.mark.parametrize(("height", "width"), [(224, 224), (300, 260), (120, 500)])
def test_clip_reads_the_middle_square(height, width):
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = 255 * torch.stack([down / height, across / width, 0 * down], dim=-1)
    cropped = measures.cropped_for_clip(places.to(torch.uint8))
    assert cropped.shape == (224, 224, 3) and cropped.dtype == torch.uint8
    middle = (torch.arange(224) - 112) * min(height, width) / 224  # from that of the picture, in its pixels
    for k, (side, ramp) in enumerate(((height, cropped[:, 0, 0]), (width, cropped[0, :, 1]))):
        off = ramp.double() - 255 * (side / 2 + middle) / side
        assert off[4:-4].abs().max() < 3, k
