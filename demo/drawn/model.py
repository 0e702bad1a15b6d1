"""The latent demo model: autoencoder, text encoder and network in one safetensors file.

The file holds float16 weights, keyed `autoencoder.*`, `text_encoder.*` and `network.*`, and is evaluated in float32.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..network import UNet, UNetConfig, denoise, denoise_flow
from .autoencoder import Autoencoder
from .flux import Flux, FluxConfig
from .text import TextEncoder, tokens

FORMAT = "ddpm-latent-demo-1"
CONTEXT_DIM = 96
NETWORK = UNetConfig(
    in_channels=4,
    out_channels=4,
    model_channels=64,
    channel_mult=(1, 2),
    input_depth=(1, 1),
    middle_depth=1,
    output_depth=(1, 1, 1, 1),
    context_dim=CONTEXT_DIM,
)
"""Attention at 16 x 16 and at 8 x 8, for the latents of 128 x 128 pixels."""


LAYOUTS = {"unet": UNetConfig, "flux": FluxConfig}


class LatentModel(nn.Module):
    """A text-conditional diffusion model of the latents of 128 x 128 pixel scenes."""

    def __init__(self, network: UNet | Flux, text_encoder: TextEncoder, autoencoder: Autoencoder):
        super().__init__()
        self.network = network
        self.text_encoder = text_encoder
        self.autoencoder = autoencoder

    @classmethod
    def create(cls, config: UNetConfig | FluxConfig = NETWORK) -> LatentModel:
        """A model with random weights."""
        network = Flux(config) if isinstance(config, FluxConfig) else UNet(config)
        return cls(network, TextEncoder(CONTEXT_DIM), Autoencoder(config.out_channels))

    @property
    def is_flow(self) -> bool:
        """Whether it is a rectified flow."""
        return isinstance(self.network, Flux)

    @torch.no_grad()
    def encode(self, captions: list[str]) -> Tensor:
        """Captions as contexts (B, L, D)."""
        return self.text_encoder(tokens(captions))

    def predict(self, x: Tensor, sigma: Tensor, contexts: Tensor) -> Tensor:
        """Predicted latents x_0: x (B, C, H, W), sigma (B,), contexts (B, L, D) -> (B, C, H, W).

        x is x_0 + sigma * eps; of a flow model, (1 - sigma) x_0 + sigma * eps.
        """
        return (denoise_flow if self.is_flow else denoise)(self.network, x, sigma, contexts)


def save_model(model: LatentModel, path: Path) -> None:
    """Write the weights in float16 beside the target, then rename, so that no half-written file is ever seen."""
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    config = json.dumps(asdict(model.network.config))
    beside = path.with_suffix(".part")
    save_file(
        weights, beside, metadata={"format": FORMAT, "layout": "flux" if model.is_flow else "unet", "network": config}
    )
    os.replace(beside, path)


def load_model(path: Path) -> LatentModel:
    """Read the weights, and cast them up to float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a latent demo model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the weights of the demo model are missing: {path.name} should lie in {path.parent}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged, fetch it again from the repository: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path.name} is not a latent demo model: its format is {metadata.get('format')!r}, not {FORMAT!r}"
        )
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(metadata["network"]).items()}
    model = LatentModel.create(LAYOUTS[metadata["layout"]](**fields))
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
