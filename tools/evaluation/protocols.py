"""What is measured of an edit: lists of metrics, each with its formula, its unit and what it needs.

- `pie-bench`: the published table, with the quirks listed in `QUIRKS`.
- `masked`: the same over the background alone.
- `whole`: without a mask.
- `ef-paper`: "An Edit Friendly DDPM Noise Space", Tables 1 and 2. The paper does not name its backbones; CLIP ViT-B/32
  and AlexNet are the likelier ones.

A formula gives NaN for a value that the edit does not have: no mask, no background, a single output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

from torch import Tensor

from ddpm_core import measures
from ddpm_core.measures import MaskedMeasure, Measure, black_outside, blackened

VERSION = 2  # raise it with any change of a formula: rows of other versions are measured again

QUIRKS = (
    "pie-bench PSNR and MSE are means over all pixels with the edited part black in both pictures; `masked` divides by "
    "the background alone.",
    "pie-bench LPIPS and SSIM see that black part as equal.",
    "pie-bench structure gives DINO values of 0 to 255 in place of 0 to 1, resized without antialiasing; "
    "`masked.structure_01` is as Splice defines it.",
    "SSIM leaves out windows that cross the picture's edge, as torchmetrics did until 1.2.1 and scikit-image does.",
    "Cases without a background are left out of background columns, and counted.",
    "An infinite PSNR stays infinite in the mean of pie-bench, and is left out of that of masked, and counted.",
    "CLIP text is cut at 77 tokens.",
)


class Clip(Protocol):
    def text(self, picture: Tensor, prompt: str) -> float:
        """Cosine of a picture and a prompt."""

    def pictures(self, first: Tensor, second: Tensor) -> float:
        """Cosine of two pictures."""


class Structure(Protocol):
    def distance(self, source: Tensor, edited: Tensor, full: float) -> float:
        """Distance of two pictures whose white is `full`."""


class Perceptual(Protocol):
    def distance(self, source: Tensor, edited: Tensor) -> float:
        """Distance of two pictures."""

    def distance_within(self, source: Tensor, edited: Tensor, region: Tensor) -> float:
        """Mean distance over a region (H, W) bool."""


Networks = Mapping[str, Any]
"""Loaded networks by name: clip_l14, clip_b32 (Clip), dino (Structure), lpips_squeeze, lpips_alex (Perceptual)."""


@dataclass(frozen=True)
class Pair:
    """A picture and an edit of it, in the same size.

    Args:
        source, edited: (H, W, 3) uint8.
        mask: (H, W) bool, true where the edit was wanted; None if unknown.
        others: edits by the same prompts from other noise, for diversity.
        seconds: run time of one picture; NaN if unknown.
    """

    source: Tensor
    edited: Tensor
    mask: Tensor | None = None
    source_prompt: str = ""
    target_prompt: str = ""
    others: tuple[Tensor, ...] = ()
    seconds: float = math.nan

    @property
    def background(self) -> Tensor | None:
        """(H, W) bool, true where nothing was to change; None without a mask or without such a pixel."""
        return None if self.mask is None or bool(self.mask.all()) else ~self.mask


@dataclass(frozen=True)
class Metric:
    """One column of the results.

    Args:
        name: PROTOCOL.METRIC.
        heading: printed name, with the unit.
        scale: factor for printing, never for files.
        digits: decimals in print.
        better: "up", "down", or "" for neither.
        formula: its value for a pair and the network it needs.
        needs: name of that network; "" for none.
    """

    name: str
    heading: str
    scale: float
    digits: int
    better: str
    formula: Callable[[Pair, Any], float]
    needs: str = ""

    def shown(self, value: float) -> str:
        """The value in print."""
        return "-" if math.isnan(value) else f"{self.scale * value:.{self.digits}f}"

    def value(self, pair: Pair, networks: Networks) -> float:
        """The value for a pair; NaN without the network."""
        if self.needs and self.needs not in networks:
            return math.nan
        return self.formula(pair, networks.get(self.needs))


def of_whole(measure: Measure) -> Callable[[Pair, Any], float]:
    """The measure over all of a pair."""
    return lambda pair, _: measure(pair.source, pair.edited)


def of_background(measure: MaskedMeasure) -> Callable[[Pair, Any], float]:
    """The measure over the background of a pair; NaN without one."""

    def value(pair: Pair, _: Any) -> float:
        background = pair.background
        return math.nan if background is None else measure(pair.source, pair.edited, background)

    return value


def _lpips(pair: Pair, network: Perceptual) -> float:
    return network.distance(pair.source, pair.edited)


def _lpips_background(pair: Pair, network: Perceptual) -> float:
    return of_background(blackened(network.distance))(pair, None)


def _lpips_within(pair: Pair, network: Perceptual) -> float:
    def within(source: Tensor, edited: Tensor, background: Tensor) -> float:
        first, second = (black_outside(picture, background) for picture in (source, edited))
        return network.distance_within(first, second, background)

    return of_background(within)(pair, None)


def _structure(pair: Pair, dino: Structure) -> float:
    return dino.distance(pair.source, pair.edited, full=255.0)


def _structure_01(pair: Pair, dino: Structure) -> float:
    return dino.distance(pair.source, pair.edited, full=1.0)


def _clip_score(clip: Clip, picture: Tensor, prompt: str) -> float:
    return max(100 * clip.text(picture, prompt), 0.0)


def _clip_whole(pair: Pair, clip: Clip) -> float:
    return _clip_score(clip, pair.edited, pair.target_prompt)


def _clip_source(pair: Pair, clip: Clip) -> float:
    return _clip_score(clip, pair.source, pair.source_prompt)


def _clip_edited(pair: Pair, clip: Clip) -> float:
    if pair.mask is None or not pair.mask.any():
        return math.nan
    return _clip_score(clip, black_outside(pair.edited, pair.mask), pair.target_prompt)


def _clip_pictures(pair: Pair, clip: Clip) -> float:
    return clip.pictures(pair.source, pair.edited)


def _clip(pair: Pair, clip: Clip) -> float:
    return clip.text(pair.edited, pair.target_prompt)


def _accuracy(pair: Pair, clip: Clip) -> float:
    """1 if the edit is nearer to the target prompt than to the source prompt, else 0 (pix2pix-zero, Sec. 4)."""
    if not pair.source_prompt:
        return math.nan
    return float(clip.text(pair.edited, pair.target_prompt) > clip.text(pair.edited, pair.source_prompt))


def _diversity(pair: Pair, network: Perceptual) -> float:
    """Mean LPIPS over all pairs of outputs (Sec. 6: eight outputs, 28 pairs)."""
    if not pair.others:
        return math.nan
    distances = [network.distance(a, b) for a, b in combinations((pair.edited, *pair.others), 2)]
    return sum(distances) / len(distances)


METRICS = (
    Metric("pie-bench.structure", "Structure x 1e3", 1e3, 2, "down", _structure, "dino"),
    Metric("pie-bench.psnr", "PSNR dB", 1, 2, "up", of_background(blackened(measures.psnr))),
    Metric("pie-bench.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips_background, "lpips_squeeze"),
    Metric("pie-bench.mse", "MSE x 1e4", 1e4, 2, "down", of_background(blackened(measures.mse))),
    Metric("pie-bench.ssim", "SSIM x 1e2", 1e2, 2, "up", of_background(blackened(measures.ssim))),
    Metric("pie-bench.clip_whole", "CLIP whole", 1, 2, "up", _clip_whole, "clip_l14"),
    Metric("pie-bench.clip_edited", "CLIP edited", 1, 2, "up", _clip_edited, "clip_l14"),
    Metric("pie-bench.clip_source", "CLIP source", 1, 2, "", _clip_source, "clip_l14"),
    Metric("masked.structure_01", "Structure 0..1 x 1e3", 1e3, 2, "down", _structure_01, "dino"),
    Metric("masked.psnr", "PSNR dB", 1, 2, "up", of_background(measures.psnr_within)),
    Metric("masked.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips_within, "lpips_squeeze"),
    Metric("masked.mse", "MSE x 1e4", 1e4, 2, "down", of_background(measures.mse_within)),
    Metric("masked.ssim", "SSIM x 1e2", 1e2, 2, "up", of_background(measures.ssim_within)),
    Metric("whole.psnr", "PSNR dB", 1, 2, "up", of_whole(measures.psnr)),
    Metric("whole.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips, "lpips_squeeze"),
    Metric("whole.mse", "MSE x 1e4", 1e4, 2, "down", of_whole(measures.mse)),
    Metric("whole.ssim", "SSIM x 1e2", 1e2, 2, "up", of_whole(measures.ssim)),
    Metric("whole.ssim_of_gray", "SSIM of gray x 1e2", 1e2, 2, "up", of_whole(measures.ssim_of_gray)),
    Metric("whole.clip_pictures", "CLIP pictures x 1e2", 1e2, 2, "up", _clip_pictures, "clip_l14"),
    Metric("ef-paper.clip", "CLIP B/32", 1, 3, "up", _clip, "clip_b32"),
    Metric("ef-paper.accuracy", "CLIP accuracy", 1, 3, "up", _accuracy, "clip_b32"),
    Metric("ef-paper.lpips", "LPIPS AlexNet", 1, 3, "down", _lpips, "lpips_alex"),
    Metric("ef-paper.diversity", "Diversity", 1, 3, "up", _diversity, "lpips_alex"),
    Metric("ef-paper.seconds", "Seconds", 1, 2, "", lambda pair, _: pair.seconds),
)
PROTOCOLS = ("pie-bench", "masked", "whole", "ef-paper")
BY_NAME = {metric.name: metric for metric in METRICS}


def columns_of(protocol: str) -> list[Metric]:
    """The metrics of a protocol, left to right as in published tables."""
    return [metric for metric in METRICS if metric.name.startswith(f"{protocol}.")]
