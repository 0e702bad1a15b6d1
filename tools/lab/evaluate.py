"""Do edits change what the caption changed and keep the rest? Measured on held-out scenes.

Each method on the edits of `edits`, by kind of edit, in the measures told there. Settings were tuned on the edits of
`TUNE_SEED`; the table is of `TEST_SEED`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ddpm_core import attention, manipulation, masks, trajectories
from ddpm_core.denoiser import Denoiser
from ddpm_core.editing import PairDenoiser
from ddpm_core.guidance import Guidance, SourceGuidance, Term, from_source
from ddpm_core.inversion import invert, without_residuals
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import generate, sample
from ddpm_core.zero_shot import zero_shot
from demo.model import DemoModel
from demo.scenes import (
    TEST_SEED,
    ShapeScene,
    render,
)
from demo.text import tokenize

from .classifier import Classifier
from .control import EditedDenoiser, find_words, prompt_to_prompt, sharing
from .edits import (
    KINDS,
    Edit,
    Score,
    TwoEdits,
    area_under_curve,
    choose_edits,
    has_outside,
    kept_by,
    score,
    source_images,
    summary,
)
from .settings import Settings
from .zero_shot import DemoGuidance

Method = Callable[[DemoModel, list[Edit], Tensor, Settings], Tensor]
"""(model, edits, source images (B, 3, H, W), settings) -> edited images (B, 3, H, W)."""

MapsOf = Callable[[DemoModel, list[Edit], Tensor, Settings], NoiseMaps]

METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a method under the name that the table shows."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


# --- methods ----------------------------------------------------------------------------------------------------------


@method("ground truth")
def ground_truth(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """The target scene itself: the best that any method can score."""
    return torch.from_numpy(np.stack([render(edit.target).image for edit in edits]))


@method("edit friendly")
def edit_friendly(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """The paper: independent noise for every step, Eq. 6."""
    return sample(_target_denoiser(model, edits, settings), _edit_friendly_maps(model, edits, images, settings))


@method("edit friendly, source as negative")
def source_as_negative(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """Guidance away from the source's caption in place of the empty one (TurboEdit, arXiv 2408.00735)."""
    return sample(
        _guided(model, edits, settings, "source as negative"), _edit_friendly_maps(model, edits, images, settings)
    )


