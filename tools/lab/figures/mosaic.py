"""Pictures side by side with names for rows and columns, every pixel a square of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

DPI = 100
SCALE = 3
GAP = 2  # pixels of the small pictures
TOP, LINE, LETTER = 8, 16, 7  # pixels of the figure


def mosaic(
    rows: Mapping[str, Sequence[Tensor | None]], columns: Sequence[str] = (), title: str = "", scale: int = SCALE
) -> Figure:
    """Pictures (3, H, W) in [-1, 1] of one size, by row; None leaves a place empty.

    Args:
        columns: what stands over each; a name may have several lines.
        scale: the side of a pixel.
    """
    tiles = [part for row in rows.values() for part in row]
    height, width = next(part for part in tiles if part is not None).shape[-2:]
    sheet = torch.cat([_line(row, height, width) for row in rows.values()], dim=-2)[..., :-GAP, :-GAP]
    pixels = sheet.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    top = TOP + LINE * ((1 + title.count("\n") if title else 0) + max((c.count("\n") + 1 for c in columns), default=0))
    left = 12 + LETTER * max(len(line) for name in rows for line in name.split("\n"))
    across, down = left + pixels.shape[-1] + TOP, top + pixels.shape[-2] + TOP
    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI)
    axes = figure.add_axes((left / across, TOP / down, pixels.shape[-1] / across, pixels.shape[-2] / down))
    axes.imshow(((pixels.movedim(0, -1).clamp(-1, 1) + 1) / 2).numpy(), interpolation="nearest")
    axes.set_yticks([scale * (k * (height + GAP) + height / 2) for k in range(len(rows))], list(rows))
    axes.set_xticks([scale * (k * (width + GAP) + width / 2) for k in range(len(columns))], list(columns))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
    if title:
        figure.text(0.5, 1 - 4 / down, title, ha="center", va="top", fontsize=10)
    return figure


def _line(row: Sequence[Tensor | None], height: int, width: int) -> Tensor:
    """(3, height + GAP, n * (width + GAP)), white between the pictures."""
    line = torch.ones(3, height + GAP, len(row) * (width + GAP))
    for k, part in enumerate(row):
        if part is not None:
            line[:, :height, k * (width + GAP) : k * (width + GAP) + width] = part
    return line
