"""Training of the latent demo: its scenes drawn once onto the disk, and the autoencoder.

`python -m tools.lab.drawn scenes` draws, in parts, so that training may begin on the first; `autoencoder` trains and
goes on from its checkpoint after a break. Scene seeds are those below `TUNE_SEED`, without the held-out combinations.
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
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.drawn.autoencoder import Autoencoder, load_autoencoder
from demo.drawn.scenes import TEST_SEED, TRAIN_SEED, Scene, render, sample_scene

from .train import FAST_BFLOAT16

FOLDER = Path("output/drawn")
PART = 1000  # scenes in a file


def pixels(image: np.ndarray) -> np.ndarray:
    """An image in [-1, 1] as uint8."""
    return np.clip(np.round((image + 1) * 127.5), 0, 255).astype(np.uint8)


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
        images = np.stack([pixels(render(scene).image) for scene in scenes])
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
            raise FileNotFoundError(f"no scenes in {self.folder}: draw them with `python -m tools.lab.drawn scenes`")

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


def draw_sheet(out: Path, images: Tensor, decoded: Tensor, columns: int = 8) -> None:
    """Originals above what was decoded of them, row by row."""
    rows = []
    for pair in zip(images.split(columns), decoded.split(columns), strict=True):
        for row in pair:
            tiles = [np.pad(pixels(tile.numpy()), ((0, 0), (2, 2), (2, 2)), constant_values=255) for tile in row]
            rows.append(np.concatenate(tiles, axis=2))
    Image.fromarray(np.concatenate(rows, axis=1).transpose(1, 2, 0)).save(out)


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


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m tools.lab.drawn", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
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
    args = parser.parse_args()
    if args.command == "scenes":
        draw_parts(args.folder, args.parts)
    elif args.command == "autoencoder":
        config = AutoencoderConfig(latent_channels=args.channels, steps=args.steps, seed=args.seed)
        train_autoencoder(args.out, args.scenes, config, args.save_every)
    else:
        values, images, decoded = held_out(load_autoencoder(args.weights), args.count)
        draw_sheet(args.out, images, decoded)
        print(json.dumps({"psnr": float(values.mean()), "lowest": float(values.min()), "scenes": args.count}))


if __name__ == "__main__":
    main()
