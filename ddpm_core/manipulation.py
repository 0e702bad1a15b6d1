"""Edits of the noise maps themselves: shift, flip, recolor, clip, mix.

Source: arXiv 2304.06140, Sec. 5 (shift and color edits, Eq. 7), App. A (filling after a shift) and App. B (flip);
arXiv 2408.00735 for the clip, arXiv 2410.23530 for mixtures of latents. Every function returns new maps; states,
residuals, kept predictions and mask are moved together, so that a mask or a later Eq. 7 still fits.

Shapes: `B` rows, `T` steps, `*S` sample axes whose last two are height and width in latent cells; sound (C, L) is one
cell high, and time is along its width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from .noise_maps import NoiseMaps
from .trajectories import Purpose, standard_normal

Fill = Literal["copy", "wrap", "gaussian"]
Interpolation = Literal["spherical", "linear"]

# App. A fills d new columns with the columns {50, ..., 50 + d - 1}, on pixel maps 256 wide. Other sizes take the same
# fraction, which is ours.
COPY_FROM = 50 / 256


def shift(noise_maps: NoiseMaps, x: int, y: int, fill: Fill = "copy", seeds: Sequence[int] | None = None) -> NoiseMaps:
    """Move the maps by whole cells; the image that they sample to moves along.

    Args:
        noise_maps: B rows.
        x: cells to the right (negative: left).
        y: cells down (negative: up).
        fill: what the cells that come free are filled with. "copy": the columns (rows) of the map from index 50 of 256
            on (App. A). "wrap": what left on the other side. "gaussian": fresh z ~ N(0, I) around the image of "copy",
            as a sampler's own; App. A rejects fresh noise of the map's own mean and variance. The last two are ours.
        seeds: of the fresh noise, one a row; 0 for all by default.

    Raises:
        ValueError: a shift by the size of the maps or more, an unknown fill, maps without width, another number of
            seeds than rows.
    """
    rows_of_maps = noise_maps.states.shape[1]
    seeds = [0] * rows_of_maps if seeds is None else seeds
    if len(seeds) != rows_of_maps:
        raise ValueError(f"{rows_of_maps} rows need as many seeds, got {len(seeds)}")
    if noise_maps.image.ndim == 3:
        return _one_cell_high(noise_maps, lambda high: shift(high, x, y, fill, seeds))
    height, width = _height_width(noise_maps)
    if fill not in get_args(Fill):
        raise ValueError(f"fill is {fill!r}: use one of {', '.join(get_args(Fill))}")
    if abs(x) >= width or abs(y) >= height:
        raise ValueError(
            f"a shift by x {x}, y {y} cells leaves nothing of maps that are {width} x {height} cells: "
            f"use less than {width} across and {height} down"
        )
    columns = _source_indices(width, x, fill)
    rows = _source_indices(height, y, fill)
    moved = _map_tensors(noise_maps, lambda part: part[..., rows[:, None], columns])
    if fill == "gaussian":
        moved = _renoise(moved, _is_new(height, y)[:, None] | _is_new(width, x), seeds)
    return moved


def flip(noise_maps: NoiseMaps, horizontal: bool = False, vertical: bool = False) -> NoiseMaps:
    """Mirror the maps left to right, which of sound is from its end to its start, and / or top to bottom.

    Raises:
        ValueError: maps without width, or top to bottom without height.
    """
    if noise_maps.image.ndim == 3:
        if vertical:
            raise ValueError(
                f"maps with rows of {tuple(noise_maps.image.shape[1:])}, such as sound, have no top and bottom: set "
                "vertical off; horizontal mirrors time"
            )
        return _one_cell_high(noise_maps, lambda high: flip(high, horizontal))
    _height_width(noise_maps)
    axes = [axis for axis, wanted in ((-1, horizontal), (-2, vertical)) if wanted]
    return _map_tensors(noise_maps, lambda part: part.flip(axes))


def recolor(noise_maps: NoiseMaps, mask: Tensor, color: Tensor, strength: float, start: float, end: float) -> NoiseMaps:
    """z_t + s B (M - P(f_t(x_t))): draw the prediction towards a painted image M under a mask B (Eq. 7).

    Args:
        noise_maps: B rows.
        mask: the B of Eq. 7, broadcastable to the rows (B, *S); binary there, in [0, 1] here.
        color: the M of Eq. 7, the latent of the painted image, broadcastable to the rows, in the maps' own scaling.
        strength: s. The paper's 0.05 (Fig. 8) is for 51 steps of a model of pixels; a latent has another scale.
        start, end: the steps i of the T full ones with start <= i / T <= end are changed. The paper's T_2 = 70 to
            T_1 = 20 of 100 is 0.30 to 0.80.

    Raises:
        ValueError: a range that is the wrong way round or leaves [0, 1], a mask or color of another size, maps of
            eta 0, whose steps have no noise to add to.
    """
    if noise_maps.schedule.eta == 0:
        raise ValueError(
            "these noise maps have eta 0 (DDIM), and Eq. 7 scales with the noise of each step, so nothing would "
            "change: invert with an eta above 0"
        )
    if not 0 <= start <= end <= 1:
        raise ValueError(f"start {start:g} and end {end:g} must satisfy 0 <= start <= end <= 1: swap or clamp them")
    shape = noise_maps.image.shape
    for name, part in (("mask", mask), ("color", color)):
        if part.numel() == 0 or _broadcast(part.shape, shape) != shape:
            raise ValueError(f"{name} has shape {tuple(part.shape)}, the noise maps have rows of {tuple(shape)}")
    residuals, denoised = noise_maps.residuals.clone(), noise_maps.denoised
    mask, color = mask.to(residuals), color.to(residuals)
    for i in range(noise_maps.steps):
        percent = (i + noise_maps.skipped) / noise_maps.full_steps
        if start - 1e-9 <= percent <= end + 1e-9:
            sigma_t = noise_maps.schedule.step(i).sigma_t
            residuals[i] += sigma_t * strength * mask * (color - denoised[i])
    return replace(noise_maps, residuals=residuals, kept_denoised=denoised)


def clip_last(noise_maps: NoiseMaps, limit: float) -> NoiseMaps:
    """The last residual times kappa = min(1, limit / RMS), for each row with the RMS over its own elements.

    Source: TurboEdit (arXiv 2408.00735), which scales the last residual down to a norm of 15.5 in a latent of
    4 x 64 x 64: an RMS of 0.121, which holds at any size. In that step the residual is all that the last prediction
    lacks of the image. With few steps it is large, and an edit that it no longer fits would show it as it is. For the
    same reason clipped maps no longer give the image back.

    Args:
        noise_maps: B rows; those that are within the limit stay as they are, bit for bit.
        limit: the largest RMS, in units in which data have unit variance.

    Raises:
        ValueError: a limit that is not above 0.
    """
    if not limit > 0:
        raise ValueError(f"the limit of the last residual is {limit:g}: use more than 0")
    last = noise_maps.residuals[-1]
    kappa = (limit / last.double().flatten(1).square().mean(dim=1).sqrt()).clamp(max=1)  # 1 of a residual of 0, too
    if (kappa == 1).all():
        return noise_maps
    residuals = noise_maps.residuals.clone()
    residuals[-1] = last * kappa.to(last).view(-1, *[1] * (last.ndim - 1))
    return replace(noise_maps, residuals=residuals, kept_denoised=noise_maps.denoised)


def interpolate(a: NoiseMaps, b: NoiseMaps, weight: float, kind: Interpolation = "spherical") -> NoiseMaps:
    """Maps between two others: weight 0 gives a, 1 gives b.

    What is image (the images, the predictions, the embeddings, the masks) is mixed linearly. What is noise (the
    residuals, and the noise of the states over their image) is mixed as `kind` says: "linear" shrinks the noise of
    independent maps between them, "spherical" keeps its size (slerp over each row of a step).

    Raises:
        ValueError: maps of other schedules, sizes, batches or models, a weight outside [0, 1], an unknown kind.
    """
    if kind not in get_args(Interpolation):
        raise ValueError(f"kind is {kind!r}: use one of {', '.join(get_args(Interpolation))}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight:g}: use 0 (the first maps) to 1 (the second)")
    _check_mixable(a, b)
    if weight in (0, 1):
        return b if weight else a
    mix = slerp if kind == "spherical" else torch.lerp
    image = torch.lerp(a.image, b.image, weight)
    states = [
        signal * image + mix(a.states[i] - signal * a.image, b.states[i] - signal * b.image, weight)
        for i, (signal, _) in enumerate(map(a.weights, range(a.steps)))
    ]
    return replace(
        a,
        states=torch.stack([*states, image]),
        residuals=torch.stack([mix(*pair, weight) for pair in zip(a.residuals, b.residuals, strict=True)]),
        kept_denoised=torch.lerp(a.denoised, b.denoised, weight),
        uncond=None if a.uncond is None or b.uncond is None else torch.lerp(a.uncond, b.uncond, weight),
        mask=None if a.mask is None and b.mask is None else torch.lerp(_whole_mask(a), _whole_mask(b), weight),
    )


def _check_mixable(a: NoiseMaps, b: NoiseMaps) -> None:
    for what, here, there in (
        ("rows of shape", tuple(a.image.shape), tuple(b.image.shape)),
        ("steps", a.full_steps, b.full_steps),
        ("skipped steps", a.skipped, b.skipped),
        ("eta", a.schedule.eta, b.schedule.eta),
        ("order", a.schedule.order, b.schedule.order),
        ("model family", a.space.family, b.space.family),
        ("latent format", a.space.format, b.space.format),
        ("weights of the states", _weights(a), _weights(b)),
        ("null-text embeddings", _embeddings(a), _embeddings(b)),
    ):
        if here != there:
            raise ValueError(
                f"the first noise maps have {what} {here}, the second have {there}: invert both with the same model "
                "and the same settings"
            )
    if not a.schedule.same_levels(b.schedule):
        raise ValueError(
            "the two noise maps have the same number of steps at different noise levels: invert both with the same "
            "scheduler and model sampling"
        )


def _whole_mask(noise_maps: NoiseMaps) -> Tensor:
    return torch.ones_like(noise_maps.image[:, :1]) if noise_maps.mask is None else noise_maps.mask


def _weights(noise_maps: NoiseMaps) -> str:
    """Weights of image and noise as text, to compare and to show."""
    if noise_maps.noising is None:
        return "of their levels"
    return "; ".join(" ".join(f"{number:.4g}" for number in row) for row in noise_maps.noising.tolist())


def _embeddings(noise_maps: NoiseMaps) -> tuple[int, ...] | None:
    return None if noise_maps.uncond is None else tuple(noise_maps.uncond.shape)


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Spherical interpolation of each row of a and b, (B, *S); linear where the two point the same or opposite way.

    Source: arXiv 2410.23530v2, Eq. 6. weight 0 gives a, 1 gives b.
    """
    flat_a, flat_b = a.flatten(1).double(), b.flatten(1).double()
    cos = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = cos.arccos()
    sin = angle.sin()
    straight = sin < 1e-4
    sin = torch.where(straight, 1, sin)
    weight_a = torch.where(straight, 1 - weight, ((1 - weight) * angle).sin() / sin)
    weight_b = torch.where(straight, weight, (weight * angle).sin() / sin)
    return (weight_a[:, None] * flat_a + weight_b[:, None] * flat_b).view_as(a).to(a.dtype)


