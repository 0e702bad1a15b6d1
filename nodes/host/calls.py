"""Calls of the model: whose rows may share one, of several timesteps, of both prompts, of all variations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import CellType, ModuleType
from typing import Any

import comfy.controlnet
import comfy.model_management
import comfy.patcher_extension
import torch
from torch import Tensor

from ...ddpm_core import Denoiser, NoiseSchedule, chunks_of
from . import conds
from .blocks import is_unet, without_compilation
from .models import ModelsByLevel
from .values import Guider, ModelPatcher, RowWise

# More rows than this no longer raise a GPU's rate, and they delay previews and the Cancel button.
MOST_AUTOMATIC = 16
# Parts of a MODEL that are made to be replaced, and that take a level for each row.
REPLACEABLE = {"model_sampling", "latent_format"}
_DATA = (Tensor, torch.dtype, torch.device, str, bytes, bool, int, float, type(None))

Call = Callable[[Tensor, Tensor], Tensor]
"""(x (rows, *S), sigma (rows,)) -> (rows, *S)."""


def code_of_others(model: ModelPatcher, model_options: Mapping[str, Any]) -> list[str]:
    """Names of code that other nodes have put into the calls of a model.

    Such code may hold something for each row of a LATENT, mix the rows of a prompt, or look at one level for all, and
    none of this can be seen from outside: so a call has the rows that KSampler's would have.
    """
    return sorted({name for name, part in _parts(model, model_options) if _holds_code(part)})


def is_patched(model: ModelPatcher) -> bool:
    """Whether nodes have put something into the calls of a MODEL that may be for each image of a batch."""
    around = model.wrappers.get(comfy.patcher_extension.WrappersMP.PREDICT_NOISE)
    return bool(around or code_of_others(model, model.model_options))


def _parts(model: ModelPatcher, model_options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """All that nodes may have put into the calls of a model, by its name."""
    inside, loading = (model_options.get(name, {}) for name in ("transformer_options", "to_load_options"))
    groups = [
        without_compilation(loading.get("wrappers", {})),
        without_compilation(inside.get("wrappers", {})),
        inside.get("callbacks", {}),
        without_compilation(model.wrappers),
        model.callbacks,
        model.injections,
    ]
    # a run brings those of the MODEL into its options
    named = {"transformer_options", "to_load_options", "wrappers", "callbacks"}
    in_options = (model_options, inside, loading)
    groups += [{name: part for name, part in group.items() if name not in named} for group in in_options]
    groups += [{name: part for name, part in model.object_patches.items() if name not in REPLACEABLE}]
    models = ModelsByLevel.of(model)
    second = _parts(models.second, models.second.model_options) if models else []
    return second + [part for group in groups for part in group.items()]


def code_with_layers(model: ModelPatcher) -> list[str]:
    """Names of code that other nodes have put into the calls of a model, and that holds layers of its network itself.

    It acts on them, wherever else it is put.
    """
    layers = set(map(id, model.model.modules()))
    return sorted({name for name, part in _parts(model, model.model_options) if _holds(part, layers)})


def _holds(value: object, layers: set[int]) -> bool:
    """Whether a value holds one of some modules: in its items, its attributes or, of a function, its variables."""
    found, seen = [value], set()
    while found:
        part = found.pop()
        if id(part) in layers:
            return True
        if id(part) in seen or isinstance(part, (*_DATA, type, ModuleType, ModelPatcher)):
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            found += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            found += part
        elif isinstance(part, partial):
            found += [part.func, part.args, part.keywords]
        elif isinstance(part, CellType):
            with suppress(ValueError):  # an empty one
                found.append(part.cell_contents)
        found += [getattr(part, name, None) for name in ("__self__", "__func__", "__closure__", "__defaults__")]
        found += getattr(part, "__dict__", {}).values()
    return False


@contextmanager
def gradients_through(others: Sequence[str], what: str) -> Iterator[None]:
    """Context in which a method takes gradients through code of other nodes; its errors name that code.

    Raises:
        ValueError: such an error, but for a lack of memory, in place of a RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if not others or comfy.model_management.is_oom(error):
            raise
        raise ValueError(
            f"{what} takes gradients through model patches of other nodes ({', '.join(others)}) and ended in: {error}. "
            "There are none through what is kept from call to call, as by step caches and momentum: connect the MODEL "
            "from before those nodes"
        ) from error


def _holds_code(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_code, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_code, value))
    return not isinstance(value, (*_DATA, RowWise))


def acts_in_blocks(model_options: Mapping[str, Any]) -> bool:
    """Whether code of other nodes is in the blocks of a network, where it may look for the two prompts of a call."""
    inside = model_options.get("transformer_options", {})
    return any(_holds_code(inside.get(name, {})) for name in ("patches", "patches_replace"))


def wraps_guidance(model_options: dict[str, Any]) -> bool:
    """Whether code of other nodes is around a guider's calls, where it may change the scale of a step."""
    kind = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
    return bool(comfy.patcher_extension.get_all_wrappers(kind, model_options, is_model_options=True))


def reads_text_by_cross_attention_alone(network: torch.nn.Module) -> bool:
    """Whether text repeated to another length is the same to a network, as it is to no network that joins it to x."""
    return is_unet(network)


