"""The picture back: exact maps, DDIM, and null-text under schedules of guidance.

Source: "Diffusion Inversion Report" (Wu and Liu, 2025), Sec. 4.2 and its Fig. 5: guidance constant, falling linearly
and by a cosine; arXiv 2211.09794 for null-text; arXiv 2304.06140, Sec. 4, for the exactness of noise maps. Real scenes,
under their captions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import get_args

import torch
from torch import Tensor

from ddpm_core import trajectories
from ddpm_core.denoiser import Denoiser
from ddpm_core.guidance import CFGSchedule, cfg_scales
from ddpm_core.inversion import invert, without_residuals
from ddpm_core.null_text import GuidedDenoiser, null_text
from ddpm_core.sampling import sample
from ddpm_core.schedule import NoiseSchedule
from demo.model import DemoModel
from demo.scenes import sample_scene

from ..edits import image_of, source_images, structure_kept
from ..methods import DDIM, EDIT_FRIENDLY, NULL_TEXT, ONE_EMBEDDING
from ..null_text import NullTextSearch, one_embedding, sampled_with_embeddings
from ..settings import LabSettings
from .results import Result, Table, mosaic
from .subjects import EXACT, FORMS, MEASURES, Subjects, of_edits, rows_counted

CFG = 7.5
SCALES = (1.0, 3.0, CFG)
SCHEDULES = get_args(CFGSchedule)
SHOWN = 4


@dataclass(frozen=True)
class Scenes:
    """Real scenes under their captions.

    Args:
        latents: (B, C, 16, 16).
    """

    model: DemoModel
    captions: list[str]
    seeds: list[int]
    latents: Tensor
    schedule: NoiseSchedule

    @classmethod
    def of(cls, subjects: Subjects, count: int) -> Scenes:
        """The first held-out ones, in the steps of the edits."""
        seeds = subjects.sizes.seeds(count)
        scenes = [sample_scene(seed) for seed in seeds]
        latents = subjects.model.autoencoder.encode(torch.stack([image_of(scene) for scene in scenes]))
        schedule = LabSettings(steps=subjects.sizes.edit_steps).schedule()
        return cls(subjects.model, [scene.caption for scene in scenes], seeds, latents, schedule)

    def ddim(self, denoiser: Denoiser) -> Tensor:
        """(T+1, B, C, 16, 16) textbook inversion."""
        return trajectories.ddim(denoiser, self.latents, self.schedule, self.seeds)

    def replay(self, denoiser: Denoiser, states: Tensor) -> Tensor:
        """(B, C, 16, 16) sampled with eta 0 from the noisiest of the states."""
        return sample(denoiser, without_residuals(self.schedule, states))

    def decoded(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, 128, 128)."""
        return self.model.autoencoder.decode(latents).clamp(-1, 1)

    @cached_property
    def images(self) -> Tensor:
        """The scenes as the autoencoder gives them: the best that a latent can come back as."""
        return self.decoded(self.latents)

    def errors(self, results: Tensor) -> Tensor:
        """Absolute errors of the pictures of latents, of a range of 1."""
        return (self.decoded(results) - self.images).abs() / 2

    def error(self, results: Tensor) -> float:
        """The mean of the errors."""
        return self.errors(results).mean().item()

    def structure(self, results: Tensor) -> float:
        """Mean over the scenes."""
        pairs = zip(self.decoded(results), self.images, strict=True)
        return torch.tensor([structure_kept(*pair) for pair in pairs]).mean().item()

    def under(self, scales: list[float]) -> Denoiser:
        """The model under the captions, with a scale of guidance for each step."""
        denoisers = [self.model.denoiser(self.captions, scale) for scale in scales]
        return lambda x, sigma: denoisers[self._step(sigma)](x, sigma)

    def open_under(self, scales: list[float]) -> GuidedDenoiser:
        """The same with the unconditional embedding left open."""
        denoisers = [self.model.guided_denoiser(self.captions, scale) for scale in scales]
        return lambda x, sigma: denoisers[self._step(sigma)](x, sigma)

    def _step(self, sigma: Tensor) -> int:
        return int((self.schedule.sigmas[:-1] - sigma[0].item()).abs().argmin())


