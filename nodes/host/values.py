"""The host's values as the nodes hand them on."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider as Guider
from comfy.samplers import Sampler
from comfy.sd import CLIP as Clip
from comfy.sd import VAE as Vae
from torch import Tensor

__all__ = [
    "SCHEDULERS",
    "Clip",
    "ClipVisionModel",
    "Conditioning",
    "Guider",
    "Latent",
    "ModelPatcher",
    "RowWise",
    "Sampler",
    "Vae",
]

Conditioning = list[list[Any]]
"""CONDITIONING: a list of [embedding (B, L, D), options]."""
Latent = dict[str, Any]
"""LATENT: samples (B, *S), and what else the host's nodes put there, such as noise_mask."""

SCHEDULERS: list[str] = comfy.samplers.SCHEDULER_NAMES


class RowWise:
    """Code of this pack in a MODEL, which treats each row of a call by itself."""


def to_latent(samples: Tensor, like: Latent | None = None) -> Latent:
    """A LATENT of samples (B, *S), on the device where the host keeps what goes from node to node.

    Args:
        like: the LATENT that they were made from: what else it holds goes along, as KSampler hands it on, but for what
            it says of a size, and for what it says of each row where there are others now.
    """
    held = {key: value for key, value in (like or {}).items() if not key.startswith("downscale_ratio")}
    if "batch_index" in held and len(held["batch_index"]) != len(samples):
        del held["batch_index"]
    return {**held, "samples": samples.to(comfy.model_management.intermediate_device())}


def decode(vae: Vae, samples: Tensor) -> Tensor:
    """(N, H, W, 3) in [0, 1] on the CPU of latents (B, *S) in the LATENT's own scaling; N = B * F for videos."""
    pixels: Tensor = vae.decode(samples)
    return pixels.reshape(-1, *pixels.shape[-3:])[..., :3].to("cpu", torch.float32)
