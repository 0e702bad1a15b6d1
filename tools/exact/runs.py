"""What the oracles ask of the pack: by its core here, by its nodes in `by_nodes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ddpm_core import manipulation, trajectories
from ddpm_core.editing import edit
from ddpm_core.guidance import CFGSchedule, cfg_scales
from ddpm_core.inversion import invert, without_residuals
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import generate, pure_noise, sample, with_replayed_states
from ddpm_core.schedule import NoiseSchedule

from .levels import in_scale_of_host
from .mixtures import Mixture

Inversion = Literal["edit friendly", "CycleDiffusion", "DDIM"]


@dataclass(frozen=True)
class Run:
    """Settings of an inversion or a sampling: guidance, the steps left out (T_skip), eta and the seed of the noise.

    Args:
        warm_start: of the steps of DDIM.
        true_steps: first steps of DDIM that take the predictions of the generation.
        replay_source: whether maps of DDIM keep the states of sampling back, as Prompt-to-Prompt reads its source.
    """

    cfg: float = 1.0
    skip: int = 0
    eta: float = 1.0
    seed: int = 0
    cfg_schedule: CFGSchedule = "constant"
    warm_start: bool = False
    true_steps: int = 0
    replay_source: bool = False


PLAIN = Run()
"""Without guidance, from the noisiest level on."""


class Pack(Protocol):
    """The pack on one mixture and its levels. A prompt is the mixture's, an image of any rows (B, *S)."""

    abar: Tensor

    def invert(
        self, method: Inversion, images: Tensor, prompt: Tensor, run: Run = PLAIN, native: NoiseMaps | None = None
    ) -> NoiseMaps:
        """The maps of an inversion; of DDIM without residuals, and of generated images with their own maps."""

    def generate(self, like: Tensor, prompt: Tensor, run: Run = PLAIN) -> NoiseMaps:
        """The native maps of fresh images in the shape of `like`."""

    def sample(self, maps: NoiseMaps, prompt: Tensor, run: Run = PLAIN) -> Tensor:
        """(B, *S) the images of maps."""

    def edit(self, images: Tensor, source: Tensor, target: Tensor, source_cfg: float, run: Run = PLAIN) -> Tensor:
        """(B, *S) edited in one pass; the run's cfg is the target's."""

    def shift(self, maps: NoiseMaps, by: int, fill: manipulation.Fill = "copy") -> NoiseMaps:
        """The maps moved to the right, by default filled as App. A has it."""

    def flip(self, maps: NoiseMaps) -> NoiseMaps:
        """The maps mirrored left to right."""

    def recolor(self, maps: NoiseMaps, color: Tensor, strength: float, start: float, end: float) -> NoiseMaps:
        """Eq. 7 with a mask of ones."""


class ByCore:
    """The pack by its core, in float64 and with noise of its own for each row."""

    def __init__(self, mixture: Mixture, abar: Tensor):
        self.mixture, self.abar = mixture, abar

    def invert(
        self, method: Inversion, images: Tensor, prompt: Tensor, run: Run = PLAIN, native: NoiseMaps | None = None
    ) -> NoiseMaps:
        """As `Pack` has it."""
        schedule, seeds = self._schedule(run), _seeds(run, len(images))
        denoiser = self._scheduled(prompt, run)
        if method == "DDIM":
            true = run.true_steps
            states = trajectories.ddim(
                denoiser, images, schedule, seeds, warm_start=run.warm_start, true_prediction_steps=true, native=native
            )
            maps = without_residuals(schedule, states, skipped=run.skip)
            return with_replayed_states(denoiser, maps) if run.replay_source else maps
        follow = {"edit friendly": trajectories.edit_friendly, "CycleDiffusion": trajectories.cycle_diffusion}[method]
        return invert(denoiser, follow(images, schedule, seeds), schedule, skipped=run.skip)

    def generate(self, like: Tensor, prompt: Tensor, run: Run = PLAIN) -> NoiseMaps:
        """As `Pack` has it."""
        return self._generate(lambda schedule, seeds: pure_noise(like, schedule, seeds), prompt, run, len(like))

    def noise_and_denoise(self, images: Tensor, prompt: Tensor, run: Run = PLAIN) -> Tensor:
        """(B, *S) by SDEdit (arXiv 2108.01073): noised to the level after the skip, and sampled from there."""

        def noised(schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
            return trajectories.edit_friendly_state(images, schedule, seeds, 0)

        return self._generate(noised, prompt, run, len(images)).image

    def sample(self, maps: NoiseMaps, prompt: Tensor, run: Run = PLAIN) -> Tensor:
        """As `Pack` has it."""
        return sample(self._scheduled(prompt, run), maps, skip_steps=run.skip)

    def edit(self, images: Tensor, source: Tensor, target: Tensor, source_cfg: float, run: Run = PLAIN) -> Tensor:
        """As `Pack` has it."""
        of_source, of_target = self.mixture.denoiser(source, source_cfg), self.mixture.denoiser(target, run.cfg)

        def pair(x: Tensor, sigma: Tensor) -> Tensor:
            (x_source, x_target), (sigma_source, sigma_target) = x.chunk(2), sigma.chunk(2)
            return torch.cat([of_source(x_source, sigma_source), of_target(x_target, sigma_target)])

        return edit(pair, images, self._schedule(run), _seeds(run, len(images)))

    def shift(self, maps: NoiseMaps, by: int, fill: manipulation.Fill = "copy") -> NoiseMaps:
        """As `Pack` has it."""
        return manipulation.shift(maps, by, 0, fill)

    def flip(self, maps: NoiseMaps) -> NoiseMaps:
        """As `Pack` has it."""
        return manipulation.flip(maps, horizontal=True)

    def recolor(self, maps: NoiseMaps, color: Tensor, strength: float, start: float, end: float) -> NoiseMaps:
        """As `Pack` has it."""
        return manipulation.recolor(maps, torch.ones_like(color), color, strength, start, end)

    def _schedule(self, run: Run) -> NoiseSchedule:
        return in_scale_of_host(self.abar, run.eta).after(run.skip)

    def _generate(
        self, start: Callable[[NoiseSchedule, Sequence[int]], Tensor], prompt: Tensor, run: Run, rows: int
    ) -> NoiseMaps:
        schedule, seeds = self._schedule(run), _seeds(run, rows)
        denoiser = self.mixture.denoiser(prompt, run.cfg)
        return generate(denoiser, start(schedule, seeds), schedule, seeds, skipped=run.skip)

    def _scheduled(self, prompt: Tensor, run: Run) -> Callable[[Tensor, Tensor], Tensor]:
        """The denoiser with the scale of the step that a call belongs to."""
        sigmas = in_scale_of_host(self.abar).sigmas[run.skip : -1]
        scales = cfg_scales(len(sigmas), run.cfg_schedule, run.cfg)

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            step = int((sigmas - sigma[0]).abs().argmin())
            return self.mixture.denoiser(prompt, scales[step])(x, sigma)

        return predict


def _seeds(run: Run, rows: int) -> list[int]:
    return [run.seed + row for row in range(rows)]
