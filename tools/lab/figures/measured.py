"""The tables of docs/measurements.md: methods on scenes that no training had, in the measures of `edits`, with 95%
intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from demo.model import DemoModel, load_model
from demo.scenes import TUNE_SEED
from demo.weights import WEIGHTS

from ..edits import KINDS, PAIRS, choose_edits, choose_two_edits, summary
from ..evaluate import evaluate, mask_found, mean_areas, two_edits, words_find
from ..methods import BY_NAME
from ..settings import Keep, LabSettings, SharedAttention
from .results import Make, Result, Table
from .subjects import FORMS, MEASURES, Subjects, row_of

HERE = Path(__file__).parents[1]
EDIT_MODEL, FLOW = HERE / "edit.safetensors", HERE / "flow.safetensors"

OF_A_KIND = (("success", ".2f"), ("error", ".3f"), ("structure", ".2f"))

Run = tuple[str, LabSettings]
"""The name of a method, and its settings."""


@dataclass(frozen=True)
class Measured:
    """A table of runs on the same edits, and one of some of them by kind of edit.

    Args:
        runs: by what the table calls them.
        per_kind: edits of each kind; this and all else no more than the sizes have.
        by_kind: the runs of the second table; none for no table.
        kinds: of edits.
        weights: of the model.
        tuning: on the scenes that settings were tuned on.
    """

    runs: Mapping[str, Run]
    per_kind: int
    by_kind: Sequence[str] = ()
    kinds: Sequence[str] = KINDS
    weights: Path = WEIGHTS
    tuning: bool = False

    def __call__(self, subjects: Subjects) -> Result:
        """The result of a figure."""
        model, sizes = model_of(subjects, self.weights), subjects.sizes
        per_kind = min(self.per_kind, sizes.most_per_kind)
        kinds = [kind for kind in self.kinds if kind in sizes.kinds]
        edits = choose_edits(per_kind, TUNE_SEED if self.tuning else sizes.first_seed, kinds)
        runs = {
            label: (BY_NAME[method], replace(settings, flow=model.is_flow, steps=min(settings.steps, sizes.most_steps)))
            for label, (method, settings) in self.runs.items()
        }
        table = evaluate(model, subjects.classifier, edits, runs)
        title = f"{len(edits)} {'tuning' if self.tuning else 'held-out'} edits, {per_kind} of each kind"
        tables = [Table(title, MEASURES, {label: row_of(table.rows(label)["all"]) for label in runs}, FORMS)]
        if self.by_kind:
            columns = [(f"{label}: {name}", form) for label in self.by_kind for name, form in OF_A_KIND]
            of_kinds = {label: table.rows(label) for label in self.by_kind}
            rows = {
                kind: [number for label in self.by_kind for number in summary(of_kinds[label][kind])]
                for kind in of_kinds[self.by_kind[0]]
            }
            names, forms = zip(*columns, strict=True)
            tables.append(Table(f"{title}, by kind", names, rows, forms))
        return Result(tuple(tables))


def model_of(subjects: Subjects, weights: Path) -> DemoModel:
    """The bundled model, or another."""
    return subjects.model if weights == WEIGHTS else load_model(weights)


def words(subjects: Subjects) -> Result:
    """Mask from Words on both models, as the area under the curve by kind of word and by word."""
    sizes = subjects.sizes
    per_kind = min(12, sizes.most_per_kind)
    found = {
        name: words_find(
            model := model_of(subjects, weights),
            per_kind,
            LabSettings(steps=min(LabSettings.steps, sizes.most_steps), flow=model.is_flow),
            kinds=sizes.kinds,
        )
        for name, weights in (("bundled model, cross-attention", WEIGHTS), ("flow model, joint attention", FLOW))
    }
    title = f"{per_kind} held-out scenes for each kind of word: area under the curve of its attention"
    of_kinds = [mean_areas(each, attrgetter("kind")) for each in found.values()]
    rows = {kind: [areas[kind] for areas in of_kinds] for kind in of_kinds[0]}
    rows["mean"] = [sum(areas.values()) / len(areas) for areas in of_kinds]
    tables = [Table(title, tuple(found), rows, (".2f",))]
    scenes = Counter(each.words for each in next(iter(found.values())))
    of_words = [mean_areas(each, attrgetter("words")) for each in found.values()]
    rows = {word: [*(areas[word] for areas in of_words), count] for word, count in scenes.items()}
    tables.append(Table("The same by word", (*found, "scenes"), rows, (*[".2f"] * len(found), ".0f")))
    return Result(tuple(tables))


def masks(subjects: Subjects) -> Result:
    """Mask from two Prompts, as the area under the curve by kind of edit."""
    per_kind = min(12, subjects.sizes.most_per_kind)
    areas = mask_found(subjects.model, choose_edits(per_kind, subjects.sizes.first_seed, subjects.sizes.kinds))
    title = f"{per_kind} held-out edits of each kind: area under the curve of the map, for what was to change"
    return Result((Table(title, ("area",), {kind: (area,) for kind, area in areas.items()}, (".3f",)),))


def two_at_once(subjects: Subjects) -> Result:
    """Two edits of a scene, as a chain and as one prompt."""
    count, first_seed = subjects.sizes.most_per_kind, subjects.sizes.first_seed
    rows = {
        f"{' and '.join(kinds)}, {how}": numbers
        for kinds in PAIRS
        for how, numbers in two_edits(
            subjects.model,
            subjects.classifier,
            choose_two_edits(count, first_seed, kinds),
            LabSettings(),
        ).items()
    }
    title = f"{count} held-out scenes for each pair"
    return Result((Table(title, ("both as asked", "error", "structure"), rows, (".2f", ".3f", ".2f")),))


_PLAIN = LabSettings()
_EDIT, _LESS, _KEPT = BY_NAME["edit model"].rows.values()


def _kept(tolerance: float, settings: LabSettings = _PLAIN, amount: float = 1.0, end: float = 1.0) -> LabSettings:
    return replace(settings, keep=Keep(amount, tolerance, end))


def _shared(end: float, *blocks: float) -> LabSettings:
    return replace(_PLAIN, shared=SharedAttention(end, *blocks))


MEASURED: dict[str, Make] = {
    "edits": Measured(
        {
            "ground truth": ("ground truth", _PLAIN),
            "edit friendly": ("edit friendly", _PLAIN),
            "edit friendly + mask": ("edit friendly + mask", _PLAIN),
            "CycleDiffusion": ("CycleDiffusion", _PLAIN),
            "DDIM": ("DDIM", _PLAIN),
            "SDEdit": ("SDEdit", _PLAIN),
            "SDEdit, skip 0.28": ("SDEdit", replace(_PLAIN, skip=0.28)),
            "edit friendly, Keep Image 0.1": ("edit friendly", _kept(0.1)),
            "edit friendly, Keep Image 0.15": ("edit friendly", _kept(0.15)),
            "edit friendly + mask, Keep Image 0.1": ("edit friendly + mask", _kept(0.1)),
            "edit friendly + mask, Keep Image 0.15": ("edit friendly + mask", _kept(0.15)),
        },
        per_kind=12,
        by_kind=("ground truth", "edit friendly", "SDEdit"),
    ),
    "edit_model": Measured(
        {
            "edit model, from noise": ("edit model", _EDIT),
            "with Keep Image, 0.15": ("edit model", _KEPT),
            "through noise maps": ("edit model + maps", _PLAIN),
            "maps and Keep Image, 0.1": ("edit model + maps", _kept(0.1)),
        },
        per_kind=48,
        by_kind=("edit model, from noise", "through noise maps", "maps and Keep Image, 0.1"),
        weights=EDIT_MODEL,
    ),
    "edit_model_curves": Measured(
        {"denoise 0.6, without Keep Image": ("edit model", _LESS)}
        | {f"agreement {tolerance:g}": ("edit model", _kept(tolerance, _EDIT)) for tolerance in (0.05, 0.1, 0.2, 0.3)}
        | {
            "0.15, amount 0.5": ("edit model", _kept(0.15, _EDIT, amount=0.5)),
            "0.15, until half of the run": ("edit model", _kept(0.15, _EDIT, end=0.5)),
            "everywhere, amount 0.3": ("edit model", _kept(math.inf, _EDIT, amount=0.3)),
        }
        | {
            f"through noise maps, {tolerance:g}": ("edit model + maps", _kept(tolerance))
            for tolerance in (0.05, 0.1, 0.15)
        },
        per_kind=4,
        weights=EDIT_MODEL,
    ),
    "p2p": Measured(
        {"maps alone": ("edit friendly", _PLAIN), "with Prompt-to-Prompt": ("P2P + edit friendly", _PLAIN)},
        per_kind=12,
        by_kind=("maps alone", "with Prompt-to-Prompt"),
        kinds=("color", "place", "thing", "number"),
    ),
    "flow_attention": Measured(
        {f"values, until {end:g}": ("values only + edit friendly", _shared(end)) for end in (0.1, 0.3)}
        | {
            f"keys and values, until {end:g}": ("keys and values + edit friendly", _shared(end))
            for end in (0.1, 0.2, 0.4)
        },
        per_kind=48,
        weights=FLOW,
    ),
    "flow_blocks": Measured(
        {
            "first half of the blocks": ("keys and values + edit friendly", _shared(0.4, 0.0, 0.5)),
            "second half": ("keys and values + edit friendly", _shared(0.4, 0.5, 1.0)),
        },
        per_kind=48,
        weights=FLOW,
    ),
    "flow_background": Measured(
        {
            "the mask from two prompts": ("edit friendly + mask", _PLAIN),
            "and the source's keys and values outside": ("KV-Edit + edit friendly", _PLAIN),
        },
        per_kind=12,
        weights=FLOW,
    ),
    "words": words,
    "masks": masks,
    "two": two_at_once,
    "flow": Measured(
        {
            "eta 1": ("edit friendly", _PLAIN),
            "eta 0.5": ("edit friendly", replace(_PLAIN, eta=0.5)),
            "eta 0, FlowEdit": ("FlowEdit", replace(_PLAIN, eta=0.0)),
            "eta 1, the mask from two prompts": ("edit friendly + mask", _PLAIN),
            "eta 1, Keep Image, 0.1": ("edit friendly", _kept(0.1)),
        },
        per_kind=48,
        by_kind=("eta 1", "eta 1, the mask from two prompts"),
        weights=FLOW,
    ),
    "flow_edits": Measured(
        {
            name: (name, BY_NAME[name].rows[""])
            for name in ("FlowEdit", "rising strength", "FlowAlign", "FlowAlign, one noise", "soft field", "VAGS")
            + ("Uni-Edit", "ChordEdit")
        },
        per_kind=4,
        weights=FLOW,
    ),
    "strength": Measured(
        {
            f"strength {w:g}": ("edit friendly, source as negative", replace(_PLAIN, cfg_target=w))
            for w in (0.0, 0.5, 1.0, 2.0, 3.0)
        },
        per_kind=4,
    ),
    "eta": Measured(
        {f"eta {eta:g}": ("edit friendly", replace(_PLAIN, eta=eta)) for eta in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)},
        per_kind=5,
    ),
    "order": Measured(
        {
            f"{steps} steps, order {order}": ("edit friendly", replace(_PLAIN, steps=steps, order=order))
            for steps in (4, 8, 10, 20, 25, 50, 100)
            for order in (1, 2)
        },
        per_kind=2,
    ),
}
"""By name, in the order of docs/measurements.md after that of the demo model."""
