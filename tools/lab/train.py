"""Training of the demo model: text-conditional v-prediction (arXiv 2202.00512) on Stable Diffusion's noise schedule.

The learning rate falls to zero and starts again (warm restarts, arXiv 1608.03983): each cycle takes up the averaged
weights that the last one saved and sees scenes of its own. So a cycle is also where a broken run can be resumed.

Everything random comes from one seed, and scene seeds are those below `TUNE_SEED`, without the held-out combinations.
The log says what was run and how the loss fell, as JSON.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from demo.model import DemoModel, load_model, save_model
from demo.scenes import TRAIN_SEED, render, sample_scene, training_caption
from demo.text import MAX_TOKENS, tokenize

from .fit import FAST_BFLOAT16
from .losses import flow_loss, v_loss


@dataclass(frozen=True)
class TrainConfig:
    """The settings of the committed weights."""

    learning_rates: tuple[float, ...] = (1e-3, 5e-4)  # the peak of each cycle
    steps: int = 7_500  # of one cycle
    batch: int = 32
    scenes: int = 40_000  # of one cycle
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.9985
    caption_dropout: float = 0.1
    seed: int = 0
    save_every: int = 500


def training_set(cycle: int, count: int, workers: int = 2) -> tuple[Tensor, Tensor]:
    """The first `count` training scenes of a cycle: images (N, 3, 32, 32) uint8 and token ids (N, 8) int64."""
    chunk = 2000
    first = TRAIN_SEED + 2 * count * cycle  # of the seeds, fewer than half are held out
    starts = range(first, first + 2 * count, chunk)
    images, ids = [], []
    with ProcessPoolExecutor(workers) as pool:
        for chunk_images, chunk_ids in pool.map(_render_chunk, starts, [chunk] * len(starts)):
            images.append(chunk_images)
            ids.append(chunk_ids)
            if sum(map(len, images)) >= count:
                pool.shutdown(cancel_futures=True)
                break
    return torch.from_numpy(np.concatenate(images)[:count]), torch.from_numpy(np.concatenate(ids)[:count])


def _render_chunk(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    scenes = [scene for scene in map(sample_scene, range(start, start + count)) if not scene.held_out]
    images = np.stack([render(scene).image for scene in scenes])
    ids = np.array([tokenize(training_caption(scene)) for scene in scenes])
    return np.round((images + 1) * 127.5).astype(np.uint8), ids


def learning_rate(step: int, peak: float, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to zero at the end of the cycle."""
    if step < config.warmup:
        return peak * (step + 1) / config.warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))


