"""Flow edits of today beside FlowEdit and DDS, and the order of inversions, on the mixture of `edits` as a flow.

The answer to such an edit is known: the image moved by the difference of two means, that of its own structure under the
target's condition and under the source's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_core import trajectories
from ddpm_core.inversion import without_residuals
from ddpm_core.sampling import sample
from ddpm_core.schedule import NoiseSchedule

from ..lab.figures.results import Table
from ..lab.flow_edits import (
    Lead,
    Predictors,
    adapted,
    alone,
    by_cfg,
    by_strength,
    chord,
    edited,
    fused,
    one_noise,
    pulled,
    rising,
)
from .edits import STRUCTURES, Scenes
from .oracles import over

STEPS = 28
TURNED = 4


@dataclass(frozen=True, eq=False)
class Bench:
    """Sources, the exact flow, and the sources' states at even levels; each row has noise of its own."""

    scenes: Scenes

    @cached_property
    def model(self) -> Predictors:
        mixture = self.scenes.mixture
        prompts = (self.scenes.source, self.scenes.target, mixture.empty_prompt)
        return Predictors(*(mixture.denoiser(prompt, flow=True) for prompt in prompts))

    @cached_property
    def anew(self) -> Tensor:
        """(T+1, N, *S) with independent noise, as FlowEdit."""
        return trajectories.edit_friendly(self.scenes.images, even_levels(STEPS), self._seeds)

    @cached_property
    def of_one(self) -> Tensor:
        """(T+1, N, *S) with one noise."""
        return one_noise(self.scenes.images, even_levels(STEPS), self._seeds)

    @property
    def answers(self) -> Tensor:
        """(N, *S) the images with the target's appearance and all else as it was."""
        means, k = self.scenes.mixture.means, self.scenes.structures
        return self.scenes.images + means[STRUCTURES + k] - means[k]

    @property
    def _seeds(self) -> list[int]:
        return list(range(len(self.scenes.images)))


def even_levels(steps: int, eta: float = 0.0, first: float = 1.0) -> NoiseSchedule:
    """Steps of one length, from a level down to the image."""
    return NoiseSchedule.flow(torch.linspace(first, 0, steps + 1, dtype=torch.float64), eta)


Edit = Callable[[Bench], Tensor]


def led(
    lead: Callable[[Predictors], Lead], *, eta: float = 0.0, skip: int = 0, cfg: float = 1.0, noise: str = "anew"
) -> Edit:
    """An edit by the pack's equation; cfg is that of the source."""

    def run(bench: Bench) -> Tensor:
        states = bench.anew if noise == "anew" else bench.of_one
        source = bench.model.source if cfg == 1 else by_cfg(bench.model.empty, bench.model.source, cfg)
        return edited(source, lead(bench.model), states[skip:], even_levels(STEPS, eta).after(skip))

    return run


def to_target(model: Predictors) -> Lead:
    """The target's own prediction."""
    return alone(model.target)


def by_uni_edit(omega: float, part: float = 0.6) -> Edit:
    """Uni-Edit from the state of Uni-Inv after a part of the steps."""

    def run(bench: Bench) -> Tensor:
        schedule, images = even_levels(STEPS).after(STEPS - math.floor(part * STEPS)), bench.scenes.images
        states = trajectories.ddim(bench.model.source, images, schedule, [0] * len(images), warm_start=True)
        return sample(fused(bench.model, omega), without_residuals(schedule, states))

    return run


def by_chord(t: float, delta: float) -> Edit:
    """ChordEdit without its last step, or the difference at one level."""

    def run(bench: Bench) -> Tensor:
        return chord(bench.model, bench.scenes.images, bench.of_one[0], t, delta)  # at level 1 it is the noise

    return run


KNOWN: dict[str, Edit] = {
    f"{name}, skip {skip}": led(to_target, eta=eta, skip=skip)
    for name, eta in (("FlowEdit", 0.0), ("DDS", 1.0))
    for skip in (0, 10, 14, 17, 20, 23)
}
"""What the pack has, skip by skip."""

