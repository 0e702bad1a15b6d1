"""One run of the host's sampling around a loop of the core, which gives its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_base import BaseModel
from torch import Tensor
from tqdm.auto import tqdm

from ...ddpm_core import Denoiser, NoiseMaps
from ...ddpm_core.denoiser import StepCallback
from ...ddpm_core.sampling import MaskAfter
from . import calls, compat, conds
from .guiders import ImagesGuider
from .levels import LevelsOfRun
from .models import ModelsByLevel
from .plan import Plan
from .values import Guider, ModelPatcher

T = TypeVar("T")
HostCallback = Callable[[int, Tensor, Tensor, int], None]
"""(step, predicted x_0, x, steps in all): draws previews, counts progress, and raises when the user interrupts."""
PartOfAll = tuple[int, int]
"""Of several runs that a node's progress counts as one: the steps before this one, and all."""

_OPENING = "denoise_mask_function"  # Differential Diffusion's


@dataclass(frozen=True)
class Run:
    """The arguments that the host gives a sampler.

    Args:
        guider: the guider that is being sampled with, its conditionings ready for the model.
        extra_args: what each call of it needs beside x and sigma.
        sigmas: (T+1,) the levels that the host was told.
        noise, latent: (B, *S) of the images, on the device; the latent in the model's scaling.
        mask: the host's denoise mask, 1 where something may change.
    """

    guider: Guider
    extra_args: dict[str, Any]
    sigmas: Tensor
    noise: Tensor
    latent: Tensor
    mask: Tensor | None
    callback: HostCallback | None
    disable_pbar: bool

    @property
    def denoiser(self) -> Denoiser:
        """The guider as the core calls it, for the images of the run."""
        guider = self.repeatable(partial(self.guider, **self.extra_args), self.extra_args.get("seed") or 0)
        return self.showing(self.image(len(self.latent)), guider)

    def repeatable(self, denoiser: Denoiser, seed: int, sigmas: Tensor | None = None) -> Denoiser:
        """A denoiser in which code of other nodes draws the same at a level, in every run with this seed.

        As KSampler has it, which seeds PyTorch's own generator once a run; here a run may skip the first levels.

        Args:
            sigmas: the levels (T+1,) that this run is a part of, to their end; default: all of them.
        """
        if not self.others:
            return denoiser
        levels = LevelsOfRun(self.sigmas if sigmas is None else sigmas)

        def seeded(x: Tensor, sigma: Tensor) -> Tensor:
            torch.manual_seed((seed + len(levels) - levels.index(sigma)) % 2**64)
            return denoiser(x, sigma)

        return seeded

    def guider_of(self, images: int) -> Denoiser:
        """The guider; the host's own in calls of so many images where rows are not independent."""
        guider: Denoiser = partial(self.guider, **self.extra_args)
        if isinstance(self.guider, ImagesGuider) and self.guider.images is not None:
            return guider
        return partial(calls.Variations(self.guider.model_patcher, self.others), guider, images)

    def as_shown(self, image: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
        """What the network is shown of rows (x, sigma), and what part of it is not kept; None for x itself.

        Most models are shown the kept part of images (rows, *S) noised, as every state of an inversion is. Some have a
        rule of their own (`scale_latent_inpaint`), such as a first frame without noise. The images are in the model's
        scaling.
        """
        model, mask = self.guider.inner_model, self.mask
        if mask is None or type(model).scale_latent_inpaint is BaseModel.scale_latent_inpaint:
            return None

        def shown(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            given, kept = (comfy.utils.repeat_to_batch_size(part, len(x)).to(x) for part in (mask, image))
            part = self._mask_at(given, sigma)
            noise = torch.zeros_like(x)  # that the rules of today add none of
            own = model.scale_latent_inpaint(x=x, sigma=sigma, noise=noise, latent_image=kept, denoise_mask=part)
            return torch.lerp(own, x, part), part

        return shown

    def showing(self, image: Tensor, denoiser: Denoiser) -> Denoiser:
        """A denoiser that shows the network the kept part of images (rows, *S) as the host does."""
        as_shown = self.as_shown(image)
        if as_shown is None:
            return denoiser

        def shown(x: Tensor, sigma: Tensor) -> Tensor:
            given, part = as_shown(x, sigma)
            return torch.lerp(comfy.utils.repeat_to_batch_size(image, len(x)).to(x), denoiser(given, sigma), part)

        return shown

    def mask_after(self, mask: Tensor | None) -> MaskAfter | None:
        """A noise mask (rows, 1, *S[1:]) that a node opens from step to step; None if it does not change."""
        if mask is None or self.mask is None or _OPENING not in self.model_options:
            return None

        def opened(step: int, x: Tensor) -> Tensor:
            given = comfy.utils.repeat_to_batch_size(mask, len(x)).to(x)
            return self._mask_at(given, self.sigmas[step].to(x).expand(len(x)))

        return opened

    def _mask_at(self, mask: Tensor, sigma: Tensor) -> Tensor:
        """A noise mask (rows, 1, *S[1:]) at the level sigma (rows,)."""
        if _OPENING not in self.model_options:
            return mask
        options = {"model": self.guider, "sigmas": self.sigmas}
        opened: Tensor = self.model_options[_OPENING](sigma, mask, extra_options=options)
        return opened

    @property
    def model_options(self) -> dict[str, Any]:
        """Options of every call of the model."""
        return self.extra_args["model_options"]

    @property
    def others(self) -> list[str]:
        """Names of code that other nodes have put into the calls of the model."""
        return calls.code_of_others(self.guider.model_patcher, self.model_options)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.noise.device

    def image(self, rows: int) -> Tensor:
        """(rows, *S) the latent, repeated; scaled if all zero, too, which the host does on the way out alone."""
        latent = self.latent if self.latent.any() else self.guider.inner_model.process_latent_in(self.latent)
        return comfy.utils.repeat_to_batch_size(latent, rows)

    def prepare(self, prompts: dict[str, conds.Conds]) -> dict[str, conds.Conds]:
        """Further prompts made ready for the model, as the host has made the guider's own."""
        model = self.guider.inner_model
        return comfy.samplers.process_conds(
            model,
            self.noise,
            prompts,
            self.noise.device,
            self.latent,
            self.mask,
            self.extra_args.get("seed"),
            latent_shapes=compat.shapes_of_run(self.guider) or [tuple(self.latent.shape)],
        )

    def is_told_by(self, mask: Tensor) -> bool:
        """Whether a noise mask (B, 1, *S[1:]) would tell the model more than the run without one has told it."""
        told = replace(self, mask=mask.to(self.noise).expand_as(self.noise))
        if _OPENING in self.model_options or told.as_shown(self.latent) is not None:
            return True
        given = getattr(self.guider, "conds", {})  # which a guider of another pack may not have
        ready = told.prepare({name: [dict(entry) for entry in prompt] for name, prompt in given.items()})
        return not all(conds.tells_the_same(ready[name], prompt) for name, prompt in given.items())

    def progress(self, total: int) -> Progress:
        """The progress of `total` steps, as a context."""
        return Progress(self.callback, total, self.disable_pbar)


Loop = Callable[[Run], T]
"""A loop of the core inside a run: what it returns is the result of the run."""


class LoopSampler(comfy.samplers.Sampler):
    """A loop that ends with images (rows, *S), in the model's scaling, as a SAMPLER."""

    def __init__(self, loop: Loop[Tensor]):
        self.loop = loop

    def sample(
        self,
        model_wrap: Guider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: HostCallback | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """The host's own signature."""
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        return self.loop(Run(model_wrap, extra_args, sigmas, noise, latent, denoise_mask, callback, disable_pbar))


def run(
    guider: ImagesGuider,
    loop: Loop[T],
    latent: Tensor,
    sigmas: Tensor,
    seed: int,
    *,
    images: int,
    mask: Tensor | None = None,
) -> T:
    """The result of a loop of the core inside the host's sampling; the arguments are those of `sampled`."""
    results: list[T] = []

    def keep(given: Run) -> Tensor:
        results.append(loop(given))
        return given.latent

    sampled(guider, LoopSampler(keep), latent, sigmas, seed, images=images, mask=mask)
    (result,) = results
    return result


def run_plan(guider: ImagesGuider, loop: Loop[T], plan: Plan, sigmas: Tensor | None = None) -> T:
    """The result of a loop over the images of a plan, at its levels or at others."""
    levels = plan.schedule.sigmas if sigmas is None else sigmas
    return run(guider, loop, plan.latent, levels, plan.seeds[0], images=plan.images, mask=plan.mask)


def sampled_plan(guider: ImagesGuider, loop: Loop[Tensor], plan: Plan) -> Tensor:
    """(rows, *S) in the LATENT's own scaling: the images that a loop makes of those of a plan."""
    sampler = LoopSampler(loop)
    sigmas = plan.schedule.sigmas
    return sampled(guider, sampler, plan.latent, sigmas, plan.seeds[0], images=plan.images, mask=plan.mask)


def run_on_maps(guider: ImagesGuider, loop: Loop[T], noise_maps: NoiseMaps, sigmas: Tensor) -> T:
    """The result of a loop that brings its states from noise maps."""
    latent = guider.model_patcher.model.process_latent_out(noise_maps.image)
    return run(guider, loop, latent, sigmas, noise_maps.seeds[0], images=noise_maps.images, mask=noise_maps.mask)


def sampled(
    guider: ImagesGuider,
    sampler: LoopSampler,
    latent: Tensor,
    sigmas: Tensor,
    seed: int,
    *,
    images: int,
    mask: Tensor | None = None,
    part: PartOfAll | None = None,
) -> Tensor:
    """(rows, *S) in the LATENT's own scaling: images of one run of the host's sampling.

    The host loads the model, prepares conditionings, applies patches, shows previews and answers the interrupt.
    The loops here bring their own noise, so the host's is zero; its seed still reaches conditionings that use one.

    Args:
        latent: (rows, *S) in the LATENT's own scaling, whatever the loop starts from; the host makes room for them.
        images: B; the loop is handed the first B rows.
        mask: (rows, 1, *S[1:]) the noise mask of the inverted LATENT, which some models read.
        part: which of several runs this is; those show no live previews.
    """
    guider.images = images
    return guider.sample(
        torch.zeros_like(latent),
        latent,
        sampler,
        sigmas.to(torch.float32),
        denoise_mask=mask,
        callback=_callback(guider.model_patcher, len(sigmas) - 1, part),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def sampled_from_maps(
    guider: ImagesGuider, sampler: LoopSampler, noise_maps: NoiseMaps, sigmas: Tensor, part: PartOfAll | None = None
) -> Tensor:
    """(rows, *S) in the LATENT's own scaling, of a sampler that brings its states from noise maps."""
    return sampled(
        guider,
        sampler,
        guider.model_patcher.model.process_latent_out(noise_maps.image),
        sigmas,
        noise_maps.seeds[0],
        images=noise_maps.images,
        mask=noise_maps.mask,
        part=part,
    )


def _callback(model: ModelPatcher, steps: int, part: PartOfAll | None) -> HostCallback:
    """The host's own callback of a run, or one that counts it as a part of several.

    That one shows no live previews: the front end would keep the last of them in place of the node's own picture.
    """
    if part is None:
        return latent_preview.prepare_callback(model, steps)
    before, in_all = part
    bar = comfy.utils.ProgressBar(in_all)
    return lambda step, *_: bar.update_absolute(before + step + 1, in_all)


class Progress:
    """The core's step callback as the host's: previews, the node's progress bar, interrupts; and a console bar."""

    def __init__(self, callback: HostCallback | None, total: int, disable_pbar: bool):
        self._callback = callback
        self._bar = tqdm(total=total, disable=disable_pbar)

    def __enter__(self) -> Progress:
        return self

    def __call__(self, step: dict[str, Any]) -> None:
        self._bar.update(step["i"] + 1 - self._bar.n)
        if self._callback is not None:
            self._callback(step["i"], step["denoised"], step["x"], self._bar.total)

    def after(self, done: int) -> StepCallback:
        """The callback of a second loop, whose steps follow `done` others."""
        return lambda step: self({**step, "i": done + step["i"]})

    def __exit__(self, *_: object) -> None:
        self._bar.close()


@contextmanager
def gradients(models: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Context in which models have gradients inside a node, which the host runs in inference mode.

    Autograd refuses weights that were loaded in inference mode. Views of the same memory stand in for them and are
    taken out at the end, so that the host, which pins weights by their address, finds its own again. What the host
    changes in place, as it adds a ControlNet to the features, is kept as it was for the way back.
    """
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    with torch.inference_mode(False), torch.autograd.graph.allow_mutation_on_saved_tensors() as saved:
        saved.original = _LastingOriginals()
        try:
            for module in (module for model in models for module in model.modules()):
                tensors: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
                for held in tensors:
                    for name, weight in held.items():
                        if weight is None or not (weight.is_inference() or weight.requires_grad):
                            continue
                        replaced.append((held, name, weight))
                        plain = _outside_inference(weight) if weight.is_inference() else weight.detach()
                        is_parameter = isinstance(weight, torch.nn.Parameter)
                        held[name] = torch.nn.Parameter(plain, requires_grad=False) if is_parameter else plain
            yield
        finally:
            for held, name, weight in reversed(replaced):
                held[name] = weight


class _LastingOriginals(WeakKeyDictionary[Any, Tensor]):
    """PyTorch's saved tensors, each of which stays as long as it is asked for, though it was changed in place.

    PyTorch knows a saved tensor by its id and its address, drops it when it keeps a copy, and then takes the next
    tensor with that id and address for it: the gradient is another's, without a word.
    """

    def __init__(self) -> None:
        super().__init__()
        self._dropped: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()

    def __delitem__(self, handle: Any) -> None:
        self._dropped[handle] = self[handle]
        super().__delitem__(handle)


def _outside_inference(weight: Tensor) -> Tensor:
    """A tensor that autograd may keep, over the memory of one that was made in inference mode.

    A copy of what has no memory of its own, as the host's quantised weights.
    """
    weight = weight.detach()
    if type(weight) is not Tensor:
        return weight.clone()
    alias = torch.empty(0, dtype=weight.dtype, device=weight.device)
    alias.set_(weight.untyped_storage(), weight.storage_offset(), weight.shape, weight.stride())
    return alias


def with_lasting_weights(model: ModelPatcher) -> ModelPatcher:
    """A MODEL whose weights stay as they were loaded: itself, or a copy of one that the host loads dynamically.

    Dynamic loading keeps copies of weights from call to call that were made without room for gradients.

    Raises:
        ValueError: a MODEL of two models by level; a dynamic one whose loader has not said how to load it otherwise, or
            with patches that would not act on the copy.
    """
    if ModelsByLevel.of(model) is not None:
        raise ValueError(
            "gradients go through one model, and this MODEL is two, by noise level: use an inversion or an edit "
            "without gradients, such as Invert Image (Edit-Friendly DDPM)"
        )
    if not model.is_dynamic():
        return model
    if model.cached_patcher_init is None:
        raise ValueError(
            "gradients need weights that stay in place, ComfyUI loads those of this model dynamically, and the node "
            "that loaded it gives no other way: load it with a node of ComfyUI's own, such as Load Checkpoint, or "
            "start ComfyUI with --disable-dynamic-vram"
        )
    if held := calls.code_with_layers(model):
        raise ValueError(
            "gradients need weights that stay in place, for which the model is loaded again without dynamic loading; "
            f"model patches of other nodes ({', '.join(held)}) hold layers of this model as it is loaded now: connect "
            "the MODEL from before those nodes (for a LoRA use Load LoRA in place of its bypass), or start ComfyUI "
            "with --disable-dynamic-vram"
        )
    return model.clone(disable_dynamic=True)