def batches(
    images: Tensor, ids: Tensor, config: TrainConfig, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches: x_0 (B, 3, 32, 32) in [-1, 1], ids (B, 8), some of them emptied."""
    while True:
        for index in torch.randperm(len(images), generator=generator).split(config.batch):
            if len(index) < config.batch:
                continue
            dropped = torch.rand(config.batch, 1, generator=generator) < config.caption_dropout
            yield images[index].float() / 127.5 - 1, ids[index].masked_fill(dropped, 0)


def _predicted(model: DemoModel, ids: Tensor, x: Tensor, timesteps: Tensor) -> Tensor:
    return model.network(x, timesteps, model.text_encoder(ids))


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the trained ones; the first steps average over fewer."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


FINER = TrainConfig(learning_rates=(1e-3,), steps=2_500, seed=2)
"""From the bundled weights to those with finer attention."""


FLOW = TrainConfig(learning_rates=(1e-3,), steps=1_500, scenes=20_000, seed=3)
"""From the bundled weights to those of a rectified flow."""


def as_flow(model: DemoModel) -> DemoModel:
    """The same weights in a model that predicts the velocity of a flow, which it has to learn."""
    flow = DemoModel.create(replace(model.network.config, prediction="flow"))
    flow.load_state_dict(model.state_dict())
    return flow


def with_finer_attention(model: DemoModel) -> DemoModel:
    """The same model with transformers at half the picture's side too, which change nothing until they are trained."""
    torch.manual_seed(0)
    config = replace(model.network.config, input_depth=(0, 1, 1), output_depth=(0, 0, 1, 1, 0, 1))
    finer = DemoModel.create(config)
    # the enlargement that ends a block stands behind its new transformer
    moved = {
        name.replace("output_blocks.3.1.conv", "output_blocks.3.2.conv"): value
        for name, value in model.state_dict().items()
    }
    missing, unexpected = finer.load_state_dict(moved, strict=False)
    assert not unexpected
    weights = finer.state_dict()
    for name in missing:
        if ".proj_out." in name:
            weights[name].zero_()
    return finer


def train(
    out: Path,
    config: TrainConfig | None = None,
    resume: bool = False,
    compile: bool = True,
    start: DemoModel | None = None,
) -> None:
    """Train, writing at the end of each cycle `out` (the averaged weights) and `out` with .json (the log).

    Within a cycle the weights so far lie in `out` with .unfinished.safetensors, to be looked at.

    Args:
        resume: take up `out` after the last cycle that its log shows finished.
        compile: a third faster, but it needs a C++ compiler.
        start: the model that is trained on, in place of a random one.

    Raises:
        ValueError: the log to resume is of other settings.
    """
    config = config or TrainConfig()
    log_file = out.with_suffix(".json")
    log = {
        "config": json.loads(json.dumps(asdict(config))),
        "torch": torch.__version__,
        "bfloat16": FAST_BFLOAT16,
        "cycles": 0,
        "loss": [],
    }
    if resume:
        found = json.loads(log_file.read_text())
        if found["config"] != log["config"]:
            raise ValueError(f"{log_file} was trained with {found['config']}, this run has {log['config']}: start anew")
        log = found
    for cycle in range(log["cycles"], len(config.learning_rates)):
        _train_cycle(cycle, out, config, log, compile, load_model(out) if cycle else start)


def _train_cycle(
    cycle: int, out: Path, config: TrainConfig, log: dict[str, Any], compile: bool, trained: DemoModel | None
) -> None:
    torch.manual_seed(config.seed + cycle)
    generator = torch.Generator().manual_seed(config.seed + cycle)
    start = time.monotonic()
    images, ids = training_set(cycle, config.scenes)
    assert ids.shape == (config.scenes, MAX_TOKENS)
    print(f"cycle {cycle + 1}: {len(images)} scenes drawn in {time.monotonic() - start:.0f} s", flush=True)

    network = None if trained is None else trained.network.config
    model, ema = DemoModel.create(network), DemoModel.create(network)
    if trained is not None:
        model.load_state_dict(trained.state_dict())
    ema.load_state_dict(model.state_dict())
    log["network"] = model.network.config.to_dict()
    if compile:
        model.network.compile()
    peak = config.learning_rates[cycle]
    optimizer = torch.optim.AdamW(
        model.parameters(), peak, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True
    )
    unfinished = out.with_suffix(".unfinished.safetensors")
    loss_of = flow_loss if model.network.config.prediction == "flow" else v_loss
    recent = []
    start = time.monotonic()
    for step, (x_0, tokens) in enumerate(islice(batches(images, ids, config, generator), config.steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, peak, config)
        loss = loss_of(partial(_predicted, model, tokens), x_0, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_ema(ema, model, step, config.ema)

        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            total, seconds = cycle * config.steps + step + 1, time.monotonic() - start
            log["loss"].append({"step": total, "loss": sum(recent) / len(recent), "seconds": round(seconds, 1)})
            print(json.dumps(log["loss"][-1]), flush=True)
            recent.clear()
        if (step + 1) % config.save_every == 0:
            save_model(ema, unfinished)
    save_model(ema, out)
    log["cycles"] = cycle + 1
    out.with_suffix(".json").write_text(json.dumps(log, indent=1) + "\n")
    unfinished.unlink(missing_ok=True)
