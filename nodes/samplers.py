"""The core's loops as samplers of ComfyUI, so that they run inside the host's guider."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..ddpm_core import (
    Denoiser,
    NoiseMaps,
    NoiseSchedule,
    edit,
    generate,
    invert,
    narrower,
    null_text,
    pure_noise,
    sample,
    trajectories,
    without_residuals,
)
from ..ddpm_core.denoiser import StepCallback
from ..ddpm_core.guidance import CFGSchedule
from . import batching, conds, embeddings, host, latents, newest
from .attention import AttentionEdit, PairedRun, SharedRun
from .guide import ScalesOfRun
from .plan import Plan

HostCallback = Callable[[int, Tensor, Tensor, int], None]
"""(step, predicted x_0, x, steps in all): draws previews, counts progress, and raises when the user interrupts."""


@dataclass(frozen=True)
class Run:
    """What the host hands to a sampler.

    Args:
        guider: the guider that is being sampled with, its conditionings ready for the model.
        extra_args: what each call of it needs beside x and sigma.
        sigmas: (T+1,) the levels that the host was told.
        noise, latent: (B, *S) of the images, on the device; the latent in the model's scaling.
        mask: the host's denoise mask, 1 where something may change.
    """

    guider: Any
    extra_args: dict[str, Any]
    sigmas: Tensor
    noise: Tensor
    latent: Tensor
    mask: Tensor | None
    callback: HostCallback | None
    disable_pbar: bool

    @property
    def denoiser(self) -> Denoiser:
        """The guider as the core calls it."""
        return partial(self.guider, **self.extra_args)

    def image(self, rows: int) -> Tensor:
        """(rows, *S) the latent, repeated; scaled if all zero, too, which the host does on the way out alone."""
        latent = self.latent if self.latent.any() else self.guider.inner_model.process_latent_in(self.latent)
        return comfy.utils.repeat_to_batch_size(latent, rows)

    def prepare(self, prompts: dict[str, conds.Conds]) -> dict[str, conds.Conds]:
        """Further prompts made ready for the model, as the host has made the guider's own."""
        model = self.guider.inner_model
        parts = newest.shapes_for_conds(model)
        return comfy.samplers.process_conds(
            model, self.noise, prompts, self.noise.device, self.latent, self.mask, self.seed, **parts
        )

    @property
    def seed(self) -> int | None:
        """What conditionings that use one are given."""
        return self.extra_args.get("seed")

    def progress(self, total: int) -> Progress:
        """The progress of `total` steps, as a context."""
        return Progress(self.callback, total, self.disable_pbar)


class CoreSampler(comfy.samplers.Sampler, ABC):
    """A loop of the core as a SAMPLER: what a subclass does in `run` happens inside the host's guider."""

    @abstractmethod
    def run(self, run: Run) -> Tensor:
        """(rows, *S) what the loop ends with, in the model's scaling."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: HostCallback | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """The host's own signature."""
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        return self.run(Run(model_wrap, extra_args, sigmas, noise, latent, denoise_mask, callback, disable_pbar))


def sigmas_at(schedule: NoiseSchedule, levels: list[int]) -> Tensor:
    """(levels + 1,) what the host is told of a run that calls the model at some levels of a schedule."""
    return torch.cat([schedule.sigmas[levels], torch.zeros(1)]).to(torch.float32)


class InversionSampler(CoreSampler):
    """Inverts the latent that the host hands to it; `noise_maps` is there after the run."""

    def __init__(self, plan: Plan, trajectory: trajectories.Trajectory, timesteps_per_call: int):
        self.plan = plan
        self.trajectory = trajectory
        self.timesteps_per_call = timesteps_per_call
        self.noise_maps: NoiseMaps | None = None

    def run(self, run: Run) -> Tensor:
        image, schedule = run.image(len(self.plan.seeds)), self.plan.schedule
        options = run.extra_args["model_options"]
        with run.progress(schedule.steps) as progress:
            self.noise_maps = invert(
                batching.SplittingDenoiser(
                    run.guider,
                    run.extra_args,
                    rows=len(image),
                    rounding=batching.rounding(run.guider.model_patcher),
                ),
                self.trajectory(image, schedule, self.plan.seeds),
                schedule,
                chunks=batching.chunks(run.guider, options, schedule, image.shape, self.timesteps_per_call),
                skipped=self.plan.skipped,
                info=self.plan.info,
                device=image.device,
                callback=progress,
            )
        return image


