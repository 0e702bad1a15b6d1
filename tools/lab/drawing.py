"""Pictures in files, for the command lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ddpm_core.contact_sheet import to_picture

from .sheet import COLUMNS, Row, Tile

SCALE = 4
MARGIN = 8
LINE = 14


def read_picture(path: Path) -> Tensor:
    """(3, H, W) in [-1, 1].

    Raises:
        ValueError: a size that is no multiple of 8.
    """
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)
    height, width = pixels.shape[:2]
    if height % 8 or width % 8:
        raise ValueError(
            f"{path.name} is {width} x {height} pixels: the demo model takes multiples of 8 and was trained at 32 x 32"
        )
    return torch.from_numpy(pixels / 127.5 - 1).movedim(-1, 0)


def draw_sheet(rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> Image.Image:
    """One line a scene: its two captions, then its tiles, each with its heading and note."""
    tile = SCALE * rows[0].tiles[0].image.shape[-1]
    cell, line = tile + MARGIN, tile + 3 * LINE + MARGIN
    sheet = Image.new("RGB", (len(columns) * cell + MARGIN, len(rows) * line + LINE + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for k, heading in enumerate(columns):
        draw.text((MARGIN + k * cell, MARGIN), heading, fill="black")
    for i, row in enumerate(rows):
        top = LINE + 2 * MARGIN + i * line
        draw.text((MARGIN, top), f"{row.source}  ->  {row.target}", fill="black")
        for k, content in enumerate(row.tiles):
            _draw_tile(sheet, draw, content, MARGIN + k * cell, top + LINE)
    return sheet


def draw_tiles(tiles: Sequence[Tile], across: int = 2, scale: int = 3) -> Image.Image:
    """Tiles with their notes, `across` on a line: two fill the node help at its usual width.

    No ground and grey words, for light pages and dark ones.
    """
    side = scale * tiles[0].image.shape[-1]
    cell, line = side + MARGIN, side + LINE + MARGIN
    lines = -(-len(tiles) // across)
    sheet = Image.new("RGBA", (min(across, len(tiles)) * cell - MARGIN, lines * line - MARGIN))
    draw = ImageDraw.Draw(sheet)
    for k, tile in enumerate(tiles):
        _draw_tile(sheet, draw, tile, k % across * cell, k // across * line, scale)
    return sheet


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, x: int, y: int, scale: int = SCALE) -> None:
    picture = to_picture(tile.image, scale)
    sheet.paste(picture, (x, y))
    draw.text((x, y + picture.height + 1), tile.note, fill="gray")
