"""CLIP against LPIPS, as Fig. 15 of arXiv 2304.06140: up is nearer to the prompt, left is nearer to the source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .intervals import Mean
from .protocols import BY_NAME
from .scores import Scores

# The paper's own choice first, then what stands in for it without those weights.
_CLIP, _LPIPS = ("ef-paper.clip", "pie-bench.clip_whole"), ("ef-paper.lpips", "whole.lpips")


def draw(scores: Mapping[str, Scores], path: Path) -> str | None:
    """Write the plot, or say why there is none.

    Settings of one method, whose names agree up to a comma, are joined by a line.
    """
    measured = [name for name in (*_CLIP, *_LPIPS) if any(own.mean(BY_NAME[name]).count for own in scores.values())]
    clip, lpips = (next((name for name in names if name in measured), None) for names in (_CLIP, _LPIPS))
    if clip is None or lpips is None:
        return "the plot of CLIP against LPIPS takes weights of both"
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for family, points in _families(scores, clip, lpips).items():
        across, up = [point.lpips for point in points], [point.clip for point in points]
        axes.errorbar(
            [mean.mean for mean in across],
            [mean.mean for mean in up],
            xerr=_bars(across),
            yerr=_bars(up),
            marker="o",
            capsize=2,
            label=family,
        )
        for point in points:
            place = (point.lpips.mean, point.clip.mean)
            axes.annotate(point.setting, place, textcoords="offset points", xytext=(5, 5), fontsize=7)
    axes.set_xlabel(f"{BY_NAME[lpips].heading.partition(' x ')[0]} to the source")
    axes.set_ylabel(f"{BY_NAME[clip].heading}, edit and target prompt")
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))
    return None


@dataclass(frozen=True)
class _Point:
    setting: str
    lpips: Mean
    clip: Mean


def _families(scores: Mapping[str, Scores], clip: str, lpips: str) -> dict[str, list[_Point]]:
    """The points of each method, left to right."""
    families: dict[str, list[_Point]] = {}
    for name, own in scores.items():
        family, _, setting = name.partition(", ")
        point = _Point(setting, own.mean(BY_NAME[lpips]), own.mean(BY_NAME[clip]))
        if point.lpips.count and point.clip.count:
            families.setdefault(family, []).append(point)
    return {family: sorted(points, key=lambda point: point.lpips.mean) for family, points in families.items()}


def _bars(means: Sequence[Mean]) -> list[list[float]]:
    """Lengths of the error bars below and above the means; 0 without an interval."""
    below, above = [mean.mean - mean.low for mean in means], [mean.high - mean.mean for mean in means]
    return [[max(0.0, length) if math.isfinite(length) else 0.0 for length in lengths] for lengths in (below, above)]