class FixedNoise(CoreSampler):
    """Samples from noise maps. The host's noise and latent are not used; its denoise mask is."""

    def __init__(
        self,
        noise_maps: NoiseMaps,
        skip_steps: int,
        mask: Tensor | None = None,
        attention: AttentionEdit | None = None,
    ):
        self.noise_maps = noise_maps
        self.skip_steps = skip_steps
        self.mask = mask
        self.attention = attention
        if attention is not None:
            host.check_same_prompt(noise_maps, attention.source, attention.says)
        self.sigmas = noise_maps.schedule.sigmas[noise_maps.first_step(skip_steps) :].to(torch.float32)

    def run(self, run: Run) -> Tensor:
        latents.check_one_part(newest.shapes_of_run(run.guider.inner_model))
        host.check_same_model(self.noise_maps, run.guider.model_patcher)
        self._check_run(run)
        first, device = self.noise_maps.first_step(self.skip_steps), run.noise.device
        mask_after = None
        if self.attention is not None:
            shared = SharedRun(
                self.attention,
                run.guider,
                run.extra_args,
                self.sigmas,
                self.noise_maps.full_steps,
                source_state=lambda step: self.noise_maps.states[first + step],
                prepare=run.prepare,
            )
            run, mask_after = replace(run, extra_args=shared.extra_args), shared.mask_after
        denoiser = run.denoiser
        if self.noise_maps.uncond is not None:
            uncond = self.noise_maps.uncond[first:].to(device)
            denoiser = embeddings.ReplacingDenoiser(run.guider, run.extra_args, uncond)
        with run.progress(len(self.sigmas) - 1) as progress:
            return sample(
                denoiser,
                self.noise_maps,
                skip_steps=self.skip_steps,
                mask=narrower(self.mask, self._mask_of(run)),
                mask_after=mask_after,
                device=device,
                callback=progress,
            )

    def _mask_of(self, run: Run) -> Tensor | None:
        """(rows, ...) the host's denoise mask, on the CPU, for all variations."""
        if run.mask is None:
            return None
        return comfy.utils.repeat_to_batch_size(run.mask.cpu(), len(self.noise_maps.image))

    def _check_run(self, run: Run) -> None:
        sigmas, noise = run.sigmas.cpu(), run.noise
        if sigmas.shape != self.sigmas.shape or not torch.allclose(sigmas, self.sigmas, rtol=1e-4):
            raise ValueError(
                f"the sampler runs {len(sigmas) - 1} steps from sigma {sigmas[0]:.4g}, the noise maps hold "
                f"{len(self.sigmas) - 1} steps from {self.sigmas[0]:.4g}: connect the SIGMAS output of the node that "
                "made this SAMPLER"
            )
        rows, *sample_shape = self.noise_maps.image.shape
        images = host.images_of(self.noise_maps)
        if list(noise.shape[1:]) != sample_shape or len(noise) not in (rows, images):
            raise ValueError(
                f"the latent has shape {tuple(noise.shape)}, the noise maps have {tuple(self.noise_maps.image.shape)}: "
                "connect a latent of the maps' size and batch, such as the one that was inverted"
            )
        prompts = getattr(run.guider, "conds", {}).values()
        if len(noise) > images and not all(conds.pictures_repeat(prompt, images) for prompt in prompts):
            raise ValueError(
                f"the latent has {len(noise)} rows, {len(noise) // images} variations of {images} images, and ComfyUI "
                "spreads the pictures of a conditioning over them in another order than the noise maps have: connect "
                f"the latent of {images} images that was inverted"
            )


class DDIMInversionSampler(CoreSampler):
    """Runs the model's ODE backwards from the latent that the host hands to it; `noise_maps` is there after the run."""

    def __init__(
        self,
        plan: Plan,
        keep_residuals: bool,
        fixed_point_iterations: int,
        forward_noise_steps: int,
        true_prediction_steps: int,
        native: NoiseMaps | None,
    ):
        self.plan = plan
        self.keep_residuals = keep_residuals
        self.fixed_point_iterations = fixed_point_iterations
        self.forward_noise_steps = forward_noise_steps
        self.true_prediction_steps = true_prediction_steps
        self.native = native
        self.noise_maps: NoiseMaps | None = None

    def run(self, run: Run) -> Tensor:
        image, plan = run.image(len(self.plan.seeds)), self.plan
        climbed = plan.schedule.steps - self.forward_noise_steps - self.true_prediction_steps
        total = climbed + plan.schedule.steps * self.keep_residuals
        with run.progress(total) as progress:
            states = trajectories.ddim(
                run.denoiser,
                image,
                plan.schedule,
                plan.seeds,
                fixed_point_iterations=self.fixed_point_iterations,
                forward_noise_steps=self.forward_noise_steps,
                true_prediction_steps=self.true_prediction_steps,
                native=self.native,
                device=image.device,
                callback=progress,
            )
            if self.keep_residuals:
                self.noise_maps = invert(
                    run.denoiser,
                    states,
                    plan.schedule,
                    skipped=plan.skipped,
                    info=plan.info,
                    device=image.device,
                    callback=progress.after(climbed),
                )
            else:
                self.noise_maps = without_residuals(plan.schedule, states, plan.skipped, plan.info)
        return image


