"""Null-text maps sampled by the core alone, and the variant with one embedding that the "Diffusion Inversion Report"
(Wu and Liu, 2025, Sec. 4.1) compares with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ddpm_core.inversion import without_residuals
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.null_text import GuidedDenoiser
from ddpm_core.sampling import sample
from ddpm_core.schedule import NoiseSchedule

ROUNDS, LEARNING_RATE = 10, 1e-2  # as many calls, and steps as large, as those for one embedding a step


class NullTextSearch(Protocol):
    """(guided denoiser, pivots (T+1, B, *S), schedule, empty embedding (B, L, D)) -> maps with embeddings."""

    def __call__(
        self, denoiser: GuidedDenoiser, pivots: Tensor, schedule: NoiseSchedule, uncond: Tensor, /
    ) -> NoiseMaps: ...


def one_embedding(denoiser: GuidedDenoiser, pivots: Tensor, schedule: NoiseSchedule, uncond: Tensor, /) -> NoiseMaps:
    """Null-text inversion with one embedding for all steps, each of which starts from its pivot."""
    maps = without_residuals(schedule, pivots)
    found = uncond.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([found], lr=LEARNING_RATE)
    for _ in range(ROUNDS):
        for i in range(schedule.steps):
            step, x = maps.schedule.step(i), pivots[i]
            guided = denoiser(x, x.new_full((len(x),), step.sigma))
            with torch.enable_grad():
                error = (step.mean(x, guided(found)) - pivots[i + 1]).square().flatten(1).mean(dim=1).sum()
            (found.grad,) = torch.autograd.grad(error, found)
            optimizer.step()
    return replace(maps, uncond=found.detach().expand(schedule.steps, *uncond.shape).clone())


def sampled_with_embeddings(denoiser: GuidedDenoiser, found: NoiseMaps) -> Tensor:
    """(B, *S) sampled from null-text maps, each step with the embedding that was found for it."""
    embeddings: Iterator[Tensor] = iter([] if found.uncond is None else found.uncond)
    return sample(lambda x, sigma: denoiser(x, sigma)(next(embeddings)), found)
