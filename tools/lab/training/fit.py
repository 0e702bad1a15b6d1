"""A training run: warm-up and cosine, averaged weights, a log, a checkpoint to go on from."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..settings import FAST_BFLOAT16
from .muon import Muon


@dataclass(frozen=True)
class FitConfig:
    """The settings of a training run."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int
    ema: float
    weight_decay: float
    seed: int = 0


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """No numbers near 0 within the context: averages that die out would slow every step down."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_flushed_denormals()
def fit(
    out: Path,
    model: nn.Module,
    ema: nn.Module,
    config: FitConfig,
    loss_of: Callable[[int, torch.Generator], dict[str, Tensor]],
    save: Callable[[], dict[str, float]],
    save_every: int,
) -> None:
    """Train from the checkpoint `out` with .checkpoint, if there is one; the log, `out` with .jsonl, has the settings
    of each run, and a line every hundred steps.

    Args:
        model, ema: of one structure; `ema` becomes the average of the weights of `model`.
        loss_of: of a step, the loss and whatever else the log shall show.
        save: writes the weights; what it returns is logged.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out.with_suffix(".checkpoint"), out.with_suffix(".jsonl")
    pairs = [(p, e) for p, e in zip(model.parameters(), ema.parameters(), strict=True) if p.requires_grad]
    trained: list[Tensor] = [p for p, _ in pairs]
    matrices = {id(p) for p in hidden_matrices(model)}
    averaged: list[Tensor] = [e for _, e in pairs]
    muon = Muon([p for p, _ in pairs if id(p) in matrices], 3 * config.learning_rate, config.weight_decay)
    adam = torch.optim.AdamW(
        [p for p, _ in pairs if id(p) not in matrices],
        config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=0,
        fused=True,
    )
    first, seconds = 0, 0.0
    if checkpoint.exists():
        found: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        for part, name in ((model, "model"), (ema, "ema"), (muon, "muon"), (adam, "adam")):
            part.load_state_dict(found[name])
        first, seconds = found["step"], found["seconds"]
    else:
        ema.load_state_dict(model.state_dict())
    _log(log, {"step": first, "config": asdict(config), "torch": torch.__version__, "bfloat16": FAST_BFLOAT16})
    generator = torch.Generator().manual_seed(config.seed + first)
    start = time.monotonic() - seconds
    sums: dict[str, float] = {}
    for step in range(first, config.steps):
        now = falling(step, config.steps, config.warmup) * config.learning_rate
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = 3 * now, now
        parts = loss_of(step, generator)
        model.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        muon.step()
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1 - min(config.ema, (1 + step) / (10 + step)))
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value.item() / 100
        if (step + 1) % 100 == 0:
            _log(log, {"step": step + 1, "seconds": round(time.monotonic() - start, 1), **sums})
            sums.clear()
        if (step + 1) % save_every == 0 or step + 1 == config.steps:
            state: dict[str, Any] = {"model": model.state_dict(), "ema": ema.state_dict()}
            state |= {"muon": muon.state_dict(), "adam": adam.state_dict()}
            _save(checkpoint, {**state, "step": step + 1, "seconds": time.monotonic() - start})
            _log(log, {"step": step + 1, **save()})


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """The weights that Muon steps: of linear layers and convolutions between more than 16 channels."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [layer.weight for layer in layers if min(layer.weight.shape[:2]) > 16]


def falling(step: int, steps: int, warmup: int) -> float:
    """A share of the learning rate: linear up, then level for half the steps, then a cosine down to a fiftieth."""
    if step < warmup:
        return (step + 1) / warmup
    late = max(0.0, (step / steps - 0.4) / 0.6)
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * late)))


def _save(path: Path, values: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(values, beside)
    os.replace(beside, path)


def _log(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
