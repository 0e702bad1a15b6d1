"""A small classifier of scenes, the judge of the evaluation: shape, object, time and season of an image.

It is trained apart from the diffusion model, on scenes of its own seeds and of every caption combination, and on
images that are a little noisy, faded or shifted, so that it judges what is shown and not how cleanly.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demo.scenes import CLASSIFIER_SEED, OBJECTS, SEASONS, SHAPES, TIMES, Scene, render, sample_scene

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
HEADS: dict[str, tuple[str, ...]] = {"shape": SHAPES, "object": OBJECTS, "time": tuple(TIMES), "season": SEASONS}
IGNORED = -100


class Classifier(nn.Module):
    """Three strided convolutions, mean and maximum over what is left, and one linear head for each attribute.

    A fourth channel, the contrast to the border, saves it from learning each shape again in each pair of colours.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(4, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 3 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(3 * width, 3 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(6 * width, len(words)) for name, words in HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, 32, 32) in [-1, 1] -> for each attribute its logits (B, words)."""
        features = self.features(torch.cat([images, _contrast(images)], dim=1))
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Tensor, attribute: str) -> list[str]:
        """The word that describes an attribute of each image (B, 3, 32, 32)."""
        return [HEADS[attribute][i] for i in self(images)[attribute].argmax(dim=1).tolist()]


def _contrast(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W): distance to the median colour of the border, at most 1."""
    border = torch.cat([images[..., 0], images[..., -1], images[..., 0, :], images[..., -1, :]], dim=-1)
    distance = (images - border.median(dim=-1).values[..., None, None]).norm(dim=1, keepdim=True)
    return distance / distance.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3)


def labels(scene: Scene) -> list[int]:
    """The class of each attribute in the order of `HEADS`; those that the other family has are ignored."""
    values = [getattr(scene, name, None) for name in HEADS]
    return [IGNORED if v is None else words.index(v) for v, words in zip(values, HEADS.values(), strict=True)]


def train_classifier(out: Path = WEIGHTS, scenes: int = 12_000, steps: int = 2_000, seed: int = 0) -> dict[str, float]:
    """Train, write the weights and return the accuracy on scenes that follow the trained ones."""
    torch.manual_seed(seed)
    images, targets = _scenes(CLASSIFIER_SEED, scenes)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(images), (64,))
        loss = _loss(model(_roughen(images[index])), targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    beside = out.with_suffix(".part")
    save_file(model.state_dict(), beside)
    os.replace(beside, out)
    return accuracy(model.eval(), CLASSIFIER_SEED + scenes, 1000)


def accuracy(model: Classifier, first_seed: int, count: int) -> dict[str, float]:
    """For each attribute, the fraction of `count` scenes in which it is read right."""
    images, targets = _scenes(first_seed, count)
    with torch.no_grad():
        logits = model(images)
    return {
        name: (logits[name].argmax(dim=1)[known] == targets[known, k]).float().mean().item()
        for k, name, known in _known(targets)
    }


def load_classifier(path: Path | None = None) -> Classifier:
    """Read the weights, the bundled ones by default."""
    model = Classifier()
    model.load_state_dict(load_file(path or WEIGHTS))
    return model.eval()


def _scenes(first_seed: int, count: int) -> tuple[Tensor, Tensor]:
    scenes = [sample_scene(first_seed + i) for i in range(count)]
    images = np.stack([render(scene).image for scene in scenes])
    return torch.from_numpy(images), torch.tensor([labels(scene) for scene in scenes])


def _known(targets: Tensor) -> list[tuple[int, str, Tensor]]:
    return [(k, name, targets[:, k] != IGNORED) for k, name in enumerate(HEADS)]


def _loss(logits: dict[str, Tensor], targets: Tensor) -> Tensor:
    parts = [F.cross_entropy(logits[name][known], targets[known, k]) for k, name, known in _known(targets)]
    return torch.stack(parts).sum()


def _roughen(images: Tensor) -> Tensor:
    """Noise, contrast and shifts by a pixel or two, as the images of a diffusion model may have."""
    rows = (len(images), 1, 1, 1)
    noisy = images + 0.12 * torch.rand(rows) * torch.randn_like(images)
    faded = noisy * (0.8 + 0.3 * torch.rand(rows)) + 0.1 * torch.randn(rows)
    x, y = torch.randint(-2, 3, (2,)).tolist()
    return faded.roll((y, x), dims=(2, 3))
