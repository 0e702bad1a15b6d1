"""The core's loops as samplers of ComfyUI, so that they run inside the host's guider."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import comfy.samplers
import torch
from tqdm.auto import tqdm

from ..ddpm_core import (
    NoiseMaps,
    edit,
    generate,
    invert,
    null_text,
    pure_noise,
    sample,
    trajectories,
    without_residuals,
)
from . import batching, embeddings, host, latents, newest
from .plan import Plan


class InversionSampler(comfy.samplers.Sampler):
    """Inverts the latent that the host hands to it; `noise_maps` is there after the run."""

    def __init__(self, plan: Plan, trajectory: trajectories.Trajectory, timesteps_per_call: int):
        self.plan = plan
        self.trajectory = trajectory
        self.timesteps_per_call = timesteps_per_call
        self.noise_maps: NoiseMaps | None = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latent_image = _scaled(model_wrap, latent_image)
        schedule = self.plan.schedule
        with _Progress(callback, schedule.steps, disable_pbar) as progress:
            self.noise_maps = invert(
                batching.SplittingDenoiser(model_wrap, extra_args, len(latent_image)),
                self.trajectory(latent_image, schedule, self.plan.seeds),
                schedule,
                chunks=batching.chunks(
                    model_wrap, extra_args["model_options"], schedule, latent_image.shape, self.timesteps_per_call
                ),
                skipped=self.plan.skipped,
                info=self.plan.info,
                device=latent_image.device,
                callback=progress,
            )
        return latent_image


class FixedNoise(comfy.samplers.Sampler):
    """Samples from noise maps. The host's noise and latent are not used; its denoise mask is."""

    def __init__(self, noise_maps: NoiseMaps, skip_steps: int):
        self.noise_maps = noise_maps
        self.skip_steps = skip_steps
        self.sigmas = noise_maps.schedule.sigmas[noise_maps.first_step(skip_steps) :].to(torch.float32)

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latents.check_one_part(newest.shapes_of_run(model_wrap.inner_model))
        host.check_same_model(self.noise_maps, model_wrap.model_patcher)
        self._check_run(sigmas, noise)
        uncond = self.noise_maps.uncond
        if uncond is None:
            denoiser = partial(model_wrap, **extra_args)
        else:
            first = self.noise_maps.first_step(self.skip_steps)
            denoiser = embeddings.ReplacingDenoiser(model_wrap, extra_args, uncond[first:].to(noise.device))
        with _Progress(callback, len(self.sigmas) - 1, disable_pbar) as progress:
            return sample(
                denoiser,
                self.noise_maps,
                skip_steps=self.skip_steps,
                mask=denoise_mask,
                device=noise.device,
                callback=progress,
            )

    def _check_run(self, sigmas: torch.Tensor, noise: torch.Tensor) -> None:
        sigmas = sigmas.cpu()
        if sigmas.shape != self.sigmas.shape or not torch.allclose(sigmas, self.sigmas, rtol=1e-4):
            raise ValueError(
                f"the sampler runs {len(sigmas) - 1} steps from sigma {sigmas[0]:.4g}, the noise maps hold "
                f"{len(self.sigmas) - 1} steps from {self.sigmas[0]:.4g}: connect the SIGMAS output of the node that "
                "made this SAMPLER"
            )
        if noise.shape != self.noise_maps.image.shape:
            raise ValueError(
                f"the latent has shape {tuple(noise.shape)}, the noise maps have {tuple(self.noise_maps.image.shape)}: "
                "connect a latent of the maps' size and batch, such as the one that was inverted"
            )


class DDIMInversionSampler(comfy.samplers.Sampler):
    """Runs the model's ODE backwards from the latent that the host hands to it; `noise_maps` is there after the run."""

    def __init__(self, plan: Plan, keep_residuals: bool, fixed_point_iterations: int, forward_noise_steps: int):
        self.plan = plan
        self.keep_residuals = keep_residuals
        self.options = {
            "fixed_point_iterations": fixed_point_iterations,
            "forward_noise_steps": forward_noise_steps,
        }
        self.noise_maps: NoiseMaps | None = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latent_image = _scaled(model_wrap, latent_image)
        denoiser, device = partial(model_wrap, **extra_args), latent_image.device
        schedule, kept = self.plan.schedule, {"skipped": self.plan.skipped, "info": self.plan.info}
        climbed = schedule.steps - self.options["forward_noise_steps"]
        total = climbed + schedule.steps * self.keep_residuals
        with _Progress(callback, total, disable_pbar) as progress:
            states, denoised = trajectories.ddim(
                denoiser, latent_image, schedule, self.plan.seeds, **self.options, device=device, callback=progress
            )
            if self.keep_residuals:
                self.noise_maps = invert(
                    denoiser, states, schedule, **kept, device=device, callback=progress.after(climbed)
                )
            else:
                self.noise_maps = without_residuals(schedule, states, denoised, **kept)
        return latent_image


