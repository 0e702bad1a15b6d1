"""The pictures of the help pages: what is drawn, not how well the model paints."""

import torch

from demo.model import load_model
from demo.scenes import render
from tools.lab import pictures
from tools.lab.settings import LabSettings


def test_a_picture_starts_from_an_exact_inversion(monkeypatch):
    monkeypatch.setattr(pictures, "SETTINGS", LabSettings(steps=2))
    house = pictures.Runs(load_model()).inverted(pictures.HOUSE)
    assert (house.replay() - house.image).abs().max() <= 1e-5
    assert torch.equal(house.image, torch.from_numpy(render(pictures.HOUSE).image))
