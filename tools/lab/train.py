"""Training of the demo model: its scenes drawn once onto the disk, the autoencoder, and the network of its latents.

The network predicts v (arXiv 2202.00512) on Stable Diffusion's noise schedule, under captions. In order:

    python -m tools.lab train scenes         draws, in parts, so that training may begin on the first
    python -m tools.lab train autoencoder
    python -m tools.lab train latents        encodes the scenes
    python -m tools.lab train weights
    python -m tools.lab train bundle         puts the weights beside the code

The two that train go on from their checkpoint after a break. Scene seeds are those below `TUNE_SEED`, without the
held-out combinations. A log, beside the weights, says what was run and how the loss fell, a line of JSON each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ddpm_core.contact_sheet import grid
from demo.autoencoder import FACTOR, Autoencoder, load_autoencoder
from demo.model import WEIGHTS, DemoModel, LatentRgb, load_model, save_model
from demo.network import NUM_TIMESTEPS, Prediction, UNetConfig, alphas_cumprod
from demo.scenes import TEST_SEED, TRAIN_SEED, Scene, render, sample_scene, training_caption
from demo.text import tokens

from .classifier import WEIGHTS as JUDGE
from .classifier import pixels_of, train_classifier
from .methods import generated
from .settings import FAST_BFLOAT16, LabSettings

FOLDER = Path("output/train")
PART = 1000  # scenes in a file

# --- scenes -----------------------------------------------------------------------------------------------------------


def draw_parts(folder: Path, parts: int) -> None:
    """Files of `PART` scenes each: images (N, 3, 128, 128) uint8 and their seeds; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        path = folder / f"{part:03}.npz"
        if path.exists():
            continue
        start, seed = time.monotonic(), TRAIN_SEED + 2 * PART * part
        scenes: list[Scene] = []
        while len(scenes) < PART:  # of the seeds, an eighth is held out
            scene = sample_scene(seed)
            seed += 1
            if not scene.held_out:
                scenes.append(scene)
        images = np.stack([pixels_of(scene) for scene in scenes])
        beside = path.with_suffix(".part.npz")
        np.savez(beside, images=images, seeds=np.array([scene.seed for scene in scenes]))
        os.replace(beside, path)
        print(json.dumps({"part": part, "seconds": round(time.monotonic() - start, 1)}), flush=True)


