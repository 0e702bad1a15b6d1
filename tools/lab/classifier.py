"""A small classifier of scenes, the judge of the evaluation: what an image shows, attribute by attribute.

It is trained apart from the diffusion model, on scenes of its own seeds and of every combination of attributes, and on
images that are a little noisy, soft, faded or shifted, so that it judges what is shown and not how cleanly. Colors and
expressions are no matter of it: `edits.read_drawn` knows where they are.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demo.rendering import render
from demo.scenes import CLASSIFIER_SEED, Landscape, Portrait, Scene, StillLife, sample_scene

from .settings import FAST_BFLOAT16

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
DRAWN = ("color", "expression")
HEADS: dict[str, tuple[str, ...]] = {
    name: tuple(values)
    for family in (Landscape, StillLife, Portrait)
    for name, values in family.values.items()
    if name not in DRAWN
}
IGNORED = -100


class Classifier(nn.Module):
    """Convolutions to an eighth and to a sixteenth of the side, mean and maximum over both, two layers an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(*_conv(3, 24), *_conv(24, 48), *_conv(48, 96), *_conv(96, 96, stride=1))
        self.coarse = nn.Sequential(*_conv(96, 96), *_conv(96, 96, stride=1))
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(4 * 96, 24), nn.ReLU(), nn.Linear(24, len(words)))
                for name, words in HEADS.items()
            }
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, 128, 128) in [-1, 1] -> for each attribute its logits (B, words)."""
        fine = self.fine(images)
        pooled = [pool for part in (fine, self.coarse(fine)) for pool in (part.mean(dim=(2, 3)), part.amax(dim=(2, 3)))]
        return {name: head(torch.cat(pooled, dim=1)) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Tensor, attribute: str) -> list[str]:
        """The word that describes an attribute of each image (B, 3, 128, 128)."""
        return [HEADS[attribute][i] for i in self(images)[attribute].argmax(dim=1).tolist()]


def _conv(channels: int, out: int, stride: int = 2) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()


def labels(scene: Scene) -> list[int]:
    """The class of each attribute in the order of `HEADS`; those that the scene has not are ignored."""
    return [words.index(getattr(scene, name)) if name in scene.attributes else IGNORED for name, words in HEADS.items()]


def train_classifier(out: Path = WEIGHTS, scenes: int = 16_000, steps: int = 4_000, seed: int = 0) -> dict[str, float]:
    """Train, write the weights and return the accuracy on scenes that follow the trained ones."""
    torch.manual_seed(seed)
    images, targets = _scenes(CLASSIFIER_SEED, scenes)
    model = Classifier().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(images), (48,))
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
            logits = model(_roughen(_in_range(images[index])))
        loss = _loss({name: value.float() for name, value in logits.items()}, targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items() if "num_b" not in name}
    beside = out.with_suffix(".part")
    save_file(weights, beside)
    os.replace(beside, out)
    return accuracy(load_classifier(out), CLASSIFIER_SEED + scenes, 1000)


def accuracy(model: Classifier, first_seed: int, count: int) -> dict[str, float]:
    """For each attribute, the fraction of `count` scenes in which it is read right."""
    images, targets = _scenes(first_seed, count)
    with torch.no_grad():
        parts = [model(_in_range(part)) for part in images.split(50)]
    return {
        name: (torch.cat([part[name] for part in parts]).argmax(dim=1)[known] == targets[known, k])
        .float()
        .mean()
        .item()
        for k, name, known in _known(targets)
    }


def load_classifier(path: Path | None = None) -> Classifier:
    """Read the weights, the bundled ones by default, and cast them up to float32."""
    model = Classifier()
    model.load_state_dict({name: value.float() for name, value in load_file(path or WEIGHTS).items()}, strict=False)
    return model.eval().requires_grad_(False)


def pixels_of(scene: Scene) -> np.ndarray:
    """(3, 128, 128) uint8 of a scene."""
    return np.round((render(scene).image + 1) * 127.5).astype(np.uint8)


def _scenes(first_seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 128, 128) uint8 and their labels (N, heads)."""
    scenes = [sample_scene(first_seed + i) for i in range(count)]
    images = torch.from_numpy(np.stack([pixels_of(scene) for scene in scenes]))
    return images, torch.tensor([labels(scene) for scene in scenes])


def _in_range(images: Tensor) -> Tensor:
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _known(targets: Tensor) -> list[tuple[int, str, Tensor]]:
    return [(k, name, targets[:, k] != IGNORED) for k, name in enumerate(HEADS)]


def _loss(logits: dict[str, Tensor], targets: Tensor) -> Tensor:
    parts = [F.cross_entropy(logits[name][known], targets[known, k]) for k, name, known in _known(targets)]
    return torch.stack(parts).sum()


def _roughen(images: Tensor) -> Tensor:
    """Noise, blur, contrast and shifts by some pixels, as a diffusion model may make them; half are mirrored."""
    rows = (len(images), 1, 1, 1)
    images = torch.where(torch.rand(rows) < 0.5, images, images.flip(-1))
    for side in (3, 5):  # as soft as an autoencoder's pictures, and softer
        soft = F.avg_pool2d(F.pad(images, (side // 2,) * 4, mode="replicate"), side, stride=1)
        images = torch.lerp(images, soft, torch.rand(rows))
    noisy = images + 0.10 * torch.rand(rows) * torch.randn_like(images)
    faded = noisy * (0.85 + 0.2 * torch.rand(rows)) + 0.08 * torch.randn(rows)
    x, y = torch.randint(-4, 5, (2,)).tolist()
    return faded.roll((y, x), dims=(2, 3))
