"""The core's loops inside a run of the host; each function gives a loop, whose result is that of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ddpm_core import (
    Denoiser,
    NoiseMaps,
    NoiseSchedule,
    edit,
    generate,
    intersection,
    invert,
    masks,
    null_text,
    pure_noise,
    trajectories,
    with_replayed_states,
    without_residuals,
    zero_shot,
)
from ...ddpm_core.attention import AttentionControl, WordMaps
from ...ddpm_core.trajectories import Trajectory
from . import calls, conds
from .attention_patches import Patches
from .attention_runs import AttentionEdit, PairedRun, refuse_two_models, refuse_what_cannot_share
from .blocks import Blocks
from .embeddings import OpenGuidance
from .guiders import GuidanceOfRun, Guide, ImagesGuider
from .plan import Plan
from .run import Loop, LoopSampler, Run, gradients
from .values import ModelPatcher
from .zero_shot import HostGuidance


def inversion(
    plan: Plan, trajectory: Trajectory, timesteps_per_call: int = 1, noising: Tensor | None = None
) -> Loop[NoiseMaps]:
    """Inversion along a trajectory that does not depend on the network."""

    def loop(run: Run) -> NoiseMaps:
        image, schedule = run.image(len(plan.seeds)), plan.schedule
        chunks = calls.chunks(run.guider, run.model_options, schedule, image.shape, timesteps_per_call)
        if any(len(chunk) > 1 for chunk in chunks):
            calls.expand_conditionings(run.guider, len(image))
        rounding = calls.rounding(run.guider.model_patcher)
        with run.progress(schedule.steps) as progress:
            return invert(
                calls.SplittingDenoiser(run.denoiser, rows=len(image), rounding=rounding),
                trajectory(image, schedule, plan.seeds),
                schedule,
                chunks=chunks,
                skipped=plan.skipped,
                facts=plan.facts,
                mask=plan.mask,
                noising=noising,
                device=image.device,
                callback=progress,
            )

    return loop


def inversion_by_image(model: ModelPatcher, plan: Plan, trajectory: Trajectory) -> NoiseMaps:
    """Inversion without a call, for an edit model: it sees the image, which is thus what it predicts of the source."""
    image = model.model.process_latent_in(plan.latent)
    return invert(
        lambda x, sigma: image.repeat(len(x) // len(image), *[1] * (image.ndim - 1)),
        trajectory(image, plan.schedule, plan.seeds),
        plan.schedule,
        skipped=plan.skipped,
        facts=plan.facts,
        mask=plan.mask,
    )


def ddim_inversion(
    plan: Plan, climb: Callable[..., Tensor], calls_of_climb: int, *, keep_residuals: bool, replay_source: bool
) -> Loop[NoiseMaps]:
    """The model's ODE run backwards from the images of a plan.

    Args:
        climb: `trajectories.ddim` with its settings.
        calls_of_climb: the steps in which it asks the model.
    """

    def loop(run: Run) -> NoiseMaps:
        image, schedule = run.image(len(plan.seeds)), plan.schedule
        with run.progress(calls_of_climb + schedule.steps * (keep_residuals or replay_source)) as progress:
            states = climb(run.denoiser, image, schedule, plan.seeds, device=image.device, callback=progress)
            further = progress.after(calls_of_climb)
            of_plan: dict[str, Any] = {"skipped": plan.skipped, "facts": plan.facts, "mask": plan.mask}
            if keep_residuals:
                return invert(run.denoiser, states, schedule, **of_plan, device=image.device, callback=further)
            maps = without_residuals(schedule, states, **of_plan)
            if replay_source:
                maps = with_replayed_states(run.denoiser, maps, device=image.device, callback=further)
            return maps

    return loop


def null_text_inversion(
    plan: Plan, guide: Guide, *, inner_steps: int, learning_rate: float, early_stop: float
) -> Loop[NoiseMaps]:
    """Null-text inversion, under a guider without guidance, for sampling with some."""

    def loop(run: Run) -> NoiseMaps:
        schedule = plan.schedule
        with (
            run.progress(schedule.steps * (1 + inner_steps)) as progress,
            gradients([run.guider.inner_model, *conds.control_models(run.guider.conds.values())]),
            calls.gradients_through(run.others, "null-text inversion"),
        ):
            x_0 = run.image(len(plan.seeds)).clone()
            pivots = trajectories.ddim(
                run.denoiser,
                x_0,
                schedule,
                plan.seeds,  # no noise is drawn
                device=x_0.device,
                callback=progress,
            )
            run.guider.guide_by(GuidanceOfRun(schedule.sigmas, guide))
            guided = OpenGuidance(run.guider, run.extra_args)
            return null_text(
                guided,
                pivots,
                schedule,
                guided.embedding(len(x_0)),
                inner_steps=inner_steps,
                learning_rate=learning_rate,
                early_stop=early_stop,
                skipped=plan.skipped,
                facts=plan.facts,
                mask=plan.mask,
                device=x_0.device,
                callback=progress.after(schedule.steps),
            )

    return loop


def generation(plan: Plan) -> Loop[NoiseMaps]:
    """Generation from fresh noise, of images of the plan's shape."""

    def loop(run: Run) -> NoiseMaps:
        like = torch.empty(run.latent.shape, dtype=torch.float32)
        schedule, seeds, mask = plan.schedule, plan.seeds, plan.mask
        with run.progress(schedule.steps) as progress:
            return generate(
                run.denoiser,
                pure_noise(like, schedule, seeds),
                schedule,
                seeds,
                facts=plan.facts,
                around=None if mask is None else (run.image(len(seeds)), mask),
                mask_after=run.mask_after(mask),
                device=run.latent.device,
                callback=progress,
            )

    return loop


