"""NoiseMaps: the latent code of an image under a DDPM sampler.

Source: arXiv 2304.06140, Sec. 3 (the latent code) and Eq. 5. Deviation: what is stored is the residual sigma_t z_t,
not z_t. No division by a small sigma_t is needed, and the last step, where sigma_t = 0, is no special case: its
residual is what the last prediction lacks, and with it reconstruction is exact. The official code sets the last map to
zero.

The predictions of x_0 are not stored: they follow from states and residuals.

Shapes: `B` rows (images times variations), `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from .facts import Facts, LatentSpace, Origin
from .schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class NoiseMaps:
    """The states and residuals along one trajectory; never changed in place.

    Args:
        schedule: the T steps that these maps cover.
        states: (T+1, B, *S) x_t; states[-1] is the image.
        residuals: (T, B, *S) sigma_t z_t = x_s - mu_t(x_t), Eq. 5.
        skipped: how many noisier steps of the full schedule the inversion left out (the paper's T_skip).
        facts: what the maps are of.
        uncond: (T, B, L, D) an unconditional embedding for each step, which null-text inversion finds; or None.
        kept_denoised: (T, B, *S) the predictions of x_0, of maps whose residuals were edited so that they no longer
            tell them; None where they follow.
        mask: (B, 1, *S[1:]) in [0, 1], 0 where the image is to stay as it is whatever is sampled from these maps; None
            where it may change everywhere.
        noising: (2, T+1) the weights of image and noise in the states, where they are not the a_t and b_t of the
            schedule, as few steps have it; else None.

    All tensors lie on the CPU in one dtype, float32 or float64.

    Raises:
        ValueError: tensors that hold nothing or contradict each other or the schedule, half precision, NaN or infinity.
    """

    schedule: NoiseSchedule
    states: Tensor
    residuals: Tensor
    _: KW_ONLY
    skipped: int = 0
    facts: Facts = field(default_factory=Facts)
    uncond: Tensor | None = None
    kept_denoised: Tensor | None = None
    mask: Tensor | None = None
    noising: Tensor | None = None

    def __post_init__(self) -> None:
        self._check()

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
    def images(self) -> int:
        """Number of images, of which the rows are variations."""
        return self.facts.images or len(self.image)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a row."""
        return self.facts.seeds or (0,) * len(self.image)

    @property
    def origin(self) -> Origin | None:
        """Making of the maps; None where it is not known."""
        return self.facts.origin

    @property
    def space(self) -> LatentSpace:
        """Latent space that the states lie in."""
        return self.facts.space

    @property
    def notes(self) -> Mapping[str, str]:
        """Provenance for people."""
        return self.facts.notes

    def weights(self, i: int) -> tuple[float, float]:
        """The weights of image and noise in the state at level i: a_t and b_t, but for few steps."""
        signal, noise = (self.schedule.signal, self.schedule.noise) if self.noising is None else self.noising
        return signal[i].item(), noise[i].item()

    def rows(self, chosen: Sequence[int]) -> NoiseMaps:
        """Maps of some rows alone, in this order.

        Raises:
            ValueError: no row, or one that is not there.
        """
        count, rows = len(self.image), list(chosen)
        if not rows or not all(0 <= row < count for row in rows):
            raise ValueError(f"the noise maps have {count} rows, 0 to {count - 1}: there are no rows {rows}")
        of = [row % self.images for row in rows]  # images
        images = len(set(of))
        if len(of) % images or of != of[:images] * (len(of) // images):
            images = len(of)
        return replace(
            self,
            states=self.states[:, rows],
            residuals=self.residuals[:, rows],
            facts=replace(self.facts, seeds=tuple(self.seeds[row] for row in rows), images=images),
            uncond=None if self.uncond is None else self.uncond[:, rows],
            kept_denoised=None if self.kept_denoised is None else self.kept_denoised[:, rows],
            mask=None if self.mask is None else self.mask[rows],
        )

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
        return self.kept_denoised if self.kept_denoised is not None else torch.stack(list(self._read_denoised()))

    def denoised_at(self, i: int) -> Tensor:
        """(B, *S) the prediction of x_0 at x_t of step i: what Eq. 4 makes of mu_t = x_s - residual_t, Eq. 5.

        At second order it takes those of all steps before it: read `denoised` for several.
        """
        if self.kept_denoised is not None:
            return self.kept_denoised[i]
        first = i if self.schedule.order == 1 else 0
        return next(islice(self._read_denoised(first), i - first, None))

    def denoised_before(self, i: int, device: torch.device) -> Tensor | None:
        """(B, *S) on `device`: what step i takes of the step before it; None where it takes nothing."""
        return self.denoised_at(i - 1).to(device) if self.schedule.step(i).history else None

    def _read_denoised(self, first: int = 0) -> Iterator[Tensor]:
        """The predictions of all steps from `first` on, which has no history."""
        before = None
        for i in range(first, self.steps):
            step = self.schedule.step(i)
            read = step.denoised(self.states[i], self.states[i + 1] - self.residuals[i])
            if step.history and before is not None:
                read = step.interpolated(read, before)
            yield read
            before = read

    def get_ram_usage(self) -> int:
        """Bytes of all tensors, by the name that ComfyUI's cache asks for."""
        tensors = (self.states, self.residuals, self.uncond, self.kept_denoised, self.mask, self.noising)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

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
        if self.kept_denoised is not None:
            parts["kept_denoised"] = self.kept_denoised
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
        self._check_noising()
        self.facts.check(*self.image.shape[:2])
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

    def _check_noising(self) -> None:
        if self.noising is None:
            return
        if self.noising.shape != (2, self.steps + 1) or self.noising.dtype != torch.float64:
            raise ValueError(
                f"the weights of the states have shape {tuple(self.noising.shape)} and are {self.noising.dtype}, "
                f"{self.steps} steps need (2, {self.steps + 1}) in torch.float64"
            )
        if not self.noising.isfinite().all() or (self.noising < 0).any() or self.noising[:, -1].tolist() != [1, 0]:
            raise ValueError("the weights of the states must be finite, 0 or more, and end at 1 and 0, the image")

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
