"""Where two prompts differ about images, found with a MODEL."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ddpm_core import NoiseMaps, intersection, masks, trajectories
from . import calls, latents, loops
from .guiders import guider_for
from .levels import sigmas_at
from .model import check_same_model
from .pairs import PairGuider
from .plan import Plan
from .run import run_on_maps, run_plan
from .values import Conditioning, ModelPatcher

LEVELS, START, END = 7, 0.1, 0.5  # as tuned on the demo model; DiffEdit looks at 0.5


def heat_of_maps(
    model: ModelPatcher,
    source: Conditioning,
    target: Conditioning,
    noise_maps: NoiseMaps,
    levels: int = LEVELS,
    start: float = START,
    end: float = END,
) -> Tensor:
    """(B, 1, *S[1:]) in [0, 1]: where two prompts differ about the B images of noise maps; for a video, one for all.

    Raises:
        ValueError: maps of another model, no level from start to end.
    """
    check_same_model(noise_maps, model)
    chosen = masks.levels_between(noise_maps.full_steps, noise_maps.skipped, levels, start, end)
    views = loops.Views(len(noise_maps.image), noise_maps.schedule, chosen, lambda _, i: noise_maps.states[i].clone())
    run = partial(run_on_maps, noise_maps=noise_maps, sigmas=sigmas_at(noise_maps.schedule, chosen))
    return _heat(_difference(model, source, target, views, run), noise_maps.images, noise_maps.mask)


def _difference(
    model: ModelPatcher, source: Conditioning, target: Conditioning, views: loops.Views, run: Callable[..., Any]
) -> Tensor:
    """(rows, 1, *S[1:]) in one run, or in one for each prompt where other nodes have put code into the model.

    Args:
        run: (guider, loop) -> the loop's result.
    """
    if not calls.code_of_others(model, model.model_options):
        return run(PairGuider(model, source, target), loops.prompt_difference(views))
    of_source = run(guider_for(model, source, source, 1.0), loops.predictions(views))
    return run(guider_for(model, target, target, 1.0), loops.prompt_difference(views, of_source))


def found_mask(
    model: ModelPatcher,
    source: Conditioning,
    target: Conditioning,
    plan: Plan,
    threshold: float,
    mask: Tensor | None,
) -> Tensor:
    """(rows, 1, *S[1:]) 1 where two prompts differ by more than a threshold about images that a plan inverts.

    Where the plan skips past the levels that are looked at, the first that it runs are.

    Args:
        mask: (rows or 1, 1, *S[1:]) that it has to lie in, or None.
    """
    schedule = plan.schedule
    end = min(1.0, max(END, plan.skipped / plan.full_steps + 0.1))
    chosen = masks.levels_between(plan.full_steps, plan.skipped, LEVELS, START, end)
    views = loops.Views(
        len(plan.seeds),
        schedule,
        chosen,
        lambda image, i: trajectories.edit_friendly_state(image, schedule, plan.seeds, i),
    )
    run = partial(run_plan, plan=plan, sigmas=sigmas_at(schedule, chosen))
    difference = _difference(model, source, target, views, run)
    cells = masks.cut(_heat(difference, plan.images, intersection(plan.mask, mask)), threshold)
    return cells.repeat(len(plan.latent) // len(cells), *[1] * (cells.ndim - 1))


def _heat(difference: Tensor, images: int, allowed: Tensor | None) -> Tensor:
    """A video has one row, so one map for all its variations."""
    heat = masks.heat(difference, 1 if latents.is_video(difference.shape) else images, allowed)
    if ((heat == 0) | (heat == 1)).flatten(1).all(dim=1).any():
        logging.warning(
            "Source and target prompt predict the same about an image, so the mask that was looked for is all of it: "
            "connect two prompts that say different things"
        )
    return heat


def mask_of_edit(mask: Tensor | None, plan: Plan) -> Tensor:
    """(B, 1, *S[1:]) where an edit of a plan under a mask may change something."""
    mask = intersection(plan.mask, mask)
    return torch.ones((1, 1, *plan.latent.shape[2:])) if mask is None else mask[: plan.images]
