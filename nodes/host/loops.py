"""The core's loops inside a run of the host; each function gives a loop, whose result is that of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import comfy.utils
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
    replayed,
    sample,
    trajectories,
    without_residuals,
    zero_shot,
)
from ...ddpm_core.attention import AttentionControl, WordMaps
from ...ddpm_core.sampling import MaskAfter
from ...ddpm_core.trajectories import Trajectory
from . import calls, compat, conds, latents
from .attention_patches import Patches
from .attention_runs import AttentionEdit, PairedRun, SharedRun, refuse_what_cannot_share
from .blocks import Blocks
from .embeddings import OpenGuidance, ReplacingDenoiser
from .guiders import GuidanceOfRun, Guide, ImagesGuider
from .model import advice_on_networks, check_same_model, check_same_prompt
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
    plan: Plan,
    climbed: NoiseSchedule,
    *,
    keep_residuals: bool,
    fixed_point_iterations: int,
    forward_noise_steps: int,
    true_prediction_steps: int,
    native: NoiseMaps | None,
    warm_start: bool,
    regularization: float,
    replay_source: bool,
) -> Loop[NoiseMaps]:
    """The model's ODE run backwards from the images of a plan, along a schedule with its levels."""

    def loop(run: Run) -> NoiseMaps:
        image = run.image(len(plan.seeds))
        asked = climbed.steps - forward_noise_steps - true_prediction_steps
        again = plan.schedule.steps if keep_residuals else (plan.schedule.steps - 1) * replay_source
        with run.progress(asked + again) as progress:
            states = trajectories.ddim(
                run.denoiser,
                image,
                plan.schedule,
                plan.seeds,
                fixed_point_iterations=fixed_point_iterations,
                forward_noise_steps=forward_noise_steps,
                true_prediction_steps=true_prediction_steps,
                native=native,
                warm_start=warm_start,
                finer=climbed,
                regularization=regularization,
                device=image.device,
                callback=progress,
            )
            if not keep_residuals:
                maps = without_residuals(plan.schedule, states, plan.skipped, plan.facts, plan.mask)
                further = progress.after(asked)
                return replayed(run.denoiser, maps, image.device, further) if replay_source else maps
            return invert(
                run.denoiser,
                states,
                plan.schedule,
                skipped=plan.skipped,
                facts=plan.facts,
                mask=plan.mask,
                device=image.device,
                callback=progress.after(asked),
            )

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
        opened = run.mask_after(plan.mask)
        allowed = intersection(plan.mask, mask) if opened is None else mask
        with run.progress(schedule.steps) as progress:
            return edit(
                run.denoiser,
                image.cpu(),
                schedule,
                plan.seeds,
                mask=allowed,
                mask_after=both(mask_after, opened),
                device=image.device,
                callback=progress,
            )

    return loop


def both(first: MaskAfter | None, second: MaskAfter | None) -> MaskAfter | None:
    """The intersection of two masks that change from step to step."""
    if first is None or second is None:
        return first or second
    return lambda step, x: intersection(first(step, x), second(step, x))


def _shown_state(
    noise_maps: NoiseMaps, as_shown: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None, first: int, step: int
) -> Tensor:
    """(rows, *S) the source's state at a step from the first that runs, as the network was shown it."""
    x = noise_maps.states[first + step]
    if as_shown is None:
        return x
    return as_shown(x, x.new_full((len(x),), noise_maps.schedule.step(first + step).sigma, dtype=torch.float32))[0]


def _later(mask_after: MaskAfter, before: int) -> MaskAfter:
    """A mask of a whole run for one that begins so many steps later."""
    return lambda step, x: mask_after(before + step, x)


