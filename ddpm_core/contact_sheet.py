"""Noise maps as one picture: states, predictions and z_t along the steps, in labelled tiles; and grids of images.

The columns are levels of the schedule, from the noisiest to the image. The rows are the states x_t, the predictions
P(f_t(x_t)) and the noise z_t of arXiv 2304.06140, Eqs. 3 to 6. How a latent becomes colours is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .noise_maps import NoiseMaps

ToRgb = Callable[[Tensor], Tensor]
"""(C, H, W) -> (3, H', W') in [-1, 1]."""

# Noise is drawn at a third of its size, so that black and white stand for three standard deviations.
NOISE_SCALE = 1 / 3
ROW_LABELS = ("x_t", "prediction", "z_t")
SMALLEST_TILE, LARGEST_TILE = 112, 256  # pixels
MARGIN, LINE, LABEL_WIDTH = 8, 16, 76


@dataclass(frozen=True)
class Column:
    """One level of the sheet: its pictures (3, H, W) in [-1, 1], or None for none, and what stands over and under."""

    heading: tuple[str, str]
    state: Tensor
    denoised: Tensor | None
    z: Tensor | None
    note: str = ""


def levels_shown(steps: int, columns: int) -> list[int]:
    """At most `columns` levels of 0 ... steps, evenly spread, the noisiest and the image among them."""
    return torch.linspace(0, steps, max(2, columns)).round().to(torch.int64).unique().tolist()


def columns_of(
    noise_maps: NoiseMaps, levels: Sequence[int], row: int, latent_to_rgb: ToRgb, noise_to_rgb: ToRgb
) -> list[Column]:
    """What the sheet shows of row `row` at each of `levels`.

    A state is a_t x_0 + b_t eps: it is divided by hypot(a_t, b_t / NOISE_SCALE), which leaves the image as it is and
    keeps noise within black and white. Maps z_t of more than the unit variance of a sampler's own, which those of an
    edit-friendly inversion are, are drawn in units of their size, which the note tells.

    Args:
        latent_to_rgb: of states and predictions.
        noise_to_rgb: of z_t, channels of variance 1 to colours of variance 1.

    Raises:
        ValueError: a row that the maps do not have, latents without height and width.
    """
    if not 0 <= row < len(noise_maps.image):
        raise ValueError(f"row is {row}, the noise maps have {len(noise_maps.image)} rows: use 0 to the last of them")
    if noise_maps.image.ndim < 4:
        raise ValueError(f"only maps of images can be shown, these have rows of {tuple(noise_maps.image.shape[1:])}")
    return [_column(noise_maps, i, row, latent_to_rgb, noise_to_rgb) for i in levels]


def draw(columns: Sequence[Column]) -> Image.Image:
    """The sheet."""
    size = _tile_size(columns[0].state)
    across, down = size[0] + MARGIN, size[1] + MARGIN
    top = 2 * LINE + 2 * MARGIN
    width, height = LABEL_WIDTH + len(columns) * across + MARGIN, top + len(ROW_LABELS) * down + LINE
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for r, label in enumerate(ROW_LABELS):
        pen.text((MARGIN, top + r * down + size[1] // 2), label, fill="black", font=font, anchor="lm")
    for c, column in enumerate(columns):
        x = LABEL_WIDTH + c * across
        for line, text in enumerate(column.heading):
            pen.text((x, MARGIN + line * LINE), text, fill="black", font=font)
        pen.text((x, height - LINE - MARGIN // 2), column.note, fill="gray", font=font)
        for r, tile in enumerate((column.state, column.denoised, column.z)):
            if tile is not None:
                sheet.paste(_resized(to_picture(tile), size), (x, top + r * down))
    return sheet


def grid(rows: Sequence[Sequence[Tensor]], row_labels: Sequence[str], column_labels: Sequence[str]) -> Image.Image:
    """Pictures (3, H, W) in [-1, 1], all in the size of the first, with a label before each row and over each column.

    A row may be shorter than the others.
    """
    size = _tile_size(rows[0][0])
    across, down = size[0] + MARGIN, size[1] + MARGIN
    top = LINE + 2 * MARGIN
    sheet = Image.new("RGB", (LABEL_WIDTH + len(column_labels) * across, top + len(rows) * down), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for c, label in enumerate(column_labels):
        pen.text((LABEL_WIDTH + c * across, MARGIN), label, fill="black", font=font)
    for r, (label, row) in enumerate(zip(row_labels, rows, strict=True)):
        pen.text((MARGIN, top + r * down + size[1] // 2), label, fill="black", font=font, anchor="lm")
        for c, tile in enumerate(row):
            sheet.paste(_resized(to_picture(tile), size), (LABEL_WIDTH + c * across, top + r * down))
    return sheet


def to_picture(image: Tensor, scale: int = 1) -> Image.Image:
    """image (3, H, W) in [-1, 1], each pixel as a square of `scale` pixels."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _column(noise_maps: NoiseMaps, i: int, row: int, latent_to_rgb: ToRgb, noise_to_rgb: ToRgb) -> Column:
    schedule = noise_maps.schedule
    spread = math.hypot(schedule.signal[i].item(), schedule.noise[i].item() / NOISE_SCALE)
    state = latent_to_rgb(_frame(noise_maps.states[i, row]) / spread)
    if i == noise_maps.steps:
        return Column(("image", ""), state, None, None)
    step = schedule.step(i)
    heading = f"step {i + noise_maps.skipped}", f"sigma {step.sigma:.3g}"
    denoised = latent_to_rgb(_frame(noise_maps.prediction(i)[row]))
    if step.sigma_t == 0:
        return Column(heading, state, denoised, None, "no noise")
    z = _frame(noise_maps.residuals[i, row]) / step.sigma_t
    size = z.square().mean().sqrt().item()
    return Column(heading, state, denoised, noise_to_rgb(z) * NOISE_SCALE / max(1.0, size), f"size {size:.2f}")


def _frame(x: Tensor) -> Tensor:
    """(C, H, W) of (C, H, W), or the first frame of a video (C, F, H, W)."""
    return x[:, 0] if x.ndim == 4 else x


def _tile_size(tile: Tensor) -> tuple[int, int]:
    """Width and height of a tile: whole multiples of small pictures, large ones shrunk."""
    height, width = tile.shape[-2:]
    longest = max(height, width)
    scale = min(math.ceil(SMALLEST_TILE / longest), LARGEST_TILE / longest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarged = size[0] >= picture.width
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
