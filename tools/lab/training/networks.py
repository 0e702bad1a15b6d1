"""Training of the three networks on latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from demo.autoencoder import load_autoencoder
from demo.model import DemoModel, load_model, save_model
from demo.scenes import training_caption
from demo.text import tokens
from demo.weights import FluxConfig, UNetConfig

from .autoencoder import copy_smaller
from .fit import FitConfig, fit
from .latents import asked_edit, latents_of
from .losses import Predictor, flow_loss, v_loss


@dataclass(frozen=True)
class WeightsConfig(FitConfig):
    """The settings of the network that predicts v."""

    steps: int = 60_000
    batch: int = 32
    learning_rate: float = 8e-4
    warmup: int = 500
    ema: float = 0.9995
    weight_decay: float = 0.01
    caption_dropout: float = 0.1


def train_weights(
    out: Path, autoencoder: Path, latents: Path, config: WeightsConfig, save_every: int, start: Path | None = None
) -> None:
    """Train network and text encoder to `out`, the averaged weights, which holds the autoencoder too.

    Args:
        start: a model to begin as, whose latents may have fewer channels; without one, with random weights.
    """
    torch.manual_seed(config.seed)
    channels = load_autoencoder(autoencoder).channels
    model, ema = (DemoModel.create(UNetConfig(in_channels=channels, out_channels=channels)) for _ in range(2))
    if start:
        copy_smaller(load_model(start), model)
    for each in (model, ema):
        each.autoencoder = load_autoencoder(autoencoder)  # which takes no gradients
    _train_on_captions(out, model, ema, latents, v_loss, config, save_every)


@dataclass(frozen=True)
class FlowConfig(WeightsConfig):
    """The settings of the flow model."""

    steps: int = 30_000
    learning_rate: float = 6e-4


def train_flow(out: Path, weights: Path, latents: Path, config: FlowConfig, save_every: int) -> None:
    """Train a transformer as a rectified flow; text encoder and autoencoder begin as those of `weights`."""
    torch.manual_seed(config.seed)
    channels = load_model(weights).autoencoder.channels
    model, ema = (DemoModel.create(FluxConfig(in_channels=channels, out_channels=channels)) for _ in range(2))
    for each in (model, ema):
        beside = load_model(weights)
        each.text_encoder, each.autoencoder = beside.text_encoder.requires_grad_(True), beside.autoencoder
    _train_on_captions(out, model, ema, latents, flow_loss, config, save_every)


def _train_on_captions(
    out: Path,
    model: DemoModel,
    ema: DemoModel,
    latents: Path,
    loss: Callable[[Predictor, Tensor, torch.Generator], Tensor],
    config: WeightsConfig,
    save_every: int,
) -> None:
    x, scenes = latents_of(latents)
    model.network.compile(options={"pattern_matcher": False})  # which would fuse what is written out below

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(x), (config.batch,), generator=generator)
        ids = tokens([training_caption(scenes[i], step) for i in index.tolist()])
        ids = ids.masked_fill(torch.rand(config.batch, 1, generator=generator) < config.caption_dropout, 0)
        return {"loss": loss(_seen(model, ids), x[index].float(), generator)}

    def save() -> dict[str, float]:
        save_model(ema, out)
        return {}

    with sdpa_kernel(SDPBackend.MATH):  # the way back of fused attention is slow on a CPU
        fit(out, model, ema, config, loss_of, save, save_every)


def _seen(model: DemoModel, ids: Tensor, *beside: Tensor) -> Predictor:
    """The network under captions (B, L), shown further channels beside its own."""
    return lambda x, t: model.network(torch.cat([x, *beside], dim=1), t, model.text_encoder(ids))


@dataclass(frozen=True)
class EditConfig(FitConfig):
    """The settings of the edit model (arXiv 2211.09800); its dropouts are that paper's."""

    steps: int = 10_000
    batch: int = 32
    learning_rate: float = 4e-4
    warmup: int = 200
    ema: float = 0.999
    weight_decay: float = 0.01
    dropout: float = 0.05  # of the instruction, of the picture, and of both


def train_edit(out: Path, weights: Path, latents: Path, pairs: Path, config: EditConfig, save_every: int) -> None:
    """Train the network of `weights` on, with as many channels more, in which it sees the picture to edit."""
    torch.manual_seed(config.seed)
    x, scenes = latents_of(latents)
    y = torch.cat([torch.from_numpy(np.load(path)["latents"]) for path in sorted(pairs.glob("???.npz"))])
    x, scenes = x[: len(y)], scenes[: len(y)]
    asked = tokens([asked_edit(scene)[0] for scene in scenes])
    start = load_model(weights)
    channels = start.autoencoder.channels
    model, ema = (DemoModel.create(UNetConfig(in_channels=2 * channels, out_channels=channels)) for _ in range(2))
    copy_smaller(start, model)
    for each in (model, ema):
        each.autoencoder.requires_grad_(False)
    # not compiled: with 8 channels of input the first steps of what PyTorch 2.11 compiles for a CPU gave NaN

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(x), (config.batch,), generator=generator)
        share = torch.rand(config.batch, 1, generator=generator) / config.dropout
        ids = asked[index].masked_fill((share < 1) | ((share >= 2) & (share < 3)), 0)
        beside = x[index].float() * ((share < 1) | (share >= 3)).float().view(-1, 1, 1, 1)
        return {"loss": v_loss(_seen(model, ids, beside), y[index].float(), generator)}

    def save() -> dict[str, float]:
        save_model(ema, out)
        return {}

    fit(out, model, ema, config, loss_of, save, save_every)
