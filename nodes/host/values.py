"""The host's values as the nodes hand them on."""

from __future__ import annotations

from collections.abc import Mapping
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

from ...ddpm_core import sound

__all__ = [
    "SCHEDULERS",
    "Audio",
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
Audio = Mapping[str, Any]
"""AUDIO: waveform (B, C, N) and sample_rate, samples a second."""

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
    """(N, H, W, 3) in [0, 1] on the CPU of latents (B, *S) in the LATENT's own scaling; N = B * F for videos.

    Of sound a picture: its waveform above its spectrogram.
    """
    pixels: Tensor = vae.decode(samples)
    if pixels.ndim == 3:  # (B, N, channels), a waveform
        return torch.stack([sound.picture(waveform.T) for waveform in pixels])
    return pixels.reshape(-1, *pixels.shape[-3:])[..., :3].to("cpu", torch.float32)


def seconds_of(audio: Audio | None) -> float:
    """The length of an AUDIO.

    Raises:
        ValueError: none, as the host gives of a video without sound, or one of no length.
    """
    length = 0.0 if audio is None else audio["waveform"].shape[-1] / audio["sample_rate"]
    if not length:
        raise ValueError("there is no sound in audio (a video may have none): connect the sound that is edited")
    return length
