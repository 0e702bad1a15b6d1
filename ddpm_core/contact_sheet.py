"""Noise maps as one picture: states, predictions and z_t along the steps, in labelled tiles; and grids of images.

The columns are levels of the schedule, from the noisiest to the image. The rows are the states x_t, the predictions
P(f_t(x_t)) and the noise z_t of arXiv 2304.06140, Eqs. 3 to 6. How a latent becomes colors is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from .noise_maps import NoiseMaps

ToRgb = Callable[[Tensor], Tensor]
"""(C, H, W), or (C, L) of sound, -> (3, H', W') in [-1, 1]."""

# Noise is drawn at a third of its size, so that black and white stand for three standard deviations.
NOISE_SCALE = 1 / 3
ROW_LABELS = ("x_t", "prediction", "z_t")
SMALLEST_TILE, LARGEST_TILE = 112, 256  # pixels
MARGIN, LABEL_WIDTH = 8, 76
LETTERS, SPACING = 13, 3  # heights of letters and between lines
LINE = LETTERS + SPACING


@dataclass(frozen=True)
class Tile:
    """One picture of a grid, (3, H, W) in [-1, 1] or an image of Pillow, and a note of a few words under it."""

    image: Tensor | Image.Image
    note: str = ""

    @property
    def picture(self) -> Image.Image:
        return to_picture(self.image) if isinstance(self.image, Tensor) else self.image


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
        noise_to_rgb: of z_t, channels of variance 1 to colors of variance 1.

    Raises:
        ValueError: a row that the maps do not have.
    """
    if not 0 <= row < len(noise_maps.image):
        raise ValueError(f"row is {row}, the noise maps have {len(noise_maps.image)} rows: use 0 to the last of them")
    return [_column(noise_maps, i, row, latent_to_rgb, noise_to_rgb) for i in levels]


def draw(columns: Sequence[Column]) -> Image.Image:
    """The sheet."""
    rows = (
        [Tile(column.state) for column in columns],
        [None if column.denoised is None else Tile(column.denoised) for column in columns],
        # a note stands under an empty place, too
        [Tile(torch.ones_like(c.state) if c.z is None else c.z, c.note) for c in columns],
    )
    return grid(rows, ROW_LABELS, ["\n".join(column.heading) for column in columns])


def grid(
    rows: Sequence[Sequence[Tile | Tensor | None]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    *,
    title: str = "",
    size: tuple[int, int] | None = None,
    margin: int = MARGIN,
    letters: int = LETTERS,
    ground: str | None = "white",
) -> Image.Image:
    """Tiles of one size, with a label before each row and over each column; a label may have several lines.

    Args:
        rows: pictures alone or with notes; None leaves a place empty, and a row may be shorter than the others.
        title: over all.
        size: width and height of a tile, into which a picture of another shape is padded; None goes by the first.
        margin: pixels between tiles.
        letters: their height in pixels.
        ground: None for no ground and grey words, which can be read on light pages and dark ones.
    """
    tiles = [[Tile(part) if isinstance(part, Tensor) else part for part in row] for row in rows]
    first = next(tile for row in tiles for tile in row if tile is not None)
    width, height = size or _tile_size(*first.picture.size)
    line = letters + SPACING
    font, ink, edge = ImageFont.load_default(letters), "black" if ground else "gray", margin if ground else 0

    def length(text: str) -> int:
        return max(math.ceil(font.getlength(part)) for part in text.split("\n"))

    def lines(texts: Iterable[str]) -> int:
        return max((text.count("\n") + 1 for text in texts if text), default=0)

    notes = [tile.note for row in tiles for tile in row if tile is not None]
    across = max(width, *map(length, (*column_labels, *notes, ""))) + margin
    down = [height + line * lines(tile.note for tile in row if tile is not None) + margin for row in tiles]
    left = max(LABEL_WIDTH, *(length(label) + MARGIN + MARGIN // 2 for label in row_labels)) if row_labels else edge
    top = edge + line * (lines([title]) + lines(column_labels)) + (MARGIN if title or column_labels else 0)
    columns = max(map(len, tiles))
    sheet = Image.new(
        "RGB" if ground else "RGBA",
        (max(left + columns * across - margin, left + length(title)) + edge, top + sum(down) - margin + edge),
        ground or (0, 0, 0, 0),
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((left, edge), title, fill=ink, font=font)
    for c, label in enumerate(column_labels):
        pen.text((left + c * across, edge + line * lines([title])), label, fill=ink, font=font, spacing=SPACING)
    for r, row in enumerate(tiles):
        y = top + sum(down[:r])
        if row_labels:
            pen.text((MARGIN, y + height // 2), row_labels[r], fill=ink, font=font, anchor="lm", spacing=SPACING)
        for c, tile in enumerate(row):
            if tile is not None:
                sheet.paste(_fitted(tile.picture, (width, height), ground), (left + c * across, y))
                pen.text((left + c * across, y + height + 1), tile.note, fill="gray", font=font, spacing=SPACING)
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
    denoised = latent_to_rgb(_frame(noise_maps.denoised_at(i)[row]))
    if step.sigma_t == 0:
        return Column(heading, state, denoised, None, "no noise")
    z = _frame(noise_maps.residuals[i, row]) / step.sigma_t
    size = z.square().mean().sqrt().item()
    return Column(heading, state, denoised, noise_to_rgb(z) * NOISE_SCALE / max(1.0, size), f"size {size:.2f}")


def _frame(x: Tensor) -> Tensor:
    """(C, H, W) of (C, H, W), (C, L) of (C, L), or the first frame of a video (C, F, H, W)."""
    return x[:, 0] if x.ndim == 4 else x


def _tile_size(width: int, height: int, smallest: int = SMALLEST_TILE, largest: int = LARGEST_TILE) -> tuple[int, int]:
    """Width and height of a tile: whole multiples of small pictures, large ones shrunk."""
    longest = max(width, height)
    scale = min(math.ceil(smallest / longest), largest / longest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(picture: Image.Image, size: tuple[int, int], ground: str | None) -> Image.Image:
    """The picture as large as the tile, each pixel a square where that is larger."""
    enlarged = size[0] >= picture.width
    method = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return ImageOps.pad(picture.convert("RGB"), size, method, ground or "gray")
