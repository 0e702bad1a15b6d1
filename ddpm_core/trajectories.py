"""Sequences x_T ... x_0 that end in a given image; one function for each way to choose them.

Any such sequence yields noise that reproduces the image (Eq. 5 of arXiv 2304.06140): the extraction in
`inversion.py` is the same for all, so a new inversion method is a new function here.

Shapes: `B` rows (images times variations), `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .denoiser import Denoiser, StepCallback, denoise
from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule
from .whitening import whitened

Trajectory = Callable[[Tensor, NoiseSchedule, Sequence[int]], Tensor]
"""(x_0 (B, *S), schedule of T steps, one seed a row) -> states (T+1, B, *S) on the CPU, without a network."""


def seeds_of_rows(seed: int, offsets: Sequence[int], variations: int) -> list[int]:
    """One seed a row, for rows that repeat the batch `variations` times: row v * B + b has seed + v + offsets[b].

    With offsets 0 the seed belongs to the variation, not to the place in the batch, so that an image in a batch gives
    what it gives alone. The order is the one in which ComfyUI repeats per-image conditioning over a larger batch.
    """
    return [(seed + v + offset) % 2**64 for v in range(variations) for offset in offsets]


def edit_friendly(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """x_t = a_t x_0 + b_t eps_t with eps_t ~ N(0, I) independent for each t (Eq. 6).

    Args:
        x_0: (B, *S) the images.
        schedule: T steps.
        seeds: one seed a row.

    Returns:
        (T+1, B, *S) on the CPU in float32 (float64 if x_0 is), the last of them x_0 itself.
    """
    x_0 = _on_cpu(x_0)  # once, not once a level
    states = x_0.new_empty((schedule.steps + 1, *x_0.shape))
    for i in range(schedule.steps + 1):
        states[i] = edit_friendly_state(x_0, schedule, seeds, i)
    return states


def edit_friendly_state(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int], i: int) -> Tensor:
    """(B, *S) on the CPU: the state of `edit_friendly` at level i alone."""
    x_0 = _on_cpu(x_0)
    if i == schedule.steps:
        return x_0
    return _noised(x_0, schedule, i, standard_normal(x_0, seeds, schedule.steps - i))


def few_steps(
    x_0: Tensor,
    schedule: NoiseSchedule,
    seeds: Sequence[int],
    *,
    noise_shift: int = 1,
    noise_levels: NoiseSchedule | None = None,
) -> Tensor:
    """The states of levels that are cleaner than those that the network is told, as large as it expects them.

    Source: TurboEdit (arXiv 2408.00735), its shifted noise schedule; there level i is told 200 of 1000 timesteps above
    the noise in the state. A state at level i is that of `edit_friendly` at level j = min(i + noise_shift, T) with the
    noise of i, times scale(i) / scale(j). TurboEdit's process preserves the variance, so its factor is 1.

    The other args and what is returned are those of `edit_friendly`.

    Args:
        noise_shift: in levels of the schedule; TurboEdit's is 1. The states from level T - noise_shift on are the
            image, only rescaled. 0 gives the states of `edit_friendly`, bit for bit.
        noise_levels: in place of a shift, the level of which state i is, for each i: of T levels, where the last state
            is the image too, or of T + 1. For steps that no shift of levels fits, such as TurboEdit's three, which are
            told 799, 499 and 199 at 599, 299 and 0.

    Raises:
        ValueError: a negative noise_shift, another number of noise levels.
    """
    x_0, steps = _on_cpu(x_0), schedule.steps
    _check_seeds(x_0, seeds)
    states = []
    for i, (there, j) in enumerate(_levels_of_few_steps(schedule, noise_shift, noise_levels)):
        cleaner = x_0 if j == there.steps else _noised(x_0, there, j, standard_normal(x_0, seeds, steps - i))
        states.append(cleaner * (schedule.scale(i) / there.scale(j)))
    return torch.stack([*states, x_0])


def noising_of_few_steps(
    schedule: NoiseSchedule, *, noise_shift: int = 1, noise_levels: NoiseSchedule | None = None
) -> Tensor:
    """(2, T+1) the weights of image and noise in the states of `few_steps`, for `NoiseMaps.noising`."""
    weights = [
        torch.stack([there.signal[j], there.noise[j]]) * (schedule.scale(i) / there.scale(j))
        for i, (there, j) in enumerate(_levels_of_few_steps(schedule, noise_shift, noise_levels))
    ]
    return torch.stack([*weights, torch.tensor([1.0, 0.0], dtype=torch.float64)], dim=1)


def _levels_of_few_steps(
    schedule: NoiseSchedule, noise_shift: int, noise_levels: NoiseSchedule | None
) -> list[tuple[NoiseSchedule, int]]:
    """For each step, the level whose noise its state has, and the schedule of that level."""
    steps = schedule.steps
    if noise_shift < 0:
        raise ValueError(f"noise_shift is {noise_shift}: use 0 (off) or more")
    if noise_levels is not None and noise_levels.steps not in (steps - 1, steps):
        raise ValueError(
            f"there are {noise_levels.steps} levels of noise above 0 for {steps} steps: give one for each step, then "
            f"0; or {steps - 1} and 0, where the last step starts at the image"
        )
    there, shift = (schedule, noise_shift) if noise_levels is None else (noise_levels, 0)
    return [(there, min(i + shift, there.steps)) for i in range(steps)]


def cycle_diffusion(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """x_T ~ q(x_T | x_0), then x_s ~ q(x_s | x_t, x_0): one path of the forward process, as its posteriors draw it.

    Source: CycleDiffusion (arXiv 2210.05559), its DPM-Encoder. q(x_s | x_t, x_0) is a step of the schedule whose
    prediction is the image itself: mu_t(x_t, x_0) + sigma_t eps. At the noisiest level of a diffusion model a_T is
    nearly 0 and q(x_T | x_0) nearly N(0, I); after a skip it is the image noised to that level, as it has to be.

    Args and returns are those of `edit_friendly`.
    """
    x_0 = _on_cpu(x_0)
    states = [edit_friendly_state(x_0, schedule, seeds, 0)]
    for i in range(schedule.steps - 1):
        step = schedule.step(i)
        eps = standard_normal(x_0, seeds, schedule.steps - i - 1)
        states.append(step.mean(states[-1], x_0) + step.sigma_t * eps)
    return torch.stack([*states, x_0])


@torch.no_grad()
def ddim(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    seeds: Sequence[int],
    *,
    fixed_point_iterations: int = 0,
    forward_noise_steps: int = 0,
    true_prediction_steps: int = 0,
    native: NoiseMaps | None = None,
    warm_start: bool = False,
    finer: NoiseSchedule | None = None,
    regularization: float = 0.0,
    device: torch.device | str = "cpu",
    callback: StepCallback | None = None,
) -> Tensor:
    """The ODE of the model run backwards, from the image to noise (DDIM inversion, arXiv 2010.02502).

    The step of eta 0 from t to s, solved for x_t, needs the prediction at x_t, which is what is sought. The textbook
    takes the prediction at x_s with the level of t in its place, so a replay misses the image, by an error of the first
    order in the steps. Uni-Inv (arXiv 2504.13109) takes it where the step before it leads on to, at as many calls: then
    the error is of the second order. Fixed-point iterations put the x_t found back into the prediction.

    Args:
        denoiser: the model under the source prompt.
        x_0: (B, *S) the images.
        schedule: T steps; the steps are those of eta 0, whatever its own eta.
        seeds: one seed a row, for `forward_noise_steps` and `regularization`.
        fixed_point_iterations: how often x_t is put back; 0 is the textbook's approximation.
        forward_noise_steps: so many of the first (cleanest) steps noise the image instead, with one eps for all of
            them, so that the latent is Gaussian where the image is plain, too (arXiv 2410.23530, from v3 on).
        true_prediction_steps: so many of the first steps take the true predictions, those of the generation, in place
            of the approximation (arXiv 2410.23530v2, Sec. 5): to measure how much of the error they make.
        native: for them, the maps of eta 0 that generated the images along the same levels.
        warm_start: whether a step starts from where the one before it leads on to (Uni-Inv), the first from the image.
        finer: a schedule to invert along that has the levels of `schedule` and others between them, as Plug-and-Play
            (arXiv 2211.12572) inverts in 1000 steps and samples in 50. All that counts steps counts its steps.
        regularization: how much each prediction of the noise is drawn towards white noise (`whitened`); 0 is off.
        device: where the arithmetic and the denoiser run.
        callback: called after each step that the denoiser took.

    Returns:
        (T+1, B, *S) on the CPU, the last of them x_0; steps without residuals between them are those of the predictions
        that led to them. After (T - first) * (1 + fixed_point_iterations) calls, where `first` steps ask no model and T
        is that of the finer schedule.

    Raises:
        ValueError: negative iterations, forward_noise_steps or true_prediction_steps outside 0 to T, both of them,
            native maps of other images, levels or eta, a finer schedule that lacks a level, a regularization that is
            negative or of a latent without height and width.
    """
    if fixed_point_iterations < 0:
        raise ValueError(f"fixed_point_iterations is {fixed_point_iterations}: use 0 or more")
    if regularization < 0 or (regularization and (x_0.ndim < 4 or x_0.shape[-2] < 2)):
        raise ValueError(
            f"regularization is {regularization:g}, of a latent of shape {tuple(x_0.shape)}: use 0 (off) or more, and "
            "more with latents that have rows and columns alone, for it compares these"
        )
    device, x_0 = torch.device(device), _on_cpu(x_0)
    climbed = (schedule if finer is None else finer).with_eta(0.0)
    kept = {i: k for k, i in enumerate(climbed.positions_of(schedule))}
    for name, first in (
        ("forward_noise_steps", forward_noise_steps),
        ("true_prediction_steps", true_prediction_steps),
    ):
        if not 0 <= first <= climbed.steps:
            raise ValueError(f"{name} is {first}, the inversion has {climbed.steps} steps: use 0 to {climbed.steps}")
    known = _known_states(x_0, climbed, seeds, forward_noise_steps, true_prediction_steps, native)
    sequences = [np.random.SeedSequence(seed, spawn_key=Purpose.WHITENING.value) for seed in seeds]
    generators = [np.random.default_rng(sequence) for sequence in sequences]
    of_noise = partial(whitened, weight=regularization, generators=generators)
    states = x_0.new_empty((schedule.steps + 1, *x_0.shape))
    states[-1] = x_0
    x_s = x_0.to(device)
    along = (torch.zeros_like(x_s), torch.zeros_like(x_s)) if warm_start else None
    for i in reversed(range(climbed.steps)):
        if i in known:
            x_t = known[i].to(device)
            along = _led_by(x_s, x_t, climbed, i) if warm_start else None
        else:
            x_t, denoised, eps = _ddim_step_back(denoiser, x_s, climbed, i, fixed_point_iterations, along, of_noise)
            along = (denoised, eps) if warm_start else None
            if callback is not None:
                done = climbed.steps - len(known) - i - 1
                callback({"x": x_t, "i": done, "sigma": climbed.step(i).sigma, "denoised": denoised})
        if i in kept:
            states[kept[i]] = x_t
        x_s = x_t
    return states


def _known_states(
    x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int], noised: int, true: int, native: NoiseMaps | None
) -> dict[int, Tensor]:
    """The states (B, *S) by level that a DDIM inversion takes without asking the model."""
    if noised and true:
        raise ValueError("forward_noise_steps and true_prediction_steps both set the first steps: use one of them")
    if not true:
        eps = standard_normal(x_0, seeds, schedule.steps)
        return {i: _noised(x_0, schedule, i, eps) for i in range(schedule.steps - noised, schedule.steps)}
    if native is None or native.schedule.eta != 0 or native.states.shape[1:] != x_0.shape:
        raise ValueError(
            "true_prediction_steps needs the noise maps that generated these very images with eta 0: connect those of "
            "Generate Image with Noise Maps"
        )
    here, there = schedule.after(schedule.steps - true), native.schedule.after(max(native.steps - true, 0))
    if not here.same_levels(there) or not torch.allclose(native.image.to(x_0.dtype), x_0, rtol=1e-3, atol=1e-3):
        raise ValueError(
            "the native noise maps are of other images or other levels than this inversion: generate and invert with "
            "the same steps and scheduler"
        )
    return dict(zip(range(schedule.steps - true, schedule.steps), native.states[-1 - true : -1], strict=True))


def _led_by(x_s: Tensor, x_t: Tensor, schedule: NoiseSchedule, i: int) -> tuple[Tensor, Tensor]:
    """The predictions of x_0 and of the noise that lead from x_t of step i to x_s (B, *S), or back."""
    (a_t, a_s), (b_t, b_s) = schedule.signal[i : i + 2].tolist(), schedule.noise[i : i + 2].tolist()
    rises = a_s * b_t - a_t * b_s  # above 0, as the noise does
    return (b_t * x_s - b_s * x_t) / rises, (a_s * x_t - a_t * x_s) / rises


def _ddim_step_back(
    denoiser: Denoiser,
    x_s: Tensor,
    schedule: NoiseSchedule,
    i: int,
    iterations: int,
    along: tuple[Tensor, Tensor] | None = None,
    of_noise: Callable[[Tensor], Tensor] = lambda eps: eps,
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t with mu_t(x_t) = x_s, and the prediction of x_0 that led to it, and of the noise; all (B, *S).

    Args:
        along: predictions to take x_s along to begin with; None for the textbook's x_s in the place of x_t.
        of_noise: what is taken for a prediction of the noise.
    """
    (a_t, a_s), (b_t, b_s) = schedule.signal[i : i + 2].tolist(), schedule.noise[i : i + 2].tolist()

    def ahead(denoised: Tensor, eps: Tensor) -> Tensor:
        # x_t + (x_s - mu_t(x_t)) of predictions at x_t, which holds at pure noise, a_t = 0, and at the image, b_s = 0
        return x_s + (a_t - a_s) * denoised + (b_t - b_s) * eps

    # x_s in the place of x_t: as large as a state of level t, which is x_s itself where a^2 + b^2 = 1
    x_t = x_s * (schedule.scale(i) / schedule.scale(i + 1)) if along is None else ahead(*along)
    for k in range(1 + iterations):
        denoised = denoise(denoiser, x_t[None], [schedule.step(i).sigma])[0]
        eps = of_noise((x_t - a_t * denoised) / b_t)
        is_textbook = along is None and k == 0
        x_t = (a_t / a_s) * x_s + (b_t - a_t * b_s / a_s) * eps if is_textbook else ahead(denoised, eps)
    return x_t, denoised, eps


