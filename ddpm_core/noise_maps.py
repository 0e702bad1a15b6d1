"""NoiseMaps: the latent code of an image under a DDPM sampler.

Source: arXiv 2304.06140, Sec. 3 (the latent code) and Eq. 5. Deviation: what is stored is the residual sigma_t z_t,
not z_t. No division by a small sigma_t is needed, and the last step, where sigma_t = 0, is no special case: its
residual is what the last prediction lacks, and with it reconstruction is exact. The official code sets the last map to
zero.

The predictions of x_0 are not stored: they follow from states and residuals.

Shapes: `B` rows (images times variations), `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class NoiseMaps:
    """The states and residuals along one trajectory; never changed in place.

    Args:
        schedule: the T steps that these maps cover.
        states: (T+1, B, *S) x_t; states[-1] is the image.
        residuals: (T, B, *S) sigma_t z_t = x_s - mu_t(x_t), Eq. 5.
        skipped: how many noisier steps of the full schedule the inversion left out (the paper's T_skip).
        info: provenance, such as method, model, latent format and seed.
        uncond: (T, B, L, D) an unconditional embedding for each step, which null-text inversion finds; or None.
        predictions: (T, B, *S) the predictions of x_0, of maps whose residuals were edited so that they no longer tell
            them; None where they follow.
        mask: (B, 1, *S[1:]) in [0, 1], 0 where the image is to stay as it is whatever is sampled from these maps; None
            where it may change everywhere.

    All tensors lie on the CPU in one dtype, float32 or float64.

    Raises:
        ValueError: tensors that hold nothing or contradict each other or the schedule, half precision, NaN or infinity.
    """

    schedule: NoiseSchedule
    states: Tensor
    residuals: Tensor
    _: KW_ONLY
    skipped: int = 0
    info: Mapping[str, str] = field(default_factory=dict)
    uncond: Tensor | None = None
    predictions: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "info", MappingProxyType(dict(self.info)))
        self._check()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle keeps; the view that protects `info` can be neither."""
        return {**vars(self), "info": dict(self.info)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, info=MappingProxyType(state["info"]))

    @property
    def steps(self) -> int:
        """T, the steps that these maps cover."""
        return self.schedule.steps

    @property
    def full_steps(self) -> int:
        """The steps of the schedule that the inversion was asked for, skipped ones included."""
        return self.schedule.steps + self.skipped

    @property
    def image(self) -> Tensor:
        """(B, *S) x_0, the image that the maps reproduce."""
        return self.states[-1]

    @property
    def z(self) -> Tensor:
        """(T-1, B, *S) the noise maps z_t = residual_t / sigma_t of Eq. 5; the last step has no noise and no z.

        Raises:
            ValueError: maps of eta 0, whose steps have no noise.
        """
        if self.schedule.eta == 0:
            raise ValueError("these noise maps have eta 0 (DDIM): their steps add no noise, so there is no z")
        sigma_t = [self.schedule.step(i).sigma_t for i in range(self.steps - 1)]
        shape = (-1,) + (1,) * (self.residuals.ndim - 1)
        return self.residuals[:-1] / torch.tensor(sigma_t, dtype=self.residuals.dtype).view(shape)

    @property
    def denoised(self) -> Tensor:
        """(T, B, *S) the predictions of x_0 at the states, P(f_t(x_t)) of Eq. 7."""
        return self.predictions if self.predictions is not None else torch.stack(list(self._read_predictions()))

    def prediction(self, i: int) -> Tensor:
        """(B, *S) the prediction of x_0 at x_t of step i: what Eq. 4 makes of mu_t = x_s - residual_t, Eq. 5.

        At second order it takes those of all steps before it: read `denoised` for several.
        """
        if self.predictions is not None:
            return self.predictions[i]
        first = i if self.schedule.order == 1 else 0
        return next(islice(self._read_predictions(first), i - first, None))

    def prediction_before(self, i: int, device: torch.device) -> Tensor | None:
        """(B, *S) on `device`: what step i takes of the step before it; None where it takes nothing."""
        return self.prediction(i - 1).to(device) if self.schedule.step(i).history else None

    def _read_predictions(self, first: int = 0) -> Iterator[Tensor]:
        """Those of the steps from one on that has no history."""
        before = None
        for i in range(first, self.steps):
            step = self.schedule.step(i)
            read = step.prediction(self.states[i], self.states[i + 1] - self.residuals[i])
            if step.history and before is not None:
                read = step.not_carried_on(read, before)
            yield read
            before = read

    def first_step(self, skip_steps: int) -> int:
        """The index into these maps at which a sampler starts that skips `skip_steps` of the full schedule.

        Raises:
            ValueError: a skip that these maps do not cover.
        """
        if not self.skipped <= skip_steps < self.full_steps:
            raise ValueError(
                f"skip_steps is {skip_steps}, the noise maps hold steps {self.skipped} to {self.full_steps - 1} "
                f"of {self.full_steps}: use {self.skipped} to {self.full_steps - 1}, or invert again with "
                "another skip_steps or more steps"
            )
        return skip_steps - self.skipped

    def _check(self) -> None:
        parts = {"states": self.states, "residuals": self.residuals}
        if self.predictions is not None:
            parts["predictions"] = self.predictions
        sample_shape = tuple(self.states.shape[1:])
        if self.states.numel() == 0:
            raise ValueError(f"the noise maps hold no image: their states have shape {tuple(self.states.shape)}")
        for name, part in parts.items():
            length = self.steps + (name == "states")
            if part.ndim < 3 or tuple(part.shape) != (length, *sample_shape):
                raise ValueError(
                    f"{name} of the noise maps has shape {tuple(part.shape)}, a schedule of {self.steps} steps and "
                    f"states of shape {tuple(self.states.shape)} need {(length, *sample_shape)}"
                )
            if part.dtype != self.states.dtype or part.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"{name} of the noise maps is {part.dtype}: all must be float32, or all float64")
            finite = part.isfinite().flatten(1).all(dim=1)
            if not finite.all():
                level = finite.logical_not().nonzero()[0].item() + self.skipped
                raise ValueError(
                    f"{name} of the noise maps holds NaN or infinity at step {level}: the latent or the model's "
                    "prediction is broken; half-precision weights can overflow, so try bfloat16 or float32"
                )
        self._check_uncond()
        self._check_mask()
        if self.skipped < 0:
            raise ValueError(f"skipped steps must not be negative, got {self.skipped}")

    def _check_mask(self) -> None:
        if self.mask is None:
            return
        rows, _, *axes = self.image.shape
        if tuple(self.mask.shape) != (rows, 1, *axes) or self.mask.dtype != self.states.dtype:
            raise ValueError(
                f"the mask has shape {tuple(self.mask.shape)} and is {self.mask.dtype}, rows of shape "
                f"{tuple(self.image.shape)} need {(rows, 1, *axes)} in {self.states.dtype}"
            )
        if not ((self.mask >= 0) & (self.mask <= 1)).all():
            raise ValueError("the mask holds values outside 0 to 1: paint it again")

    def _check_uncond(self) -> None:
        if self.uncond is None:
            return
        rows = self.states.shape[1]
        fits = self.uncond.ndim == 4 and tuple(self.uncond.shape[:2]) == (self.steps, rows)
        if not fits or self.uncond.numel() == 0:
            raise ValueError(
                f"the unconditional embeddings have shape {tuple(self.uncond.shape)}, {self.steps} steps of {rows} "
                f"rows need ({self.steps}, {rows}, tokens, channels): invert again with the steps to be sampled"
            )
        if self.uncond.dtype != self.states.dtype or not self.uncond.isfinite().all():
            raise ValueError(
                f"the unconditional embeddings must be finite and {self.states.dtype}: invert again, with a smaller "
                "learning rate if the optimisation diverged"
            )
