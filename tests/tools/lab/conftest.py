"""Small models of the demo's kind with random weights: what is computed, not how well it is painted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from demo.autoencoder import FACTOR
from demo.flux import Flux
from demo.model import DemoModel
from demo.network import UNet
from demo.text import TextEncoder
from demo.weights import FluxConfig, UNetConfig


class Mosaic(torch.nn.Module):
    """Stands where a model has its autoencoder, and is fast: the mean colors of cells, and a channel of zeros."""

    def encode(self, images):
        return F.pad(F.avg_pool2d(images, FACTOR), (0, 0, 0, 0, 0, 1))

    def decode(self, latents):
        return F.interpolate(latents[:, :3], scale_factor=FACTOR)


def small(network: UNet | Flux) -> DemoModel:
    """Each module has its own: nodes on a model stay, also where a test is to find no ComfyUI."""
    return DemoModel(network, TextEncoder(network.config.context_width), Mosaic()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def untrained() -> DemoModel:
    torch.manual_seed(0)
    return small(UNet(UNetConfig(model_channels=32)))


@pytest.fixture(scope="module")
def edit_model() -> DemoModel:
    torch.manual_seed(0)
    return small(UNet(UNetConfig(in_channels=8, model_channels=32)))


@pytest.fixture(scope="module")
def flow() -> DemoModel:
    torch.manual_seed(0)
    network = Flux(FluxConfig(hidden_size=96, num_heads=2, depth=1, depth_single_blocks=1))
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # a new one predicts 0
    return small(network)
