"""From a trajectory to its noise maps.

Source: arXiv 2304.06140, Sec. 4, Eq. 5 and Alg. 1. Deviation: the trajectory does not depend on the network, so several
timesteps may share one call.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .denoiser import Denoiser, StepCallback, denoise
from .facts import Facts
from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule


def chunks_of(steps: int, timesteps_per_call: int) -> list[range]:
    """The steps in order, `timesteps_per_call` at a time."""
    return [range(i, min(i + timesteps_per_call, steps)) for i in range(0, steps, timesteps_per_call)]


@torch.no_grad()
def invert(
    denoiser: Denoiser,
    states: Tensor,
    schedule: NoiseSchedule,
    *,
    chunks: Iterable[range] | None = None,
    skipped: int = 0,
    facts: Facts | None = None,
    mask: Tensor | None = None,
    noising: Tensor | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> NoiseMaps:
    """The noise that steps along `states`: residual_t = x_s - mu_t(x_t), Eq. 5.

    As in the last line of Alg. 1, a call starts at the point that the sampler will reach, fl(mu_t + residual_t), which
    float rounding keeps from being x_s to the last bit. With one step a call, replay is exact for that. With several,
    the further ones start at the trajectory's own states, and replay is exact to the rounding that the network leaves.
    The states that are kept are those of the trajectory, which do not depend on the network.

    Args:
        denoiser: the model under the source prompt.
        states: (T+1, B, *S) from `trajectories`, in float32 or float64.
        schedule: T steps.
        chunks: which steps share one call; together all T in order. None is one step a call.
        skipped: steps of the full schedule that the trajectory leaves out.
        facts, mask, noising: of the maps.
        device: where the arithmetic and the denoiser run.
        callback: called after each call, with the last of its steps.

    Returns:
        The maps, after as many calls as there are chunks, of len(chunk) * B rows each.
    """
    if len(states) != schedule.steps + 1:
        raise ValueError(f"{len(states)} states do not fit a schedule of {schedule.steps} steps")
    device = torch.device(device)
    residuals = torch.empty_like(states[:-1])
    before = None
    x = states[0].to(device)
    for chunk in chunks or chunks_of(schedule.steps, 1):
        further = states[chunk.start + 1 : chunk.stop + 1].to(device)  # x_s of each step of the chunk
        x_t = torch.cat([x[None], further[:-1]])  # a copy: a patch of the model may write into its input
        denoised = denoise(denoiser, x_t, [schedule.step(i).sigma for i in chunk])
        for k, i in enumerate(chunk):
            mean = schedule.step(i).mean_after(x_t[k], denoised[k], before)
            before = denoised[k]
            residual = further[k] - mean
            residuals[i] = residual
        if callback is not None:
            callback({"x": x_t[-1], "i": chunk[-1], "sigma": schedule.step(chunk[-1]).sigma, "denoised": denoised[-1]})
        x = mean + residual
    return NoiseMaps(schedule, states, residuals, skipped=skipped, facts=facts or Facts(), mask=mask, noising=noising)


def without_residuals(
    schedule: NoiseSchedule,
    states: Tensor,
    skipped: int = 0,
    facts: Facts | None = None,
    mask: Tensor | None = None,
) -> NoiseMaps:
    """Maps that only start from x_T and then follow the model, with eta 0: textbook DDIM, which misses the image.

    Args:
        states: (T+1, B, *S) of `trajectories.ddim`.
    """
    residuals = torch.zeros_like(states[:-1])
    return NoiseMaps(schedule.with_eta(0.0), states, residuals, skipped=skipped, facts=facts or Facts(), mask=mask)