def _height_width(noise_maps: NoiseMaps) -> tuple[int, int]:
    sample_shape = tuple(noise_maps.image.shape[1:])
    if len(sample_shape) < 3:
        raise ValueError(f"only maps of images and sound have a width to move along, these have rows of {sample_shape}")
    return sample_shape[-2], sample_shape[-1]


def _one_cell_high(noise_maps: NoiseMaps, change: Callable[[NoiseMaps], NoiseMaps]) -> NoiseMaps:
    """What a change makes of maps with rows (C, L), done with rows (C, 1, L)."""
    high = _map_tensors(noise_maps, lambda part: part.unsqueeze(-2))
    return _map_tensors(change(high), lambda part: part.squeeze(-2))


def _map_tensors(noise_maps: NoiseMaps, change: Callable[[Tensor], Tensor]) -> NoiseMaps:
    return replace(
        noise_maps,
        states=change(noise_maps.states),
        residuals=change(noise_maps.residuals),
        kept_denoised=None if noise_maps.kept_denoised is None else change(noise_maps.kept_denoised),
        mask=None if noise_maps.mask is None else change(noise_maps.mask),
    )


def _is_new(size: int, by: int) -> Tensor:
    """(size,) True at the cells that a shift by `by` leaves without a source."""
    source = torch.arange(size) - by
    return (source < 0) | (source >= size)


