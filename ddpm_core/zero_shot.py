"""Sampling that holds on to the source's cross-attention maps by their gradient.

Source: arXiv 2302.03027 (pix2pix-zero), its cross-attention guidance; with the noise maps of arXiv 2304.06140 in place
of its DDIM inversion, App. D.2 and Table 4 there.

Deviations: the reference maps are those of the source's own state at each level, which noise maps hold, so no first
pass stores them; and guidance puts the predictions of x_0 together, which is free of the network's parameterisation.
The two halves of guidance see inputs that have moved apart, so predictions of the noise, as pix2pix-zero's, would put
x_0 at cfg * (x_negative - x_positive) from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .denoiser import StepCallback
from .noise_maps import NoiseMaps
from .sampling import MaskAfter, replay


class AttentionGuidance(Protocol):
    """A model under the target prompt whose cross-attention can be compared with the source's.

    Its halves are those of classifier-free guidance, each with its own prompt: the positive one, and after it the
    negative one where there is guidance.
    """

    @property
    def halves(self) -> int:
        """1 or 2."""

    def gradients(self, x: Tensor, state: Tensor, sigma: Tensor) -> Sequence[Tensor]:
        """x, the source's state (B, *S), sigma (B,) -> for each half, the gradient (B, *S) of its loss at x."""

    def predict(self, moved: Sequence[Tensor], sigma: Tensor) -> Tensor:
        """An x (B, *S) for each half, sigma (B,) -> the guided prediction of x_0 (B, *S)."""


@torch.no_grad()
def zero_shot(
    guidance: AttentionGuidance,
    noise_maps: NoiseMaps,
    *,
    weight: float = 0.03,
    skip_steps: int | None = None,
    mask: Tensor | None = None,
    mask_after: MaskAfter | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """`sampling.sample` where each half's x first takes one step down the gradient of its loss.

    The step is weight * grad in the scale of unit variance, which the network sees: x <- x - weight * s^2 * grad with
    s^2 = a_t^2 + b_t^2, for x = s * x_network has its gradient / s. The last half's x is the one that goes on.

    Args:
        guidance: the model.
        noise_maps: B rows.
        weight: lambda_xa; 0 is `sample`, and asks for no gradient.
        skip_steps, mask, mask_after, device, callback: as `sample` has them.

    Returns:
        (B, *S) on `device`.

    Raises:
        ValueError: as `sample`.
    """
    schedule = noise_maps.schedule

    def predict(i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        sigma = x.new_full((len(x),), schedule.step(i).sigma, dtype=torch.float32)
        moved = [x] * guidance.halves
        if weight:
            down = weight * schedule.scale(i) ** 2
            gradients = guidance.gradients(x, noise_maps.states[i].to(x.device), sigma)
            moved = [x - down * gradient.to(x.dtype) for gradient in gradients]
        return moved[-1], guidance.predict(moved, sigma).to(x.dtype)

    return replay(
        predict, noise_maps, skip_steps=skip_steps, mask=mask, mask_after=mask_after, device=device, callback=callback
    )


def attend(maps: Tensor, v: Tensor) -> Tensor:
    """What maps (B, heads, N, M) take of the values v (B, M, heads * D): (B, N, heads * D) in the dtype of v."""
    values = v.unflatten(-1, (maps.shape[1], -1)).transpose(1, 2)
    return (maps.to(v.dtype) @ values).transpose(1, 2).flatten(2)


def map_distance(maps: Tensor, reference: Tensor) -> Tensor:
    """(B,) one layer's part of the loss: the squared difference of maps (B, heads, N, M), by row.

    Summed over pixels and tokens, averaged over 2 * heads: the official loss averages over the heads of both halves of
    guidance, and its weights are for that. A sum over pixels has at each pixel a gradient that does not depend on how
    many others there are, so a weight holds for any size of image.
    """
    return (maps - reference).square().flatten(1).sum(dim=1) / (2 * maps.shape[1])
