"""Training of the autoencoder, and what it encodes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.autoencoder import FACTOR, Autoencoder, load_autoencoder
from demo.rendering import render
from demo.scenes import TEST_SEED, TRAIN_SEED, sample_scene
from demo.weights import LatentRgb

from ..settings import FAST_BFLOAT16
from .fit import FitConfig, fit
from .scenes import PART, Pictures


@dataclass(frozen=True)
class AutoencoderConfig(FitConfig):
    """The settings of the autoencoder."""

    steps: int = 24_000
    batch: int = 8
    learning_rate: float = 6e-4
    warmup: int = 100
    ema: float = 0.999
    weight_decay: float = 1e-4
    latent_channels: int = 4
    side: int = 64  # of a crop; the network has no normalisation, so what it learns of crops holds for pictures
    noise: float = 0.05  # in the latents, so that the decoder bears a diffusion model's errors
    unit: float = 0.02  # weight of the penalty that holds the latents at zero mean and unit variance
    detailed: int = 1  # of how many crops that with the most detail is taken


def autoencoder_loss(
    model: Autoencoder, images: Tensor, config: AutoencoderConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The loss of images (B, 3, H, W), and their mean squared error in [0, 1].

    Absolute error, that of gradients and that at a quarter of the size, and squared error.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
        latents = model.encode(images).float()
        noisy = latents + config.noise * torch.randn(latents.shape, generator=generator)
        decoded = model.decode(noisy)
    off = (decoded.float() - images) / 2
    mse = off.square().mean()
    across, down = off[..., 1:] - off[..., :-1], off[..., 1:, :] - off[..., :-1, :]
    coarse = nn.functional.avg_pool2d(off, 4)
    sharp = off.abs().mean() + 0.5 * (across.abs().mean() + down.abs().mean()) + 0.5 * coarse.abs().mean()
    mean, variance = latents.mean(dim=(0, 2, 3)), latents.var(dim=(0, 2, 3))
    unit = (mean.square() + variance - 1 - variance.log()).mean()
    return sharp + 8 * mse + config.unit * unit, mse.detach()


@dataclass(frozen=True)
class DecoderConfig(AutoencoderConfig):
    """The settings of the decoder alone."""

    steps: int = 3_000
    learning_rate: float = 4e-4
    detailed: int = 4


def train_autoencoder(
    out: Path,
    scenes: Path,
    config: AutoencoderConfig,
    save_every: int,
    start: Path | None = None,
    decoder_only: bool = False,
) -> None:
    """Train to `out`, the averaged weights in float16; each save logs the held-out PSNR.

    Args:
        start: an autoencoder to begin as, which may have fewer channels; without one, with random weights.
        decoder_only: whether the latents stay as they are.
    """
    torch.manual_seed(config.seed)
    pictures = Pictures(scenes)
    pictures.refresh()
    model, ema = (channels_last(Autoencoder(config.latent_channels)) for _ in range(2))
    if start:
        copy_smaller(load_autoencoder(start), model)
    for each in (model, ema):
        each.taesd_encoder.requires_grad_(not decoder_only)
        each.vae_scale.requires_grad_(False), each.vae_shift.requires_grad_(False)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        images = pictures.crops(config.batch, config.side, generator, config.detailed)
        images = images.contiguous(memory_format=torch.channels_last)
        loss, mse = autoencoder_loss(model, images, config, generator)
        return {"loss": loss, "mse": mse}

    def save() -> dict[str, float]:
        pictures.refresh()
        save_weights(ema, out)
        values, _, _ = held_out(ema, 48)
        return {
            "scenes": PART * len(pictures.parts),
            "held_out_psnr": float(values.mean()),
            "lowest": float(values.min()),
        }

    fit(out, model, ema, config, loss_of, save, save_every)


@torch.no_grad()
def held_out(model: Autoencoder, count: int, first: int = TEST_SEED) -> tuple[Tensor, Tensor, Tensor]:
    """PSNR (N,) in dB, pictures and decoded pictures (N, 3, H, W) in [-1, 1] of held-out scenes, decoded to 8 bits."""
    images = torch.from_numpy(np.stack([render(sample_scene(first + i)).image for i in range(count)]))
    decoded = torch.cat([model.decode(model.encode(part)) for part in images.split(8)])
    decoded = (decoded.clamp(-1, 1) * 127.5).round() / 127.5
    mse = ((decoded - images) / 2).square().mean(dim=(1, 2, 3))
    return -10 * mse.log10(), images, decoded


def fitted_latent_rgb(autoencoder: Autoencoder, count: int = 64) -> LatentRgb:
    """The colors of latents, as `DemoModel` has them: least squares from latents to the mean colors of cells."""
    images = torch.stack([torch.from_numpy(render(sample_scene(TRAIN_SEED + i)).image) for i in range(count)])
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(part) for part in images.split(8)])
    cells, colors = (x.movedim(1, -1).flatten(0, -2) for x in (latents, nn.functional.avg_pool2d(images, FACTOR)))
    known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return [[round(value, 4) for value in row] for row in torch.linalg.lstsq(known, colors).solution.tolist()]


def save_weights(model: nn.Module, out: Path) -> None:
    """Write the weights in float16 beside the target, then rename."""
    beside = out.with_suffix(".part")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, beside)
    os.replace(beside, out)


@torch.no_grad()
def copy_smaller(start: nn.Module, model: nn.Module) -> None:
    """Weights of a model into one of more channels; what is new in its inputs counts for nothing at first."""
    found = start.state_dict()
    for name, weight in model.state_dict().items():
        known = found[name]
        if weight.ndim > 1:
            weight[:, known.shape[1] :] = 0
        weight[tuple(slice(size) for size in known.shape)] = known


def channels_last(model: Autoencoder) -> Autoencoder:
    """The same model with its weights laid out so that a CPU's convolutions are fast."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