def editing(plan: Plan, mask: Tensor | None, attention: AttentionEdit | None = None) -> Loop[Tensor]:
    """Inversion and edit in one pass, under a `PairGuider`."""

    def loop(run: Run) -> Tensor:
        run.guider.prepare_source(run.prepare)
        image, schedule, mask_after = run.image(len(plan.seeds)), plan.schedule, None
        if attention is not None:
            paired = PairedRun(attention.edit, run.guider, run.model_options, schedule.sigmas, plan.full_steps)
            run.guider.attention, mask_after = paired, paired.mask_after
        with run.progress(schedule.steps) as progress:
            return edit(
                run.denoiser,
                image.cpu(),
                schedule,
                plan.seeds,
                mask=intersection(plan.mask, mask),
                mask_after=mask_after,
                device=image.device,
                callback=progress,
            )

    return loop


def zero_shot_sampling(noise_maps: NoiseMaps, *, weight: float, skip_steps: int, mask: Tensor | None) -> LoopSampler:
    """Sampling from noise maps under cross-attention guidance, in an `ImagesGuider` that has a `source` too."""

    def loop(run: Run) -> Tensor:
        guider = run.guider
        guider.keep_together()  # as its own calls have them
        guidance = HostGuidance(guider, run.extra_args)
        with (
            run.progress(len(run.sigmas) - 1) as progress,
            gradients([guider.inner_model, *conds.control_models(guider.conds.values())]),
            calls.gradients_through(run.others, "zero-shot guidance"),
        ):
            opened = run.mask_after(noise_maps.mask)
            return zero_shot(
                guidance,
                noise_maps if opened is None else replace(noise_maps, mask=None),
                weight=weight,
                skip_steps=skip_steps,
                mask=mask,
                mask_after=opened,
                device=run.device,
                callback=progress,
            )

    return LoopSampler(loop)


@dataclass(frozen=True)
class Views:
    """States of images at some levels of a schedule, to predict from.

    Args:
        rows: how many.
        levels: indices into the schedule.
        state: (rows, *S) the latent, i -> (rows, *S) its state at level i.
    """

    rows: int
    schedule: NoiseSchedule
    levels: Sequence[int]
    state: Callable[[Tensor, int], Tensor]


def predictions(views: Views) -> Loop[list[Tensor]]:
    """(rows, *S) the predictions of x_0 at each of some levels."""

    def loop(run: Run) -> list[Tensor]:
        image, found = run.image(views.rows), []
        with run.progress(len(views.levels)) as progress:
            for k, i in enumerate(views.levels):
                x, sigma = views.state(image, i).to(image.device), views.schedule.step(i).sigma
                denoised = run.denoiser(x, x.new_full((len(x),), sigma, dtype=torch.float32))
                progress({"x": x, "i": k, "sigma": sigma, "denoised": denoised})
                found.append(denoised.cpu())
        return found

    return loop


def prompt_difference(views: Views, of_source: Sequence[Tensor] | None = None) -> Loop[Tensor]:
    """(rows, 1, *S[1:]) how far the prompts of an unguided `PairGuider` differ.

    Args:
        of_source: the predictions under the source prompt, where the guider has the target alone.
    """

    def loop(run: Run) -> Tensor:
        image = run.image(views.rows)
        if of_source is None:
            run.guider.prepare_source(run.prepare)
        denoiser = run.denoiser if of_source is None else partial(_beside, iter(of_source), run.denoiser)
        with run.progress(len(views.levels)) as progress:
            return masks.prediction_difference(
                denoiser,
                partial(views.state, image),
                views.schedule,
                views.levels,
                device=image.device,
                callback=progress,
            )

    return loop


def _beside(known: Iterator[Tensor], denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """(2 * rows, *S) the next of some predictions, and those of the second half of x."""
    return torch.cat([next(known).to(x), denoiser(x.chunk(2)[1], sigma.chunk(2)[1])])


def word_maps(noise_maps: NoiseMaps, levels: Sequence[int], tokens: Tensor) -> Loop[Tensor]:
    """(rows, h, w) the attention to some tokens (L,) bool, added up over levels of noise maps."""

    def loop(run: Run) -> Tensor:
        refuse_what_cannot_share(run.model_options)
        if isinstance(run.guider, ImagesGuider):
            run.guider.keep_together()  # a call that is tried in another way would be seen twice
        seen = WordMaps(tokens)
        blocks = Blocks.of(run.guider.inner_model.diffusion_model, run.model_options)
        if blocks.sites:
            refuse_two_models(run.guider.model_patcher)
        patches = Patches(AttentionControl(), blocks, steps=1)
        options = patches.into(run.model_options, step=0, positive=0, see=seen)
        denoiser = replace(run, extra_args={**run.extra_args, "model_options": options}).denoiser
        with run.progress(len(levels)) as progress:
            for k, i in enumerate(levels):
                x = noise_maps.states[i].to(run.device, copy=True)
                sigma = noise_maps.schedule.step(i).sigma
                denoised = denoiser(x, x.new_full((len(x),), sigma, dtype=torch.float32))
                progress({"x": x, "i": k, "sigma": sigma, "denoised": denoised})
        return seen.sum[0].cpu()

    return loop
