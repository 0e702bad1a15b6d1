"""Training of the demo models: their scenes drawn once onto the disk, the autoencoder, and three networks of latents.

In order:

    python -m tools.lab train scenes         draws, in parts, so that training may begin on the first
    python -m tools.lab train autoencoder
    python -m tools.lab train decoder        trains its decoder on, on what has detail; latents stay as they are
    python -m tools.lab train latents        encodes the scenes
    python -m tools.lab train weights        the network of the bundled model, which predicts v under captions
    python -m tools.lab train bundle         puts it beside the code
    python -m tools.lab train pairs          encodes an edit of each scene
    python -m tools.lab train edit           the network that is shown a picture and told what to change
    python -m tools.lab train flow           a transformer as a rectified flow

What trains goes on from its checkpoint after a break. Scene seeds are those below `TUNE_SEED`, without the held-out
combinations. A log, beside the weights, says what was run and how the loss fell, a line of JSON each.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ddpm_core.contact_sheet import grid
from demo.autoencoder import FACTOR, Autoencoder, load_autoencoder
from demo.model import DemoModel, load_model, save_model
from demo.scenes import (
    TEST_SEED,
    TRAIN_SEED,
    Scene,
    instruction,
    render,
    rng_of,
    sample_scene,
    training_caption,
)
from demo.text import tokens
from demo.weights import WEIGHTS, FluxConfig, LatentRgb, UNetConfig

from .classifier import WEIGHTS as JUDGE
from .classifier import pixels_of, train_classifier
from .fit import FitConfig, fit
from .losses import Predictor, flow_loss, v_loss
from .methods import generated
from .settings import FAST_BFLOAT16, LabSettings

FOLDER = Path("output/train")
PART = 1000  # scenes in a file


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
        images = np.stack([pixels_of(scene) for scene in scenes])
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
            raise FileNotFoundError(f"no scenes in {self.folder}: draw them with `python -m tools.lab train scenes`")

    def crops(self, count: int, side: int, generator: torch.Generator, of: int = 1) -> Tensor:
        """Crops (count, 3, side, side) in [-1, 1] of pictures drawn at random, half of them mirrored.

        Args:
            of: how many are drawn for each, of which that with the most detail is taken.
        """
        images = [images for images, _ in self.parts.values()]

        def below(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        def crop() -> Tensor:
            part = images[below(len(images))]
            image = part[below(len(part))]
            y, x = below(image.shape[-2] - side + 1), below(image.shape[-1] - side + 1)
            cut = image[:, y : y + side, x : x + side].float() / 127.5 - 1
            return cut.flip(-1) if below(2) else cut

        return torch.stack([max((crop() for _ in range(of)), key=_detail) for _ in range(count)])


def _detail(image: Tensor) -> float:
    """The mean difference of neighbors in (3, H, W)."""
    return (image[:, 1:] - image[:, :-1]).abs().mean().item() + (image[..., 1:] - image[..., :-1]).abs().mean().item()


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


def fitted_latent_rgb(autoencoder: Autoencoder, count: int = 64) -> LatentRgb:
    """The colors of latents, as `DemoModel` has them: least squares from latents to the mean colors of cells."""
    images = torch.stack([torch.from_numpy(render(sample_scene(TRAIN_SEED + i)).image) for i in range(count)])
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(part) for part in images.split(8)])
    cells, colors = (x.movedim(1, -1).flatten(0, -2) for x in (latents, nn.functional.avg_pool2d(images, FACTOR)))
    known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return [[round(value, 4) for value in row] for row in torch.linalg.lstsq(known, colors).solution.tolist()]


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


def _seen(model: DemoModel, ids: Tensor, *beside: Tensor) -> Predictor:
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
        images = torch.from_numpy(np.stack([pixels_of(scene) for scene in edited]))
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


def latents_of(folder: Path) -> tuple[Tensor, list[Scene]]:
    """All latents (N, C, 16, 16) float16 of a folder, and their scenes."""
    parts, scenes = [], []
    for path in sorted(folder.glob("???.npz")):
        with np.load(path) as file:
            parts.append(torch.from_numpy(file["latents"]))
            scenes += [sample_scene(seed) for seed in file["seeds"].tolist()]
    if not parts:
        raise FileNotFoundError(f"no latents in {folder}: encode them with `python -m tools.lab train latents`")
    return torch.cat(parts), scenes


def draw_sampled(weights: Path, out: Path, cfg: float, steps: int) -> None:
    """A sheet of what a model makes of the captions of held-out scenes by DDIM, below the scenes."""
    model, scenes = load_model(weights), [sample_scene(TEST_SEED + i) for i in range(32)]
    schedule = LabSettings(steps=steps, eta=0.0, flow=model.is_flow).schedule()
    made = generated(model, [scene.caption for scene in scenes], [*range(32)], schedule, cfg).image
    images = torch.stack([torch.from_numpy(render(scene).image) for scene in scenes])
    draw_sheet(out, images, model.autoencoder.decode(made))
    print("\n".join(scene.caption for scene in scenes))


def bundle(weights: Path, decoder: Path, out: Path) -> None:
    """Put trained weights where the demo model is loaded from, with their preview, and their log beside them."""
    model = load_model(weights)
    model.autoencoder = load_autoencoder(decoder)
    model.latent_rgb = fitted_latent_rgb(model.autoencoder)
    save_model(model, out)
    log = weights.with_suffix(".jsonl")
    if log.is_file():
        out.with_suffix(".jsonl").write_bytes(log.read_bytes())


def save_weights(model: nn.Module, out: Path) -> None:
    """Write the weights in float16 beside the target, then rename."""
    beside = out.with_suffix(".part")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, beside)
    os.replace(beside, out)


def add_parts(parser: argparse.ArgumentParser) -> None:
    """The arguments of each part of the training."""
    commands = parser.add_subparsers(required=True, dest="part", metavar="part")

    def command(name: str, text: str, *folders: str, steps: int = 0) -> argparse.ArgumentParser:
        """A part that reads folders of `FOLDER`, and, if it trains, how."""
        made = commands.add_parser(name, help=text)
        for folder in folders:
            made.add_argument(f"--{folder}", type=Path, default=FOLDER / folder)
        if steps:
            made.add_argument("--out", type=Path, default=FOLDER / f"{name}.safetensors")
            made.add_argument("--steps", type=int, default=steps)
            made.add_argument("--seed", type=int, default=0)
            made.add_argument("--save-every", type=int, default=500, metavar="STEPS")
        return made

    def takes(parser: argparse.ArgumentParser, name: str) -> None:
        parser.add_argument(f"--{name}", type=Path, default=FOLDER / f"{name}.safetensors")

    made = commands.add_parser("scenes", help="draw the training scenes")
    made.add_argument("--parts", type=int, default=32, help=f"files of {PART}")
    made.add_argument("--folder", type=Path, default=FOLDER / "scenes")
    made = command("autoencoder", "train the autoencoder, or go on", "scenes", steps=AutoencoderConfig.steps)
    made.add_argument("--channels", type=int, default=4, help="of the latents")
    made.add_argument("--start", type=Path, metavar="FILE", help="weights to begin with, of as many channels or fewer")
    made = command("decoder", "train the autoencoder's decoder on, or go on", "scenes", steps=DecoderConfig.steps)
    takes(made, "autoencoder")
    made = commands.add_parser("decoded", help="measure the autoencoder on held-out scenes, and draw a sheet")
    takes(made, "autoencoder")
    made.add_argument("--out", type=Path, default=FOLDER / "decoded.png")
    made.add_argument("--count", type=int, default=48)
    made = command("latents", "encode the training scenes", "scenes")
    takes(made, "autoencoder")
    made.add_argument("--out", type=Path, default=FOLDER / "latents")
    made = command("weights", "train the network of the bundled model, or go on", "latents", steps=WeightsConfig.steps)
    takes(made, "autoencoder")
    made.add_argument("--start", type=Path, metavar="FILE", help="weights to begin with, of as many channels or fewer")
    made = command("pairs", "encode an edit of each training scene", "latents")
    takes(made, "autoencoder")
    made.add_argument("--out", type=Path, default=FOLDER / "pairs")
    made = command("edit", "train the edit model, or go on", "latents", "pairs", steps=EditConfig.steps)
    takes(made, "weights")
    made = command("flow", "train the flow model, or go on", "latents", steps=FlowConfig.steps)
    takes(made, "weights")
    made = commands.add_parser("sampled", help="draw a sheet of what a model makes of captions")
    takes(made, "weights")
    made.add_argument("--out", type=Path, default=FOLDER / "sampled.png")
    made.add_argument("--cfg", type=float, default=3.0)
    made.add_argument("--steps", type=int, default=50)
    made = commands.add_parser("bundle", help="put the weights beside the code")
    takes(made, "weights")
    takes(made, "decoder")
    made.add_argument("--out", type=Path, default=WEIGHTS)
    made = commands.add_parser("classifier", help="train the judge of the evaluation")
    made.add_argument("--out", type=Path, default=JUDGE)


def run_part(args: argparse.Namespace) -> None:
    """Run one part of the training."""
    if args.part == "scenes":
        draw_parts(args.folder, args.parts)
    elif args.part == "autoencoder":
        config = AutoencoderConfig(latent_channels=args.channels, steps=args.steps, seed=args.seed)
        train_autoencoder(args.out, args.scenes, config, args.save_every, args.start)
    elif args.part == "decoder":
        channels = load_autoencoder(args.autoencoder).channels
        decoder = DecoderConfig(latent_channels=channels, steps=args.steps, seed=args.seed)
        train_autoencoder(args.out, args.scenes, decoder, args.save_every, args.autoencoder, decoder_only=True)
    elif args.part == "decoded":
        values, images, decoded = held_out(load_autoencoder(args.autoencoder), args.count)
        draw_sheet(args.out, images, decoded)
        print(json.dumps({"psnr": float(values.mean()), "lowest": float(values.min()), "scenes": args.count}))
    elif args.part == "latents":
        encode_parts(args.autoencoder, args.scenes, args.out)
    elif args.part == "weights":
        settings = WeightsConfig(steps=args.steps, seed=args.seed)
        train_weights(args.out, args.autoencoder, args.latents, settings, args.save_every, args.start)
    elif args.part == "pairs":
        encode_pairs(args.autoencoder, args.latents, args.out)
    elif args.part == "edit":
        edit = EditConfig(steps=args.steps, seed=args.seed)
        train_edit(args.out, args.weights, args.latents, args.pairs, edit, args.save_every)
    elif args.part == "flow":
        flow = FlowConfig(steps=args.steps, seed=args.seed)
        train_flow(args.out, args.weights, args.latents, flow, args.save_every)
    elif args.part == "sampled":
        draw_sampled(args.weights, args.out, args.cfg, args.steps)
    elif args.part == "bundle":
        bundle(args.weights, args.decoder, args.out)
    else:
        print(train_classifier(args.out))
