"""The pictures of the help pages: what is drawn, not how well the model paints."""

import torch

from demo.rendering import render
from demo.scenes import TEST_SEED, scene_of_caption
from tools.lab import pictures
from tools.lab.settings import HOUSE, LabSettings


def test_a_picture_starts_from_an_exact_inversion(untrained, monkeypatch):
    monkeypatch.setattr(pictures, "SETTINGS", LabSettings(steps=2))
    house = pictures.Runs(untrained).house
    scene = scene_of_caption(HOUSE[0], TEST_SEED + HOUSE[1])
    assert scene.caption == HOUSE[0]
    assert torch.equal(house.image, torch.from_numpy(render(scene).image))
    inverted = untrained.autoencoder.decode(house.noise_maps.image)[0]
    torch.testing.assert_close(house.replay(), inverted, atol=1e-5, rtol=0)
