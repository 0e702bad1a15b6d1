"""What a network is trained to predict. Timesteps are stratified over the batch, one from each of B equal parts of the
schedule: less variance, same mean.

Shapes: B batch, C channels, H x W cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from demo.network import NUM_TIMESTEPS, alphas_cumprod

from ..settings import FAST_BFLOAT16

Predictor = Callable[[Tensor, Tensor], Tensor]
"""A noisy x (B, C, H, W) and timesteps (B,) from 0 to 1000 -> what the network predicts (B, C, H, W)."""


def v_loss(predict: Predictor, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of v = a * eps - b * x_0 (arXiv 2202.00512) for x_0 (B, C, H, W), at x = a * x_0 + b * eps."""
    t = (_stratified(len(x_0), generator) * NUM_TIMESTEPS).long()
    a2 = alphas_cumprod().float()[t].view(-1, 1, 1, 1)
    a, b = a2.sqrt(), (1 - a2).sqrt()
    eps = torch.randn(x_0.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
        v = predict(a * x_0 + b * eps, t.float())
    return (v.float() - (a * eps - b * x_0)).square().mean()


def flow_loss(predict: Predictor, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """The same of the velocity u = eps - x_0 (arXiv 2209.03003) at x = (1 - sigma) x_0 + sigma eps, sigma in (0, 1)."""
    s = _stratified(len(x_0), generator)
    sigma, eps = s.view(-1, 1, 1, 1), torch.randn(x_0.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16):
        u = predict((1 - sigma) * x_0 + sigma * eps, s * NUM_TIMESTEPS)
    return (u.float() - (eps - x_0)).square().mean()


def _stratified(batch: int, generator: torch.Generator) -> Tensor:
    """(B,) from 0 to 1."""
    return (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
