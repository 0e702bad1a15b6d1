"""From noise maps back to an image.

Source: arXiv 2304.06140, Eq. 3, and Sec. 3.2 for T_skip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .inversion import Denoiser, StepCallback, denoise
from .noise_maps import NoiseMaps
from .transfer import to_device


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise_maps: NoiseMaps,
    *,
    skip_steps: int | None = None,
    mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """x_s = mu_t(x_t) + residual_t from the state after `skip_steps` on: Eq. 3 with the noise fixed.

    With the denoiser of the inversion this returns the image that was inverted. With another prompt behind it, the
    image moves along the difference of the two predictions.

    Args:
        denoiser: the model under the target prompt.
        noise_maps: B rows.
        skip_steps: T_skip, in steps of the full schedule; None starts with the first step that the maps hold.
            More keeps more of the source.
        mask: broadcastable to (B, *S), 1 where the edit is wanted. Where it is 0 every state is the
            source's own, so the image is returned there as it was.
        device: where the arithmetic and the denoiser run.
        callback: called after each step.

    Returns:
        (B, *S) on `device`.
    """
    first = noise_maps.first_step(noise_maps.skipped if skip_steps is None else skip_steps)
    states, residuals, schedule = noise_maps.states, noise_maps.residuals, noise_maps.schedule
    device = torch.device(device)
    x = states[first].to(device, copy=True)  # a copy: a patch of the model may write into its input
    if mask is not None:
        mask = mask.to(device, x.dtype)
    for i in range(first, schedule.steps):
        step = schedule.step(i)
        denoised = denoise(denoiser, x[None], [step.sigma])[0]
        if callback is not None:
            callback({"x": x, "i": i - first, "sigma": step.sigma, "denoised": denoised})
        x = step.mean(x, denoised) + to_device(residuals[i], device)
        if mask is not None:
            x = torch.lerp(to_device(states[i + 1], device), x, mask)
    return x
