"""Anchor: a prediction of x_0 pulled towards the image where the two agree.

    D_a = D + a (x_0 - D),    a in [0, 1]

With a one number, for the first steps, this is the controller of RF-Inversion (arXiv 2410.10792); with a = 1 - mask it
is a mask at every step; with a large where prediction and image agree it is the idea of VeloEdit (arXiv 2603.13388),
which repairs what an edit model changes though it was not asked to. VeloEdit decides for each element by itself; here
the agreement of a cell is that of all its channels and its neighbours, so that a change is kept or undone as a whole.

What agrees nowhere, such as a picture that comes out shifted or zoomed as a whole, no such rule can put back: start
from the noised image (skip_steps, or a lower denoise) then.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Anchor:
    """Pull of a prediction towards an image.

    Args:
        amount: the largest a, in [0, 1].
        tolerance: of the distance between prediction and image, in the units of the latents, whose spread is about 1:
            a falls to 37 % of `amount` where they are so far apart; None for `amount` everywhere.
        mask: (B, 1, *S[1:]) in [0, 1], 1 where an edit is wanted; outside, a is `amount`. None for everywhere.

    Raises:
        ValueError: an amount outside [0, 1], a tolerance that is not above 0.
    """

    amount: float = 1.0
    tolerance: float | None = 0.15
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise ValueError(f"the amount of an anchor is {self.amount:g}: use 0, which is off, to 1, the image itself")
        if self.tolerance is not None and not 0 < self.tolerance < float("inf"):
            raise ValueError(f"the tolerance of an anchor is {self.tolerance:g}: use more than 0, such as 0.15")

    def pull(self, denoised: Tensor, image: Tensor) -> Tensor:
        """(B, 1, *S[1:]) a of predictions (B, *S) and images that broadcast to them."""
        pull = torch.ones_like(denoised[:, :1])
        if self.tolerance is not None:
            distance = (denoised - image).abs().mean(dim=1, keepdim=True)
            pull = torch.exp(-((_smooth(distance) / self.tolerance) ** 2))
        if self.mask is not None:
            pull = 1 - self.mask.to(pull) * (1 - pull)
        return self.amount * pull

    def __call__(self, denoised: Tensor, image: Tensor) -> Tensor:
        """D_a (B, *S)."""
        if self.amount == 0:
            return denoised
        image = image.to(denoised).expand_as(denoised)
        return torch.lerp(denoised, image, self.pull(denoised, image))


def anchored(denoiser: Denoiser, anchor: Anchor, image: Tensor) -> Denoiser:
    """A denoiser whose predictions are pulled towards images (B, *S)."""
    return lambda x, sigma: anchor(denoiser(x, sigma), image)


def _smooth(distance: Tensor) -> Tensor:
    """The mean of each cell (B, 1, *S[1:]) and its neighbours along the last two axes, or the only one."""
    axes = distance.shape[2:][-2:]
    flat = distance.reshape(-1, 1, *axes)
    pool = functional.avg_pool2d if len(axes) == 2 else functional.avg_pool1d
    return pool(flat, 3, 1, 1, count_include_pad=False).view_as(distance)
