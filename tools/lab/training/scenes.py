"""Scenes, drawn once onto the disk, and crops of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo.scenes import TRAIN_SEED, Scene, sample_scene

from ..classifier import pixels_of

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
        write_arrays(path, images=images, seeds=np.array([scene.seed for scene in scenes]))


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
    """The mean difference of neighbours in (3, H, W)."""
    return (image[:, 1:] - image[:, :-1]).abs().mean().item() + (image[..., 1:] - image[..., :-1]).abs().mean().item()


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """A file of arrays, written beside and renamed."""
    beside = path.with_suffix(".part.npz")
    np.savez(beside, **arrays)  # type: ignore[arg-type]
    os.replace(beside, path)
    print(path.name, flush=True)
