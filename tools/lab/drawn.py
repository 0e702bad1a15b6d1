"""Training of the latent demo: its scenes drawn once onto the disk, and the autoencoder.

`python -m tools.lab.drawn scenes` draws, in parts, so that training may begin on the first; `autoencoder` trains and
goes on from its checkpoint after a break. Scene seeds are those below `TUNE_SEED`, without the held-out combinations.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from ddpm_core.guidance import guided
from demo.drawn.autoencoder import Autoencoder, load_autoencoder
from demo.drawn.flux import FluxConfig
from demo.drawn.model import NETWORK, LatentModel, load_model, save_model
from demo.drawn.scenes import (
    TEST_SEED,
    TRAIN_SEED,
    Scene,
    instruction,
    render,
    rng_of,
    sample_scene,
    training_caption,
)
from demo.drawn.text import tokens
from demo.network import uniform_sigmas

from .fit import FAST_BFLOAT16, FitConfig, fit
from .losses import Predictor, flow_loss, v_loss

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
        seed = TRAIN_SEED + 2 * PART * part
        scenes: list[Scene] = []
        while len(scenes) < PART:  # of the seeds, an eighth is held out
            scene = sample_scene(seed)
            seed += 1
            if not scene.held_out:
                scenes.append(scene)
        images = np.stack([pixels(render(scene).image) for scene in scenes])
        _write(path, images=images, seeds=np.array([scene.seed for scene in scenes]))


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
    """Train to `out`, the averaged weights in float16; each save logs the held-out PSNR."""
    torch.manual_seed(config.seed)
    pictures = Pictures(scenes)
    pictures.refresh()
    model, ema = (channels_last(Autoencoder(config.latent_channels)) for _ in range(2))
    for each in (model, ema):
        each.vae_scale.requires_grad_(False), each.vae_shift.requires_grad_(False)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        images = pictures.crops(config.batch, config.side, generator).contiguous(memory_format=torch.channels_last)
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


def channels_last(model: Autoencoder) -> Autoencoder:
    """The same model with its weights laid out so that a CPU's convolutions are fast."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


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
        _write(path, latents=encoded(model, torch.cat([images, images.flip(-1)])), seeds=np.concatenate([seeds, seeds]))


