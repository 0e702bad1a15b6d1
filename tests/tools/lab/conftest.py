"""Models of the demo's classes with random weights: what is computed, not how well it is painted."""

from __future__ import annotations

import pytest
import torch

from demo.model import DemoModel
from demo.network import UNetConfig


def untrained_model(prediction: str = "v") -> DemoModel:
    """As the bundled model, with an autoencoder that does not shrink what it is given."""
    torch.manual_seed(0)
    model = DemoModel.create(UNetConfig(prediction=prediction)).eval().requires_grad_(False)
    for name, weight in model.autoencoder.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(weight, a=2.0)
    return model


@pytest.fixture(scope="session")
def untrained() -> DemoModel:
    return untrained_model()


@pytest.fixture(scope="session")
def flow() -> DemoModel:
    return untrained_model("flow")
