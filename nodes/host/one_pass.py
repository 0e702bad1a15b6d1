"""Inversion and edit of an image without noise maps to keep."""

from __future__ import annotations

import logging

from torch import Tensor

from ...ddpm_core import trajectories
from . import calls, loops
from .attention_runs import AttentionEdit
from .fixed_noise import FixedNoise
from .guiders import Guide, ImagesGuider, cfg_guide
from .pairs import PairGuider
from .plan import Plan
from .run import run_plan, sampled_from_maps, sampled_plan
from .values import Conditioning, ModelPatcher


def edited(
    model: ModelPatcher,
    source: Conditioning,
    target: Conditioning,
    negative: Conditioning,
    plan: Plan,
    *,
    source_cfg: float,
    guide: Guide,
    mask: Tensor | None = None,
    attention: AttentionEdit | None = None,
    by_image: bool = False,
) -> Tensor:
    """(rows, *S) in the LATENT's own scaling: the images of a plan, edited from a source prompt to a target prompt.

    In one run; in one for each prompt where other nodes have put code into the model, which may keep something from
    call to call, as step caches and momentum do; in the target's alone where the image is the source's prediction.

    Args:
        source_cfg, guide: guidance towards either prompt.
        mask: (rows or 1, 1, *S[1:]) where the edit is wanted.
        attention: what the target takes over of the source.
        by_image: whether the image itself is what is predicted of the source.
    """
    others = calls.code_of_others(model, model.model_options)
    if not others and not by_image:
        guider = PairGuider(model, source, target, negative, source_cfg, guide)
        return sampled_plan(guider, loops.editing(plan, mask, attention), plan)
    if by_image:
        noise_maps = loops.inversion_by_image(model, plan, trajectories.edit_friendly)
    else:
        logging.info("Edit-friendly edit: a run for each prompt, because of model patches (%s)", ", ".join(others))
        inverting = ImagesGuider(model, {"positive": source, "negative": negative}, cfg_guide(source_cfg))
        noise_maps = run_plan(inverting, loops.inversion(plan, trajectories.edit_friendly), plan)
    sampling = ImagesGuider(model, {"positive": target, "negative": negative}, guide)
    sampler = FixedNoise(noise_maps, plan.skipped, mask, attention)
    return sampled_from_maps(sampling, sampler, noise_maps, sampler.sigmas)


__all__ = ["edited"]
