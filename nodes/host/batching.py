"""Several timesteps of an inversion in one call of the host's guider: how many, and which may share one."""

from __future__ import annotations

import logging
from typing import Any

import comfy.controlnet
import comfy.model_management
import torch
from torch import Tensor

from ...ddpm_core import NoiseSchedule, chunks_of
from . import conds
from .values import Guider, ModelPatcher

# More rows than this no longer raise a GPU's rate, and they delay previews and the Cancel button.
MOST_AUTOMATIC = 16
# What is known to treat each row by its own timestep. What is not here may look at one timestep for all of a call, in
# ways that nobody can see from outside: patches, hooks, other networks and ControlNets have a call for each timestep.
NETWORKS = (
    "comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel",
    "comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",
    "comfy.ldm.flux.model.Flux",
    "comfy.ldm.wan.model.WanModel",
)
CONTROLS = (comfy.controlnet.ControlNet, comfy.controlnet.ControlLora)
MODEL_OPTIONS = {"transformer_options", "to_load_options", "disable_cfg1_optimization"}
TRANSFORMER_OPTIONS = {"sample_sigmas"}
OBJECT_PATCHES = {"model_sampling", "latent_format"}


def expand_conditionings(guider: Guider, rows: int) -> None:
    """Give the guider's conditionings a value for each of one timestep's rows.

    So that the host repeats them from timestep to timestep where several share a call.
    """
    guider.conds = {name: conds.for_rows(prompt, rows) for name, prompt in guider.conds.items()}


def chunks(
    guider: Guider,
    model_options: dict[str, Any],
    schedule: NoiseSchedule,
    shape: torch.Size,
    timesteps_per_call: int,
) -> list[range]:
    """Which steps share a call: those between which no conditioning starts or ends.

    The host picks what is active by the first row's timestep, so a call must not straddle the start or end of a
    conditioning or ControlNet. What is not known to treat each row by its own timestep has a call for each.

    Args:
        shape: (rows, *S) of one timestep.
        timesteps_per_call: at most so many; 0 for as many as fit the free memory.
    """
    if timesteps_per_call == 1:
        return chunks_of(schedule.steps, 1)
    if reason := _obstacle(guider, model_options, shape[0]):
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
    """Number of timesteps of a latent of `shape` that one call of a MODEL can take in the memory that is free now."""
    one = model.model.memory_required([2 * shape[0], *shape[1:]])  # cond and uncond
    return max(1, min(MOST_AUTOMATIC, int(0.8 * model.get_free_memory(model.load_device) / one)))


def rounding(model: ModelPatcher) -> float:
    """Largest difference that batching alone explains, as a fraction of the noise that is predicted.

    A third of the root of the dtype's epsilon (bfloat16 .03, float16 .01), and .001 for float32, whose convolutions a
    GPU may take in fewer bits: rounding adds up over a hundred layers. Rows of another timestep are tenths off.
    """
    dtype = model.model.manual_cast_dtype or model.model.get_dtype()
    if not dtype.is_floating_point:
        dtype = torch.bfloat16  # quantised weights, which are computed with in half precision
    return max(1e-3, torch.finfo(dtype).eps ** 0.5 / 3)


class SplittingDenoiser:
    """The guider as the core's denoiser, for calls of one or several timesteps.

    A call that runs out of memory is halved and tried again. The first call that is shared is checked: if its last
    timestep is not what it is alone, all further ones have calls of their own.

    Args:
        rows: of one timestep; what a call cannot be split below.
        rounding: what the check allows.
    """

    def __init__(self, guider: Guider, extra_args: dict[str, Any], *, rows: int, rounding: float):
        self._guider = guider
        self._extra_args = extra_args
        self._rows = rows
        self._rounding = rounding
        self._checked = False
        self._most: int | None = None  # rows that are known not to fit are not tried again

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self._most is not None and len(x) > self._most:
            parts = zip(x.split(self._most), sigma.split(self._most), strict=True)
            return torch.cat([self(*part) for part in parts])
        try:
            denoised = self._guider(x, sigma, **self._extra_args)
            return denoised if self._checked or len(x) == self._rows else self._check(x, sigma, denoised)
        except Exception as error:
            if len(x) <= self._rows or not comfy.model_management.is_oom(error):
                raise
        # Outside the except block, which would keep the failed call's tensors alive.
        comfy.model_management.soft_empty_cache()
        self._most = len(x) // self._rows // 2 * self._rows
        logging.warning("Edit-friendly inversion: out of memory with %d rows, going on with %d", len(x), self._most)
        return self(x, sigma)

    def _check(self, x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
        last = slice(len(x) - self._rows, None)
        alone = self._guider(x[last], sigma[last], **self._extra_args)
        self._checked = True
        off, noise = (denoised[last] - alone).norm().item(), (x[last] - alone).norm().item()
        if off <= self._rounding * noise:
            return denoised
        logging.warning(
            "Edit-friendly inversion: one timestep a call, because this model predicts otherwise beside other "
            "timesteps (off by %.2g where the noise is %.2g; rounding would be %.2g)",
            off,
            noise,
            self._rounding * noise,
        )
        self._most = self._rows
        return torch.cat([self(x[: last.start], sigma[: last.start]), alone])


def _obstacle(guider: Guider, model_options: dict[str, Any], rows: int) -> str | None:
    """The part of this run that is not known to treat each row by its own timestep; None if all is."""
    model = guider.model_patcher
    network = type(model.model.diffusion_model)
    if not f"{network.__module__}.{network.__qualname__}".endswith(NETWORKS):
        return f"a network that is not known to take several ({network.__qualname__})"
    options = {name for name, value in model_options.items() if _filled(value)} - MODEL_OPTIONS
    transformer_options = model_options.get("transformer_options", {})
    options |= {name for name, value in transformer_options.items() if _filled(value)} - TRANSFORMER_OPTIONS
    options |= set(model.object_patches) - OBJECT_PATCHES
    if options or model.injections:
        return f"model patches ({', '.join(sorted(options | set(model.injections)))})"
    for cond in (cond for prompt in guider.conds.values() for cond in prompt):
        if unknown := set(cond) - conds.PER_CALL:
            return f"{', '.join(sorted(unknown))} on a conditioning"
        if "mask" in cond and rows % len(cond["mask"]):
            return f"{len(cond['mask'])} masks on a conditioning for {rows} rows"
        for control in conds.controls(cond):
            if type(control) not in CONTROLS:
                return f"a {type(control).__name__}, which is not known to take several"
            if rows % len(control.cond_hint_original):
                return f"{len(control.cond_hint_original)} images of a ControlNet for {rows} rows"
    return None


def _filled(nested: object) -> bool:
    if isinstance(nested, dict):
        return any(_filled(value) for value in nested.values())
    return isinstance(nested, Tensor) or bool(nested)


def _bounds(guider: Guider) -> set[float]:
    """The sigmas at which a conditioning or a ControlNet starts or ends."""
    bounds: set[float] = set()
    for cond in (cond for prompt in guider.conds.values() for cond in prompt):
        bounds |= {float(cond[name]) for name in ("timestep_start", "timestep_end") if name in cond}
        for control in conds.controls(cond):
            bounds |= {float(bound) for bound in control.timestep_range or ()}
    return bounds
