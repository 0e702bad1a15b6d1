"""Inversion and edit in one pass, without noise maps.

Source: arXiv 2304.06140, Eqs. 3-6. With the residual of Eq. 5 written into Eq. 3, the edited trajectory is
x^_s = x_s + mu_t(x^_t; target) - mu_t(x_t; source): it moves along the difference of two predictions. With eta 1 this
is Delta Denoising Score (arXiv 2304.07090) for one choice of its step sizes, on a flow with eta 0 it is FlowEdit
(arXiv 2412.08629).

What eta does: where the two predictions differ by Delta throughout, the state at level s of an edit from level 0 on
has moved by a_s Delta (1 - (sigma_s / sigma_0)^2) with eta 1 and by a_s Delta (1 - sigma_s / sigma_0) with eta 0
(sigma = b / a). Both end at Delta, but a lower eta gets there later, in steps that no longer decide on the layout.
Predictions at the edited state do change, though: exact ones of data N(m, 1) reach 1 - abar_skip of the edit with eta 1
and 1 - sqrt(abar_skip) with eta 0, which edits less (docs/exact.md, Fig. 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .denoiser import StepCallback
from .sampling import MaskAfter, intersection, mask_for
from .schedule import NoiseSchedule
from .trajectories import edit_friendly_state


class PairDenoiser(Protocol):
    """A model under two prompts at once."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """x (2B, *S), B rows for the source prompt, then B for the target; sigma (2B,) -> predicted x_0 (2B, *S)."""


@torch.no_grad()
def edit(
    denoiser: PairDenoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    seeds: Sequence[int],
    *,
    mask: Tensor | None = None,
    mask_after: MaskAfter | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """What `inversion.invert` and then `sampling.sample` give, to rounding, in T calls and memory that T leaves alone.

    Args:
        denoiser: the model under source and target prompt.
        x_0: (B, *S) the images.
        schedule: T steps, those to skip already left out.
        seeds: one seed a row.
        mask: broadcastable to (B, *S), 1 where the edit is wanted.
        mask_after: a further mask that changes from step to step.
        device: where the arithmetic and the denoiser run.
        callback: called after each step, with the target's state and prediction.

    Returns:
        (B, *S) the edited images on `device`.

    Raises:
        ValueError: seeds of another number than the images, a mask of another size or with NaN or infinity.
    """
    device = torch.device(device)
    x = edit_friendly_state(x_0, schedule, seeds, 0).to(device)
    if mask is not None:
        mask = mask_for(x, mask)
    mask_after = mask_after or (lambda i, x: None)
    x_edit, before = x, None
    for i in range(schedule.steps):
        step = schedule.step(i)
        rows = torch.cat([x, x_edit])
        sigma = rows.new_full((len(rows),), step.sigma, dtype=torch.float32)
        denoised = denoiser(rows, sigma).to(x.dtype)
        if callback is not None:
            callback({"x": x_edit, "i": i, "sigma": step.sigma, "denoised": denoised[len(x) :]})
        mean, mean_edit = step.mean_after(rows, denoised, before).chunk(2)
        before = denoised
        x_next = edit_friendly_state(x_0, schedule, seeds, i + 1).to(device)
        x_edit = x_next + (mean_edit - mean)
        if (kept := intersection(mask, mask_after(i, x_edit))) is not None:
            x_edit = torch.lerp(x_next, x_edit, kept.to(x_edit))
        x = x_next
    return x_edit
