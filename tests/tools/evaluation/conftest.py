"""Small random pictures, and weights in the real layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from support import random_networks
from tools.evaluation import weights


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """A folder for --weights with everything, random."""
    return random_networks.save_all(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def networks(weights_folder):
    """What metrics need, by its name, loaded from the folder."""
    return weights.load(weights_folder).networks


@pytest.fixture
def picture():
    """picture(seed, height=40, width=48): (H, W, 3) uint8 of smooth noise."""

    def make(seed: int, height: int = 40, width: int = 48):
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand((1, 3, height // 4, width // 4), generator=generator)
        fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        return (255 * fine[0].movedim(0, -1)).round().to(torch.uint8)

    return make


@pytest.fixture
def mask():
    """(40, 48) bool: true, for the edit, over a part that touches an edge."""
    edited = torch.zeros(40, 48, dtype=torch.bool)
    edited[10:30, :20] = True
    return edited
