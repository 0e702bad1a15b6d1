"""From a trajectory to its noise maps.

Source: arXiv 2304.06140, Eq. 5 and Alg. 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule

StepCallback = Callable[[dict[str, Any]], None]
"""Called after each step with k-diffusion's keys: x, i, sigma, denoised. It may raise to interrupt."""


class Denoiser(Protocol):
    """Any model, whatever its parameterisation, with guidance and conditioning behind it."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (N, *S) noised to the levels sigma (N,) -> predicted x_0 (N, *S)."""


def denoise(denoiser: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """One call of the denoiser with every row at level `sigma`; the prediction comes back in the dtype of x."""
    return denoiser(x, x.new_full((len(x),), sigma, dtype=torch.float32)).to(x.dtype)


@torch.no_grad()
def invert(
    denoiser: Denoiser,
    states: Tensor,
    schedule: NoiseSchedule,
    *,
    skipped: int = 0,
    info: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> NoiseMaps:
    """The noise that steps along `states`: residual_t = x_s - mu_t(x_t), Eq. 5. T calls of the denoiser.

    As in the last line of Alg. 1, each step is evaluated at the point that the sampler will reach,
    fl(mu_t + residual_t), which float rounding keeps from being x_s to the last bit. Replay is exact for that, and the
    states that are kept stay those of the trajectory, which do not depend on the network.

    Args:
        denoiser: the model under the source prompt.
        states: (T+1, B, *S) from `trajectories`, in float32 or float64.
        schedule: T steps.
        skipped: steps of the full schedule that the trajectory leaves out.
        info: provenance to keep with the maps.
        device: where the arithmetic and the denoiser run.
        callback: called after each step.
    """
    if len(states) != schedule.steps + 1:
        raise ValueError(f"{len(states)} states do not fit a schedule of {schedule.steps} steps")
    residuals = torch.empty_like(states[:-1])
    denoised_kept = torch.empty_like(states[:-1])
    x = states[0].to(device, copy=True)  # a copy: a patch of the model may write into its input
    for i in range(schedule.steps):
        step = schedule.step(i)
        denoised = denoise(denoiser, x, step.sigma)
        mean = step.mean(x, denoised)
        residual = states[i + 1].to(device) - mean
        residuals[i], denoised_kept[i] = residual, denoised
        if callback is not None:
            callback({"x": x, "i": i, "sigma": step.sigma, "denoised": denoised})
        x = mean + residual
    return NoiseMaps(schedule, states, residuals, denoised_kept, skipped, info or {})