def _source_indices(size: int, by: int, fill: Fill) -> Tensor:
    """(size,) for each cell after the shift, the cell before it that it is taken from."""
    source = torch.arange(size) - by
    if fill != "wrap":
        new = _is_new(size, by)
        source[new] = round(size * COPY_FROM) + torch.arange(int(new.sum()))
    return source % size


def _renoise(noise_maps: NoiseMaps, new: Tensor, seeds: Sequence[int]) -> NoiseMaps:
    """Fresh noise in the cells `new` (H, W): states that noise the image found there, and z ~ N(0, I) between them.

    Between states of weights (s, n) and (s', n') the residual has the mean s' x_0 - mu_t(s x_0, x_0) and the variance
    that n' has over what mu_t keeps of n. With the schedule's own weights that is 0 and sigma_t^2.
    """
    schedule, image = noise_maps.schedule, noise_maps.image
    states, residuals = noise_maps.states.clone(), noise_maps.residuals.clone()
    x_0 = image[..., new]
    for i in range(schedule.steps):
        eps, z = (
            standard_normal(image, seeds, schedule.steps - i, purpose)[..., new]
            for purpose in (Purpose.FILL_OF_STATES, Purpose.FILL_OF_NOISE)
        )
        step, (signal, noise), (next_signal, next_noise) = (
            schedule.step(i),
            noise_maps.weights(i),
            noise_maps.weights(i + 1),
        )
        states[i][..., new] = signal * x_0 + noise * eps
        if noise_maps.noising is None:
            residuals[i][..., new] = step.sigma_t * z
        else:
            mean = next_signal - step.x_weight * signal - step.denoised_weight
            deviation = math.sqrt(max(next_noise**2 - (step.x_weight * noise) ** 2, 0.0))
            residuals[i][..., new] = mean * x_0 + deviation * z
    return replace(noise_maps, states=states, residuals=residuals, kept_denoised=noise_maps.denoised)


def _broadcast(shape: torch.Size, target: torch.Size) -> torch.Size | None:
    try:
        return torch.broadcast_shapes(shape, target)
    except RuntimeError:
        return None