class FixedNoise(LoopSampler):
    """Sampling from noise maps as a SAMPLER. The host's noise is not used; its denoise mask is.

    A run may have a part of the levels alone, as where the host splits them over two samplers. One from a later level
    on starts from the host's latent, else that is not used.

    Args:
        mask: broadcastable to the rows, 1 where the edit is wanted.
        attention: what to keep of the image's own attention.

    Raises:
        ValueError: a skip that the maps do not cover, an attention edit of another source.
    """

    def __init__(
        self,
        noise_maps: NoiseMaps,
        skip_steps: int,
        mask: Tensor | None = None,
        attention: AttentionEdit | None = None,
    ):
        super().__init__(self._sample)
        if attention is not None:
            check_same_prompt(noise_maps, attention.source, attention.says)
        self._noise_maps = noise_maps
        self._first = noise_maps.first_step(skip_steps)
        self._mask = mask
        self._attention = attention
        self.sigmas = noise_maps.schedule.sigmas[self._first :].to(torch.float32)

    def _sample(self, run: Run) -> Tensor:
        noise_maps, first = self._noise_maps, self._first
        latents.check_one_part(compat.shapes_of_run(run.guider))
        check_same_model(noise_maps, run.guider.model_patcher)
        before, steps = self._part(run.sigmas.cpu()), len(run.sigmas) - 1
        self._check_latent(run)
        if advice := advice_on_networks(noise_maps, run.guider.model_patcher, run.sigmas[:-1].tolist()):
            logging.warning("%s", advice)
        start = None if before == 0 else self._continued(run, first + before)
        mask_after: MaskAfter | None = None
        if self._attention is not None:
            shared = SharedRun(
                self._attention,
                run.guider,
                run.extra_args,
                self.sigmas,
                noise_maps.full_steps,
                source_state=partial(_shown_state, noise_maps, run.as_shown(noise_maps.image), first),
                prepare=run.prepare,
            )
            run = replace(run, extra_args=shared.extra_args)
            mask_after = _later(shared.mask_after, before)
        if self._attention is not None and isinstance(run.guider, ImagesGuider):
            run.guider.keep_together()  # as the source's rows are, which are tried beside them
        denoiser = run.guider_of(len(noise_maps.image) if self._attention else noise_maps.images)
        if noise_maps.uncond is not None:
            uncond = noise_maps.uncond[first:].to(run.device)
            denoiser = ReplacingDenoiser(run.guider, run.extra_args, self.sigmas, uncond)
        denoiser = run.showing(noise_maps.image, run.repeatable(denoiser, noise_maps.seeds[0]))
        held = noise_maps.mask
        if run.mask is not None:  # for all variations
            held = intersection(held, comfy.utils.repeat_to_batch_size(run.mask.cpu(), len(noise_maps.image)))
        opened = run.mask_after(held)
        if opened is not None:
            noise_maps, held = replace(noise_maps, mask=None), None
        with run.progress(steps) as progress:
            x = sample(
                denoiser,
                noise_maps,
                skip_steps=noise_maps.skipped + first + before,
                start=start,
                steps=steps,
                mask=intersection(self._mask, held),
                mask_after=both(mask_after, opened),
                device=run.device,
                callback=progress,
            )
        # as the host hands on what is noisy still; the image itself stays as it is
        return run.guider.inner_model.model_sampling.inverse_noise_scaling(run.sigmas[-1], x)

    def _part(self, sigmas: Tensor) -> int:
        """The number of levels of the maps before those of a run.

        Raises:
            ValueError: levels that are no part of the maps', one after the other.
        """
        steps = len(sigmas) - 1
        for before in range(len(self.sigmas) - steps):
            if torch.allclose(sigmas, self.sigmas[before : before + steps + 1], rtol=1e-4):
                return before
        raise ValueError(
            f"the sampler runs {steps} steps from sigma {sigmas[0]:.4g} to {sigmas[-1]:.4g}, the noise maps hold "
            f"{len(self.sigmas) - 1} steps from {self.sigmas[0]:.4g}: connect the SIGMAS output of the node that "
            "made this SAMPLER, whole or split in two"
        )

    def _continued(self, run: Run, level: int) -> Tensor:
        """(rows, *S) the host's latent as a state at a level of the maps.

        Raises:
            ValueError: fewer rows than the maps have, or one without the noise of the maps.
        """
        noise_maps = self._noise_maps
        image, state = noise_maps.image.to(run.device), noise_maps.states[level].to(run.device)
        sampling = run.guider.inner_model.model_sampling
        x = sampling.noise_scaling(run.sigmas[0], torch.zeros_like(run.latent), run.latent)
        remedy = "connect the LATENT of the sampler that ran the levels before, with the same noise maps"
        if len(x) != len(image):
            raise ValueError(
                f"the sampler goes on from sigma {run.sigmas[0]:.4g} with a latent of {len(x)} rows, the noise maps "
                f"have {len(image)}: {remedy}"
            )
        signal, _ = noise_maps.weights(level)
        noise, found = (state - signal * image).flatten(1), (x - signal * image).flatten(1)
        part = (found * noise).sum(dim=1) / noise.square().sum(dim=1)  # 1 of these maps, about 0 of others
        chance = found.norm(dim=1) / noise.norm(dim=1) / noise.shape[1] ** 0.5
        if ((part < 0.5) & (chance < 0.125)).any():
            raise ValueError(
                f"the latent at sigma {run.sigmas[0]:.4g} has not the noise of the noise maps ({part.min():.0%} of "
                f"it): {remedy}, or set skip_steps to {noise_maps.skipped + level} and use its SIGMAS to start there"
            )
        return x

    def _check_latent(self, run: Run) -> None:
        noise = run.noise
        rows, *sample_shape = self._noise_maps.image.shape
        images = self._noise_maps.images
        if list(noise.shape[1:]) != sample_shape or len(noise) not in (rows, images):
            raise ValueError(
                f"the latent has shape {tuple(noise.shape)}, the noise maps have "
                f"{tuple(self._noise_maps.image.shape)}: connect a latent of the maps' size and batch, such as the one "
                "that was inverted"
            )
        prompts = getattr(run.guider, "conds", {}).values()
        if len(noise) > images and not all(conds.pictures_repeat(prompt, images) for prompt in prompts):
            raise ValueError(
                f"the latent has {len(noise)} rows, {len(noise) // images} variations of {images} images, and ComfyUI "
                "spreads the pictures of a conditioning over them in another order than the noise maps have: connect "
                f"the latent of {images} images that was inverted"
            )


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
        refuse_what_cannot_share(AttentionControl(), run.model_options)
        seen = WordMaps(tokens)
        blocks = Blocks.of(run.guider.inner_model.diffusion_model, run.model_options)
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
