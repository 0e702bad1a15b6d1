"""MSE, PSNR and SSIM of 8-bit pictures: over all pixels, and over the background, by two conventions.

`pie-bench` is the published one (PnPInversion, evaluation/matrics_calculator.py): both pictures are multiplied by the
background, and the mean is over ALL pixels, those that are now 0 in both among them. So the error is the background's
times its share of the picture. `masked` divides by the background's pixels alone.

SSIM is that of Wang et al. 2004 as scikit-image has it with `gaussian_weights`: a Gaussian window of 11 x 11 and sigma
1.5, biased covariances, no window that leaves the picture, the mean over channels.

Pictures are (H, W, C) uint8, backgrounds (H, W) bool, true where nothing was to change. All is computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RADIUS = 5  # of SSIM's window
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03


def mse(source: Tensor, edited: Tensor) -> float:
    """Mean squared error of a range of 1."""
    return _squared(source, edited).mean().item()


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error; infinite of none."""
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(source: Tensor, edited: Tensor) -> float:
    """Structural similarity; NaN where a picture is smaller than the window."""
    return _mean(ssim_map(source, edited))


def black_outside(picture: Tensor, background: Tensor) -> Tensor:
    """The picture with everything black but the background."""
    return picture * background.unsqueeze(-1)


def mse_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    """Mean squared error over the background's pixels alone; NaN where it has none."""
    return _mean(_squared(source, edited)[background])


def ssim_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    """Structural similarity over the windows around the background's pixels, with all else black in both pictures.

    So what lies outside the background has no part in it. NaN where there is no such window.
    """
    similarities = ssim_map(black_outside(source, background), black_outside(edited, background))
    middle = background[RADIUS : background.shape[0] - RADIUS, RADIUS : background.shape[1] - RADIUS]
    return _mean(similarities[middle]) if similarities.numel() else math.nan


def ssim_map(source: Tensor, edited: Tensor) -> Tensor:
    """(H - 10, W - 10, C) the similarity of each window that lies within the picture."""
    if min(source.shape[:2]) <= 2 * RADIUS:
        return torch.empty(0)
    a, b = (picture.double().movedim(-1, 0) / 255 for picture in (source, edited))
    mean_a, mean_b, aa, bb, ab = _windowed(torch.stack([a, b, a * a, b * b, a * b]))
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return similarity.movedim(0, -1)


def _windowed(planes: Tensor) -> Tensor:
    """(..., H - 10, W - 10) Gaussian means of (..., H, W)."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64, device=planes.device)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    rows = planes.flatten(0, -3).unsqueeze(1)
    rows = torch.nn.functional.conv2d(rows, weights.view(1, 1, -1, 1))
    rows = torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, -1))
    return rows.reshape(*planes.shape[:-2], *rows.shape[-2:])


def _squared(source: Tensor, edited: Tensor) -> Tensor:
    return (source.double() / 255 - edited.double() / 255) ** 2


def _mean(values: Tensor) -> float:
    return values.mean().item() if values.numel() else math.nan
