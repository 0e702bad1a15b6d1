"""Several timesteps of an inversion in one call of the host's guider: how many, and which may share one."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..ddpm_core import NoiseSchedule, chunks_of
from . import newest
from .types import ModelPatcher

# More rows than this no longer raise a GPU's rate, and they delay previews and the Cancel button.
MOST_AUTOMATIC = 16
# Options of a MODEL whose code sees the timestep and may expect a single one.
TIMESTEP_OPTIONS = (
    "context_handler",
    "model_function_wrapper",
    "sampler_calc_cond_batch_function",
    "sampler_cfg_function",
    "sampler_post_cfg_function",
    "sampler_pre_cfg_function",
)
TIMESTEP_TRANSFORMER_OPTIONS = ("patches", "patches_replace", "wrappers")


def chunks(
    guider: comfy.samplers.CFGGuider,
    model_options: dict[str, Any],
    schedule: NoiseSchedule,
    shape: torch.Size,
    timesteps_per_call: int,
) -> list[range]:
    """Which steps share a call: those between which no conditioning starts or ends.

    The host picks what is active by the first row's timestep, so a call must not straddle the start or end of a
    conditioning or ControlNet. Model patches and hooks can look at the timestep in ways that nobody can see from
    outside; with them each step has its own call.

    Args:
        timesteps_per_call: at most so many; 0 for as many as fit the free memory.
    """
    if timesteps_per_call == 1:
        return chunks_of(schedule.steps, 1)
    if reason := _timestep_sensitive(guider, model_options):
        logging.info("Edit-friendly inversion: one timestep a call, because of %s", reason)
        return chunks_of(schedule.steps, 1)
    size = timesteps_per_call or timesteps_that_fit(guider.model_patcher, shape)
    bounds = _bounds(guider)
    sigmas = [schedule.step(i).sigma for i in range(schedule.steps)]
    active = [[(sigma > bound, sigma < bound) for bound in bounds] for sigma in sigmas]
    found: list[range] = []
    for i in range(schedule.steps):
        if found and len(found[-1]) < size and active[i] == active[i - 1]:
            found[-1] = range(found[-1].start, i + 1)
        else:
            found.append(range(i, i + 1))
    return found


def timesteps_that_fit(model: ModelPatcher, shape: torch.Size) -> int:
    """How many timesteps of a latent of `shape` one call of a MODEL can take in the memory that is free now."""
    one = model.model.memory_required([2 * shape[0], *shape[1:]])  # cond and uncond
    return max(1, min(MOST_AUTOMATIC, int(0.8 * newest.free_memory(model) / one)))


class SplittingDenoiser:
    """The guider as the core's denoiser; a call that runs out of memory is halved and tried again.

    Args:
        rows: of one timestep; what a call cannot be split below.
    """

    def __init__(self, guider: comfy.samplers.CFGGuider, extra_args: dict[str, Any], rows: int):
        self._guider = guider
        self._extra_args = extra_args
        self._rows = rows
        self._most: int | None = None  # rows that are known not to fit are not tried again

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self._most is not None and len(x) > self._most:
            parts = zip(x.split(self._most), sigma.split(self._most), strict=True)
            return torch.cat([self(*part) for part in parts])
        try:
            return self._guider(x, sigma, **self._extra_args)
        except Exception as error:
            if len(x) <= self._rows or not newest.is_out_of_memory(error):
                raise
        # Outside the except block, which would keep the failed call's tensors alive.
        comfy.model_management.soft_empty_cache()
        self._most = len(x) // self._rows // 2 * self._rows
        logging.warning("Edit-friendly inversion: out of memory with %d rows, going on with %d", len(x), self._most)
        return self(x, sigma)


def _timestep_sensitive(guider: comfy.samplers.CFGGuider, model_options: dict[str, Any]) -> str | None:
    """What about this run may look at the timestep in ways that a batch of them would break."""
    transformer_options = model_options.get("transformer_options", {})
    named = [name for name in TIMESTEP_OPTIONS if model_options.get(name)]
    named += [name for name in TIMESTEP_TRANSFORMER_OPTIONS if _filled(transformer_options.get(name))]
    if named:
        return f"model patches ({', '.join(named)})"
    if any("hooks" in cond for conds in guider.conds.values() for cond in conds):
        return "hooks on a conditioning"
    return None


def _filled(nested: object) -> bool:
    if isinstance(nested, dict):
        return any(_filled(value) for value in nested.values())
    return bool(nested)


def _bounds(guider: comfy.samplers.CFGGuider) -> set[float]:
    """The sigmas at which a conditioning or a ControlNet starts or ends."""
    bounds: set[float] = set()
    for cond in (cond for conds in guider.conds.values() for cond in conds):
        bounds |= {float(cond[name]) for name in ("timestep_start", "timestep_end") if name in cond}
        control = cond.get("control")
        while control is not None:
            bounds |= {float(bound) for bound in control.timestep_range or ()}
            control = control.previous_controlnet
    return bounds
