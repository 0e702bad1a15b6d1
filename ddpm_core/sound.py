"""Pictures of sound: its waveform above its spectrogram, and its latent cells over time.

Shapes: `C` channels, `N` samples of a waveform, `L` cells of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .masks import in_colors

WIDTH, WAVE, HEIGHT = 512, 64, 192  # of a picture, pixels: the waveform above, the spectrogram below
_WINDOW = 2048  # samples of a spectrum
_OCTAVES, _DECIBELS = 9, 80  # below the highest frequency and the loudest, to the bottom and to black
_CELLS, _LEAST = 256, 64  # at most so many cells across, at least so many pixels down
_INK, _GROUND = torch.tensor([0.24, 0.43, 0.70]), torch.tensor([0.96, 0.96, 0.96])


def picture(waveform: Tensor) -> Tensor:
    """(WAVE + HEIGHT, WIDTH, 3) in [0, 1] of a waveform (C, N): time from left to right, octaves from bottom to top."""
    mono = waveform.detach().float().cpu().nan_to_num().mean(dim=0)
    mono = functional.pad(mono, (0, max(0, WIDTH - len(mono))))
    return torch.cat([_wave(mono), in_colors(_spectrogram(mono))])


def _wave(mono: Tensor) -> Tensor:
    """(WAVE, WIDTH, 3) the range of the values in each column, of a waveform (N,); one louder than 1 is shown at 1."""
    mono = mono / mono.abs().max().clamp(min=1)
    high = functional.adaptive_max_pool1d(mono[None], WIDTH)[0]
    low = -functional.adaptive_max_pool1d(-mono[None], WIDTH)[0]
    edges = torch.linspace(1, -1, WAVE + 1)[:, None]
    inked = (edges[:-1] >= low) & (edges[1:] <= high)  # a row that the range touches
    return torch.where(inked[..., None], _INK, _GROUND)


def _spectrogram(mono: Tensor) -> Tensor:
    """(HEIGHT, WIDTH) in [0, 1] the loudness of a waveform (N,), in decibels below the loudest."""
    hop = max(1, -(-len(mono) // (4 * WIDTH)))
    window = torch.hann_window(_WINDOW)
    spectra = torch.stft(mono, _WINDOW, hop, window=window, pad_mode="constant", return_complex=True).abs()
    rows = (spectra.shape[0] - 1) * 2 ** torch.linspace(0, -_OCTAVES, HEIGHT)
    columns = functional.adaptive_avg_pool1d(spectra, WIDTH)[rows.round().long()]
    decibels = 20 * (columns / columns.max().clamp(min=1e-12)).clamp(min=1e-12).log10()
    return (1 + decibels / _DECIBELS).clamp(0, 1)


def seen(cells: Tensor) -> Tensor:
    """(B, D, H', W') a picture of latent cells (B, D, H, W) in a shape that can be looked at.

    At most 256 of the cells of a long sound, for a mean of them would be smoother than they are; each row as several
    pixels where there are few.
    """
    height, width = cells.shape[-2:]
    return functional.interpolate(cells, (max(height, _LEAST), min(width, _CELLS)), mode="nearest-exact")
