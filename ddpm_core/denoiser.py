"""What the core knows of a model: a callable that predicts x_0, one call of it, and the callback of a loop of calls.

`Denoiser` is the contract of k-diffusion's model wrappers: network, parameterisation, guidance and conditioning are
behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

StepCallback = Callable[[dict[str, Any]], None]
"""Called after each step with k-diffusion's keys: x, i, sigma, denoised. It may raise to interrupt."""


class Denoiser(Protocol):
    """Any model, whatever its parameterisation, with guidance and conditioning behind it."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """x (N, *S) noised to the levels sigma (N,) -> predicted x_0 (N, *S)."""


def denoise(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """One call of the denoiser with the rows x[k] at level sigmas[k].

    Args:
        x: (K, B, *S), for K levels.

    Returns:
        (K, B, *S) the predictions, in the dtype of x.
    """
    rows = x.flatten(0, 1)
    # Filled on the device: copying the levels there would make the CPU wait.
    sigma = torch.cat([x.new_full((x.shape[1],), level, dtype=torch.float32) for level in sigmas])
    return denoiser(rows, sigma).to(x.dtype).view_as(x)
