"""The autoencoder: pictures of any size to latents of an eighth of their side.

Module names follow the tiny autoencoder for Stable Diffusion, so one state dict serves this plain-torch class and the
class that a host builds when it finds such weights. There is no normalisation: widths are 64, activations ReLU, and a
block adds three convolutions to what it got. Latents have about zero mean and unit variance over the training scenes,
so `vae_scale` and `vae_shift` are 1 and 0.

Shapes: B batch, C latent channels, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH = 64
FACTOR = 8


def _conv(channels: int, out: int, **options: int | bool) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, **options)  # type: ignore[arg-type]


class Block(nn.Module):
    """Three 3x3 convolutions with ReLU between, added to their input; ReLU."""

    def __init__(self) -> None:
        super().__init__()
        last = _conv(WIDTH, WIDTH)
        self.conv = nn.Sequential(_conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), last)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)  # so that a new network is shallow

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 64, H, W) -> the same."""
        return (x + self.conv(x)).relu()


class Limit(nn.Module):
    """A soft limit of latents to -3 to 3."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same."""
        return (x / 3).tanh() * 3


class Autoencoder(nn.Module):
    """Encoder and decoder, of pictures in [-1, 1]."""

    def __init__(self, latent_channels: int = 4):
        super().__init__()
        encoder: list[nn.Module] = [_conv(3, WIDTH), Block()]
        decoder: list[nn.Module] = [Limit(), _conv(latent_channels, WIDTH), nn.ReLU()]
        for _ in range(3):
            encoder += [_conv(WIDTH, WIDTH, stride=2, bias=False), Block(), Block(), Block()]
            decoder += [Block(), Block(), Block(), nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]
        self.taesd_encoder = nn.Sequential(*encoder, _conv(WIDTH, latent_channels))
        self.taesd_decoder = nn.Sequential(*decoder, Block(), _conv(WIDTH, 3))
        self.vae_scale = nn.Parameter(torch.tensor(1.0))
        self.vae_shift = nn.Parameter(torch.tensor(0.0))

    @property
    def channels(self) -> int:
        """Of the latents."""
        return self.taesd_encoder[-1].out_channels  # type: ignore[return-value]

    def encode(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) in [-1, 1] -> latents (B, C, H / 8, W / 8)."""
        return self.taesd_encoder(images * 0.5 + 0.5) / self.vae_scale + self.vae_shift

    def decode(self, latents: Tensor) -> Tensor:
        """latents (B, C, H, W) -> images (B, 3, 8 H, 8 W), about [-1, 1]."""
        return self.taesd_decoder((latents - self.vae_shift) * self.vae_scale) * 2 - 1


def load_autoencoder(path: Path) -> Autoencoder:
    """Read the weights, of as many latent channels as they have, and cast them up to float32."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    model = Autoencoder(weights["taesd_decoder.1.weight"].shape[1])
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
