"""Where two prompts differ about an image, as a mask, before anything is edited.

Source: DiffEdit (arXiv 2210.11427): the difference of the predictions under two prompts, averaged over noises of the
image, scaled to a maximum of 1 and cut at a threshold. There ten noises of one level are drawn; here the states of
edit-friendly noise maps serve, which are noised independently (arXiv 2304.06140, Eq. 6), each at a level of its own.
The predictions are those of x_0, so the noisier levels, whose predictions differ more, weigh more; they are also those
that settle where an edit will be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .denoiser import StepCallback
from .editing import PairDenoiser
from .schedule import NoiseSchedule

# Two equal prompts predict the same to rounding; bfloat16 keeps 3 digits.
SMALLEST_DIFFERENCE = 1e-3
# From black over purple and orange to a light yellow, in even steps: the colors of "magma" (matplotlib).
_HEAT = torch.tensor(
    [
        *([0.001, 0.000, 0.014], [0.113, 0.065, 0.277], [0.317, 0.072, 0.485], [0.513, 0.148, 0.508]),
        *([0.716, 0.215, 0.475], [0.904, 0.320, 0.388], [0.987, 0.536, 0.382], [0.997, 0.770, 0.535]),
        [0.987, 0.991, 0.750],
    ]
)


def levels_between(full_steps: int, skipped: int, count: int, start: float, end: float) -> list[int]:
    """At most `count` levels, evenly spread from fraction `start` to fraction `end` of the full schedule.

    Args:
        full_steps: steps of the full schedule; level i is the fraction i / full_steps of it.
        skipped: the noisier steps that are left out; no level is taken there.
        start, end: 0 is the noisiest level, 1 the image, which is no level.

    Returns:
        Ascending indices into the schedule without the skipped steps.

    Raises:
        ValueError: no levels asked for, shares outside 0 to 1 or the wrong way round, none of the levels between them.
    """
    if count < 1:
        raise ValueError(f"levels is {count}: use 1 or more")
    if not 0 <= start <= end <= 1:
        raise ValueError(f"the levels go from {start:g} to {end:g} of the schedule: use 0 <= start <= end <= 1")
    first, last = max(round(start * full_steps), skipped), min(round(end * full_steps), full_steps - 1)
    if first > last:
        raise ValueError(
            f"there is no level from {start:g} to {end:g} of {full_steps} steps, of which {skipped} are skipped: use "
            f"an end of {skipped / full_steps:.2g} or more, and a start below 1, or skip fewer steps"
        )
    spread = torch.linspace(first, last, count) if count > 1 else torch.tensor([(first + last) / 2])
    return (spread.round().to(torch.int64).unique() - skipped).tolist()


@torch.no_grad()
def prediction_difference(
    denoiser: PairDenoiser,
    state: Callable[[int], Tensor],
    schedule: NoiseSchedule,
    levels: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """The mean over the levels of the sum over the channels of |D_target(x_t) - D_source(x_t)|, a call for each level.

    Args:
        denoiser: the model under source and target prompt.
        state: level i -> x_t (B, *S), the image noised to that level.
        levels: which.
        device: where the denoiser runs.
        callback: called after each level, with the target's prediction.

    Returns:
        (B, 1, *S[1:]) on the CPU, in the scaling of the images.
    """
    device = torch.device(device)
    total: Tensor | float = 0.0
    for k, i in enumerate(levels):
        x, sigma = state(i).to(device), schedule.step(i).sigma
        rows = torch.cat([x, x])
        source, target = denoiser(rows, rows.new_full((len(rows),), sigma, dtype=torch.float32)).to(x.dtype).chunk(2)
        if callback is not None:
            callback({"x": x, "i": k, "sigma": sigma, "denoised": target})
        total = total + (target - source).abs().sum(dim=1, keepdim=True)
    return torch.as_tensor(total / len(levels)).cpu()


def heat(difference: Tensor, images: int | None = None, allowed: Tensor | None = None) -> Tensor:
    """The difference as a map from 0 to 1: the mean of each cell and its neighbours, over its row's largest.

    Args:
        difference: (rows, 1, *S[1:]), S[1:] being height and width, frames, height and width, or time.
        images: B, where row v * B + b is variation v of image b: the mean over the variations is taken.
        allowed: broadcastable to it: where it is 0, so is the map.

    Returns:
        (B, 1, *S[1:]). For a video the neighbours are those of the frame, the largest is that of all frames. Where
        nothing differs about an image it is 1, for an edit then leaves the image as it is, wherever it may act.
    """
    images = images or len(difference)
    if allowed is not None:
        difference = difference * (allowed > 0)
    mean = difference.unflatten(0, (-1, images)).mean(dim=0)
    frames = mean.reshape(-1, 1, *mean.shape[-2:])
    smooth = functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False).view_as(mean)
    whole = torch.ones_like(smooth)  # where a mask may be
    if allowed is not None:
        whole = (allowed.expand_as(difference).unflatten(0, (-1, images)).amax(dim=0) > 0).to(smooth)
    smooth = smooth * whole
    largest = smooth.flatten(1).amax(dim=1).view(-1, *[1] * (mean.ndim - 1))
    return torch.where(largest > SMALLEST_DIFFERENCE, smooth / largest, whole)


def cut(heat: Tensor, threshold: float, grow: int = 0) -> Tensor:
    """(B, 1, *S[1:]) 1 where the map is above the threshold, and in the `grow` cells around; 0 elsewhere.

    Raises:
        ValueError: a threshold that leaves nothing.
    """
    if not 0 <= threshold < 1:
        raise ValueError(
            f"the mask is empty with a threshold of {threshold:g}, for the difference is a map from 0 to its maximum "
            "of 1: use 0 to below 1 (0.15 is ordinary; lower takes in more)"
        )
    mask = (heat > threshold).to(heat.dtype)
    if grow:
        frames = mask.reshape(-1, 1, *mask.shape[-2:])
        mask = functional.max_pool2d(frames, 2 * grow + 1, 1, grow).view_as(mask)
    return mask


def shown_on(image: Tensor, mask: Tensor, heat: Tensor, *, below: bool = False) -> Tensor:
    """(H, 2 * W, 3) in [0, 1]: an image, gray and dark outside a mask, and beside it a map in colors.

    Args:
        image: (H, W, 3) in [0, 1].
        mask, heat: (H, W) in [0, 1].
        below: (2 * H, W, 3), the map under the image, as it is for what goes on along the width.
    """
    gray = 0.35 * image.mean(dim=-1, keepdim=True)
    shown = gray + mask[..., None] * (image - gray)
    return torch.cat([shown, in_colors(heat).to(shown)], dim=0 if below else 1)


def in_colors(heat: Tensor) -> Tensor:
    """(..., 3) in [0, 1] of a map (...) in [0, 1], from black to a light yellow."""
    place = heat.clamp(0, 1) * (len(_HEAT) - 1)
    lower = place.long().clamp(max=len(_HEAT) - 2)
    return torch.lerp(_HEAT[lower], _HEAT[lower + 1], (place - lower)[..., None])