class NullTextSampler(comfy.samplers.Sampler):
    """Null-text inversion of the latent that the host hands to it, for guidance `cfg`, under the host's CFGGuider.

    `noise_maps` is there after the run.
    """

    def __init__(self, plan: Plan, cfg: float, **options: float):
        self.plan = plan
        self.cfg = cfg
        self.options = options
        self.noise_maps: NoiseMaps | None = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        schedule = self.plan.schedule
        total = schedule.steps * (1 + self.options["inner_steps"])
        with _Progress(callback, total, disable_pbar) as progress, host.gradients(model_wrap.inner_model):
            x_0 = _scaled(model_wrap, latent_image).clone()
            model_wrap.set_cfg(1.0)
            pivots, _ = trajectories.ddim(
                partial(model_wrap, **extra_args),
                x_0,
                schedule,
                self.plan.seeds,  # no noise is drawn
                device=x_0.device,
                callback=progress,
            )
            guided = embeddings.OpenGuidance(model_wrap, extra_args["model_options"], self.cfg)
            self.noise_maps = null_text(
                guided,
                pivots,
                schedule,
                guided.embedding(len(x_0)),
                **self.options,
                skipped=self.plan.skipped,
                info=self.plan.info,
                device=x_0.device,
                callback=progress.after(schedule.steps),
            )
        return latent_image


class NativeSampler(comfy.samplers.Sampler):
    """Generates images of the latent's shape from fresh noise; `noise_maps` is there after the run."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.noise_maps: NoiseMaps | None = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        like = torch.empty(latent_image.shape, dtype=torch.float32)
        schedule, seeds = self.plan.schedule, self.plan.seeds
        with _Progress(callback, schedule.steps, disable_pbar) as progress:
            self.noise_maps = generate(
                partial(model_wrap, **extra_args),
                pure_noise(like, schedule, seeds),
                schedule,
                seeds,
                info=self.plan.info,
                device=latent_image.device,
                callback=progress,
            )
        return self.noise_maps.image.to(latent_image.device)


class EditSampler(comfy.samplers.Sampler):
    """Inverts and edits the latent that the host hands to it in one pass, under a `pair.PairGuider`."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latent_image = _scaled(model_wrap, latent_image)
        with _Progress(callback, self.plan.schedule.steps, disable_pbar) as progress:
            return edit(
                partial(model_wrap, **extra_args),
                latent_image.cpu(),
                self.plan.schedule,
                self.plan.seeds,
                mask=denoise_mask,
                device=latent_image.device,
                callback=progress,
            )


class _Progress:
    """The core's step callback as the host's: previews, the node's progress bar, interrupts; and a console bar."""

    def __init__(self, callback, total: int, disable_pbar: bool):
        self._callback = callback
        self._bar = tqdm(total=total, disable=disable_pbar)

    def __enter__(self):
        return self

    def __call__(self, step: dict) -> None:
        self._bar.update(step["i"] + 1 - self._bar.n)
        if self._callback is not None:
            self._callback(step["i"], step["denoised"], step["x"], self._bar.total)

    def after(self, done: int) -> Callable[[dict], None]:
        """The callback of a second loop, whose steps follow `done` others."""
        return lambda step: self({**step, "i": done + step["i"]})

    def __exit__(self, *_):
        self._bar.close()


def _scaled(model_wrap, latent_image: torch.Tensor) -> torch.Tensor:
    """The latent in the model's scaling. The host leaves an all-zero one unscaled on the way in, yet scales it back."""
    return latent_image if latent_image.any() else model_wrap.inner_model.process_latent_in(latent_image)