class NullTextSampler(CoreSampler):
    """Null-text inversion of the latent that the host hands to it, for guidance by a schedule of scales.

    `noise_maps` is there after the run.
    """

    def __init__(
        self,
        plan: Plan,
        scales: tuple[CFGSchedule, float, float],
        inner_steps: int,
        learning_rate: float,
        early_stop: float,
    ):
        self.plan = plan
        self.scales = scales
        self.inner_steps = inner_steps
        self.learning_rate = learning_rate
        self.early_stop = early_stop
        self.noise_maps: NoiseMaps | None = None

    def run(self, run: Run) -> Tensor:
        schedule = self.plan.schedule
        with (
            run.progress(schedule.steps * (1 + self.inner_steps)) as progress,
            host.gradients([run.guider.inner_model, *conds.control_models(run.guider.conds.values())]),
        ):
            x_0 = run.image(len(self.plan.seeds)).clone()
            run.guider.set_cfg(1.0)
            pivots = trajectories.ddim(
                run.denoiser,
                x_0,
                schedule,
                self.plan.seeds,  # no noise is drawn
                device=x_0.device,
                callback=progress,
            )
            scales = ScalesOfRun(schedule.sigmas, *self.scales)
            guided = embeddings.OpenGuidance(run.guider, run.extra_args["model_options"], scales)
            self.noise_maps = null_text(
                guided,
                pivots,
                schedule,
                guided.embedding(len(x_0)),
                inner_steps=self.inner_steps,
                learning_rate=self.learning_rate,
                early_stop=self.early_stop,
                skipped=self.plan.skipped,
                info=self.plan.info,
                device=x_0.device,
                callback=progress.after(schedule.steps),
            )
        return run.latent


class NativeSampler(CoreSampler):
    """Generates images of the latent's shape from fresh noise; `noise_maps` is there after the run."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.noise_maps: NoiseMaps | None = None

    def run(self, run: Run) -> Tensor:
        like = torch.empty(run.latent.shape, dtype=torch.float32)
        schedule, seeds, mask = self.plan.schedule, self.plan.seeds, self.plan.mask
        with run.progress(schedule.steps) as progress:
            self.noise_maps = generate(
                run.denoiser,
                pure_noise(like, schedule, seeds),
                schedule,
                seeds,
                info=self.plan.info,
                around=None if mask is None else (run.image(len(seeds)), mask),
                device=run.latent.device,
                callback=progress,
            )
        return self.noise_maps.image.to(run.latent.device)


class EditSampler(CoreSampler):
    """Inverts and edits the latent that the host hands to it in one pass, under a `pair.PairGuider`."""

    def __init__(self, plan: Plan, mask: Tensor | None, attention: AttentionEdit | None = None):
        self.plan = plan
        self.mask = narrower(plan.mask, mask)
        self.attention = attention

    def run(self, run: Run) -> Tensor:
        run.guider.prepare_source(run.prepare)
        image, schedule, mask_after = run.image(len(self.plan.seeds)), self.plan.schedule, None
        if self.attention is not None:
            options, steps = run.extra_args["model_options"], schedule.steps + self.plan.skipped
            paired = PairedRun(self.attention.edit, run.guider, options, schedule.sigmas, steps)
            run.guider.attention, mask_after = paired, paired.mask_after
        with run.progress(schedule.steps) as progress:
            return edit(
                run.denoiser,
                image.cpu(),
                schedule,
                self.plan.seeds,
                mask=self.mask,
                mask_after=mask_after,
                device=image.device,
                callback=progress,
            )


class Progress:
    """The core's step callback as the host's: previews, the node's progress bar, interrupts; and a console bar."""

    def __init__(self, callback: HostCallback | None, total: int, disable_pbar: bool):
        self._callback = callback
        self._bar = tqdm(total=total, disable=disable_pbar)

    def __enter__(self) -> Progress:
        return self

    def __call__(self, step: dict[str, Any]) -> None:
        self._bar.update(step["i"] + 1 - self._bar.n)
        if self._callback is not None:
            self._callback(step["i"], step["denoised"], step["x"], self._bar.total)

    def after(self, done: int) -> StepCallback:
        """The callback of a second loop, whose steps follow `done` others."""
        return lambda step: self({**step, "i": done + step["i"]})

    def __exit__(self, *_: object) -> None:
        self._bar.close()
