"""Noise levels of a model: schedules, and the step that a call belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core import NoiseSchedule
from .values import ModelPatcher


def levels(model: ModelPatcher, scheduler: str, steps: int) -> Tensor:
    """(T+1,) the sigmas of the host's scheduler under the model's (possibly patched) sampling.

    T is `steps`, but for schedulers that leave out levels that are equal (beta), and never more than a model's own
    levels allow. The host's ddim_uniform goes in whole strides, which makes 63 steps of 60; here it has as many as it
    is asked for: the same where they divide the model's levels, else each rounded down to a level.
    """
    model_sampling = model.get_model_object("model_sampling")
    sigmas: Tensor = comfy.samplers.calculate_sigmas(model_sampling, scheduler, steps).cpu()
    if scheduler == "ddim_uniform" and len(sigmas) - 1 != steps:
        table = model_sampling.sigmas.cpu()
        steps = min(steps, len(table) - 1)
        chosen = table[1 + torch.arange(steps) * len(table) // steps]
        sigmas = torch.cat([chosen.flip(0), chosen.new_zeros(1)])
    return sigmas


def levels_at(model: ModelPatcher, timesteps: Sequence[int]) -> Tensor:
    """(T+1,) the sigmas of the model at timesteps of its training, then 0."""
    model_sampling = model.get_model_object("model_sampling")
    sigmas = torch.stack([model_sampling.sigma(torch.tensor(float(t))).cpu() for t in timesteps])
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def schedule_for(model: ModelPatcher, sigmas: Tensor, eta: float, order: int = 1) -> NoiseSchedule:
    """The noising process of the model at `sigmas`.

    The host's `noise_scaling` is linear in noise and latent, so a and b are what it makes of (0, 1) and (1, 0).

    Raises:
        ValueError: a model without noise, sigmas that cannot be a schedule.
    """
    model_sampling = model.get_model_object("model_sampling")
    sigmas = sigmas.detach().to("cpu", torch.float64)
    one = torch.ones((len(sigmas), 1, 1, 1), dtype=torch.float64)
    zero = torch.zeros_like(one)
    signal = model_sampling.noise_scaling(sigmas, zero.clone(), one.clone()).flatten()
    noise = model_sampling.noise_scaling(sigmas, one.clone(), zero.clone()).flatten()
    if len(sigmas) > 1 and not noise.any():
        raise ValueError(
            "this model leads from one image to another without noise (as FlowRVS does), so there is none to read off: "
            "use a model that generates"
        )
    return NoiseSchedule(sigmas, signal, noise, eta, order)


def with_substeps(model: ModelPatcher, schedule: NoiseSchedule, substeps: int) -> NoiseSchedule:
    """A schedule with further levels between each two above 0, evenly over the timesteps that the model is told."""
    if substeps == 1 or schedule.steps == 1:
        return schedule
    model_sampling = model.get_model_object("model_sampling")

    def sigma_of(timesteps: Tensor) -> Tensor:
        return torch.stack([model_sampling.sigma(t).cpu() for t in timesteps.float().flatten()]).double()

    levels = schedule.sigmas[:-1]
    timesteps = model_sampling.timestep(levels).double()
    # the host's sigma(t) of a flow counts t before the shift: what is told there is proportional to sigma
    of_flow = not torch.allclose(sigma_of(timesteps), levels, rtol=1e-3)
    ends = levels if of_flow else timesteps
    shares = torch.arange(1, substeps, dtype=torch.float64) / substeps
    between = (ends[:-1, None] + shares * (ends[1:] - ends[:-1])[:, None]).flatten()
    finer = (between if of_flow else sigma_of(between)).unflatten(0, (-1, substeps - 1))
    rows = torch.cat([levels[:-1, None], finer], dim=1)
    return schedule_for(model, torch.cat([rows.flatten(), schedule.sigmas[-2:]]), schedule.eta, schedule.order)


def sigma_of_share(model: ModelPatcher, share: float) -> float:
    """The sigma at which noise is a share b / (a + b) of a state: of a flow that sigma itself, else b / a.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of noise lies between 0, the image, and 1, noise alone; got {share}")
    low, high = 0.0, float(model.get_model_object("model_sampling").sigma_max)
    for _ in range(60):  # noise_scaling has no inverse of its own
        middle = (low + high) / 2
        level = schedule_for(model, torch.tensor([middle, 0.0]), 1.0)
        less = level.noise[0] < share * (level.signal[0] + level.noise[0])
        low, high = (middle, high) if less else (low, middle)
    return high


def gain_of_network(model: ModelPatcher, sigma: Tensor) -> float:
    """How many times what the network says counts in the prediction of x_0 at a level.

    Sigma for a network that predicts the noise; about 1 and less for v, x_0 and flows.
    """
    zero = torch.zeros(1, 1, 1, 1)
    denoised = model.get_model_object("model_sampling").calculate_denoised
    level = sigma.detach().cpu().float().reshape(1)
    gain: Tensor = denoised(level, torch.ones_like(zero), zero) - denoised(level, zero, zero)
    return abs(gain.item())


def sigmas_at(schedule: NoiseSchedule, chosen: Sequence[int]) -> Tensor:
    """(len(chosen) + 1,) the sigmas of a run that calls the model at some levels of a schedule, then 0."""
    return torch.cat([schedule.sigmas[list(chosen)], torch.zeros(1)]).to(torch.float32)


class LevelsOfRun:
    """Levels of one run, to find the step that a call of the model belongs to."""

    def __init__(self, sigmas: Tensor):
        self._levels = sigmas[:-1].cpu()

    def __len__(self) -> int:
        return len(self._levels)

    def index(self, timestep: Tensor) -> int:
        """The step that starts at a call's sigma; a level between two steps belongs to the earlier one.

        Looked up, never counted: guidance patches call a model more than once a step.
        """
        noisier = int((self._levels >= timestep.flatten()[0].item() * (1 - 1e-4)).sum())
        return max(noisier - 1, 0)