def makes_features_anew(control: comfy.controlnet.ControlBase) -> bool:
    """Whether a ControlNet is asked by the host's own code; that of others may keep what the last call gave it."""
    return getattr(control.get_control, "__func__", None) is comfy.controlnet.ControlNet.get_control


def is_of_one_level(sigma: Tensor) -> bool:
    """Whether the rows of a call are of one timestep."""
    return bool((sigma == sigma[0]).all())


def by_images(call: Call, images: int, x: Tensor, sigma: Tensor) -> Tensor:
    """A call for each variation of x (variations * images, *S), as if it were the only one."""
    return torch.cat([call(*part) for part in zip(x.split(images), sigma.split(images), strict=True)])


class Variations:
    """Calls of the variations of images: one for all, or one for each where rows are not independent.

    Where other nodes have put code into the model that is not known to be, and where the first call shows it to be so
    for the network.

    Args:
        others: names of that code.
    """

    def __init__(self, model: ModelPatcher, others: list[str]):
        self._model = model
        self._apart: bool | None = True if others else None

    def keep_together(self) -> None:
        """Have them in one call, whatever they are."""
        self._apart = False

    def __call__(
        self,
        call: Call,
        images: int | None,
        x: Tensor,
        sigma: Tensor,
        by_images: Callable[[Call, int, Tensor, Tensor], Tensor] = by_images,
    ) -> Tensor:
        """The result of a call for x (rows, *S).

        Args:
            images: B; None where each row is an image.
        """
        if images is None or images == len(x):
            return call(x, sigma)
        if self._apart:
            return by_images(call, images, x, sigma)
        network = self._model.model.diffusion_model
        if self._apart is None and is_unet(network):
            self._apart = False
        if self._apart is None and is_of_one_level(sigma):
            beside, alone = call(x, sigma), by_images(call, images, x, sigma)
            self._apart = not is_rounding(beside, alone, x, self._model)
            if not self._apart:
                return beside
            why = "because rows are not independent to its network"
            logging.info("Edit-friendly: a call for each variation, %s (%s)", why, type(network).__name__)
            return alone
        return call(x, sigma)


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


def is_rounding(a: Tensor, b: Tensor, x: Tensor, model: ModelPatcher) -> bool:
    """Whether two predictions at x, all (N, *S), differ by no more than `rounding`."""
    return (a - b).norm().item() <= rounding(model) * (x - b).norm().item()


class SplittingDenoiser:
    """A denoiser for calls of one or several timesteps.

    A call that runs out of memory is halved and tried again. The first call that is shared is checked: if it fails, or
    if its last timestep is not what it is alone, all further ones have calls of their own.

    Args:
        rows: of one timestep; what a call cannot be split below.
        rounding: what the check allows.
    """

    def __init__(self, denoiser: Denoiser, *, rows: int, rounding: float):
        self._denoiser = denoiser
        self._rows = rows
        self._rounding = rounding
        self._checked = False
        self._most: int | None = None  # rows that are known not to fit are not tried again

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self._most is not None and len(x) > self._most:
            parts = zip(x.split(self._most), sigma.split(self._most), strict=True)
            return torch.cat([self(*part) for part in parts])
        try:
            denoised = self._denoiser(x, sigma)
            return denoised if self._checked or len(x) == self._rows else self._check(x, sigma, denoised)
        except RuntimeError as error:
            no_memory = comfy.model_management.is_oom(error)
            if len(x) <= self._rows or (self._checked and not no_memory):
                raise
            reason = str(error)
        # Outside the except block, which would keep the failed call's tensors alive.
        if no_memory:
            comfy.model_management.soft_empty_cache()
            self._most = len(x) // self._rows // 2 * self._rows
            logging.warning("Edit-friendly inversion: out of memory with %d rows, going on with %d", len(x), self._most)
        else:
            self._checked, self._most = True, self._rows
            logging.warning("Edit-friendly inversion: one timestep a call, because several ended in: %s", reason)
        return self(x, sigma)

    def _check(self, x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
        last = slice(len(x) - self._rows, None)
        alone = self._denoiser(x[last], sigma[last])
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
    if others := code_of_others(guider.model_patcher, model_options):
        return f"model patches ({', '.join(others)})"
    for cond in (cond for prompt in guider.conds.values() for cond in prompt):
        if once := set(cond) & conds.ONE_LEVEL:
            return f"{', '.join(sorted(once))} on a conditioning"
        if "mask" in cond and rows % len(cond["mask"]):
            return f"{len(cond['mask'])} masks on a conditioning for {rows} rows"
        for control in conds.controls(cond):
            if not makes_features_anew(control):
                return f"a {type(control).__name__}, which is not known to take several"
            if rows % len(control.cond_hint_original):
                return f"{len(control.cond_hint_original)} images of a ControlNet for {rows} rows"
    return None


def _bounds(guider: Guider) -> set[float]:
    """The sigmas at which a conditioning, a ControlNet or a model of two starts or ends."""
    models = ModelsByLevel.of(guider.model_patcher)
    bounds = {models.sigma * (1 - 1e-6)} if models else set()
    for cond in (cond for prompt in guider.conds.values() for cond in prompt):
        bounds |= {float(cond[name]) for name in ("timestep_start", "timestep_end") if name in cond}
        for control in conds.controls(cond):
            bounds |= {float(bound) for bound in control.timestep_range or ()}
    return bounds
