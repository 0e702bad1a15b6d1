"""From noise maps back to an image, and from fresh noise to an image with its noise maps.

Source: arXiv 2304.06140, Sec. 3, Eq. 3, and Sec. 5 for T_skip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser, StepCallback, denoise
from .facts import Facts
from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule
from .trajectories import Purpose, edit_friendly_state, standard_normal

MaskAfter = Callable[[int, Tensor], Tensor | None]
"""(step, counted from the first that runs; x (B, *S) after it) -> a mask broadcastable to x, or None for none."""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise_maps: NoiseMaps,
    *,
    skip_steps: int | None = None,
    start: Tensor | None = None,
    steps: int | None = None,
    mask: Tensor | None = None,
    mask_after: MaskAfter | None = None,
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
        start: (B, *S) a state of an edit after as many steps, to go on from; None for the source's own.
        steps: so many alone; None for all.
        mask: broadcastable to (B, *S), 1 where the edit is wanted. Where it or the maps' own mask is 0 every state is
            the source's own, so the image is returned there as it was.
        mask_after: a further mask that changes from step to step.
        device: where the arithmetic and the denoiser run.
        callback: called after each step.

    Returns:
        (B, *S) on `device`: the image, or the state after `steps`.

    Raises:
        ValueError: a skip that the maps do not cover, a mask of another size or with NaN or infinity.
    """

    def predict(i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, denoise(denoiser, x[None], [noise_maps.schedule.step(i).sigma])[0]

    return replay(
        predict,
        noise_maps,
        skip_steps=skip_steps,
        start=start,
        steps=steps,
        mask=mask,
        mask_after=mask_after,
        device=device,
        callback=callback,
    )


def with_replayed_states(
    denoiser: Denoiser,
    noise_maps: NoiseMaps,
    *,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> NoiseMaps:
    """Maps with the states that `sample` goes through, in place of those that the inversion went through.

    Source: Prompt-to-Prompt (arXiv 2208.01626), which samples its source again beside the target, so that what it takes
    of the source's attention has drifted as the source has. The last state stays the image.
    """
    states: list[Tensor] = []

    def keep(step: dict[str, Any]) -> None:
        states.append(step["x"].to("cpu", copy=True))
        if callback is not None:
            callback(step)

    sample(denoiser, noise_maps, device=device, callback=keep)
    return replace(noise_maps, states=torch.stack([*states, noise_maps.image]))


def replay(
    predict: Callable[[int, Tensor], tuple[Tensor, Tensor]],
    noise_maps: NoiseMaps,
    *,
    skip_steps: int | None = None,
    start: Tensor | None = None,
    steps: int | None = None,
    mask: Tensor | None = None,
    mask_after: MaskAfter | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """The loop of `sample` around any prediction: (step of the maps, x) -> x to step from, prediction of x_0."""
    first = noise_maps.first_step(noise_maps.skipped if skip_steps is None else skip_steps)
    states, residuals, schedule = noise_maps.states, noise_maps.residuals, noise_maps.schedule
    device = torch.device(device)
    # a copy, because a patch of the model may write into its input
    x = (states[first] if start is None else start).to(device, copy=True)
    mask = intersection(noise_maps.mask, None if mask is None else mask_for(x, mask))
    if mask is not None:
        mask = mask.to(x)
    mask_after = mask_after or (lambda i, x: None)
    before = noise_maps.denoised_before(first, device)
    # a run that goes on has not the edit's own prediction before it, which changes about as the image's
    change = None if before is None or start is None else noise_maps.denoised_at(first).to(device) - before
    for i in range(first, schedule.steps if steps is None else first + steps):
        step = schedule.step(i)
        moved, denoised = predict(i, x)
        if callback is not None:
            callback({"x": x, "i": i - first, "sigma": step.sigma, "denoised": denoised})
        if i == first and change is not None:
            before = denoised - change
        x = step.mean_after(moved, denoised, before) + residuals[i].to(device)
        before = denoised
        if (kept := intersection(mask, mask_after(i - first, x))) is not None:
            x = torch.lerp(states[i + 1].to(device), x, kept.to(x))
    return x


def intersection(mask: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Intersection of two masks that broadcast to each other; None where there is neither."""
    if mask is None or other is None:
        return other if mask is None else mask
    return torch.minimum(mask, other.to(mask))


def mask_for(x: Tensor, mask: Tensor) -> Tensor:
    """A mask in [0, 1], in the dtype and on the device of x (B, *S), to which it has to broadcast.

    Raises:
        ValueError: a mask of another size, or with NaN, infinity or numbers that the dtype does not reach.
    """
    ones = (1,) * (x.ndim - mask.ndim)
    if mask.ndim > x.ndim or any(m not in (1, n) for m, n in zip(ones + mask.shape, x.shape, strict=True)):
        raise ValueError(f"the mask has shape {tuple(mask.shape)}, the images have {tuple(x.shape)}: use their size")
    mask = mask.to(x)
    if not mask.isfinite().all():
        raise ValueError("the mask holds NaN or infinity: it has to be 1 where the edit is wanted, and 0 elsewhere")
    return mask.clamp(0, 1)


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    start: Tensor,
    schedule: NoiseSchedule,
    seeds: Sequence[int],
    *,
    skipped: int = 0,
    facts: Facts | None = None,
    around: tuple[Tensor, Tensor] | None = None,
    mask_after: MaskAfter | None = None,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> NoiseMaps:
    """Ordinary sampling, x_s = mu_t(x_t) + sigma_t z_t with fresh z_t ~ N(0, I) (Eq. 3), that keeps its native maps.

    Args:
        denoiser: the model under the prompt.
        start: (B, *S) x_T: `pure_noise` to generate an image, an image noised to that level for SDEdit.
        schedule: T steps.
        seeds: one seed a row.
        skipped: steps of the full schedule that this one leaves out.
        facts: what the maps are of.
        around: an image (B, *S) and a mask (B, 1, *S[1:]), 1 where a new one is generated and 0 where this one stays;
            the mask goes into the maps.
        mask_after: what is generated after each step, in place of that mask.
        device: where the arithmetic and the denoiser run.
        callback: called after each step.

    Returns:
        The maps; their `image` is what was generated, and `sample` gives it back bit for bit.
    """
    device = torch.device(device)
    states = start.new_empty((schedule.steps + 1, *start.shape), device="cpu")
    residuals = start.new_empty((schedule.steps, *start.shape), device="cpu")
    x = start.to(device, copy=True)  # a copy: a patch of the model may write into its input
    if around is not None:
        image, mask = around[0], mask_for(x, around[1])
        x = torch.lerp(edit_friendly_state(image, schedule, seeds, 0).to(device), x, _opened(mask, mask_after, 0, x))
    states[0] = x
    before = None
    for i in range(schedule.steps):
        step = schedule.step(i)
        denoised = denoise(denoiser, x[None], [step.sigma])[0]
        if callback is not None:
            callback({"x": x, "i": i, "sigma": step.sigma, "denoised": denoised})
        z = standard_normal(start, seeds, schedule.steps - i - 1, Purpose.GENERATION)
        mean, residual = step.mean_after(x, denoised, before), step.sigma_t * z.to(device)
        before = denoised
        if around is not None:
            outside = edit_friendly_state(image, schedule, seeds, i + 1).to(device)
            residual = torch.lerp(outside, mean + residual, _opened(mask, mask_after, i, x)) - mean
        x = mean + residual
        states[i + 1] = x
        residuals[i] = residual
    kept = None if around is None else around[1]
    return NoiseMaps(schedule, states, residuals, skipped=skipped, facts=facts or Facts(), mask=kept)


def _opened(mask: Tensor, mask_after: MaskAfter | None, i: int, x: Tensor) -> Tensor:
    opened = None if mask_after is None else mask_after(i, x)
    return mask if opened is None else opened.to(x)


def pure_noise(like: Tensor, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """x_T of a generated image: N(0, I) times the scale of the noisiest level, in the shape (B, *S) of `like`."""
    return schedule.scale(0) * standard_normal(like, seeds, schedule.steps, Purpose.GENERATION)
