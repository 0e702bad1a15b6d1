"""What is measured of an edit: lists of metrics, each with its formula, its unit and what it needs.

`pie-bench` is the published table with its quirks, which are named in `QUIRKS`; `masked` is the same over what was not
to change alone; `whole` is without a mask; `ef-paper` is that of "An Edit Friendly DDPM Noise Space", Tables 1 and 2,
which does not name its backbones: CLIP ViT-B/32 and
AlexNet are the likelier ones, and the other protocols have the others.

A formula gives NaN where an edit has no such value: no mask, a mask without a background, a single output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from typing import Protocol as Shape

from torch import Tensor

from . import pixels

VERSION = 1  # to be raised with any change of a formula: rows of other versions are measured again

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


class Clip(Shape):
    def text(self, picture: Tensor, prompt: str) -> float:
        """Cosine of a picture and a prompt."""

    def pictures(self, first: Tensor, second: Tensor) -> float:
        """Cosine of two pictures."""


class Structure(Shape):
    def distance(self, source: Tensor, edited: Tensor, full: float) -> float:
        """Between two pictures whose white is `full`."""


class Perceptual(Shape):
    def distance(self, source: Tensor, edited: Tensor) -> float:
        """Of two pictures."""

    def distance_within(self, source: Tensor, edited: Tensor, region: Tensor) -> float:
        """Its mean over a region (H, W)."""


Networks = Mapping[str, Any]
"""Those that there are weights for, by the names that metrics need them by: clip_l14, clip_b32 (Clip), dino
(Structure), lpips_squeeze, lpips_alex (Perceptual)."""


@dataclass(frozen=True)
class Pair:
    """A picture and an edit of it, in the same size.

    Args:
        source, edited: (H, W, 3) uint8.
        mask: (H, W) bool, true where the edit was wanted; None where nobody said.
        others: further edits by the same prompts from other noise, for diversity.
        seconds: that one picture took, where it is known.
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
        """(H, W) bool, true where nothing was to change; None where there is no mask or no such pixel."""
        return None if self.mask is None or bool(self.mask.all()) else ~self.mask


@dataclass(frozen=True)
class Metric:
    """One column.

    Args:
        name: of its column, PROTOCOL.METRIC.
        heading: how it is printed, with its unit.
        scale: by which it is multiplied for printing, never for files.
        digits: that are printed after the point.
        better: "up", "down", or "" where neither is meant.
        formula: its value of a pair.
        needs: the network that the formula gets beside the pair; "" for none.
    """

    name: str
    heading: str
    scale: float
    digits: int
    better: str
    formula: Callable[[Pair, Any], float]
    needs: str = ""

    def shown(self, value: float) -> str:
        """The value as it is printed everywhere."""
        return "-" if math.isnan(value) else f"{self.scale * value:.{self.digits}f}"

    def value(self, pair: Pair, networks: Networks) -> float:
        """Of a pair; NaN where the network is not there."""
        if self.needs and self.needs not in networks:
            return math.nan
        return self.formula(pair, networks.get(self.needs))


def of_background(formula: Callable[[Tensor, Tensor, Tensor], float]) -> Callable[[Pair, Any], float]:
    """The formula of source, edited and background, for pairs that have one."""

    def value(pair: Pair, _: Any) -> float:
        background = pair.background
        return math.nan if background is None else formula(pair.source, pair.edited, background)

    return value


def blackened(formula: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor, Tensor], float]:
    """The formula of two pictures whose edited part is black."""
    return lambda source, edited, background: formula(
        pixels.black_outside(source, background), pixels.black_outside(edited, background)
    )


def _psnr(source: Tensor, edited: Tensor) -> float:
    return pixels.psnr(pixels.mse(source, edited))


def _psnr_within(source: Tensor, edited: Tensor, background: Tensor) -> float:
    return pixels.psnr(pixels.mse_within(source, edited, background))


def _lpips(pair: Pair, network: Perceptual) -> float:
    return network.distance(pair.source, pair.edited)


def _lpips_background(pair: Pair, network: Perceptual) -> float:
    return of_background(blackened(network.distance))(pair, None)


def _lpips_within(pair: Pair, network: Perceptual) -> float:
    def within(source: Tensor, edited: Tensor, background: Tensor) -> float:
        first, second = (pixels.black_outside(picture, background) for picture in (source, edited))
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
    return _clip_score(clip, pixels.black_outside(pair.edited, pair.mask), pair.target_prompt)


def _clip_pictures(pair: Pair, clip: Clip) -> float:
    return clip.pictures(pair.source, pair.edited)


def _clip(pair: Pair, clip: Clip) -> float:
    return clip.text(pair.edited, pair.target_prompt)


def _accuracy(pair: Pair, clip: Clip) -> float:
    """Whether the edit is nearer to the target prompt than to the source prompt (pix2pix-zero, Sec. 4)."""
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
    Metric("pie-bench.psnr", "PSNR dB", 1, 2, "up", of_background(blackened(_psnr))),
    Metric("pie-bench.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips_background, "lpips_squeeze"),
    Metric("pie-bench.mse", "MSE x 1e4", 1e4, 2, "down", of_background(blackened(pixels.mse))),
    Metric("pie-bench.ssim", "SSIM x 1e2", 1e2, 2, "up", of_background(blackened(pixels.ssim))),
    Metric("pie-bench.clip_whole", "CLIP whole", 1, 2, "up", _clip_whole, "clip_l14"),
    Metric("pie-bench.clip_edited", "CLIP edited", 1, 2, "up", _clip_edited, "clip_l14"),
    Metric("pie-bench.clip_source", "CLIP source", 1, 2, "", _clip_source, "clip_l14"),
    Metric("masked.structure_01", "Structure 0..1 x 1e3", 1e3, 2, "down", _structure_01, "dino"),
    Metric("masked.psnr", "PSNR dB", 1, 2, "up", of_background(_psnr_within)),
    Metric("masked.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips_within, "lpips_squeeze"),
    Metric("masked.mse", "MSE x 1e4", 1e4, 2, "down", of_background(pixels.mse_within)),
    Metric("masked.ssim", "SSIM x 1e2", 1e2, 2, "up", of_background(pixels.ssim_within)),
    Metric("whole.psnr", "PSNR dB", 1, 2, "up", lambda pair, _: _psnr(pair.source, pair.edited)),
    Metric("whole.lpips", "LPIPS x 1e3", 1e3, 2, "down", _lpips, "lpips_squeeze"),
    Metric("whole.mse", "MSE x 1e4", 1e4, 2, "down", lambda pair, _: pixels.mse(pair.source, pair.edited)),
    Metric("whole.ssim", "SSIM x 1e2", 1e2, 2, "up", lambda pair, _: pixels.ssim(pair.source, pair.edited)),
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
    """The metrics of a protocol, left to right as published tables have them."""
    return [metric for metric in METRICS if metric.name.startswith(f"{protocol}.")]
