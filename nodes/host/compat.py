"""Names that differ between the oldest supported ComfyUI and the newest, asked for one by one, not by version."""

from __future__ import annotations

import inspect

import comfy.sample
from comfy.model_base import BaseModel
from torch import Tensor

from .values import Latent, ModelPatcher


def started(model: ModelPatcher, latent: Latent) -> Tensor:
    """The samples of a LATENT as the host's own samplers start from them, (B, *S) or, for some models, nested.

    One that is empty (all zeros) gets the model's channels, and the model's size where the LATENT says at which ratio
    to the picture it was made. One that holds a picture keeps its size.
    """
    known = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters  # 0.17.0 has the first ratio alone
    ratios = [name for name in ("downscale_ratio_spacial", "downscale_ratio_temporal") if name in known]
    return comfy.sample.fix_empty_latent_channels(
        model, latent["samples"], **{name: latent.get(name) for name in ratios}
    )


def parts_of(samples: Tensor) -> list[Tensor]:
    """The tensors of a LATENT's samples: one, or several where the host nests them, as a video and its sound."""
    return list(samples.unbind()) if samples.is_nested else [samples]


def shapes_of_run(model: BaseModel) -> list[tuple[int, ...]]:
    """The shapes of the latents that a running model samples as one; empty where the host does not tell (0.17.0)."""
    return [tuple(shape) for shape in getattr(model, "latent_shapes", None) or []]
