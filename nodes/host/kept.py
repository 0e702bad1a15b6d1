"""Noise masks as the host's own samplers read them: what a network is shown of the kept part, and when it opens.

Most models are shown the kept part noised, as every state of an inversion is. Some have a rule of their own, such as a
first frame without noise (`scale_latent_inpaint`). And a node may open a soft mask from step to step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import comfy.utils
import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ...ddpm_core import Denoiser

if TYPE_CHECKING:
    from .run import Run

OPENING = "denoise_mask_function"  # Differential Diffusion


def opens(run: Run) -> bool:
    """Whether the noise mask changes from step to step."""
    return run.mask is not None and OPENING in run.model_options


def mask_at(run: Run, mask: Tensor, sigma: Tensor) -> Tensor:
    """A noise mask (rows, 1, *S[1:]) at the level sigma (rows,)."""
    opened: Tensor = mask
    if OPENING in run.model_options:
        options = {"model": run.guider, "sigmas": run.sigmas}
        opened = run.model_options[OPENING](sigma, mask, extra_options=options)
    return opened


def shown(run: Run, denoiser: Denoiser, image: Tensor) -> Denoiser:
    """A denoiser that shows the network the kept part of images (rows, *S), in the model's scaling, by its own rule."""
    model, mask = run.guider.inner_model, run.mask
    if mask is None or type(model).scale_latent_inpaint is BaseModel.scale_latent_inpaint:
        return denoiser

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        given, kept = (comfy.utils.repeat_to_batch_size(part, len(x)).to(x) for part in (mask, image))
        part = mask_at(run, given, sigma)
        noise = torch.zeros_like(x)  # that the rules of today add none of
        own = model.scale_latent_inpaint(x=x, sigma=sigma, noise=noise, latent_image=kept, denoise_mask=part)
        return torch.lerp(kept, denoiser(torch.lerp(own, x, part), sigma), part)

    return call
