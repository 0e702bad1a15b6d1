"""The noising process `x_t = a_t x_0 + b_t eps` and one step of its reversal.

Source: "An Edit Friendly DDPM Noise Space" (arXiv 2304.06140), Sec. 3, Eqs. 1-4, written for any pair (a, b) and with
the variance of DDIM (arXiv 2010.02502, Eq. 16), of which eta = 1 is DDPM. Second order is that of SDE-DPM-Solver++(2M)
(arXiv 2211.01095), as LEDITS++ (arXiv 2311.16711) inverts with it. The paper's own pair is
`NoiseSchedule.variance_preserving`; a network in k-diffusion's scaling uses `variance_exploding`; rectified flow
uses `flow`.

Notation: T steps; index 0 is the noisiest level; step i goes from level t = i to the next, cleaner level s = i + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Coefficients of one step from level t to the cleaner level s, as Python floats.

    Plain floats: a coefficient read off a tensor of the device would wait for it at every use.
    """

    sigma: float  # the host's level t: what the denoiser is called with
    sigma_t: float  # standard deviation of the noise that the step adds
    x_weight: float  # mu_t = x_weight * x_t + denoised_weight * denoised
    denoised_weight: float
    history: float = 0.0  # how far the prediction is extrapolated from the one of the step before; 0 is first order

    def mean(self, x: Tensor, denoised: Tensor) -> Tensor:
        """mu_t, Eq. 4: the mean of x_s given x_t and the prediction of x_0. All three are (N, *S)."""
        return torch.add(x * self.x_weight, denoised, alpha=self.denoised_weight)

    def mean_after(self, x: Tensor, denoised: Tensor, before: Tensor | None) -> Tensor:
        """mu_t at the order of the step: `mean` of the prediction extrapolated from that of the step before.

        At second order SDE-DPM-Solver++(2M) (arXiv 2211.01095), whose step with eta 1 is Eq. 4's but for D.

        Raises:
            ValueError: a step of second order without a prediction before it.
        """
        if not self.history:
            return self.mean(x, denoised)
        if before is None:
            raise ValueError("this step is of second order, and the prediction of the step before it is missing")
        return self.mean(x, self.extrapolated(denoised, before))

    def extrapolated(self, denoised: Tensor, before: Tensor) -> Tensor:
        """D + history (D - D_before): the prediction half way to the next level."""
        return torch.lerp(before, denoised, 1 + self.history)

    def interpolated(self, extrapolated: Tensor, before: Tensor) -> Tensor:
        """The D that was `extrapolated` to this."""
        return torch.lerp(before, extrapolated, 1 / (1 + self.history))

    def denoised(self, x: Tensor, mean: Tensor) -> Tensor:
        """The prediction of x_0 of which `mean` is mu_t: Eq. 4 solved for it, in float64. All three are (N, *S).

        Its weight is above 0 because the signal-to-noise ratio rises at every step.
        """
        return ((mean.double() - x.double() * self.x_weight) / self.denoised_weight).to(x.dtype)


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """T + 1 noise levels in descending order, the last of them the image itself.

    Args:
        sigmas: (T+1,) the levels that the denoiser is called with; they descend to 0.
        signal: (T+1,) a_t; 1 at the last level.
        noise: (T+1,) b_t; 0 at the last level.
        eta: 1 is DDPM, 0 is DDIM, which adds no noise. In [0, 1].
        order: 1, or 2 for steps that take the prediction before theirs into account (`Step.mean_after`). Of order 1 are
            the first, which has none before it, the last, to the image itself, which has no half way, and any that is
            more than twice as long as the one before it.

    All three tensors are kept as float64 on the CPU, whatever they came as.

    Raises:
        ValueError: fewer than one step, lengths that differ, levels that do not descend or do not end at 0,
            a signal-to-noise ratio that does not rise (by more than rounding), eta outside [0, 1], another order.
    """

    sigmas: Tensor
    signal: Tensor
    noise: Tensor
    eta: float = 1.0
    order: int = 1
    step_table: tuple[Step, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("sigmas", "signal", "noise"):
            object.__setattr__(self, name, getattr(self, name).detach().to("cpu", torch.float64).clone())
        object.__setattr__(self, "eta", float(self.eta))
        self._check()
        object.__setattr__(self, "step_table", tuple(self._step(i) for i in range(len(self.sigmas) - 1)))

    @classmethod
    def variance_preserving(cls, alphas_cumprod: Tensor, eta: float = 1.0) -> NoiseSchedule:
        """The paper's process, Eq. 2: a = sqrt(alphas_cumprod), b = sqrt(1 - alphas_cumprod).

        Args:
            alphas_cumprod: (T+1,) ascending to 1. The denoiser is called with sigma = b / a and x in this scaling.
        """
        alphas_cumprod = alphas_cumprod.to(torch.float64)
        return cls((1 / alphas_cumprod - 1).sqrt(), alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), eta)

    @classmethod
    def variance_exploding(cls, sigmas: Tensor, eta: float = 1.0) -> NoiseSchedule:
        """k-diffusion's scaling: a = 1, b = sigma. sigmas: (T+1,) descending to 0."""
        return cls(sigmas, torch.ones_like(sigmas), sigmas, eta)

    @classmethod
    def flow(cls, sigmas: Tensor, eta: float = 1.0) -> NoiseSchedule:
        """Rectified flow: a = 1 - sigma, b = sigma. sigmas: (T+1,) descending from at most 1 to 0."""
        return cls(sigmas, 1 - sigmas, sigmas, eta)

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.step_table)

    def step(self, i: int) -> Step:
        """The coefficients of step i, from level i to level i + 1."""
        return self.step_table[i]

    def scale(self, i: int) -> float:
        """sqrt(a_t^2 + b_t^2), the standard deviation at level i of data of unit variance."""
        return math.hypot(self.signal[i].item(), self.noise[i].item())

    def with_eta(self, eta: float) -> NoiseSchedule:
        """The same levels with another eta, at first order."""
        return replace(self, eta=eta, order=1)

    def after(self, skip_steps: int) -> NoiseSchedule:
        """The same schedule without its first `skip_steps` (noisiest) steps."""
        if not 0 <= skip_steps < self.steps:
            raise ValueError(
                f"skip_steps is {skip_steps}, the schedule has {self.steps} steps: use 0 to {self.steps - 1}"
            )
        tail = slice(skip_steps, None)
        return replace(self, sigmas=self.sigmas[tail], signal=self.signal[tail], noise=self.noise[tail])

    def same_levels(self, other: NoiseSchedule, rtol: float = 1e-5) -> bool:
        """Whether both noise x_0 to the same levels; eta and order may differ. rtol covers float32 levels of a host."""
        return self.steps == other.steps and all(
            torch.allclose(getattr(self, name), getattr(other, name), rtol=rtol, atol=1e-7)
            for name in ("sigmas", "signal", "noise")
        )

    def positions_of(self, coarser: NoiseSchedule) -> list[int]:
        """The place here of each level of a schedule of fewer levels, which begins and ends as this one does.

        Raises:
            ValueError: a level that is not here.
        """
        places = (self.sigmas[:, None] - coarser.sigmas).abs().argmin(dim=0)
        off = ~torch.isclose(self.sigmas[places], coarser.sigmas, rtol=1e-5, atol=1e-7)
        if off.any() or places[0] != 0 or places[-1] != self.steps:
            lacking = ", ".join(f"{sigma:.4g}" for sigma in coarser.sigmas[off].tolist()) or "its first or last"
            raise ValueError(f"a schedule of {self.steps} steps lacks levels of one of {coarser.steps}: {lacking}")
        return places.tolist()

    def _step(self, i: int) -> Step:
        a_t, a_s = self.signal[i].item(), self.signal[i + 1].item()
        b_t, b_s = self.noise[i].item(), self.noise[i + 1].item()
        # sigma_t^2 = eta^2 (b_s / b_t)^2 (b_t^2 - (a_t / a_s)^2 b_s^2), DDIM's variance, written so that no square
        # overflows; with (a, b) = (1, sigma) and eta = 1 it is k-diffusion's ancestral sigma_up. The paper prints
        # eta beta_t (1 - abar_{t-1}) / (1 - abar_t) for sigma_t, below Eq. 4: without the root, it is DDPM's variance.
        # Its code adds eta times DDPM's deviation but takes eta, not eta^2, times the variance out of the direction, so
        # with 0 < eta < 1 its states have less noise than their level says; and its last level is alphas_cumprod[0].
        variance = self.eta**2 * max(1 - (a_t / a_s * (b_s / b_t)) ** 2, 0.0)  # in units of b_s^2
        # mu_t = a_s denoised + sqrt(b_s^2 - sigma_t^2) eps_hat with eps_hat = (x_t - a_t denoised) / b_t
        x_weight = b_s / b_t * math.sqrt(1 - variance)
        step = Step(self.sigmas[i].item(), b_s * math.sqrt(variance), x_weight, a_s - x_weight * a_t, self._history(i))
        if not step.denoised_weight > 0:
            raise ValueError(
                f"levels {i} and {i + 1}, {self.sigmas[i]:g} and {self.sigmas[i + 1]:g}, are too near each other or "
                "too far apart for double precision: use fewer steps, or levels of an ordinary schedule"
            )
        return step

    def _history(self, i: int) -> float:
        """h / (2 h_before) for steps of log signal-to-noise h = lambda_s - lambda_t, lambda = log(a / b).

        Deviation: 0 above 1, for a step more than twice as long as the one before it. Predictions at states of
        independent noise differ by that noise too, and extrapolated so far it is most of what is seen. In schedules
        even in time that is the last step before the image's.
        """
        if self.order == 1 or not 0 < i < len(self.sigmas) - 2:
            return 0.0
        before, here, after = (self.signal[i - 1 : i + 2].log() - self.noise[i - 1 : i + 2].log()).tolist()
        weight = (after - here) / (2 * (here - before))  # 0 after pure noise, from which the step is infinite
        return weight if weight <= 1 else 0.0

    def _check(self) -> None:
        lengths = {name: tuple(getattr(self, name).shape) for name in ("sigmas", "signal", "noise")}
        if len(set(lengths.values())) > 1 or self.sigmas.ndim != 1:
            raise ValueError(f"sigmas, signal and noise must be three vectors of one length, not {lengths}")
        if len(self.sigmas) < 2:
            raise ValueError(f"a schedule needs at least one step (two levels), got {len(self.sigmas)} level(s)")
        if self.order not in (1, 2):
            raise ValueError(f"order is {self.order}: use 1 or 2")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta:g}: it must be from 0 (DDIM) to 1 (DDPM)")
        if not all(bool(getattr(self, name).isfinite().all()) for name in lengths):
            raise ValueError("the noise levels hold NaN or infinity")
        self._check_descent()

    def _check_descent(self) -> None:
        rising = (self.sigmas[1:] >= self.sigmas[:-1]).nonzero().flatten().tolist()
        if rising:
            i = rising[0]
            raise ValueError(
                f"sigmas must descend, but level {i} is {self.sigmas[i]:g} and level {i + 1} is "
                f"{self.sigmas[i + 1]:g}: use a descending schedule, or fewer steps if two levels are equal"
            )
        if self.sigmas[-1] != 0 or abs(self.noise[-1]) > 1e-6 or abs(self.signal[-1] - 1) > 1e-6:
            raise ValueError(
                f"sigmas must end at 0, where the image is; these end at {self.sigmas[-1]:g}: "
                "append 0, or take the low half of a split schedule"
            )
        a, b = self.signal, self.noise
        if (b[:-1] <= 0).any() or (a < 0).any() or (a[1:] * b[:-1] <= a[:-1] * b[1:]).any():
            raise ValueError("the signal-to-noise ratio a_t / b_t must rise at every step of the schedule")
