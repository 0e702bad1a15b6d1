"""Predictions of noise drawn towards white noise, as pix2pix-zero does while it inverts (arXiv 2302.03027, Sec. 3.2).

Deviations: all channels of an image are moved by one amount, drawn anew for each comparison, where the published code
draws one for each; a correlation counts as 4 at most, which changes nothing for noise of a deviation up to 2, and keeps
larger predictions from running away; and a weight says at every size what it says at the paper's.

Shapes: B rows, C channels, H x W cells; any axes between C and H.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS, ROLLS = 5, 5  # of the published code
LARGEST = 4.0  # correlation
COARSEST = 8  # rows of cells, below which correlations are not looked at
CELLS, CHANNELS = 64 * 64, 4  # of the paper's latents; the losses are means, so their gradients fall with the size


def whitened(eps: Tensor, weight: float, generators: Sequence[np.random.Generator]) -> Tensor:
    """The noise eps (B, ..., H, W) after steps down two gradients: of its correlations with itself moved along rows and
    columns, at full size and halved again and again, and of its KL divergence from N(0, 1).

    Args:
        weight: of both gradients, 20 in the paper; 0 leaves eps as it is.
        generators: of the amounts to move by, one a row.
    """
    if not weight:
        return eps
    towards_none = weight * eps.shape[-2] * eps.shape[-1] / CELLS
    towards_unit = weight * eps[0].numel() / (CHANNELS * CELLS)
    rows = []
    for row, generator in zip(eps, generators, strict=True):
        for _ in range(ROUNDS):
            for _ in range(ROLLS):
                row = row - towards_none / ROLLS * correlation_gradient(row, generator)
            row = row - towards_unit * divergence_gradient(row)
        rows.append(row)
    return torch.stack(rows)


def correlation_gradient(noise: Tensor, generator: np.random.Generator) -> Tensor:
    """The gradient at noise (..., H, W) of the sum, over sizes and both axes, of its squared correlations with itself
    moved by up to half its height."""
    height, width = noise.shape[-2:]
    shift = int(generator.integers(height // 2))
    gradient = torch.zeros_like(noise)
    for axis in (-2, -1):
        moved = noise.roll(shift, axis)
        correlation = (noise * moved).mean(dim=(-2, -1), keepdim=True).clamp(-LARGEST, LARGEST)
        gradient += 2 * correlation * (moved + noise.roll(-shift, axis)) / (height * width)
    if height > COARSEST and width > 1:
        halved = F.avg_pool2d(noise.reshape(1, -1, height, width), 2).reshape(
            *noise.shape[:-2], height // 2, width // 2
        )
        coarse = correlation_gradient(halved, generator).repeat_interleave(2, -2).repeat_interleave(2, -1) / 4
        gradient[..., : height // 2 * 2, : width // 2 * 2] += coarse
    return gradient


def divergence_gradient(noise: Tensor) -> Tensor:
    """The gradient at noise (any shape) of variance + mean^2 - 1 - log variance, twice the KL divergence."""
    mean, variance = noise.mean(), noise.var()
    return 2 * (noise - mean) / (noise.numel() - 1) * (1 - 1 / (variance + 1e-7)) + 2 * mean / noise.numel()