@torch.no_grad()
def ddim_noises(denoiser: Denoiser, native: NoiseMaps) -> tuple[Tensor, Tensor]:
    """The noise that the model predicted in each step of a generation, and what textbook DDIM inversion takes for it.

    Source: arXiv 2410.23530v2, Eq. 5 and App. D. Each step is inverted from the true state one level cleaner, so that
    none inherits the error of another.

    Args:
        denoiser: the model of the generation.
        native: the maps of eta 0 that generated the images.

    Returns:
        Two (T, B, *S): the true predictions and those taken, the noisiest level first. After T calls.

    Raises:
        ValueError: maps of an eta above 0.
    """
    schedule, states = native.schedule, native.states
    if schedule.eta != 0:
        raise ValueError(f"these noise maps have eta {schedule.eta:g}: generate with eta 0, as DDIM inversion inverts")
    true, taken = [], []
    for i in range(schedule.steps):
        a_t, b_t = schedule.signal[i].item(), schedule.noise[i].item()
        true.append((states[i] - a_t * native.denoised_at(i)) / b_t)
        taken.append(_ddim_step_back(denoiser, states[i + 1], schedule, i, 0)[2])
    return torch.stack(true), torch.stack(taken)


class Purpose(enum.Enum):
    """What noise is drawn for: one seed gives each purpose other noise, as if it had seeds of its own.

    Else an image that is inverted with the seed it was generated with would meet the very noise that made it.
    """

    INVERSION = ()
    GENERATION = (1,)
    FILL_OF_STATES = (2,)
    FILL_OF_NOISE = (3,)
    WHITENING = (4,)