def exactness(subjects: Subjects) -> Result:
    """Scenes sampled back from their maps under their own caption."""
    scenes = Scenes.of(subjects, subjects.sizes.reconstructed)
    numbers: dict[str, list[float]] = {}
    for cfg in SCALES:
        denoiser = scenes.model.denoiser(scenes.captions, cfg)
        states = {name: along(scenes.latents, scenes.schedule, scenes.seeds) for name, along in EXACT.items()}
        maps = {name: invert(denoiser, each, scenes.schedule) for name, each in states.items()}
        back = {name: sample(denoiser, each) for name, each in maps.items()}
        of_ddim = scenes.ddim(denoiser)
        back["DDIM with residuals"] = sample(denoiser, invert(denoiser, of_ddim, scenes.schedule.with_eta(0.0)))
        back["DDIM, textbook"] = scenes.replay(denoiser, of_ddim)
        for name, found in back.items():
            errors = scenes.errors(found)
            numbers.setdefault(name, []).extend([errors.mean().item(), errors.max().item()])
    columns = tuple(f"cfg {cfg:g}: {what}" for cfg in SCALES for what in ("mean", "largest"))
    title = f"Absolute error of {len(scenes.latents)} scenes, {scenes.schedule.steps} steps"
    return Result((Table(title, columns, numbers, (".0e",)),))


def cfg_schedules(subjects: Subjects) -> Result:
    """Scenes sampled back under guidance that stays or falls: by DDIM, and by null-text inversion."""
    scenes = Scenes.of(subjects, subjects.sizes.reconstructed)
    results, costs = {}, {}
    for name, run in RUNS.items():
        for schedule in SCHEDULES:
            start = time.process_time()
            with rows_counted(subjects.model.network) as count:
                results[f"{name}, {schedule}"] = run(scenes, cfg_scales(scenes.schedule.steps, schedule, CFG))
            costs[f"{name}, {schedule}"] = count.rows, time.process_time() - start
    unit = next(iter(costs.values()))
    numbers = {
        name: [scenes.error(back), scenes.structure(back), *(c / u for c, u in zip(costs[name], unit, strict=True))]
        for name, back in results.items()
    }
    columns = ("error", "structure", "rows, ratio", "processor time, ratio")
    title = f"Guidance from {CFG:g} to 1, {len(scenes.images)} scenes, {scenes.schedule.steps} steps"
    shown = {"scene": scenes.images} | {name: scenes.decoded(back) for name, back in results.items()}
    rows = {f"scene {k + 1}": [part[k] for part in shown.values()] for k in range(min(SHOWN, len(scenes.images)))}
    return Result(
        (Table(title, columns, numbers, (".4f", ".3f", ".1f", ".1f")),),
        mosaic(rows, [name.replace(", ", ",\n") for name in shown]),
    )


def null_text_edits(subjects: Subjects) -> Result:
    """Edits by DDIM, by null-text with an embedding for each step and with one for all, and by noise maps."""
    runs = {method.name: subjects.run(method, "tuned") for method in (DDIM, NULL_TEXT, ONE_EMBEDDING, EDIT_FRIENDLY)}
    edits = subjects.shown_edits
    rows = [subjects.edits.index(edit) for edit in edits]
    numbers = {name: (*run.row, run.rows / len(subjects.edits)) for name, run in runs.items()}
    parts = {"scene": list(source_images(edits))} | {name: list(run.images[rows]) for name, run in runs.items()}
    return Result(
        (Table(of_edits(subjects), (*MEASURES, "rows of the network an edit"), numbers, (*FORMS, ".0f")),),
        mosaic(parts, [edit.kind for edit in edits]),
    )


def _pivots_replayed(scenes: Scenes, scales: list[float]) -> Tensor:
    return scenes.replay(scenes.under(scales), scenes.ddim(scenes.model.denoiser(scenes.captions)))


def _inverted_likewise(scenes: Scenes, scales: list[float]) -> Tensor:
    denoiser = scenes.under(scales)
    return scenes.replay(denoiser, scenes.ddim(denoiser))


def _null_text(scenes: Scenes, scales: list[float], search: NullTextSearch = null_text) -> Tensor:
    pivots = scenes.ddim(scenes.model.denoiser(scenes.captions))
    guided = scenes.open_under(scales)
    found = search(guided, pivots, scenes.schedule, scenes.model.encode([""] * len(scenes.latents)))
    return sampled_with_embeddings(guided, found)


RUNS: dict[str, Callable[[Scenes, list[float]], Tensor]] = {
    "DDIM, from cfg 1": _pivots_replayed,
    "DDIM, likewise": _inverted_likewise,
    "null-text": _null_text,
    "one embedding": partial(_null_text, search=one_embedding),
}
