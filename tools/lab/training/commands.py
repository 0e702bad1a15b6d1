"""The commands of the training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from ddpm_core.contact_sheet import grid
from demo.autoencoder import load_autoencoder
from demo.model import load_model, save_model
from demo.rendering import render
from demo.scenes import TEST_SEED, sample_scene
from demo.weights import WEIGHTS

from ..classifier import WEIGHTS as JUDGE
from ..classifier import train_classifier
from ..methods import generated
from ..settings import LabSettings
from .autoencoder import AutoencoderConfig, DecoderConfig, fitted_latent_rgb, held_out, train_autoencoder
from .latents import encode_pairs, encode_parts
from .networks import EditConfig, FlowConfig, WeightsConfig, train_edit, train_flow, train_weights
from .scenes import PART, draw_parts

FOLDER = Path("output/train")


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


def draw_sheet(out: Path, images: Tensor, made: Tensor, columns: int = 8) -> None:
    """Originals above what was made of them, row by row."""
    pairs = zip(images.split(columns), made.split(columns), strict=True)
    grid([list(row) for pair in pairs for row in pair], size=(128, 128), margin=4).save(out)
