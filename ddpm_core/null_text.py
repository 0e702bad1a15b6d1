"""Null-text inversion: one unconditional embedding for each step, found by optimisation.

Source: arXiv 2211.09794, Alg. 1. The pivots are a DDIM inversion without guidance; sampled with guidance, the
trajectory leaves them; the unconditional embedding of each step is moved until it no longer does.

Deviations: the loss is taken in the scale of unit variance, which is the paper's whatever the model's; the paper's
learning rate and stopping thresholds, written for 50 steps, are stretched over any number. A step whose error is small
enough is left as it is, where the published loop takes one step of Adam before it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from .denoiser import StepCallback
from .facts import Facts
from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule

UncondDenoiser = Callable[[Tensor], Tensor]
"""An unconditional embedding (B, L, D) -> the guided prediction of x_0 (B, *S), with gradients."""


class GuidedDenoiser(Protocol):
    """A model under the source prompt with guidance, whose unconditional embedding is open."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> UncondDenoiser:
        """x (B, *S), sigma (B,) -> the prediction as a function of the embedding; the conditional part is fixed."""


def null_text(
    denoiser: GuidedDenoiser,
    pivots: Tensor,
    schedule: NoiseSchedule,
    uncond: Tensor,
    *,
    inner_steps: int = 10,
    learning_rate: float = 1e-2,
    early_stop: float = 1e-5,
    skipped: int = 0,
    facts: Facts | None = None,
    mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> NoiseMaps:
    """Maps without residuals that carry the embeddings; sampled with them, the steps of DDIM stay near the pivots.

    Args:
        denoiser: the guided model, with the scale that is to be sampled with.
        pivots: (T+1, B, *S) the states of `trajectories.ddim` at cfg 1.
        schedule: T steps.
        uncond: (B, L, D) the embedding of the empty prompt, where the first step starts.
        inner_steps: Adam's steps at most, for each step.
        learning_rate: of the first step; it falls to half of it at the last (the paper's 1e-2 * (1 - i / 100)).
        early_stop: mean squared error at which the first step is good enough; it grows a hundredfold over the steps
            (the paper's 1e-5 + 2e-5 i of 50). 0 never stops. Each image stops by its own error, so that a batch gives
            what its images give alone.
        callback: called after each of Adam's steps, with i = step * inner_steps + inner step.

    The memory that gradients take is that of one call, however many steps there are.

    Raises:
        ValueError: an embedding of another batch, or of nothing.
    """
    if uncond.ndim != 3 or len(uncond) != pivots.shape[1] or not uncond.numel():
        raise ValueError(
            f"the embedding has shape {tuple(uncond.shape)}, {pivots.shape[1]} images need ({pivots.shape[1]}, tokens, "
            "channels): repeat that of the empty prompt for each"
        )
    schedule, device = schedule.with_eta(0.0), torch.device(device)
    uncond = uncond.to(device, copy=True).detach()
    found = pivots.new_empty((schedule.steps, *uncond.shape))
    x = pivots[0].to(device, copy=True)

    def report(x: Tensor, sigma: float, i: int, inner: int, denoised: Tensor) -> None:
        if callback is not None:
            callback({"x": x, "i": i * inner_steps + inner, "sigma": sigma, "denoised": denoised})

    for i in range(schedule.steps):
        step = schedule.step(i)
        guided = denoiser(x, x.new_full((len(x),), step.sigma, dtype=torch.float32))
        with torch.enable_grad():
            uncond = _optimise(
                guided,
                partial(step.mean, x),
                pivots[i + 1].to(device),
                uncond,
                steps=inner_steps,
                learning_rate=learning_rate * (1 - 0.5 * i / schedule.steps),
                good_enough=early_stop * (1 + 100 * i / schedule.steps),
                scale=schedule.scale(i + 1),
                report=partial(report, x, step.sigma, i),
            )
        with torch.no_grad():
            denoised = guided(uncond).to(x.dtype)
            report(x, step.sigma, i, inner_steps - 1, denoised)
            x = step.mean(x, denoised)
        found[i] = uncond
    residuals = torch.zeros_like(pivots[:-1])
    return NoiseMaps(schedule, pivots, residuals, skipped=skipped, facts=facts or Facts(), uncond=found, mask=mask)


def _optimise(
    guided: UncondDenoiser,
    mean: Callable[[Tensor], Tensor],
    pivot: Tensor,
    uncond: Tensor,
    *,
    steps: int,
    learning_rate: float,
    good_enough: float,
    scale: float,
    report: Callable[[int, Tensor], None],
) -> Tensor:
    """The embedding (B, L, D) under which `mean` of the prediction comes nearest to the pivot (B, *S)."""
    uncond = uncond.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([uncond], lr=learning_rate)
    open_rows = torch.ones(len(uncond), dtype=torch.bool, device=uncond.device)
    for inner in range(steps):
        denoised = guided(uncond).to(pivot.dtype)
        error = ((mean(denoised) - pivot) / scale).square().flatten(1).mean(dim=1)
        open_rows = open_rows & (error.detach() >= good_enough)
        report(inner, denoised.detach())
        # Guidance of 1 asks for no negative prompt, whose embedding then has no part in the step. Else this waits for
        # the device: an early stop is worth more than it costs.
        if not error.requires_grad or not open_rows.any():
            break
        before = uncond.detach().clone()
        (uncond.grad,) = torch.autograd.grad(error.sum(), uncond)
        optimizer.step()
        with torch.no_grad():
            uncond.copy_(torch.where(open_rows.view(-1, 1, 1), uncond, before))
    return uncond.detach()