class Pictures:
    """The pictures that are drawn so far; parts that are drawn while training come in when asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts: dict[Path, tuple[Tensor, Tensor]] = {}

    def refresh(self) -> None:
        """Read the parts that are new."""
        for path in sorted(self.folder.glob("???.npz")):
            if path not in self.parts:
                with np.load(path) as file:
                    self.parts[path] = torch.from_numpy(file["images"]), torch.from_numpy(file["seeds"])
        if not self.parts:
            raise FileNotFoundError(f"no scenes in {self.folder}: draw them with `python -m tools.lab train scenes`")

    def crops(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Crops (count, 3, side, side) in [-1, 1] of pictures drawn at random, half of them mirrored."""
        images = [images for images, _ in self.parts.values()]

        def below(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        made = []
        for _ in range(count):
            part = images[below(len(images))]
            image = part[below(len(part))]
            y, x = below(image.shape[-2] - side + 1), below(image.shape[-1] - side + 1)
            crop = image[:, y : y + side, x : x + side]
            made.append(crop.flip(-1) if below(2) else crop)
        return torch.stack(made).float() / 127.5 - 1


# --- autoencoder ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AutoencoderConfig:
    """The settings of the autoencoder."""

    latent_channels: int = 4
    steps: int = 24_000
    batch: int = 8
    side: int = 64  # of a crop; the network has no normalisation, so what it learns of crops holds for pictures
    learning_rate: float = 6e-4
    warmup: int = 300
    noise: float = 0.05  # in the latents, so that the decoder bears a diffusion model's errors
    unit: float = 0.02  # weight of the penalty that holds the latents at zero mean and unit variance
    ema: float = 0.999
    seed: int = 0


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


def train_autoencoder(out: Path, scenes: Path, config: AutoencoderConfig, save_every: int) -> None:
    """Train from the checkpoint `out` with .checkpoint, if there is one, to `out`, the averaged weights.

    The log, `out` with .jsonl, has a line every hundred steps, and one for each checkpoint with the held-out PSNR.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    pictures = Pictures(scenes)
    pictures.refresh()
    model, ema = (channels_last(Autoencoder(config.latent_channels)) for _ in range(2))
    ema.load_state_dict(model.state_dict())
    trained: list[Tensor] = [p for name, p in model.named_parameters() if not name.startswith("vae_")]
    averaged: list[Tensor] = [p for name, p in ema.named_parameters() if not name.startswith("vae_")]
    optimizer = torch.optim.AdamW(trained, config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    first, seconds = 0, 0.0
    checkpoint, log = out.with_suffix(".checkpoint"), out.with_suffix(".jsonl")
    if checkpoint.exists():
        found: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(found["model"])
        ema.load_state_dict(found["ema"])
        optimizer.load_state_dict(found["optimizer"])
        first, seconds = found["step"], found["seconds"]
    else:
        _log(log, {"config": asdict(config), "torch": torch.__version__, "bfloat16": FAST_BFLOAT16})
    generator = torch.Generator().manual_seed(config.seed + first)
    start, sums = time.monotonic() - seconds, torch.zeros(3)
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * falling(step, config.steps, config.warmup)
        images = pictures.crops(config.batch, config.side, generator).contiguous(memory_format=torch.channels_last)
        loss, mse = autoencoder_loss(model, images, config, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1 - min(config.ema, (1 + step) / (10 + step)))
        sums += torch.stack([loss.detach(), mse, torch.ones(())])
        if (step + 1) % 100 == 0:
            mean = (sums / sums[2]).tolist()
            _log(
                log,
                {
                    "step": step + 1,
                    "seconds": round(time.monotonic() - start, 1),
                    "loss": mean[0],
                    "psnr": -10 * np.log10(mean[1]),
                },
            )
            sums.zero_()
        if (step + 1) % save_every == 0 or step + 1 == config.steps:
            pictures.refresh()
            save_weights(ema, out)
            _save(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "ema": ema.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                    "seconds": time.monotonic() - start,
                },
            )
            values, _, _ = held_out(ema, 48)
            _log(
                log,
                {
                    "step": step + 1,
                    "scenes": PART * len(pictures.parts),
                    "held_out_psnr": float(values.mean()),
                    "lowest": float(values.min()),
                },
            )


def channels_last(model: Autoencoder) -> Autoencoder:
    """The same model with its weights laid out so that a CPU's convolutions are fast."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def falling(step: int, steps: int, warmup: int) -> float:
    """A share of the learning rate: linear up, then level for half the steps, then a cosine down to a fiftieth."""
    if step < warmup:
        return (step + 1) / warmup
    late = max(0.0, (step / steps - 0.4) / 0.6)
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * late)))


@torch.no_grad()
def held_out(model: Autoencoder, count: int, first: int = TEST_SEED) -> tuple[Tensor, Tensor, Tensor]:
    """PSNR (N,) in dB, pictures and decoded pictures (N, 3, H, W) in [-1, 1] of held-out scenes, decoded to 8 bits."""
    images = torch.from_numpy(np.stack([render(sample_scene(first + i)).image for i in range(count)]))
    decoded = torch.cat([model.decode(model.encode(part)) for part in images.split(8)])
    decoded = (decoded.clamp(-1, 1) * 127.5).round() / 127.5
    mse = ((decoded - images) / 2).square().mean(dim=(1, 2, 3))
    return -10 * mse.log10(), images, decoded


def draw_sheet(out: Path, images: Tensor, made: Tensor, columns: int = 8) -> None:
    """Originals above what was made of them, row by row."""
    pairs = zip(images.split(columns), made.split(columns), strict=True)
    grid([list(row) for pair in pairs for row in pair], size=(128, 128), margin=4).save(out)


