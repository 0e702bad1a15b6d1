"""The demo model: autoencoder, text encoder and network in one safetensors file, and the denoiser that the core calls.

The file holds float16 weights, keyed `autoencoder.*`, `text_encoder.*` and `network.*`, and is evaluated in float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .autoencoder import Autoencoder
from .flux import Flux, FluxConfig
from .network import UNet, UNetConfig, denoise, denoise_flow
from .text import TextEncoder, tokens

if TYPE_CHECKING:  # ComfyUI imports this module as part of the pack, where the core has another name
    from ddpm_core.null_text import GuidedDenoiser, UncondDenoiser

WEIGHTS = Path(__file__).parent / "weights.safetensors"
FORMAT = "ddpm-latent-demo-1"
LatentRgb = list[list[float]]
LAYOUTS: dict[str, type[UNetConfig] | type[FluxConfig]] = {"unet": UNetConfig, "flux": FluxConfig}


class DemoModel(nn.Module):
    """A text-conditional diffusion model of the latents of 128 x 128 pixel scenes.

    Args:
        latent_rgb: how a preview makes colors of latents: what each channel adds to red, green and blue in [-1, 1],
            and, last, a constant.
    """

    def __init__(
        self,
        network: UNet | Flux,
        text_encoder: TextEncoder,
        autoencoder: Autoencoder,
        latent_rgb: LatentRgb | None = None,
    ):
        super().__init__()
        self.network = network
        self.text_encoder = text_encoder
        self.autoencoder = autoencoder
        self.latent_rgb = latent_rgb

    @classmethod
    def create(cls, config: UNetConfig | FluxConfig | None = None, latent_rgb: LatentRgb | None = None) -> DemoModel:
        """A model with random weights."""
        config = config or UNetConfig()
        network = Flux(config) if isinstance(config, FluxConfig) else UNet(config)
        return cls(network, TextEncoder(config.context_width), Autoencoder(config.out_channels), latent_rgb)

    @torch.no_grad()
    def encode(self, captions: list[str]) -> Tensor:
        """Captions as contexts (B, L, D)."""
        return self.text_encoder(tokens(captions))

    @property
    def is_flow(self) -> bool:
        """Whether it is a rectified flow."""
        return isinstance(self.network, Flux)

    def predict(self, x: Tensor, sigma: Tensor, contexts: Tensor) -> Tensor:
        """Predicted latents x_0: x (B, C, H, W), sigma (B,), contexts (B, L, D) -> (B, C, H, W).

        x is x_0 + sigma * eps; of a flow model, (1 - sigma) x_0 + sigma * eps.
        """
        return (denoise_flow if self.is_flow else denoise)(self.network, x, sigma, contexts)

    def denoiser(self, captions: str | list[str], cfg: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        """The predictor of x_0 under a caption, with classifier-free guidance (arXiv 2207.12598).

        Args:
            captions: one for all rows, or one a row. An empty caption is unconditional.
            cfg: 1 is the conditional prediction alone.

        Returns:
            A function of x (N, C, H, W) and sigma (N,), as `predict` has them.
        """
        from ddpm_core.guidance import guided  # a host, which calls no denoiser of ours, knows the core by another name

        cond = self.encode([captions] if isinstance(captions, str) else captions)
        uncond = self.encode([""])

        @torch.no_grad()
        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            rows = len(x)
            contexts = cond.expand(rows, -1, -1)
            if cfg == 1.0:
                return self.predict(x, sigma, contexts)
            contexts = torch.cat([uncond.expand(rows, -1, -1), contexts])
            x_0_uncond, x_0 = self.predict(x.repeat(2, 1, 1, 1), sigma.repeat(2), contexts).chunk(2)
            return guided(x_0_uncond, x_0, cfg)

        return predict

    def guided_denoiser(self, captions: list[str], cfg: float) -> GuidedDenoiser:
        """`denoiser` with the unconditional embedding left open, for null-text inversion; it lets gradients through."""
        from ddpm_core.guidance import guided

        contexts = self.encode(captions)

        def prepare(x: Tensor, sigma: Tensor) -> UncondDenoiser:
            with torch.no_grad():
                x_0 = self.predict(x, sigma, contexts)

            return lambda uncond: guided(self.predict(x, sigma, uncond), x_0, cfg)

        return prepare


def save_model(model: DemoModel, path: Path) -> None:
    """Write the weights in float16 beside the target, then rename, so that no half-written file is ever seen."""
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    (layout,) = (name for name, config in LAYOUTS.items() if isinstance(model.network.config, config))
    metadata = {"format": FORMAT, "layout": layout, "network": json.dumps(asdict(model.network.config))}
    if model.latent_rgb:
        metadata["latent_rgb"] = json.dumps(model.latent_rgb)
    beside = path.with_suffix(".part")
    save_file(weights, beside, metadata=metadata)
    os.replace(beside, path)


def load_model(path: Path | None = None) -> DemoModel:
    """Read the weights, the bundled ones by default, and cast them up to float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a demo model.
    """
    path = path or WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"the weights of the demo model are missing: {path.name} should lie in {path.parent}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged, fetch it again from the repository: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} is not a demo model: its format is {metadata.get('format')!r}, not {FORMAT!r}")
    config, latent_rgb = (json.loads(metadata.get(name, "null")) for name in ("network", "latent_rgb"))
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}
    model = DemoModel.create(LAYOUTS[metadata["layout"]](**fields), latent_rgb)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
