"""Edits of scenes with their ground truth, and what is measured of a result.

An edit is a scene and the same scene with one attribute changed, or two. Of a result:

- success: the attribute reads as asked. Colours are read in the known mask, the position where the object's
  colour lies; shape, object, time and season by a classifier that was trained apart.
- error: mean absolute difference to the source, in units of the full range of a pixel, where the ground truth does
  not change. A change of time changes every pixel, so it has none.
- structure: correlation of the gradient magnitudes of source and result.

The edits are fixed by their seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demo.scenes import (
    COLORS,
    OBJECTS,
    POSITIONS,
    SEASONS,
    SHAPES,
    TEST_SEED,
    TIMES,
    Scene,
    ShapeScene,
    render,
    sample_scene,
)

from .classifier import Classifier

KINDS: dict[str, Sequence[str]] = {
    "color": tuple(COLORS),
    "ground": tuple(COLORS),
    "shape": SHAPES,
    "position": tuple(POSITIONS),
    "object": OBJECTS,
    "time": tuple(TIMES),
    "season": SEASONS,
}


@dataclass(frozen=True)
class Edit:
    """A source scene and its ground truth: the same scene with the attribute `kind` changed.

    `variation` v draws the noise of seed + v.
    """

    kind: str
    source: Scene
    target: Scene
    variation: int = 0

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.source.seed + self.variation


@dataclass
class Score:
    """What was measured of one edit. `error` is NaN where the ground truth changes everywhere."""

    edit: Edit
    success: bool
    error: float
    structure: float


# --- edits ------------------------------------------------------------------------------------------------------------


def choose_edits(per_kind: int, first_seed: int = TEST_SEED, kinds: Sequence[str] = tuple(KINDS)) -> list[Edit]:
    """The first `per_kind` edits of every kind: scenes in the order of their seeds, the new value drawn by the seed."""
    edits = []
    for kind in kinds:
        chosen, seed = 0, first_seed
        while chosen < per_kind:
            scene, rng = sample_scene(seed), np.random.default_rng([seed, 5])
            seed += 1
            if not hasattr(scene, kind):
                continue
            taken = {getattr(scene, kind), getattr(scene, {"color": "ground", "ground": "color"}.get(kind, kind))}
            value = str(rng.choice([v for v in KINDS[kind] if v not in taken]))
            edits.append(Edit(kind, scene, scene.replace(**{kind: value})))
            chosen += 1
    return edits


def source_images(edits: Sequence[Edit]) -> Tensor:
    """(B, 3, 32, 32) in [-1, 1]."""
    return torch.from_numpy(np.stack([render(edit.source).image for edit in edits]))


PAIRS = (("color", "ground"), ("time", "season"), ("color", "shape"))  # the last alone leaves something as it was


@dataclass(frozen=True)
class TwoEdits:
    """A scene with two attributes changed."""

    kinds: tuple[str, str]
    source: Scene
    target: Scene

    def alone(self, kind: str) -> Scene:
        """The source with one of the two changed."""
        return self.source.replace(**{kind: getattr(self.target, kind)})


def choose_two_edits(count: int, first_seed: int, kinds: tuple[str, str]) -> list[TwoEdits]:
    """The first `count` scenes that have both attributes, in the order of their seeds, with new values for both."""
    chosen: list[TwoEdits] = []
    seed = first_seed
    while len(chosen) < count:
        scene, rng = sample_scene(seed), np.random.default_rng([seed, 7])
        seed += 1
        if not all(hasattr(scene, kind) for kind in kinds):
            continue
        taken = {getattr(scene, kind) for kind in kinds}  # a circle on a ground of its own color could not be seen
        values = {}
        for kind in kinds:
            values[kind] = str(rng.choice([value for value in KINDS[kind] if value not in taken]))
            taken.add(values[kind])
        chosen.append(TwoEdits(kinds, scene, scene.replace(**values)))
    return chosen


# --- measures ---------------------------------------------------------------------------------------------------------


def read_color(image: Tensor, mask: Tensor) -> str:
    """The colour word nearest to the mean of image (3, H, W) where mask (H, W) is full."""
    mean = ((image + 1) / 2)[:, mask > 0.99].mean(dim=1)
    return min(COLORS, key=lambda name: (torch.tensor(COLORS[name]) - mean).square().sum().item())


def read_position(image: Tensor, scene: ShapeScene) -> str:
    """Where the pixels of image (3, H, W) lie that are nearer to the object's colour than to the ground's."""
    pixels = (image + 1) / 2
    to_object, to_ground = (
        (pixels - torch.tensor(COLORS[name]).view(3, 1, 1)).square().sum(dim=0) for name in (scene.color, scene.ground)
    )
    columns = (to_object < to_ground).float().sum(dim=0)
    width = image.shape[-1]
    centre = (columns * (torch.arange(width) + 0.5)).sum() / columns.sum().clamp(min=1) / width
    return min(POSITIONS, key=lambda name: abs(POSITIONS[name] - centre.item()))


def read_attribute(image: Tensor, edit: Edit, classifier: Classifier) -> str:
    """The value that the edited attribute has in image (3, H, W)."""
    if edit.kind in ("color", "ground"):
        mask = render(edit.target).masks["object" if edit.kind == "color" else "ground"]
        return read_color(image, torch.from_numpy(mask))
    if isinstance(edit.target, ShapeScene) and edit.kind == "position":
        return read_position(image, edit.target)
    return classifier.read(image[None], edit.kind)[0]


def error_outside(image: Tensor, edit: Edit) -> float:
    """Mean absolute difference to the source in [0, 1] where the ground truth leaves it as it was."""
    source, kept = torch.from_numpy(render(edit.source).image), kept_by(edit)
    if not has_outside(kept):
        return math.nan
    return ((image - source).abs() / 2)[:, kept].mean().item()


def has_outside(kept: Tensor) -> bool:
    """Whether an edit leaves enough pixels as they were to measure them."""
    return bool(kept.float().mean() >= 0.05)


def kept_by(edit: Edit) -> Tensor:
    """(H, W) True where the ground truth leaves the source as it was."""
    source, target = (torch.from_numpy(render(scene).image) for scene in (edit.source, edit.target))
    return (source - target).abs().amax(dim=0) < 0.02


def area_under_curve(score: Tensor, truth: Tensor) -> float:
    """The fraction of pairs of a pixel in `truth` and one outside that `score` has in the right order; a tie is half.

    Args:
        score, truth: of one shape; truth is bool. NaN where it is all or nothing.
    """
    _, rank, count = score.flatten().double().unique(return_inverse=True, return_counts=True)
    ranks = (count.cumsum(0) - (count - 1) / 2)[rank]  # from 1, the mean of those that tie
    inside = truth.flatten()
    n, m = int(inside.sum()), int((~inside).sum())
    return math.nan if not n or not m else ((ranks[inside].sum().item() - n * (n + 1) / 2) / (n * m))


def structure_kept(image: Tensor, source: Tensor) -> float:
    """Correlation of the gradient magnitudes of two images (3, H, W)."""
    magnitudes = torch.stack([_gradient_magnitude(image).flatten(), _gradient_magnitude(source).flatten()])
    return torch.corrcoef(magnitudes)[0, 1].item()


def _gradient_magnitude(image: Tensor) -> Tensor:
    """(3, H, W) -> (H-1, W-1), over all channels."""
    across = image[:, :-1, 1:] - image[:, :-1, :-1]
    down = image[:, 1:, :-1] - image[:, :-1, :-1]
    return (across**2 + down**2).sum(dim=0).sqrt()


def score(edits: Sequence[Edit], sources: Tensor, results: Tensor, classifier: Classifier) -> list[Score]:
    """Measure results (B, 3, H, W) of edits of sources (B, 3, H, W)."""
    return [
        Score(
            edit=edit,
            success=read_attribute(result, edit, classifier) == getattr(edit.target, edit.kind),
            error=error_outside(result, edit),
            structure=structure_kept(result, source),
        )
        for edit, source, result in zip(edits, sources, results.clamp(-1, 1), strict=True)
    ]


def summary(scores: Sequence[Score]) -> tuple[float, float, float]:
    """Mean success, error outside the edit (of the edits that have an outside) and structure."""
    errors = [s.error for s in scores if not math.isnan(s.error)]
    return (
        sum(s.success for s in scores) / len(scores),
        sum(errors) / len(errors) if errors else math.nan,
        sum(s.structure for s in scores) / len(scores),
    )