@torch.no_grad()
def encode_parts(autoencoder: Path, scenes: Path, out: Path) -> None:
    """The latents (N, C, 16, 16) float16 of each part of scenes, and of their mirror images; those that are there stay.

    Captions name no side, so a mirrored scene has the caption of the scene.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = channels_last(load_autoencoder(autoencoder))
    for part in sorted(scenes.glob("???.npz")):
        path = out / part.name
        if path.exists():
            continue
        with np.load(part) as file:
            images, seeds = torch.from_numpy(file["images"]), file["seeds"]
        made = []
        for batch in torch.cat([images, images.flip(-1)]).split(16):
            with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
                latents = model.encode((batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
            made.append(latents.half())
        beside = path.with_suffix(".part.npz")
        np.savez(beside, latents=torch.cat(made).numpy(), seeds=np.concatenate([seeds, seeds]))
        os.replace(beside, path)
        print(json.dumps({"part": part.name, "std": float(torch.cat(made).float().std())}), flush=True)


def fitted_latent_rgb(autoencoder: Autoencoder, count: int = 64) -> LatentRgb:
    """The colors of latents, as `DemoModel` has them: least squares from latents to the mean colors of cells."""
    images = torch.stack([torch.from_numpy(render(sample_scene(TRAIN_SEED + i)).image) for i in range(count)])
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(part) for part in images.split(8)])
    cells, colors = (x.movedim(1, -1).flatten(0, -2) for x in (latents, nn.functional.avg_pool2d(images, FACTOR)))
    known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return [[round(value, 4) for value in row] for row in torch.linalg.lstsq(known, colors).solution.tolist()]


# --- network ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightsConfig:
    """The settings of the network."""

    steps: int = 60_000
    batch: int = 64
    learning_rate: float = 8e-4
    warmup: int = 500
    weight_decay: float = 0.01
    ema: float = 0.9995
    caption_dropout: float = 0.1
    prediction: Prediction = "v"
    seed: int = 0


def v_loss(model: DemoModel, x_0: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of v = a * eps - b * x_0 for x_0 (B, C, H, W) and ids (B, L).

    Timesteps are stratified over the batch, one from each of B equal parts of the schedule: less variance, same mean.
    """
    batch = len(x_0)
    t = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * NUM_TIMESTEPS).long()
    a2 = alphas_cumprod().float()[t].view(-1, 1, 1, 1)
    a, b = a2.sqrt(), (1 - a2).sqrt()
    eps = torch.randn(x_0.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
        v = model.network(a * x_0 + b * eps, t.float(), model.text_encoder(ids))
    return (v.float() - (a * eps - b * x_0)).square().mean()


def flow_loss(model: DemoModel, x_0: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """The same of the velocity u = eps - x_0 (arXiv 2209.03003) at x = (1 - sigma) x_0 + sigma eps, sigma in (0, 1)."""
    batch = len(x_0)
    s = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    sigma, eps = s.view(-1, 1, 1, 1), torch.randn(x_0.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
        u = model.network((1 - sigma) * x_0 + sigma * eps, s * NUM_TIMESTEPS, model.text_encoder(ids))
    return (u.float() - (eps - x_0)).square().mean()


def train_weights(
    out: Path, autoencoder: Path, latents: Path, config: WeightsConfig, save_every: int, start: Path | None = None
) -> None:
    """Train from the checkpoint `out` with .checkpoint, if there is one, to `out`, the averaged weights.

    The file holds the autoencoder too. The log is `out` with .jsonl, a line every hundred steps.

    Args:
        start: weights to train on, in place of random ones.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    x, scenes = _latents(latents)
    network = UNetConfig(prediction=config.prediction)
    model, ema = DemoModel.create(network), DemoModel.create(network)
    if start:
        model.load_state_dict(load_model(start).state_dict())
    model.autoencoder.load_state_dict(load_autoencoder(autoencoder).state_dict())
    ema.load_state_dict(model.state_dict())
    trained: list[Tensor] = [*model.network.parameters(), *model.text_encoder.parameters()]
    averaged: list[Tensor] = [*ema.network.parameters(), *ema.text_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        trained, config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
    )
    first, seconds = 0, 0.0
    checkpoint, log = out.with_suffix(".checkpoint"), out.with_suffix(".jsonl")
    if checkpoint.exists():
        found: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        for part, name in ((model.network, "network"), (model.text_encoder, "text"), (optimizer, "optimizer")):
            part.load_state_dict(found[name])
        ema.network.load_state_dict(found["ema_network"])
        ema.text_encoder.load_state_dict(found["ema_text"])
        first, seconds = found["step"], found["seconds"]
    else:
        _log(log, {"config": asdict(config), "torch": torch.__version__, "bfloat16": FAST_BFLOAT16, "latents": len(x)})
    generator = torch.Generator().manual_seed(config.seed + first)
    began, sums = time.monotonic() - seconds, torch.zeros(2)
    loss_of = flow_loss if model.is_flow else v_loss
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * falling(step, config.steps, config.warmup)
        index = torch.randint(len(x), (config.batch,), generator=generator)
        ids = tokens([training_caption(scenes[i], step) for i in index.tolist()])
        ids = ids.masked_fill(torch.rand(config.batch, 1, generator=generator) < config.caption_dropout, 0)
        loss = loss_of(model, x[index].float(), ids, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1 - min(config.ema, (1 + step) / (10 + step)))
        sums += torch.stack([loss.detach(), torch.ones(())])
        if (step + 1) % 100 == 0:
            seen = round(time.monotonic() - began, 1)
            _log(log, {"step": step + 1, "seconds": seen, "loss": float(sums[0] / sums[1])})
            sums.zero_()
        if (step + 1) % save_every == 0 or step + 1 == config.steps:
            save_model(ema, out)
            state = {
                "network": model.network.state_dict(),
                "text": model.text_encoder.state_dict(),
                "ema_network": ema.network.state_dict(),
                "ema_text": ema.text_encoder.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            _save(checkpoint, {**state, "step": step + 1, "seconds": time.monotonic() - began})


def _latents(folder: Path) -> tuple[Tensor, list[Scene]]:
    """All latents (N, C, 16, 16) float16 of a folder, and their scenes."""
    parts, scenes = [], []
    for path in sorted(folder.glob("???.npz")):
        with np.load(path) as file:
            parts.append(torch.from_numpy(file["latents"]))
            scenes += [sample_scene(seed) for seed in file["seeds"].tolist()]
    if not parts:
        raise FileNotFoundError(f"no latents in {folder}: encode them with `python -m tools.lab train latents`")
    return torch.cat(parts), scenes


def bundle(weights: Path, out: Path) -> None:
    """Put trained weights where the demo model is loaded from, with their preview, and their log beside them."""
    model = load_model(weights)
    model.latent_rgb = fitted_latent_rgb(model.autoencoder)
    save_model(model, out)
    log = weights.with_suffix(".jsonl")
    if log.is_file():
        out.with_suffix(".jsonl").write_bytes(log.read_bytes())


# --- files ------------------------------------------------------------------------------------------------------------


def save_weights(model: nn.Module, out: Path) -> None:
    """Write the weights in float16 beside the target, then rename."""
    beside = out.with_suffix(".part")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, beside)
    os.replace(beside, out)


def _save(path: Path, values: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(values, beside)
    os.replace(beside, path)


def _log(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def add_parts(parser: argparse.ArgumentParser) -> None:
    """The arguments of each part of the training."""
    commands = parser.add_subparsers(required=True, dest="part", metavar="part")
    command = commands.add_parser("scenes", help="draw the training scenes")
    command.add_argument("--parts", type=int, default=32, help=f"files of {PART}")
    command.add_argument("--folder", type=Path, default=FOLDER / "scenes")
    command = commands.add_parser("autoencoder", help="train the autoencoder, or go on")
    command.add_argument("--out", type=Path, default=FOLDER / "autoencoder.safetensors")
    command.add_argument("--scenes", type=Path, default=FOLDER / "scenes")
    command.add_argument("--channels", type=int, default=4, help="of the latents")
    command.add_argument("--steps", type=int, default=AutoencoderConfig.steps)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--save-every", type=int, default=500, metavar="STEPS")
    command = commands.add_parser("decoded", help="measure the autoencoder on held-out scenes, and draw a sheet")
    command.add_argument("--weights", type=Path, default=FOLDER / "autoencoder.safetensors")
    command.add_argument("--out", type=Path, default=FOLDER / "decoded.png")
    command.add_argument("--count", type=int, default=48)
    command = commands.add_parser("latents", help="encode the training scenes")
    command.add_argument("--autoencoder", type=Path, default=FOLDER / "autoencoder.safetensors")
    command.add_argument("--scenes", type=Path, default=FOLDER / "scenes")
    command.add_argument("--out", type=Path, default=FOLDER / "latents")
    command = commands.add_parser("weights", help="train the network and its text encoder, or go on")
    command.add_argument("--out", type=Path, default=FOLDER / "weights.safetensors")
    command.add_argument("--autoencoder", type=Path, default=FOLDER / "autoencoder.safetensors")
    command.add_argument("--latents", type=Path, default=FOLDER / "latents")
    command.add_argument("--start", type=Path, help="weights to train on, in place of random ones")
    command.add_argument("--flow", action="store_true", help="as a rectified flow")
    command.add_argument("--steps", type=int, default=WeightsConfig.steps)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--save-every", type=int, default=500, metavar="STEPS")
    command = commands.add_parser("sampled", help="draw a sheet of what the network makes of captions")
    command.add_argument("--weights", type=Path, default=FOLDER / "weights.safetensors")
    command.add_argument("--out", type=Path, default=FOLDER / "sampled.png")
    command.add_argument("--cfg", type=float, default=3.0)
    command.add_argument("--steps", type=int, default=50)
    command = commands.add_parser("bundle", help="put the weights beside the code")
    command.add_argument("--weights", type=Path, default=FOLDER / "weights.safetensors")
    command.add_argument("--out", type=Path, default=WEIGHTS)
    command = commands.add_parser("classifier", help="train the judge of the evaluation")
    command.add_argument("--out", type=Path, default=JUDGE)


def run_part(args: argparse.Namespace) -> None:
    """Run one part of the training."""
    if args.part == "scenes":
        draw_parts(args.folder, args.parts)
    elif args.part == "autoencoder":
        config = AutoencoderConfig(latent_channels=args.channels, steps=args.steps, seed=args.seed)
        train_autoencoder(args.out, args.scenes, config, args.save_every)
    elif args.part == "decoded":
        values, images, decoded = held_out(load_autoencoder(args.weights), args.count)
        draw_sheet(args.out, images, decoded)
        print(json.dumps({"psnr": float(values.mean()), "lowest": float(values.min()), "scenes": args.count}))
    elif args.part == "latents":
        encode_parts(args.autoencoder, args.scenes, args.out)
    elif args.part == "weights":
        settings = WeightsConfig(steps=args.steps, seed=args.seed, prediction="flow" if args.flow else "v")
        train_weights(args.out, args.autoencoder, args.latents, settings, args.save_every, args.start)
    elif args.part == "sampled":
        model, scenes = load_model(args.weights), [sample_scene(TEST_SEED + i) for i in range(32)]
        schedule = LabSettings(steps=args.steps, eta=0.0, flow=model.is_flow).schedule()
        made = generated(model, [scene.caption for scene in scenes], [*range(32)], schedule, args.cfg).image
        images = torch.stack([torch.from_numpy(render(scene).image) for scene in scenes])
        draw_sheet(args.out, images, model.autoencoder.decode(made))
        print("\n".join(scene.caption for scene in scenes))
    elif args.part == "bundle":
        bundle(args.weights, args.out)
    else:
        print(train_classifier(args.out))
