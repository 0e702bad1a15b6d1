"""Pictures in files, for the command lines; the only module of the core that imports Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .sheet import COLUMNS, Row, Tile

SCALE = 4
MARGIN = 8
LINE = 14


def to_picture(image: Tensor, scale: int = 1) -> Image.Image:
    """image (3, H, W) in [-1, 1], each pixel as a square of `scale` pixels."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


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


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
    picture = to_picture(tile.image, SCALE)
    sheet.paste(picture, (x, y))
    draw.text((x, y + picture.height + 1), tile.note, fill="gray")