NEW: dict[str, Edit] = {
    "one noise": led(to_target, noise="one"),
    "FlowAlign, strength 7.5, pull 0.01": led(lambda model: pulled(by_strength(model, 7.5), 0.01)),
    "FlowAlign, the same with one noise": led(lambda model: pulled(by_strength(model, 7.5), 0.01), noise="one"),
    "FlowAlign, strength 3, pull 0.1, skip 20": led(lambda model: pulled(by_strength(model, 3), 0.1), skip=20),
    "strength from 0 to 3, skip 20": led(lambda model: rising(model, 3, 8 / STEPS), skip=20),
    "soft field": led(lambda model: alone(fused(model))),
    "Uni-Edit, omega 0.25": by_uni_edit(0.25),
    "Uni-Edit, omega 5": by_uni_edit(5.0),
    # FlowEdit's guidance of SD3, and the part of the steps that it skips there, 17 of 50
    "FlowEdit, cfg 3.5 and 13.5, skip 10": led(
        lambda model: alone(by_cfg(model.empty, model.target, 13.5)), skip=10, cfg=3.5
    ),
    "VAGS, the same": led(lambda model: adapted(model, 13.5, 0.9), skip=10, cfg=3.5),
    "one level, 0.75": by_chord(0.75, 0.0),
    "ChordEdit, 0.9 and 0.75": by_chord(0.9, 0.15),
}
BESIDE = {
    "VAGS, the same": "FlowEdit, cfg 3.5 and 13.5, skip 10",
    "ChordEdit, 0.9 and 0.75": "one level, 0.75",
}
"""What two of them change."""
SHOWN = (*(f"{name}, skip {skip}" for name in ("FlowEdit", "DDS") for skip in (0, 20)), *NEW)


class Found(NamedTuple):
    """What came of edits, each (N,)."""

    success: Tensor
    kept: Tensor
    error: Tensor

    @property
    def mean_error(self) -> float:
        return self.error.mean().item()


def found(draws: int, count: int) -> dict[str, Found]:
    """Success, structure kept and root mean squared error to the answer, by edit."""
    parts: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in KNOWN | NEW}
    for seed in range(1, draws + 1):
        bench = Bench(Scenes.draw(seed, count, TURNED))
        for name, edit in (KNOWN | NEW).items():
            images = edit(bench)
            error = (images - bench.answers).square().flatten(1).mean(dim=1).sqrt()
            parts[name].append((*(part.double() for part in bench.scenes.succeeded_and_kept(images)), error))
    return {name: Found(*map(torch.cat, zip(*part, strict=True))) for name, part in parts.items()}


def beside_known(draws: int = 3, count: int = 200) -> Table:
    """Each edit beside what it changes, or else beside that of FlowEdit and DDS which keeps most at its error."""
    of, rows = found(draws, count), {}
    for name in SHOWN:
        ours, other = of[name], of[BESIDE.get(name) or rival(of, of[name].mean_error)]
        kept, lead = over(ours.kept), over(ours.kept - other.kept)
        means = (ours.success.mean().item(), kept.mean, kept.low, kept.high, ours.mean_error)
        rows[name] = (*means, lead.mean, lead.low, lead.high, other.mean_error)
    columns = ("success", "structure kept", "95% from", "to", "error", "kept over", "95% from", "to", "its error")
    title = f"{STEPS} steps, {TURNED} of 24 turned, {draws} draws of {count} edits"
    return Table(title, columns, rows, (".3f",) * len(columns))


def rival(of: Mapping[str, Found], error: float) -> str:
    """The known edit that keeps most of those that always succeed and miss by no more, or the one that misses least."""
    known = [name for name in KNOWN if of[name].success.mean() >= 0.99]
    near = [name for name in known if of[name].mean_error <= 1.02 * error]
    near = near or [min(known, key=lambda name: of[name].mean_error)]
    return max(near, key=lambda name: of[name].kept.mean().item())


WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "textbook": (1, {}),
    "one iteration": (2, {"fixed_point_iterations": 1}),
    "warm start": (1, {"warm_start": True}),
}
"""Calls a step, and options of `trajectories.ddim`."""


def order_of_inversion(count: int = 200, steps: Sequence[int] = (20, 40, 80, 160)) -> Table:
    """How fast the way there and back comes to the image as steps grow: the slope of its error, by logarithms.

    And the structure that edits keep which go back under the target, with the fewest steps.
    """
    bench = Bench(Scenes.draw(1, count, TURNED))
    images, model, rows = bench.scenes.images, bench.model, {}
    for first in (1.0, 0.6):
        for name, (calls, how) in WAYS.items():
            maps = []
            for n in steps:
                schedule = even_levels(n, first=first)
                states = trajectories.ddim(model.source, images, schedule, [0] * count, **how)
                maps.append(without_residuals(schedule, states))
            errors = [
                (sample(model.source, each) - images).square().flatten(1).mean(dim=1).sqrt().median().item()
                for each in maps
            ]
            slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
            kept = over(bench.scenes.succeeded_and_kept(sample(model.target, maps[0]))[1])
            missed = [1000 * error for error in errors]
            rows[f"to level {first:g}, {name}"] = (calls, *missed, -slope, kept.mean, kept.low, kept.high)
    columns = ("calls a step", *(f"{n} steps" for n in steps), "order", f"kept, {steps[0]} steps", "95% from", "to")
    title = f"Root mean squared error x 1000, median of {count} images, and structure kept by edits"
    return Table(title, columns, rows, (".0f", *(".3f",) * len(steps), ".2f", *(".3f",) * 3))
