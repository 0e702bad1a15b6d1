"""CLIP against LPIPS, as Fig. 15 of arXiv 2304.06140: up is nearer to the prompt, left is nearer to the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .intervals import Mean
from .tradeoff import Tradeoff


def draw(tradeoff: Tradeoff, bound: float, path: Path) -> None:
    """Write the plot; settings of one method are joined by a line, and a bound of LPIPS is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for method, points in tradeoff.methods.items():
        across, up = [point.lpips for point in points], [point.clip for point in points]
        axes.errorbar(
            [mean.mean for mean in across],
            [mean.mean for mean in up],
            xerr=_bars(across),
            yerr=_bars(up),
            marker="o",
            capsize=2,
            label=method,
        )
        for point in points:
            place = (point.lpips.mean, point.clip.mean)
            axes.annotate(point.setting, place, textcoords="offset points", xytext=(5, 5), fontsize=7)
    axes.axvline(bound, color="gray", linestyle=":", linewidth=1)
    axes.set_xlabel(f"{tradeoff.lpips.heading.partition(' x ')[0]} to the source")
    axes.set_ylabel(f"{tradeoff.clip.heading}, edit and target prompt")
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))


def _bars(means: Sequence[Mean]) -> list[list[float]]:
    """Lengths of the error bars below and above the means; 0 without an interval."""
    below, above = [mean.mean - mean.low for mean in means], [mean.high - mean.mean for mean in means]
    return [[max(0.0, length) if math.isfinite(length) else 0.0 for length in lengths] for lengths in (below, above)]
