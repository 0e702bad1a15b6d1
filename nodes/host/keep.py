"""An anchor in a MODEL: every prediction of a run, after all guidance, pulled towards an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.patcher_extension
import comfy.utils
import torch
from torch import Tensor

from ...ddpm_core.anchor import Anchor
from . import latents
from .model import latent_space
from .values import Guider, Latent, ModelPatcher, RowWise

_KEY = "edit_friendly_keep_image"


@dataclass(frozen=True, eq=False)
class KeepImage(RowWise):
    """Anchor of a run to an image, between two percents of it.

    A wrapper of the host's guided prediction. So it acts on what guiders and patches of guidance make together, in
    whatever order a graph has them. In noise maps it acts on the source's prediction as well: what both would keep
    cancels, and with the same prompt the image comes back exactly.

    Args:
        anchor: its mask is (B, 1, *S[1:]).
        image: (B, *S) in the model's scaling.
        start, end: as the host's nodes have percents, 0 the noisiest.
    """

    anchor: Anchor
    image: Tensor
    start: float
    end: float

    @classmethod
    def of(
        cls, model: ModelPatcher, latent: Latent, anchor: Anchor, start: float, end: float, mask: Tensor | None
    ) -> KeepImage:
        """From a LATENT and a MASK of its picture.

        Raises:
            ValueError: a latent that the model does not take, a mask of another size or none, percents the wrong way.
        """
        if not 0 <= start < end <= 1:
            raise ValueError(f"the anchor acts from {start:g} to {end:g} of the run: use 0 <= start < end <= 1")
        samples = latents.rows_to_invert(model, latent, 1)
        if mask is not None:
            anchor = replace(anchor, mask=latents.mask_rows(samples.shape, latent_space(model).cell, mask))
        return cls(anchor, model.model.process_latent_in(samples), start, end)

    def into(self, model: ModelPatcher) -> ModelPatcher:
        """A MODEL with it."""
        patched = model.clone()
        patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, _KEY, self)
        return patched

    def __call__(
        self,
        executor: Callable[..., Tensor],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
        seed: int | None = None,
    ) -> Tensor:
        denoised = executor(x, timestep, model_options, seed)
        guider: Guider = executor.class_obj  # type: ignore[attr-defined]
        sampling = guider.inner_model.model_sampling
        first, last = sampling.percent_to_sigma(self.start), sampling.percent_to_sigma(self.end)
        acts = (timestep <= first) & (timestep >= last)  # a call may have rows of several levels
        if self.anchor.amount == 0 or not acts.any():
            return denoised
        return torch.where(acts.view(-1, *[1] * (denoised.ndim - 1)), self._anchored(denoised), denoised)

    def _anchored(self, denoised: Tensor) -> Tensor:
        image, mask = self.image, self.anchor.mask
        if image.shape[1:] != denoised.shape[1:] or len(denoised) % len(image):
            raise ValueError(
                f"Keep Image has a latent of shape {tuple(image.shape)}, the run has {tuple(denoised.shape)}: connect "
                "the latent of the very picture that is edited, in the size that is sampled"
            )
        rows, anchor = len(denoised), self.anchor
        if mask is not None:
            anchor = replace(anchor, mask=comfy.utils.repeat_to_batch_size(mask, rows))
        if image.is_inference() and not torch.is_inference_mode_enabled():
            image = image.clone()  # null-text inversion takes gradients through this
        return anchor(denoised, comfy.utils.repeat_to_batch_size(image, rows))
