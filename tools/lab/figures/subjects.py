"""What the figures are made of: generated pictures and their maps, held-out edits and their results; each made once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import binomtest
from torch import Tensor, nn

from ddpm_core import manipulation, trajectories
from ddpm_core.denoiser import Denoiser
from ddpm_core.inversion import invert, without_residuals
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import sample
from ddpm_core.schedule import NoiseSchedule
from demo.model import DemoModel

from ...evaluation.intervals import mean_of
from ..classifier import Classifier, load_classifier
from ..edits import Edit, Score, choose_edits, score, source_images, summary
from ..methods import LabMethod, generated
from ..settings import LabSettings
from ..sizes import Sizes

EXACT = {"CycleDiffusion": trajectories.cycle_diffusion, "edit friendly": trajectories.edit_friendly}
SHIFTS = (1, 2, 3, 4, 6, 8)
"""Cells of latents, where Fig. 11 has pixels."""

MEASURES = ("success", "from", "to", "error", "+-", "structure")
"""Of edits, with 95% intervals of success and of error."""

FORMS = (".2f", ".2f", ".2f", ".3f", ".3f", ".2f")

VARIED = ("thing", "season", "wears")
"""The kinds of edits of Fig. 16."""


@dataclass
class Pictures:
    """Images that the model generated, and the maps of their latents by each method that gives them back exactly.

    The maps are under the captions at cfg 1; an empty caption is the model without a condition, as in the paper's
    figures of noise maps.
    """

    model: DemoModel
    captions: list[str]
    seeds: list[int]
    maps: dict[str, NoiseMaps]

    @cached_property
    def images(self) -> Tensor:
        """(B, 3, 128, 128)."""
        return self.decoded(self.maps["native"].image)

    def decoded(self, latents: Tensor) -> Tensor:
        """Images (B, 3, 128, 128) of latents (B, C, 16, 16)."""
        return self.model.autoencoder.decode(latents)

    @property
    def schedule(self) -> NoiseSchedule:
        """Of the maps."""
        return self.maps["native"].schedule

    def denoiser(self, cfg: float = 1.0) -> Denoiser:
        """The model under the captions."""
        return self.model.denoiser(self.captions, cfg)

    def shifted(self, method: str, by: int, fill: manipulation.Fill = "copy") -> Tensor:
        """(B, 3, 128, 128) sampled from the maps of a method, moved `by` cells to the right."""
        return self.decoded(sample(self.denoiser(), manipulation.shift(self.maps[method], by, 0, fill)))

    def flipped(self, method: str) -> Tensor:
        """(B, 3, 128, 128) sampled from the maps of a method, mirrored left to right."""
        return self.decoded(sample(self.denoiser(), manipulation.flip(self.maps[method], horizontal=True)))


def generate_pictures(
    model: DemoModel, seeds: list[int], steps: int, captions: Sequence[str] | None = None
) -> Pictures:
    """Generated pictures with their native, CycleDiffusion and edit-friendly maps; captions are empty by default."""
    captions = [""] * len(seeds) if captions is None else list(captions)
    native = generated(model, captions, seeds, LabSettings(steps=steps).schedule())
    denoiser = model.denoiser(captions)
    inverted = {
        name: invert(denoiser, trajectory(native.image, native.schedule, seeds), native.schedule)
        for name, trajectory in EXACT.items()
    }
    return Pictures(model, captions, seeds, {"native": native} | inverted)


def inverted_from(native: NoiseMaps, denoiser: Denoiser, true: int = 0, noised: int = 0) -> NoiseMaps:
    """Textbook DDIM inversion of generated pictures.

    Args:
        native: the maps of eta 0 that generated them.
        true, noised: so many of its first steps by true predictions, or by noising the picture.
    """
    states = trajectories.ddim(
        denoiser,
        native.image,
        native.schedule,
        list(range(len(native.image))),
        true_prediction_steps=true,
        forward_noise_steps=noised,
        native=native,
    )
    return without_residuals(native.schedule, states)


@dataclass
class EditRun:
    """What a method made of edits, and what it took: rows of the network, and seconds of the processor."""

    images: Tensor
    scores: list[Score]
    rows: int
    seconds: float

    @property
    def row(self) -> tuple[float, ...]:
        """In MEASURES."""
        return row_of(self.scores)


def row_of(scores: Sequence[Score]) -> tuple[float, ...]:
    """Success with the ends of its interval (Wilson's), error with half of its own (bootstrap), structure."""
    success, error, structure = summary(scores)
    ends = binomtest(sum(score.success for score in scores), len(scores)).proportion_ci(method="wilson")
    of_error = mean_of(np.array([score.error for score in scores]))
    return success, ends.low, ends.high, error, (of_error.high - of_error.low) / 2, structure


@dataclass
class Count:
    """Rows that a network was asked for."""

    rows: int = 0


@contextmanager
def rows_counted(network: nn.Module) -> Iterator[Count]:
    """Counts the rows of all calls of a network within the context; ways back for gradients do not count."""
    count = Count()

    def add(_: nn.Module, inputs: tuple[Any, ...], __: Tensor) -> None:
        count.rows += len(inputs[0])

    handle = network.register_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@dataclass
class Subjects:
    """What several figures share, made when it is first asked for."""

    model: DemoModel
    sizes: Sizes = Sizes()
    _runs: dict[tuple[LabMethod, str], EditRun] = field(default_factory=dict)
    _varied: dict[LabMethod, Tensor] = field(default_factory=dict)
    _inverted: dict[tuple[int, int], NoiseMaps] = field(default_factory=dict)

    @cached_property
    def pictures(self) -> Pictures:
        """Generated without a caption."""
        return generate_pictures(self.model, self.sizes.seeds(self.sizes.pictures), self.sizes.steps)

    @cached_property
    def shifts(self) -> dict[tuple[str, int], Tensor]:
        """(B, 3, 128, 128) by method and number of cells: what the maps of `pictures` sample to, moved to the right."""
        return {(name, by): self.pictures.shifted(name, by) for name in self.pictures.maps for by in SHIFTS}

    @cached_property
    def flips(self) -> dict[str, Tensor]:
        """The same of mirrored maps, by method."""
        return {name: self.pictures.flipped(name) for name in self.pictures.maps}

    @cached_property
    def latents(self) -> NoiseMaps:
        """Native maps of eta 0, whose starting noise can be found again, generated without a caption."""
        sizes = self.sizes
        schedule = LabSettings(steps=sizes.latent_steps, eta=0.0).schedule()
        return generated(self.model, [""], sizes.seeds(sizes.latents), schedule)

    def inverted(self, true: int = 0, noised: int = 0) -> NoiseMaps:
        """`inverted_from` of the pictures of `latents`."""
        if (true, noised) not in self._inverted:
            self._inverted[true, noised] = inverted_from(self.latents, self.model.denoiser(""), true, noised)
        return self._inverted[true, noised]

    @cached_property
    def edits(self) -> list[Edit]:
        """Of held-out scenes."""
        return choose_edits(self.sizes.per_kind, self.sizes.first_seed, self.sizes.kinds)

    @cached_property
    def shown_edits(self) -> list[Edit]:
        """One a kind, of different scenes where there are several."""
        count = self.sizes.per_kind  # the edits are kind by kind
        return [self.edits[k * count + k % count] for k in range(len(self.sizes.kinds))]

    @cached_property
    def classifier(self) -> Classifier:
        """The judge of edits."""
        return load_classifier()

    def run(self, method: LabMethod, strength: str) -> EditRun:
        """A method on all edits, at one of its strengths."""
        key = method, strength
        if key not in self._runs:
            self._runs[key] = self.run_on(self.edits, method, self.settings(method, strength))
        return self._runs[key]

    @property
    def varied_edits(self) -> list[Edit]:
        """Those of Fig. 16."""
        return [edit for edit in self.shown_edits if edit.kind in VARIED] or self.shown_edits[:1]

    def varied(self, method: LabMethod) -> Tensor:
        """(edits, variations, 3, 128, 128) a method's results of `varied_edits`."""
        if method not in self._varied:
            edits, count = self.varied_edits, self.sizes.variations
            varied = [replace(edit, variation=v) for edit in edits for v in range(count)]
            images = self.run_on(varied, method, self.settings(method, "tuned")).images
            self._varied[method] = images.unflatten(0, (len(edits), count))
        return self._varied[method]

    def settings(self, method: LabMethod, strength: str) -> LabSettings:
        """Those of a method at one of its strengths."""
        skip, cfg = method.strengths[strength]
        return replace(method.rows[""], skip=skip, cfg_target=cfg)

    def run_on(self, edits: list[Edit], method: LabMethod, settings: LabSettings) -> EditRun:
        """A method on other edits, in the steps of the figures."""
        settings = replace(settings, steps=min(settings.steps, self.sizes.edit_steps))  # few steps stay few
        sources = source_images(edits)
        network = method.network(self.model)  # before the time is taken, for ComfyUI may have to start
        start = time.process_time()
        with rows_counted(network) as count:
            images = method.run(self.model, edits, sources, settings)
        seconds = time.process_time() - start
        return EditRun(images.clamp(-1, 1), score(edits, sources, images, self.classifier), count.rows, seconds)


def of_edits(subjects: Subjects) -> str:
    """How many edits the figures of edits are of."""
    return f"{len(subjects.edits)} held-out edits, {subjects.sizes.per_kind} a kind, {subjects.sizes.edit_steps} steps"
