"""The pictures of the help pages: what is drawn, not how well the model paints."""

import numpy as np
import torch

from demo.model import load_model
from demo.scenes import render
from tools.lab import pictures
from tools.lab.drawing import draw_tiles
from tools.lab.settings import Settings
from tools.lab.sheet import Tile


def test_tiles_stand_in_lines_with_their_notes_below():
    tiles = [Tile(torch.full((3, 8, 8), value), "note") for value in (-1.0, 0.0, 1.0)]
    sheet = np.asarray(draw_tiles(tiles, across=2, scale=4))
    assert sheet.shape == (2 * (32 + 14 + 8) - 8, 2 * (32 + 8) - 8, 4)
    assert (sheet[:32, :32] == [0, 0, 0, 255]).all()
    assert (sheet[:32, 40:72] == [128, 128, 128, 255]).all()
    assert (sheet[54:86, :32] == 255).all()
    assert (sheet[54:, 40:] == 0).all()  # no fourth tile, no ground
    assert sheet[32:46, :32, 3].any()  # the note


def test_a_picture_starts_from_an_exact_inversion(monkeypatch):
    monkeypatch.setattr(pictures, "SETTINGS", Settings(steps=2))
    house = pictures.Runs(load_model()).inverted(pictures.HOUSE)
    assert (house.replay() - house.image).abs().max() <= 1e-5
    assert torch.equal(house.image, torch.from_numpy(render(pictures.HOUSE).image))
