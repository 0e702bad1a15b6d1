"""MSE, PSNR and SSIM of a picture and its edit, over all pixels and under two masking conventions.

`blackened` is PIE-Bench's convention (PnPInversion, evaluation/matrics_calculator.py): the edited part is black in both
pictures and the mean runs over ALL pixels, so the error is the background's times its fraction of the picture. The
`_within` forms divide by the background's pixels alone.

SSIM follows Wang et al. 2004 as scikit-image does with `gaussian_weights`: a Gaussian window of 11 x 11 with sigma 1.5,
biased covariances, only windows inside the picture, the mean over channels.

Pictures are (H, W, C) uint8, backgrounds (H, W) bool, true where nothing was to change; float64 throughout. `change`
alone takes pictures in [0, 1] and soft masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW_RADIUS = 5  # of SSIM
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and OpenCV turn pictures gray
LARGEST_CELL = 64  # pixels by which a VAE may have cropped a picture
VISIBLE = 0.1  # of the full range: what the eye sees of a pixel beside its source

Measure = Callable[[Tensor, Tensor], float]
"""(source, edited) -> value."""
MaskedMeasure = Callable[[Tensor, Tensor, Tensor], float]
"""(source, edited, background) -> value."""


def middle(whole: Sequence[int], part: Sequence[int]) -> tuple[slice, slice] | None:
    """What a VAE keeps (H', W') of pictures (H, W) that are no whole number of cells; None for another size."""
    more = [a - b for a, b in zip(whole, part, strict=True)]
    if not all(0 <= rest < LARGEST_CELL for rest in more):
        return None
    down, across = (slice(rest // 2, rest // 2 + size) for rest, size in zip(more, part, strict=True))
    return down, across


def as_saved(pixels: Tensor) -> Tensor:
    """uint8 of pixels in [0, 1], rounded as ComfyUI's SaveImage rounds them."""
    return (255.0 * pixels.float().cpu()).clamp(0, 255).to(torch.uint8)


def mse(source: Tensor, edited: Tensor) -> float:
    """Mean squared error for a range of 1."""
    return _squared_error(source, edited).mean().item()


def psnr_of(error: float) -> float:
    """Peak signal-to-noise ratio in dB from a mean squared error; infinite for 0."""
    return math.inf if error == 0 else -10 * math.log10(error)


def psnr(source: Tensor, edited: Tensor) -> float:
    """Peak signal-to-noise ratio in dB."""
    return psnr_of(mse(source, edited))


def ssim(source: Tensor, edited: Tensor) -> float:
    """Structural similarity; NaN for a picture smaller than the window."""
    return _mean(ssim_map(source, edited))


def black_outside(picture: Tensor, background: Tensor) -> Tensor:
    """The picture with every pixel outside the background black."""
    return picture * background.unsqueeze(-1)


def blackened(measure: Measure) -> MaskedMeasure:
    """The measure by PIE-Bench's convention."""
    return lambda source, edited, background: measure(
        black_outside(source, background), black_outside(edited, background)
    )


def mse_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    """Mean squared error over the background's pixels; NaN if there are none."""
    return _mean(_squared_error(source, edited)[background])


def psnr_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over the background's pixels; NaN if there are none."""
    return psnr_of(mse_within(source, edited, background))


def ssim_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    """Structural similarity over the windows centred in the background, with everything else black in both pictures.

    So the edited part has no influence. NaN if there is no such window.
    """
    similarities = ssim_map(black_outside(source, background), black_outside(edited, background))
    r = WINDOW_RADIUS
    centres = background[r : background.shape[0] - r, r : background.shape[1] - r]
    return _mean(similarities[centres]) if similarities.numel() else math.nan


def ssim_map(source: Tensor, edited: Tensor) -> Tensor:
    """(H - 10, W - 10, C) similarity of each window that lies inside the picture; empty if there is none."""
    if min(source.shape[:2]) <= 2 * WINDOW_RADIUS:
        return torch.empty(0)
    a, b = (picture.double().movedim(-1, 0) / 255 for picture in (source, edited))
    return _similarity(*_window_means(torch.stack([a, b, a * a, b * b, a * b]))).movedim(0, -1)


def ssim_of_gray(source: Tensor, edited: Tensor) -> float:
    """Structural similarity of the luma of both pictures in one window, the whole ("Diffusion Inversion Report", Wu and
    Liu 2025, Alg. 1)."""
    a, b = (picture.double() @ picture.new_tensor(_LUMA, dtype=torch.float64) / 255 for picture in (source, edited))
    return _similarity(*torch.stack([a, b, a * a, b * b, a * b]).mean(dim=(1, 2))).item()


def _similarity(mean_a: Tensor, mean_b: Tensor, aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """SSIM from the means of a, b and their products."""
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))


@dataclass(frozen=True)
class Change:
    """How far one region changed, in percent; NaN for an empty region.

    Args:
        mean: mean absolute difference, of the full range.
        visible: fraction of the pixels that differ by more than `VISIBLE` in some channel.
    """

    mean: float
    visible: float


def change(source: Tensor, edited: Tensor, mask: Tensor | None = None) -> tuple[Change, Change]:
    """The change inside the mask and outside it; without a mask everything is inside.

    Args:
        source, edited: (H, W, C) in [0, 1].
        mask: (H, W) in [0, 1]; a value between counts its pixel for both sides, by its fraction.
    """
    difference = (edited - source).abs()
    inside = difference.new_ones(difference.shape[:2]) if mask is None else mask.to(difference)
    return _change_within(difference, inside), _change_within(difference, 1 - inside)


def _change_within(difference: Tensor, weight: Tensor) -> Change:
    area = weight.sum().item()
    if area < 1e-6 * weight.numel():
        return Change(math.nan, math.nan)
    mean = (difference.mean(dim=-1) * weight).sum().item() / area
    visible = ((difference.amax(dim=-1) > VISIBLE) * weight).sum().item() / area
    return Change(100 * mean, 100 * visible)


def cropped_for_clip(picture: Tensor, size: int = 224) -> Tensor:
    """(size, size, C) uint8: the middle square, resized as CLIP's own preprocessing does (bicubic by Pillow)."""
    import numpy as np
    from PIL import Image

    height, width = picture.shape[:2]
    image = Image.fromarray(picture.cpu().numpy())
    if min(height, width) != size:
        longer = int(size * max(height, width) / min(height, width))
        image = image.resize((size, longer) if width <= height else (longer, size), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size))))


def _window_means(planes: Tensor) -> Tensor:
    """(..., H - 10, W - 10) Gaussian means of (..., H, W)."""
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, dtype=torch.float64, device=planes.device)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    rows = planes.flatten(0, -3).unsqueeze(1)
    rows = torch.nn.functional.conv2d(rows, weights.view(1, 1, -1, 1))
    rows = torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, -1))
    return rows.reshape(*planes.shape[:-2], *rows.shape[-2:])


def _squared_error(source: Tensor, edited: Tensor) -> Tensor:
    return (source.double() / 255 - edited.double() / 255) ** 2


def _mean(values: Tensor) -> float:
    return values.mean().item() if values.numel() else math.nan
