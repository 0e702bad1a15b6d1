"""Do edits change what the caption changed and keep the rest? Measured on held-out scenes.

Each method on the edits of `edits`, by kind of edit, in the measures told there. LabSettings were tuned on the edits of
`TUNE_SEED`; the table is of `TEST_SEED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from ddpm_core.denoiser import Denoiser
from ddpm_core.guidance import Guidance, Term
from ddpm_core.sampling import sample
from demo.autoencoder import FACTOR
from demo.model import DemoModel
from demo.rendering import render
from demo.scenes import TEST_SEED

from .by_nodes import nodes_of
from .classifier import Classifier
from .edits import (
    KINDS,
    Edit,
    Score,
    TwoEdits,
    area_under_curve,
    choose_edits,
    has_outside,
    image_of,
    kept_by,
    score,
    source_images,
    summary,
)
from .methods import LabMethod, difference_heat, edit_friendly_maps, guided_denoiser, target_denoiser
from .settings import LabSettings

# --- table ------------------------------------------------------------------------------------------------------------


@dataclass
class ScoreTable:
    """Scores by method, printed by kind."""

    scores: dict[str, list[Score]] = field(default_factory=dict)

    def rows(self, name: str) -> dict[str, list[Score]]:
        """The scores of a method by kind, then those of held-out captions, then all."""
        scores = self.scores[name]
        rows = {kind: [s for s in scores if s.edit.kind == kind] for kind in KINDS}
        rows["held-out captions"] = [s for s in scores if s.edit.source.held_out or s.edit.target.held_out]
        rows["all"] = scores
        return {kind: row for kind, row in rows.items() if row}

    def __str__(self) -> str:
        width = max(map(len, self.scores), default=0) + 2
        lines = [f"{'method':{width}}{'kind':20}{'edits':>6}{'success':>9}{'error':>8}{'structure':>11}"]
        for name in self.scores:
            for kind, row in self.rows(name).items():
                success, error, structure = summary(row)
                lines.append(f"{name:{width}}{kind:20}{len(row):>6}{success:>9.2f}{error:>8.3f}{structure:>11.2f}")
        return "\n".join(lines)


def evaluate(
    model: DemoModel,
    classifier: Classifier,
    edits: list[Edit],
    runs: Mapping[str, tuple[LabMethod, LabSettings]],
    batch: int = 32,
) -> ScoreTable:
    """Run and score edits.

    Args:
        runs: for each row of the table, a method and its settings.
        batch: how many edits are run together.
    """
    sources = source_images(edits)
    table = ScoreTable()
    for label, (method, settings) in runs.items():
        results = [
            method.run(model, edits[i : i + batch], sources[i : i + batch], settings)
            for i in range(0, len(edits), batch)
        ]
        table.scores[label] = score(edits, sources, torch.cat(results), classifier)
    return table


# --- masks and words --------------------------------------------------------------------------------------------------


def mask_found(
    model: DemoModel, edits: list[Edit], settings: LabSettings | None = None, batch: int = 32
) -> dict[str, float]:
    """By kind: the mean area under the curve of the difference map, for the pixels that the ground truth changes.

    Kinds that change every pixel are left out, which time does; "mean" is over those that stay.
    """
    settings, sources = settings or LabSettings(), source_images(edits)
    areas: dict[str, list[float]] = {}
    for i in range(0, len(edits), batch):
        group = edits[i : i + batch]
        cells = difference_heat(model, group, model.autoencoder.encode(sources[i : i + batch]), settings)
        maps = F.interpolate(cells, scale_factor=FACTOR, mode="bilinear")
        for edit, heat in zip(group, maps, strict=True):
            if has_outside(kept := kept_by(edit)):
                areas.setdefault(edit.kind, []).append(area_under_curve(heat[0], ~kept))
    found = {kind: sum(row) / len(row) for kind, row in areas.items()}
    return found | {"mean": sum(found.values()) / len(found)}


@dataclass(frozen=True)
class FoundWords:
    """How well Mask from Words found words of a caption: the area under the curve of its heat.

    Args:
        kind: the attribute that the words say.
    """

    kind: str
    words: str
    area: float


def words_find(
    model: DemoModel, per_kind: int, settings: LabSettings, first_seed: int = TEST_SEED, kinds: Sequence[str] = KINDS
) -> list[FoundWords]:
    """How well Mask from Words finds what each word of a caption stands for, in `per_kind` scenes an attribute.

    It looks at the states after a fifth, two, three and four fifths of the steps. A word's place is that of the object
    or of its color, for all other attributes that which a change of it changes. Attributes that the whole picture shows
    are left out.
    """
    nodes = nodes_of(model)
    found = []
    for edit in choose_edits(per_kind, first_seed, kinds):
        scene, inside = edit.source, ~kept_by(edit)
        words = scene.words_of(edit.kind)
        if not words or not has_outside(~inside):
            continue
        if (tag := {scene.subject: "object", "color": "color"}.get(edit.kind)) is not None:
            inside = torch.from_numpy(render(scene).masks[tag]) > 0.5
        latent = model.autoencoder.encode(image_of(scene)[None])[0]
        noise_maps = nodes.invert(edit, latent, replace(settings, skip=0.0))
        heat = nodes.word_heat(scene.caption, words, noise_maps, levels=4)
        found.append(FoundWords(edit.kind, words, area_under_curve(heat, inside)))
    return found


def mean_areas(found: Sequence[FoundWords], by: Callable[[FoundWords], str]) -> dict[str, float]:
    """The mean area of what `by` calls the same."""
    areas: dict[str, list[float]] = {}
    for each in found:
        areas.setdefault(by(each), []).append(each.area)
    return {name: sum(row) / len(row) for name, row in areas.items()}


# --- two edits at once ------------------------------------------------------------------------------------------------


def two_edits(
    model: DemoModel, classifier: Classifier, edits: Sequence[TwoEdits], settings: LabSettings, batch: int = 32
) -> dict[str, tuple[float, float, float]]:
    """Two edits as a chain and as one prompt for both: the fraction in which both read as asked, the mean error
    where nothing was to change, and structure.

    The chain is that of the nodes (LEDITS++, arXiv 2311.16711): away from the source's caption towards each of two
    captions with one thing changed.
    """
    rows: dict[str, list[Score]] = {"a chain of two": [], "one prompt": []}
    for i in range(0, len(edits), batch):
        group = edits[i : i + batch]
        whole = [Edit(edit.kinds[0], edit.source, edit.target) for edit in group]
        images = source_images(whole)
        noise_maps = edit_friendly_maps(model, whole, model.autoencoder.encode(images), settings)
        denoisers = {
            "a chain of two": _chained(model, group, settings),
            "one prompt": target_denoiser(model, whole, settings),
        }
        for name, denoiser in denoisers.items():
            results = model.autoencoder.decode(sample(denoiser, noise_maps))
            both = [
                score([Edit(kind, edit.source, edit.target) for edit in group], images, results, classifier)
                for kind in group[0].kinds
            ]
            rows[name] += [replace(a, success=a.success and b.success) for a, b in zip(*both, strict=True)]
    return {name: summary(scores) for name, scores in rows.items()}


def _chained(model: DemoModel, edits: Sequence[TwoEdits], settings: LabSettings) -> Denoiser:
    kinds, chosen = edits[0].kinds, settings.several
    denoisers = {kind: model.denoiser([edit.alone(kind).caption for edit in edits]) for kind in kinds}
    denoisers["positive"] = model.denoiser([edit.source.caption for edit in edits])
    terms = tuple((kind, Term(chosen.scale, quantile=chosen.quantile[kind])) for kind in kinds)
    return guided_denoiser(denoisers, Guidance("positive", terms=terms))
