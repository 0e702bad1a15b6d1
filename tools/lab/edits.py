"""Edits of scenes with their ground truth, and what is measured of a result.

An edit is a scene and the same scene with one attribute changed, or two. Of a result:

- success: the attribute reads as asked. Colors and expressions, whose places are known, are those of the drawing that
  is nearest; all else is read by a classifier that was trained apart.
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

from demo.rendering import render
from demo.scenes import TEST_SEED, Landscape, Portrait, Scene, StillLife, sample_scene

from .classifier import DRAWN, Classifier

KINDS = tuple(dict.fromkeys(name for family in (Landscape, StillLife, Portrait) for name in family.values))


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


def choose_edits(per_kind: int, first_seed: int = TEST_SEED, kinds: Sequence[str] = KINDS) -> list[Edit]:
    """The first `per_kind` edits of every kind: scenes in the order of their seeds, the new value drawn by the seed."""
    edits = []
    for kind in kinds:
        chosen, seed = 0, first_seed
        while chosen < per_kind:
            scene, rng = sample_scene(seed), np.random.default_rng([seed, 5])
            seed += 1
            if kind in scene.attributes:
                edits.append(Edit(kind, scene, scene.edited(kind, _other_value(scene, kind, rng))))
                chosen += 1
    return edits


def _other_value(scene: Scene, kind: str, rng: np.random.Generator) -> str:
    return str(rng.choice([value for value in scene.values[kind] if value != getattr(scene, kind)]))


def image_of(scene: Scene) -> Tensor:
    """(3, 128, 128) in [-1, 1]."""
    return torch.from_numpy(render(scene).image)


def source_images(edits: Sequence[Edit]) -> Tensor:
    """(B, 3, 128, 128) in [-1, 1]."""
    return torch.stack([image_of(edit.source) for edit in edits])


PAIRS = (("color", "expression"), ("time", "season"), ("color", "thing"))
"""In two places, both everywhere, and both in one place."""


@dataclass(frozen=True)
class TwoEdits:
    """A scene with two attributes changed."""

    kinds: tuple[str, str]
    source: Scene
    target: Scene

    def alone(self, kind: str) -> Scene:
        """The source with one of the two changed."""
        return self.source.edited(kind, getattr(self.target, kind))


def choose_two_edits(count: int, first_seed: int, kinds: tuple[str, str]) -> list[TwoEdits]:
    """The first `count` scenes that have both attributes, in the order of their seeds, with new values for both."""
    chosen: list[TwoEdits] = []
    seed = first_seed
    while len(chosen) < count:
        scene, rng = sample_scene(seed), np.random.default_rng([seed, 7])
        seed += 1
        values = {kind: _other_value(scene, kind, rng) for kind in kinds if kind in scene.attributes}
        if len(values) < len(kinds) or values.get("thing") == "tree":  # whose color is its season's
            continue
        target = scene
        for kind, value in values.items():
            target = target.edited(kind, value)
        chosen.append(TwoEdits(kinds, scene, target))
    return chosen


# --- measures ---------------------------------------------------------------------------------------------------------


def read_drawn(image: Tensor, scene: Scene, attribute: str) -> str:
    """The value of an attribute with which the scene, drawn in its own light, comes nearest to image (3, H, W).

    The drawings differ in what has the color, or in eyes, brows and mouth, and nowhere else.
    """
    distances = {
        value: (image_of(scene.edited(attribute, value)) - image).square().sum().item()
        for value in scene.values[attribute]
    }
    return min(distances, key=lambda value: distances[value])


def read_attribute(image: Tensor, edit: Edit, classifier: Classifier) -> str:
    """The value that the edited attribute has in image (3, H, W)."""
    if edit.kind in DRAWN:
        return read_drawn(image, edit.target, edit.kind)
    return classifier.read(image[None], edit.kind)[0]


def error_outside(image: Tensor, edit: Edit) -> float:
    """Mean absolute difference to the source in [0, 1] where the ground truth leaves it as it was."""
    source, kept = image_of(edit.source), kept_by(edit)
    if not has_outside(kept):
        return math.nan
    return ((image - source).abs() / 2)[:, kept].mean().item()


def has_outside(kept: Tensor) -> bool:
    """Whether an edit leaves enough pixels as they were to measure them."""
    return bool(kept.float().mean() >= 0.05)


def kept_by(edit: Edit) -> Tensor:
    """(H, W) True where the ground truth leaves the source as it was."""
    return (image_of(edit.source) - image_of(edit.target)).abs().amax(dim=0) < 0.02


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