def standard_normal(
    like: Tensor, seeds: Sequence[int], steps_left: int, purpose: Purpose = Purpose.INVERSION
) -> Tensor:
    """N(0, I) for one level, in the shape (B, *S) and the dtype of `like`, one seed a row.

    Each level has a stream of its own, counted from the clean end: any level can be drawn alone, and a schedule
    without its noisiest steps draws the same noise for the rest.
    """
    _check_seeds(like, seeds)
    entropies = [np.random.SeedSequence((seed, steps_left), spawn_key=purpose.value) for seed in seeds]
    streams = [entropy.generate_state(1, np.uint64)[0] for entropy in entropies]
    rows = [torch.randn(tuple(like.shape[1:]), generator=torch.Generator().manual_seed(int(s))) for s in streams]
    return torch.stack(rows).to(like.dtype)


def _noised(x_0: Tensor, schedule: NoiseSchedule, i: int, eps: Tensor) -> Tensor:
    """a_t x_0 + b_t eps at level i."""
    return schedule.signal[i].item() * x_0 + schedule.noise[i].item() * eps


def _on_cpu(x_0: Tensor) -> Tensor:
    return x_0.detach().to("cpu", torch.promote_types(x_0.dtype, torch.float32))


def _check_seeds(x_0: Tensor, seeds: Sequence[int]) -> None:
    if len(seeds) != len(x_0) or not seeds:
        raise ValueError(f"{len(x_0)} images need as many seeds, and one at least, got {len(seeds)}")