@method("edit friendly, h-Edit")
def h_edit(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """h-Edit's explicit form (arXiv 2503.02187), with two thirds of the target's scale for the source, as 5 of 7.5."""
    return sample(_guided(model, edits, settings, "h-Edit"), _edit_friendly_maps(model, edits, images, settings))


@method("few steps")
def few_steps(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """TurboEdit (arXiv 2408.00735): shifted states, the last residual clipped, guidance away from the source."""
    schedule = settings.few_levels_to_run()
    states = trajectories.few_steps(images, schedule, _seeds(edits), noise_shift=settings.noise_shift)
    noise_maps = invert(_source_denoiser(model, edits, settings), states, schedule, skipped=settings.skip_steps)
    if settings.clip_last:
        noise_maps = manipulation.clip_last(noise_maps, settings.clip_last)
    return sample(_guided(model, edits, settings, "source as negative"), noise_maps)


@method("edit friendly + mask")
def edit_friendly_masked(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """The same within the mask of the difference of the two prompts (arXiv 2210.11427)."""
    mask = masks.cut(difference_heat(model, edits, images, settings), settings.mask.threshold)
    noise_maps = _edit_friendly_maps(model, edits, images, settings)
    return sample(_target_denoiser(model, edits, settings), noise_maps, mask=mask)


@method("CycleDiffusion")
def cycle_diffusion(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """One path of the forward process, as its posteriors draw it (arXiv 2210.05559)."""
    noise_maps = _maps(trajectories.cycle_diffusion, model, edits, images, settings)
    return sample(_target_denoiser(model, edits, settings), noise_maps)


@method("DDIM")
def ddim(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """Textbook DDIM inversion (arXiv 2010.02502)."""
    return sample(_target_denoiser(model, edits, settings), _ddim_maps(model, edits, images, settings))


@method("SDEdit")
def sdedit(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """Noise the source to the level after the skip, then sample with fresh noise (arXiv 2108.01073)."""
    schedule = settings.levels_to_run()
    start = trajectories.edit_friendly_state(images, schedule, _seeds(edits), 0)
    return generate(_target_denoiser(model, edits, settings), start, schedule, _seeds(edits)).image


def difference_heat(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """(B, 1, 32, 32) in [0, 1]: how far the two captions differ, from the states that the edit starts from."""
    schedule, chosen = settings.levels_to_run(), settings.mask
    return masks.heat(
        masks.prediction_difference(
            _pair_denoiser(model, edits),
            lambda i: trajectories.edit_friendly_state(images, schedule, _seeds(edits), i),
            schedule,
            masks.levels_between(settings.steps, settings.skip_steps, chosen.levels, chosen.start, chosen.end),
        )
    )


@method("P2P + edit friendly")
def p2p(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """Prompt-to-Prompt (arXiv 2208.01626) on edit-friendly noise maps, as the paper combines them."""
    return _with_attention(_edit_friendly_maps, _p2p_edit, model, edits, images, settings)


@method("P2P + DDIM")
def p2p_ddim(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """The same on the states of textbook DDIM inversion, as the paper compares with (Fig. 9, Tab. 1)."""
    return _with_attention(_ddim_maps, _p2p_edit, model, edits, images, settings)


def _method_that_shares(name: str, what: attention.Method) -> None:
    @method(f"{name} + edit friendly")
    def run(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
        """A method of shared self-attention on edit-friendly noise maps."""
        return _with_attention(
            _edit_friendly_maps, lambda edit, settings: sharing(what), model, edits, images, settings
        )


SHARING = {
    **attention.METHODS,
    # its own rule of layers, a side of at least half the picture's, finds none in this network
    "MasaCtrl at 1/4": replace(attention.METHODS["MasaCtrl"], where=attention.fine_output(0.25)),
}
for _name, _what in SHARING.items():
    _method_that_shares(_name, _what)


@method("zero-shot + edit friendly")
def zero_shot_edit(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """Cross-attention guidance on edit-friendly noise maps, as the paper combines them (Tab. 4)."""
    return _zero_shot(_edit_friendly_maps, model, edits, images, settings)


@method("zero-shot + DDIM")
def zero_shot_ddim(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    """The same on the states of textbook DDIM inversion, as the paper compares with (Fig. 10, Tab. 2)."""
    return _zero_shot(_ddim_maps, model, edits, images, settings)


def _zero_shot(maps_of: MapsOf, model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> Tensor:
    captions = [edit.source.caption for edit in edits], [edit.target.caption for edit in edits]
    guidance = DemoGuidance(model, *captions, settings.cfg_target)
    return zero_shot(guidance, maps_of(model, edits, images, settings), weight=settings.guidance_weight)


def _p2p_edit(edit: Edit, settings: Settings) -> attention.Edit:
    return prompt_to_prompt(edit.source.caption, edit.target.caption, settings.p2p, color_words(edit))


def color_words(edit: Edit) -> tuple[str, ...]:
    """The words of the color of what is edited, before and after: the words of a caption whose maps are an object's."""
    if not isinstance(edit.source, ShapeScene):
        return ()
    name = "ground" if edit.kind == "ground" else "color"
    return getattr(edit.source, name), getattr(edit.target, name)


def _with_attention(
    maps_of: MapsOf,
    attention_of: Callable[[Edit, Settings], attention.Edit],
    model: DemoModel,
    edits: list[Edit],
    images: Tensor,
    settings: Settings,
) -> Tensor:
    # one attention edit acts on all rows of a call, so the same words have to change in them
    groups: dict[Hashable, list[int]] = {}
    for i, edit in enumerate(edits):
        sources, targets = tokenize(edit.source.caption), tokenize(edit.target.caption)
        same = tuple(a == b for a, b in zip(sources, targets, strict=True))
        groups.setdefault((edit.kind, same), []).append(i)
    results = torch.empty_like(images)
    for rows in groups.values():
        group = [edits[i] for i in rows]
        noise_maps = maps_of(model, group, images[rows], settings)
        denoiser = EditedDenoiser(
            model,
            attention_of(group[0], settings),
            [edit.source.caption for edit in group],
            [edit.target.caption for edit in group],
            settings.cfg_target,
            noise_maps,
        )
        results[rows] = sample(denoiser, noise_maps, mask_after=denoiser.mask_after)
    return results


def _edit_friendly_maps(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> NoiseMaps:
    return _maps(trajectories.edit_friendly, model, edits, images, settings)


def _maps(
    trajectory: trajectories.Trajectory, model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings
) -> NoiseMaps:
    schedule = settings.levels_to_run()
    states = trajectory(images, schedule, _seeds(edits))
    return invert(_source_denoiser(model, edits, settings), states, schedule, skipped=settings.skip_steps)


def _ddim_maps(model: DemoModel, edits: list[Edit], images: Tensor, settings: Settings) -> NoiseMaps:
    schedule = settings.levels_to_run()
    states = trajectories.ddim(_source_denoiser(model, edits, settings), images, schedule, _seeds(edits))
    return without_residuals(schedule, states, settings.skip_steps)


def _pair_denoiser(model: DemoModel, edits: list[Edit]) -> PairDenoiser:
    """Both captions without guidance, for the rows of the sources, then those of the targets."""
    return model.denoiser([edit.source.caption for edit in edits] + [edit.target.caption for edit in edits])


def _source_denoiser(model: DemoModel, edits: list[Edit], settings: Settings) -> Denoiser:
    return model.denoiser([edit.source.caption for edit in edits], settings.cfg_source)


def _target_denoiser(model: DemoModel, edits: list[Edit], settings: Settings) -> Denoiser:
    return model.denoiser([edit.target.caption for edit in edits], settings.cfg_target)


def _guided(model: DemoModel, edits: list[Edit], settings: Settings, kind: SourceGuidance) -> Denoiser:
    """Guidance by source, target and empty caption, as the node Guide from Source to Target has it."""
    scale = settings.cfg_target
    (guidance,) = from_source(kind, [scale], scale * 2 / 3)
    sources, targets = ([getattr(edit, which).caption for edit in edits] for which in ("source", "target"))
    prompts: dict[str, str | list[str]] = {"source": sources, "positive": targets, "negative": ""}
    denoisers = {name: model.denoiser(prompts[name]) for name in guidance.prompts}

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        return guidance.combined({name: denoiser(x, sigma) for name, denoiser in denoisers.items()})[0]

    return predict


def _seeds(edits: Sequence[Edit]) -> list[int]:
    return [edit.seed for edit in edits]


def mask_found(
    model: DemoModel, edits: list[Edit], settings: Settings | None = None, batch: int = 32
) -> dict[str, float]:
    """By kind: the mean area under the curve of the difference map, for the pixels that the ground truth changes.

    Kinds that change every pixel are left out, which time does; "mean" is over those that stay.
    """
    settings, sources = settings or Settings(), source_images(edits)
    areas: dict[str, list[float]] = {}
    for i in range(0, len(edits), batch):
        maps = difference_heat(model, edits[i : i + batch], sources[i : i + batch], settings)
        for edit, heat in zip(edits[i : i + batch], maps, strict=True):
            if has_outside(kept := kept_by(edit)):
                areas.setdefault(edit.kind, []).append(area_under_curve(heat[0], ~kept))
    found = {kind: sum(row) / len(row) for kind, row in areas.items()}
    return found | {"mean": sum(found.values()) / len(found)}


# --- words ------------------------------------------------------------------------------------------------------------


def words_find_objects(model: DemoModel, count: int, first_seed: int = TEST_SEED) -> dict[str, float]:
    """How well the attention of each word of a caption finds the object, as the mean area under the curve of scenes.

    The maps are of the source's states after a fifth, two, three and four fifths of 50 steps; a place of the 8 x 8
    belongs to the object where the object covers half of it.

    Args:
        count: of the scenes of shapes, in the order of their seeds.

    Returns:
        By what the words stand for, in their order; those that stand there twice with their number.
    """
    edits = choose_edits(count, first_seed, ("color",))
    settings, images = Settings(skip=0.0), source_images(edits)
    steps = [settings.steps * fifths // 5 for fifths in (1, 2, 3, 4)]
    # the states do not depend on the model
    states = trajectories.edit_friendly(images, settings.schedule(), _seeds(edits))
    maps = find_words(model, [edit.source.caption for edit in edits], states, settings.schedule(), steps)
    objects = torch.from_numpy(np.stack([render(edit.source).masks["object"] for edit in edits]))
    covered = torch.nn.functional.adaptive_avg_pool2d(objects[:, None], (maps.shape[-2], maps.shape[-1]))[:, 0] > 0.5
    words = ("a", "color", "shape", "position", "on", "a (2)", "ground color", "ground")
    return {
        word: sum(area_under_curve(m.flatten(), c.flatten()) for m, c in zip(rows, covered, strict=True)) / len(rows)
        for word, rows in zip(words, maps, strict=True)
    }


# --- two edits at once ------------------------------------------------------------------------------------------------


def two_edits(
    model: DemoModel, classifier: Classifier, edits: Sequence[TwoEdits], settings: Settings, batch: int = 32
) -> dict[str, tuple[float, float, float]]:
    """Two edits as a chain and as one prompt that asks for both: the share in which both read as asked, the mean error
    where nothing was to change, and structure.

    The chain is that of the nodes (LEDITS++, arXiv 2311.16711): away from the source's caption towards each of two
    captions with one thing changed.
    """
    rows: dict[str, list[Score]] = {"a chain of two": [], "one prompt": []}
    for i in range(0, len(edits), batch):
        group = edits[i : i + batch]
        whole = [Edit(edit.kinds[0], edit.source, edit.target) for edit in group]
        images = source_images(whole)
        noise_maps = _edit_friendly_maps(model, whole, images, settings)
        denoisers = {
            "a chain of two": _chained(model, group, settings),
            "one prompt": _target_denoiser(model, whole, settings),
        }
        for name, denoiser in denoisers.items():
            results = sample(denoiser, noise_maps)
            both = [
                score([Edit(kind, edit.source, edit.target) for edit in group], images, results, classifier)
                for kind in group[0].kinds
            ]
            rows[name] += [replace(a, success=a.success and b.success) for a, b in zip(*both, strict=True)]
    return {name: summary(scores) for name, scores in rows.items()}


def _chained(model: DemoModel, edits: Sequence[TwoEdits], settings: Settings) -> Denoiser:
    kinds = edits[0].kinds
    denoisers = {kind: model.denoiser([edit.alone(kind).caption for edit in edits]) for kind in kinds}
    denoisers["positive"] = model.denoiser([edit.source.caption for edit in edits])
    quantiles = settings.several.quantile
    terms = tuple((kind, Term(settings.several.scale, quantile=quantiles[kind])) for kind in kinds)
    guidance = Guidance("positive", terms=terms)

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        return guidance.combined({name: denoiser(x, sigma) for name, denoiser in denoisers.items()})[0]

    return predict


# --- table ------------------------------------------------------------------------------------------------------------


@dataclass
class Table:
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
        lines = [f"{'method':36}{'kind':20}{'edits':>6}{'success':>9}{'error':>8}{'structure':>11}"]
        for name in self.scores:
            for kind, row in self.rows(name).items():
                success, error, structure = summary(row)
                lines.append(f"{name:36}{kind:20}{len(row):>6}{success:>9.2f}{error:>8.3f}{structure:>11.2f}")
        return "\n".join(lines)


def evaluate(
    model: DemoModel,
    classifier: Classifier,
    edits: list[Edit],
    runs: dict[str, tuple[str, Settings]],
    batch: int = 32,
) -> Table:
    """Run and score edits.

    Args:
        runs: for each row of the table, the name of a method and its settings.
        batch: how many edits are run together.
    """
    sources = source_images(edits)
    table = Table()
    for label, (name, settings) in runs.items():
        results = [
            METHODS[name](model, edits[i : i + batch], sources[i : i + batch], settings)
            for i in range(0, len(edits), batch)
        ]
        table.scores[label] = score(edits, sources, torch.cat(results), classifier)
    return table


# Those that ask the model and the schedule for nothing but predictions and levels, so that a flow can be had as well.
FOR_FLOWS = (
    "ground truth",
    "edit friendly",
    "edit friendly, source as negative",
    "edit friendly, h-Edit",
    "edit friendly + mask",
    "CycleDiffusion",
    "DDIM",
    "SDEdit",
)

# Guidance and skip were tuned on the edits of TUNE_SEED. SDEdit has no source to hold on to, so it is shown at the same
# skip and at a larger one, where it keeps more.
RUNS: dict[str, tuple[str, Settings]] = {
    "ground truth": ("ground truth", Settings()),
    "edit friendly": ("edit friendly", Settings()),
    "edit friendly + mask": ("edit friendly + mask", Settings()),
    "CycleDiffusion": ("CycleDiffusion", Settings()),
    "DDIM": ("DDIM", Settings()),
    "SDEdit": ("SDEdit", Settings()),
    "SDEdit, skip 0.28": ("SDEdit", Settings(skip=0.28)),
    **{name: (name, Settings()) for name in METHODS if "P2P" in name or name.split(" + ")[0] in SHARING},
    **{
        name: (name, Settings())
        for name in (
            "zero-shot + edit friendly",
            "zero-shot + DDIM",
            "edit friendly, source as negative",
            "edit friendly, h-Edit",
        )
    },
    # as in TurboEdit, and without what it adds for models that are distilled to few steps, which this one is not
    "few steps": ("few steps", Settings(steps=5, skip=0.2, cfg_target=1.5)),
    "few steps, plain": ("few steps", Settings(steps=5, skip=0.2, cfg_target=1.5, noise_shift=0, clip_last=0.0)),
}
