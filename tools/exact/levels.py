"""Noise levels of the published models, as abar (T+1,) in float64, ascending to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule

TIMESTEPS = 1000


def stable_diffusion(steps: int) -> Tensor:
    """Stable Diffusion's levels, "scaled linear", as ddim_uniform chooses them; steps divides 1000."""
    return _chosen(torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2, steps)


def imagenet(steps: int) -> Tensor:
    """The linear levels of DDPM and of guided diffusion on ImageNet."""
    return _chosen(torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64), steps)


def of_the_plane(steps: int = 40) -> Tensor:
    """Even levels for data in the plane, of which arXiv 2304.06140, Fig. 5, names the number alone."""
    return torch.cat([torch.linspace(0.006, 0.999, steps), torch.ones(1)]).double()


def in_scale_of_host(abar: Tensor, eta: float = 1.0) -> NoiseSchedule:
    """The schedule in k-diffusion's scaling, x = x_0 + sigma eps."""
    return NoiseSchedule.variance_exploding((1 / abar - 1).sqrt(), eta)


def _chosen(betas: Tensor, steps: int) -> Tensor:
    every = TIMESTEPS // steps
    abar = (1 - betas).cumprod(0)[1::every][:steps]
    return torch.cat([abar.flip(0), abar.new_ones(1)])