@torch.no_grad()
def encoded(model: Autoencoder, images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) uint8 -> latents (N, C, H / 8, W / 8) float16."""
    made = []
    for batch in images.split(16):
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
            latents = model.encode((batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        made.append(latents.half())
    return torch.cat(made).numpy()


def _write(path: Path, **arrays: np.ndarray) -> None:
    """A file of arrays, written beside and renamed."""
    beside = path.with_suffix(".part.npz")
    np.savez(beside, **arrays)  # type: ignore[arg-type]
    os.replace(beside, path)
    print(path.name, flush=True)


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


def train_weights(out: Path, autoencoder: Path, latents: Path, config: WeightsConfig, save_every: int) -> None:
    """Train network and text encoder to `out`, the averaged weights, which holds the autoencoder too."""
    torch.manual_seed(config.seed)
    model, ema = LatentModel.create(), LatentModel.create()
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
    model, ema = LatentModel.create(FluxConfig()), LatentModel.create(FluxConfig())
    for each in (model, ema):
        beside = load_model(weights)
        each.text_encoder, each.autoencoder = beside.text_encoder.requires_grad_(True), beside.autoencoder
    _train_on_captions(out, model, ema, latents, flow_loss, config, save_every)


def _train_on_captions(
    out: Path,
    model: LatentModel,
    ema: LatentModel,
    latents: Path,
    loss: Callable[[Predictor, Tensor, torch.Generator], Tensor],
    config: WeightsConfig,
    save_every: int,
) -> None:
    x, scenes = latents_of(latents)
    model.network.compile()

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(x), (config.batch,), generator=generator)
        ids = tokens([training_caption(scenes[i], step) for i in index.tolist()])
        ids = ids.masked_fill(torch.rand(config.batch, 1, generator=generator) < config.caption_dropout, 0)
        return {"loss": loss(_seen(model, ids), x[index].float(), generator)}

    def save() -> dict[str, float]:
        save_model(ema, out)
        return {}

    fit(out, model, ema, config, loss_of, save, save_every)


def _seen(model: LatentModel, ids: Tensor, *beside: Tensor) -> Predictor:
    """The network under captions (B, L), shown further channels beside its own."""
    return lambda x, t: model.network(torch.cat([x, *beside], dim=1), t, model.text_encoder(ids))


def asked_edit(scene: Scene) -> tuple[str, Scene]:
    """An instruction and the scene that it asks for: one edit for each seed, none to a held-out scene."""
    rng = rng_of(scene.seed, "edit")
    while True:
        attribute = str(rng.choice(scene.attributes))
        value = str(rng.choice([value for value in scene.values[attribute] if value != getattr(scene, attribute)]))
        edited = scene.edited(attribute, value)
        if not edited.held_out:
            return instruction(scene, attribute, value), edited


def encode_pairs(autoencoder: Path, latents: Path, out: Path) -> None:
    """The latents (N, C, 16, 16) float16 of each scene of `latents` with one edit done; mirrored ones as there."""
    out.mkdir(parents=True, exist_ok=True)
    model = channels_last(load_autoencoder(autoencoder))
    for part in sorted(latents.glob("???.npz")):
        path = out / part.name
        if path.exists():
            continue
        with np.load(part) as file:
            seeds = file["seeds"][: len(file["seeds"]) // 2]
        edited = [asked_edit(sample_scene(seed))[1] for seed in seeds.tolist()]
        images = torch.from_numpy(np.stack([pixels(render(scene).image) for scene in edited]))
        _write(path, latents=encoded(model, torch.cat([images, images.flip(-1)])))


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
    """Train the network of `weights` on, with four channels more, in which it sees the picture to edit."""
    torch.manual_seed(config.seed)
    x, scenes = latents_of(latents)
    y = torch.cat([torch.from_numpy(np.load(path)["latents"]) for path in sorted(pairs.glob("???.npz"))])
    x, scenes = x[: len(y)], scenes[: len(y)]
    asked = tokens([asked_edit(scene)[0] for scene in scenes])
    start = load_model(weights).requires_grad_(True)
    model, ema = (LatentModel.create(replace(NETWORK, in_channels=8)) for _ in range(2))
    found = start.state_dict()
    first = "network.input_blocks.0.0.weight"
    found[first] = torch.cat([found[first], torch.zeros_like(found[first])], dim=1)
    model.load_state_dict(found)
    for each in (model, ema):
        each.autoencoder.requires_grad_(False)
    model.network.compile()

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


def latents_of(folder: Path) -> tuple[Tensor, list[Scene]]:
    """All latents (N, C, 16, 16) float16 of a folder, and their scenes."""
    parts, scenes = [], []
    for path in sorted(folder.glob("???.npz")):
        with np.load(path) as file:
            parts.append(torch.from_numpy(file["latents"]))
            scenes += [sample_scene(seed) for seed in file["seeds"].tolist()]
    if not parts:
        raise FileNotFoundError(f"no latents in {folder}: encode them with `python -m tools.lab.drawn latents`")
    return torch.cat(parts), scenes


@torch.no_grad()
def sampled(model: LatentModel, captions: list[str], cfg: float, steps: int, seed: int = 0) -> Tensor:
    """Pictures (N, 3, 128, 128) of captions by DDIM (arXiv 2010.02502)."""
    generator = torch.Generator().manual_seed(seed)
    levels = uniform_sigmas(steps)
    contexts = torch.cat([model.encode([""]).expand(len(captions), -1, -1), model.encode(captions)])
    x = levels[0] * torch.randn(len(captions), 4, 16, 16, generator=generator)
    for sigma, below in zip(levels[:-1], levels[1:], strict=True):
        uncond, cond = model.predict(x.repeat(2, 1, 1, 1), sigma.expand(2 * len(x)), contexts).chunk(2)
        x_0 = guided(uncond, cond, cfg)
        x = x_0 + below / sigma * (x - x_0)
    return model.autoencoder.decode(x).clamp(-1, 1)


def save_weights(model: nn.Module, out: Path) -> None:
    """Write the weights in float16 beside the target, then rename."""
    beside = out.with_suffix(".part")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, beside)
    os.replace(beside, out)


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m tools.lab.drawn", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")

    def add(name: str, text: str, *reads: str, out: str, steps: int = 0) -> argparse.ArgumentParser:
        """A command that reads what others have written, folders or weights, and, if it trains, how."""
        command = commands.add_parser(name, help=text)
        for read in reads:
            folder = read in ("scenes", "latents", "pairs")
            command.add_argument(f"--{read}", type=Path, default=FOLDER / (read if folder else f"{read}.safetensors"))
        command.add_argument("--out", type=Path, default=FOLDER / out)
        if steps:
            command.add_argument("--steps", type=int, default=steps)
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--save-every", type=int, default=500, metavar="STEPS")
        return command

    command = add("scenes", "draw the training scenes", out="scenes")
    command.add_argument("--parts", type=int, default=32, help=f"files of {PART}")
    command = add(
        "autoencoder",
        "train the autoencoder, or go on",
        "scenes",
        out="autoencoder.safetensors",
        steps=AutoencoderConfig.steps,
    )
    command.add_argument("--channels", type=int, default=4, help="of the latents")
    command = add(
        "decoded", "measure the autoencoder on held-out scenes, and draw a sheet", "weights", out="decoded.png"
    )
    command.set_defaults(weights=FOLDER / "autoencoder.safetensors")
    command.add_argument("--count", type=int, default=48)
    add("latents", "encode the training scenes", "autoencoder", "scenes", out="latents")
    for name, text, reads, steps in (
        (
            "weights",
            "train the network and its text encoder, or go on",
            ("autoencoder", "latents"),
            WeightsConfig.steps,
        ),
        ("edit", "train the edit model from the network, or go on", ("weights", "latents", "pairs"), EditConfig.steps),
        ("flow", "train the flow model, or go on", ("weights", "latents"), FlowConfig.steps),
    ):
        add(name, text, *reads, out=f"{name}.safetensors", steps=steps)
    add("pairs", "encode an edit of each training scene", "autoencoder", "latents", out="pairs")
    command = add("sampled", "draw a sheet of what the network makes of captions", "weights", out="sampled.png")
    command.add_argument("--cfg", type=float, default=3.0)
    command.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    if args.command == "scenes":
        draw_parts(args.out, args.parts)
    elif args.command == "autoencoder":
        config = AutoencoderConfig(latent_channels=args.channels, steps=args.steps, seed=args.seed)
        train_autoencoder(args.out, args.scenes, config, args.save_every)
    elif args.command == "latents":
        encode_parts(args.autoencoder, args.scenes, args.out)
    elif args.command == "weights":
        settings = WeightsConfig(steps=args.steps, seed=args.seed)
        train_weights(args.out, args.autoencoder, args.latents, settings, args.save_every)
    elif args.command == "pairs":
        encode_pairs(args.autoencoder, args.latents, args.out)
    elif args.command == "edit":
        edit = EditConfig(steps=args.steps, seed=args.seed)
        train_edit(args.out, args.weights, args.latents, args.pairs, edit, args.save_every)
    elif args.command == "flow":
        flow = FlowConfig(steps=args.steps, seed=args.seed)
        train_flow(args.out, args.weights, args.latents, flow, args.save_every)
    elif args.command == "sampled":
        scenes = [sample_scene(TEST_SEED + i) for i in range(32)]
        made = sampled(load_model(args.weights), [scene.caption for scene in scenes], args.cfg, args.steps)
        draw_sheet(args.out, torch.from_numpy(np.stack([render(scene).image for scene in scenes])), made)
        print("\n".join(scene.caption for scene in scenes))
    else:
        values, images, decoded = held_out(load_autoencoder(args.weights), args.count)
        draw_sheet(args.out, images, decoded)
        print(json.dumps({"psnr": float(values.mean()), "lowest": float(values.min()), "scenes": args.count}))


if __name__ == "__main__":
    main()
