"""Latents of scenes and of their edits, encoded once onto the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo.autoencoder import Autoencoder, load_autoencoder
from demo.scenes import Scene, instruction, rng_of, sample_scene

from ..classifier import pixels_of
from ..settings import FAST_BFLOAT16
from .autoencoder import channels_last
from .scenes import write_arrays


def encode_parts(autoencoder: Path, scenes: Path, out: Path) -> None:
    """The latents (N, C, 16, 16) float16 of each part of scenes, and of their mirror images; those that are there stay.

    Captions name no side, so a mirrored scene has the caption of the scene.
    """
    model = channels_last(load_autoencoder(autoencoder))
    for part, path in _waiting(scenes, out):
        with np.load(part) as file:
            images, seeds = torch.from_numpy(file["images"]), file["seeds"]
        write_arrays(
            path, latents=encoded(model, torch.cat([images, images.flip(-1)])), seeds=np.concatenate([seeds, seeds])
        )


def _waiting(folder: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """The parts of a folder that have none of their name in `out` yet, and where these go."""
    out.mkdir(parents=True, exist_ok=True)
    for part in sorted(folder.glob("???.npz")):
        path = out / part.name
        if not path.exists():
            yield part, path


@torch.no_grad()
def encoded(model: Autoencoder, images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) uint8 -> latents (N, C, H / 8, W / 8) float16."""
    made = []
    for batch in images.split(16):
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
            latents = model.encode((batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        made.append(latents.half())
    return torch.cat(made).numpy()


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
    model = channels_last(load_autoencoder(autoencoder))
    for part, path in _waiting(latents, out):
        with np.load(part) as file:
            seeds = file["seeds"][: len(file["seeds"]) // 2]
        edited = [asked_edit(sample_scene(seed))[1] for seed in seeds.tolist()]
        images = torch.from_numpy(np.stack([pixels_of(scene) for scene in edited]))
        write_arrays(path, latents=encoded(model, torch.cat([images, images.flip(-1)])))


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
