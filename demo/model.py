"""The demo model in plain torch: autoencoder, text encoder and network, and the denoiser that the core calls.

ComfyUI runs its own classes on the same weights (`nodes/host/demo.py`); this one is for the tools, and for tests that
hold the two to one function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_core.guidance import guided
from ddpm_core.null_text import GuidedDenoiser, UncondDenoiser

from .autoencoder import Autoencoder
from .flux import Flux
from .network import UNet, denoise, denoise_flow
from .text import TextEncoder, tokens
from .weights import FluxConfig, LatentRgb, UNetConfig, Weights, load_weights, save_weights


class DemoModel(nn.Module):
    """A text-conditional diffusion model of the latents of 128 x 128 pixel scenes.

    Args:
        latent_rgb: as `Weights` has it.
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

    def weights(self) -> Weights:
        """What its file holds."""
        parts = {name: module.state_dict() for name, module in self.named_children()}
        return Weights(self.network.config, **parts, latent_rgb=self.latent_rgb)

    @property
    def is_shown_pictures(self) -> bool:
        """Whether it is an edit model, which takes the latents of a picture beside its own."""
        return self.network.config.in_channels > self.network.config.out_channels

    def predict(self, x: Tensor, sigma: Tensor, contexts: Tensor, shown: Tensor | None = None) -> Tensor:
        """Predicted latents x_0: x (B, C, H, W), sigma (B,), contexts (B, L, D) -> (B, C, H, W).

        x is x_0 + sigma * eps; of a flow model, (1 - sigma) x_0 + sigma * eps.

        Args:
            shown: the pictures (B, C, H, W) that an edit model edits.
        """

        def network(x: Tensor, t: Tensor, contexts: Tensor) -> Tensor:
            return self.network(x if shown is None else torch.cat([x, shown], dim=1), t, contexts)

        return (denoise_flow if self.is_flow else denoise)(network, x, sigma, contexts)

    def denoiser(
        self, captions: str | list[str], cfg: float = 1.0, shown: Tensor | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The predictor of x_0 under a caption, with classifier-free guidance (arXiv 2207.12598).

        Args:
            captions: one for all rows, or one a row. An empty caption is unconditional.
            cfg: 1 is the conditional prediction alone.
            shown: the pictures (N, C, H, W) that an edit model edits; its captions are instructions.

        Returns:
            A function of x (N, C, H, W) and sigma (N,), as `predict` has them.
        """
        cond = self.encode([captions] if isinstance(captions, str) else captions)
        uncond = self.encode([""])
        both = None if shown is None else shown.repeat(2, 1, 1, 1)

        @torch.no_grad()
        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            rows = len(x)
            contexts = cond.expand(rows, -1, -1)
            if cfg == 1.0:
                return self.predict(x, sigma, contexts, shown)
            contexts = torch.cat([uncond.expand(rows, -1, -1), contexts])
            x_0_uncond, x_0 = self.predict(x.repeat(2, 1, 1, 1), sigma.repeat(2), contexts, both).chunk(2)
            return guided(x_0_uncond, x_0, cfg)

        return predict

    def guided_denoiser(self, captions: list[str], cfg: float) -> GuidedDenoiser:
        """`denoiser` with the unconditional embedding left open, for null-text inversion; it lets gradients through."""
        contexts = self.encode(captions)

        def prepare(x: Tensor, sigma: Tensor) -> UncondDenoiser:
            with torch.no_grad():
                x_0 = self.predict(x, sigma, contexts)

            return lambda uncond: guided(self.predict(x, sigma, uncond), x_0, cfg)

        return prepare


def save_model(model: DemoModel, path: Path) -> None:
    """Write its weights in float16."""
    save_weights(model.weights(), path)


def load_model(path: Path | None = None) -> DemoModel:
    """The model of a file, the bundled one by default, in float32; raises as `load_weights` does."""
    weights = load_weights(path)
    model = DemoModel.create(weights.config, weights.latent_rgb)
    for name, part in model.named_children():
        part.load_state_dict(getattr(weights, name))
    return model.eval().requires_grad_(False)
