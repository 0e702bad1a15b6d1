"""Edits on flow models as of 2025 and 2026: each is the pack's equation with another prediction under the target.

    x^_s = x_s + mu_t(x^_t; D^) - mu_t(x_t; D_src(x_t))

With D^ = D_tar(x^_t), independent noise and eta 0 it is FlowEdit (arXiv 2412.08629), with eta 1 DDS (arXiv 2304.07090).
A step of a flow with eta 0 is along the velocity v = (x_t - D) / t, so what the papers write for velocities is written
here for predictions of x_0.

- FlowAlign (arXiv 2505.23145; formula of its code): D^ = D_src(x^_t) + w (D_tar(x^_t) - D_src(x^_t)), and after each
  step a pull of zeta (D_src(x_t) - D^). Its code draws noise anew in each step, and is said to take one noise for all
  levels: both are here.
- Uni-Edit (arXiv 2504.13109; formula of its code): D^ = D_src + (m + omega (1 + m)) (D_tar - D_src), both at x^_t,
  where m is the mean over channels of |D_tar - D_src|, from 0 at its smallest to 1 at its largest. It samples from a
  state of Uni-Inv with no source beside it; `fused` serves either way.
- VAGS (arXiv 2605.15661): classifier-free guidance with w exp(kappa (1 - 2 t) c), where c is the cosine between the
  guided velocities of source and target, the latter with w exp(kappa (1 - 2 t)).
- ChordEdit (arXiv 2602.19083), for models of one step: x_0 + (delta R(t) + t R(t - delta)) / (t + delta), where R is
  D_tar - D_src at the image noised to a level, with one noise for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.denoiser import Denoiser
from ddpm_core.guidance import guided
from ddpm_core.inversion import invert
from ddpm_core.sampling import replay
from ddpm_core.schedule import NoiseSchedule, Step
from ddpm_core.trajectories import standard_normal


@dataclass(frozen=True)
class Predictors:
    """A flow model under each of three prompts, without guidance."""

    source: Denoiser
    target: Denoiser
    empty: Denoiser


@dataclass(frozen=True, eq=False)
class Beside:
    """What an edited state has beside it in a step: the source's state and prediction (B, *S), and its coefficients."""

    x: Tensor
    denoised: Tensor
    step: Step

    @property
    def sigma(self) -> Tensor:
        """(B,) the level."""
        return self.x.new_full((len(self.x),), self.step.sigma)


Lead = Callable[[Tensor, Beside], Tensor]
"""(the edited state x^_t (B, *S), what is beside it) -> D^ (B, *S)."""


def alone(denoiser: Denoiser) -> Lead:
    """A prediction that needs nothing beside it."""
    return lambda x, at: denoiser(x, at.sigma)


def edited(source: Denoiser, lead: Lead, states: Tensor, schedule: NoiseSchedule) -> Tensor:
    """(B, *S) what the equation gives along states (T+1, B, *S) of the source."""
    noise_maps = invert(source, states, schedule)

    def predict(i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, lead(x, Beside(states[i], noise_maps.denoised_at(i), schedule.step(i)))

    return replay(predict, noise_maps)


def one_noise(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """(T+1, B, *S) states a_t x_0 + b_t eps with one eps for all levels."""
    axes = [1] * x_0.ndim
    eps = standard_normal(x_0, seeds, schedule.steps)
    return schedule.signal.to(x_0).view(-1, *axes) * x_0 + schedule.noise.to(x_0).view(-1, *axes) * eps


def by_strength(model: Predictors, strength: float) -> Denoiser:
    """D_src + w (D_tar - D_src) at one state."""
    return lambda x, sigma: guided(model.source(x, sigma), model.target(x, sigma), strength)


def rising(model: Predictors, strength: float, first: float) -> Lead:
    """A strength that rises evenly over the levels, from 0 at the first, as a cfg schedule of the pack can."""
    return lambda x, at: by_strength(model, strength * (1 - at.step.sigma / first))(x, at.sigma)


def by_cfg(empty: Denoiser, prompt: Denoiser, cfg: float) -> Denoiser:
    """Classifier-free guidance."""
    return lambda x, sigma: guided(empty(x, sigma), prompt(x, sigma), cfg)


def pulled(denoiser: Denoiser, zeta: float) -> Lead:
    """FlowAlign's pull as a prediction: the weight of D^ in a step, less zeta. So zeta of that weight is the image.

    In T even steps of a flow the weight is 1 / (T - i): D^ - D_src(x_t) counts 1 - zeta (T - i) times, as a strength
    that rises evenly does.
    """

    def predict(x: Tensor, at: Beside) -> Tensor:
        return torch.lerp(at.denoised, denoiser(x, at.sigma), 1 - zeta / at.step.denoised_weight)

    return predict


def fused(model: Predictors, omega: float = 0.0) -> Denoiser:
    """Uni-Edit's fusion of the two predictions by their difference as a soft field."""

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        of_source = model.source(x, sigma)
        difference = model.target(x, sigma) - of_source
        m = soft_field(difference)
        return of_source + (m + omega * (1 + m)) * difference

    return predict


def soft_field(difference: Tensor) -> Tensor:
    """(B, 1, *S[1:]) m of differences (B, *S)."""
    size = difference.abs().mean(dim=1, keepdim=True)
    least, most = (
        part(dim=1).view(-1, *[1] * (size.ndim - 1)) for part in (size.flatten(1).amin, size.flatten(1).amax)
    )
    return (size - least) / (most - least + 1e-7)


def adapted(model: Predictors, cfg: float, kappa: float) -> Lead:
    """VAGS: guidance towards the target by the cosine between the velocities of source and target."""

    def predict(x: Tensor, at: Beside) -> Tensor:
        empty, target, t = model.empty(x, at.sigma), model.target(x, at.sigma), at.step.sigma
        first = guided(empty, target, cfg * math.exp(kappa * (1 - 2 * t)))
        alike = torch.cosine_similarity((at.x - at.denoised).flatten(1), (x - first).flatten(1))
        scale = cfg * torch.exp(kappa * (1 - 2 * t) * alike)
        return guided(empty, target, scale.view(-1, *[1] * (x.ndim - 1)))

    return predict


def chord(model: Predictors, x_0: Tensor, eps: Tensor, t: float = 0.9, delta: float = 0.15) -> Tensor:
    """ChordEdit without its last step, (B, *S); a delta of 0 is the difference at one level."""

    def difference(level: float) -> Tensor:
        x, sigma = (1 - level) * x_0 + level * eps, x_0.new_full((len(x_0),), level)
        return model.target(x, sigma) - model.source(x, sigma)

    if not delta:
        return x_0 + difference(t)
    return x_0 + (delta * difference(t) + t * difference(t - delta)) / (t + delta)
