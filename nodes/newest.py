"""What newer hosts have and the oldest supported one lacks, each asked for by its name and never by a version.

What stands here goes when the oldest supported host has it too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import comfy.model_management
import comfy.sample
import comfy.samplers
from comfy.latent_formats import LatentFormat
from comfy.model_base import BaseModel
from torch import Tensor

from .types import Latent, ModelPatcher


def started(model: ModelPatcher, latent: Latent) -> Tensor:
    """The samples of a LATENT as the host's own samplers start from them, (B, *S) or, for some models, nested.

    One that is empty (all zeros) gets the model's channels, and the model's size where the LATENT says at which ratio
    to the picture it was made, which the empty latents of newer hosts do. One that holds a picture keeps its size.
    """
    known = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters
    ratios = [name for name in ("downscale_ratio_spacial", "downscale_ratio_temporal") if name in known]
    return comfy.sample.fix_empty_latent_channels(
        model, latent["samples"], **{name: latent.get(name) for name in ratios}
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory; newer hosts also know it by errors that are not of one class."""
    if hasattr(comfy.model_management, "is_oom"):
        return comfy.model_management.is_oom(error)
    return isinstance(error, comfy.model_management.OOM_EXCEPTION)


def free_memory(model: ModelPatcher) -> int:
    """Bytes that a call of a MODEL can have on its device; newer hosts count what weights would make room."""
    if hasattr(model, "get_free_memory"):
        return model.get_free_memory(model.load_device)
    return comfy.model_management.get_free_memory(model.load_device)


def with_lasting_weights(model: ModelPatcher) -> ModelPatcher:
    """A MODEL whose weights stay as they were loaded: itself, or a copy of one that newer hosts load dynamically.

    Dynamic loading keeps copies of weights from call to call that were made without room for gradients.

    Raises:
        ValueError: a dynamic MODEL whose loader has not said how to load it otherwise.
    """
    if not (hasattr(model, "is_dynamic") and model.is_dynamic()):
        return model
    if model.cached_patcher_init is None:
        raise ValueError(
            "gradients need weights that stay in place, ComfyUI loads those of this model dynamically, and the node "
            "that loaded it gives no other way: load it with a node of ComfyUI's own, such as Load Checkpoint, or "
            "start ComfyUI with --disable-dynamic-vram"
        )
    return model.clone(disable_dynamic=True)


def parts_of(samples: Tensor) -> list[Tensor]:
    """The tensors of a LATENT's samples: one, or several where newer hosts nest them, as a video and its sound."""
    return list(samples.unbind()) if samples.is_nested else [samples]


def shapes_of_run(model: BaseModel) -> list[tuple[int, ...]]:
    """The shapes of the latents that a running BaseModel samples as one; none where the host does not tell."""
    return [tuple(shape) for shape in getattr(model, "latent_shapes", None) or []]


def shapes_for_conds(model: BaseModel) -> dict[str, list[tuple[int, ...]]]:
    """What newer hosts' `process_conds` is to be told beside the rest, by name."""
    known = inspect.signature(comfy.samplers.process_conds).parameters
    return {"latent_shapes": shapes_of_run(model)} if "latent_shapes" in known and shapes_of_run(model) else {}


def unfold_of_preview(latent_format: LatentFormat) -> Callable[[Tensor], Tensor] | None:
    """What the host's live preview makes of a latent before it takes colors from the channels; None for nothing."""
    return getattr(latent_format, "latent_rgb_factors_reshape", None)
