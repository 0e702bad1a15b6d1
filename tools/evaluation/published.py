"""Published rows of PIE-Bench to compare with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row as printed: structure x 1e3, PSNR, LPIPS x 1e3, MSE x 1e4, SSIM x 1e2, CLIP whole and edited, or None."""

    method: str
    source: str
    structure: float | None
    psnr: float | None
    lpips: float | None
    mse: float | None
    ssim: float | None
    clip_whole: float | None
    clip_edited: float | None


_PNP = "PnPInversion, arXiv 2310.01506"
_H_EDIT = "h-Edit, arXiv 2503.02187"
ROWS = (
    Published("DDIM + P2P, SD1.4", _PNP, 69.43, 17.87, 208.80, 219.88, 71.14, 25.01, 22.44),
    Published("null-text + P2P, SD1.4", _PNP, 13.44, 27.03, 60.67, 35.86, 84.11, 24.75, 21.86),
    Published("PnP inversion + P2P, SD1.4", _PNP, 11.65, 27.22, 54.55, 32.86, 84.76, 25.02, 22.10),
    Published("edit friendly, SD1.4", _H_EDIT, 12.9, 25.87, 60.9, None, 83.7, 25.4, None),
    Published("edit friendly + P2P, SD1.4", _H_EDIT, 15.1, 26.30, 57.0, None, 84.0, 25.5, None),
    Published("LEDITS++, SD1.x", _H_EDIT, 23.4, 23.36, 88.8, None, 81.1, 25.4, None),
    Published("h-Edit-R + P2P, SD1.4", _H_EDIT, 14.5, 26.97, 50.8, None, 85.0, 25.6, None),
)
CASES, CLIP_SOURCE, TOLERANCE = 700, 26.07, 0.05  # of a public run of the official evaluator (sled-group/InfEdit #23)
