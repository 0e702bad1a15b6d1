"""Mixtures of Gaussians, whose prediction of x_0 is known exactly: the models of this room.

A prompt is the prior over the components, as logarithms (K,), so it can be mixed, optimised, and given to a host as an
embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.denoiser import Denoiser
from ddpm_core.guidance import guided

NEVER = -1e4  # a logarithm that survives being multiplied by 0


@dataclass(frozen=True, eq=False)
class Mixture:
    """sum_k prior_k N(means_k, diag(std^2)) over samples of shape *S.

    Args:
        means: (K, *S) float64.
        std: broadcastable to *S, shared by all components.
        empty: the one component of the empty prompt, which guidance leads away from; None for all.
    """

    means: Tensor
    std: Tensor
    empty: int | None = None

    def prompt(self, components: slice | Tensor | int = slice(None)) -> Tensor:
        """(K,) the even prior over some components."""
        prior = torch.full((len(self.means),), NEVER, dtype=torch.float64)
        prior[components] = 0.0
        return prior

    @property
    def empty_prompt(self) -> Tensor:
        """(K,) what guidance leads away from."""
        return self.prompt(slice(None) if self.empty is None else self.empty)

    def predict(self, x: Tensor, sigma: Tensor, prompts: Tensor, flow: bool = False) -> Tensor:
        """(N, *S) E[x_0 | x] of x = x_0 + sigma eps, or of (1 - sigma) x_0 + sigma eps.

        Args:
            x: (N, *S).
            sigma: (N,).
            prompts: (K,), or (N, K).
            flow: whether it is the latter, a rectified flow.
        """
        means = self.means.flatten(1).to(x)
        rows, std2 = x.flatten(1), self.std.expand(self.means.shape[1:]).flatten().to(x) ** 2
        b = sigma.to(x).view(-1, 1)
        a = 1 - b if flow else torch.ones_like(b)
        variance = (a * a) * std2 + b**2
        # Every component has the same |x|^2 and the same determinant, which cancel.
        logits = (a * rows / variance) @ means.T - 0.5 * (a * a) / variance @ (means**2).T
        mean = (logits + prompts.to(x)).softmax(dim=1) @ means
        return (mean + a * std2 / variance * (rows - a * mean)).view_as(x)

    def denoiser(self, prompt: Tensor, cfg: float = 1.0, flow: bool = False) -> Denoiser:
        """The predictor under a prompt with classifier-free guidance, of what `predict` takes."""
        away = self.empty_prompt

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            cond = self.predict(x, sigma, prompt, flow)
            return cond if cfg == 1 else guided(self.predict(x, sigma, away, flow), cond, cfg)

        return predict

    def nearest(self, x: Tensor) -> Tensor:
        """(N,) the component whose mean is nearest."""
        return torch.cdist(x.flatten(1).double(), self.means.flatten(1).double()).argmin(dim=1)


def preserving_variance(denoiser: Denoiser) -> Denoiser:
    """The same for x = sqrt(abar) x_0 + sqrt(1 - abar) eps, where sigma^2 = 1 / abar - 1."""

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x * (1 + sigma.to(x).view(-1, *[1] * (x.ndim - 1)) ** 2).sqrt(), sigma)

    return predict
