"""The core's loops as samplers of ComfyUI, so that they run inside the host's guider."""

from __future__ import annotations

from collections.abc import Mapping

import comfy.samplers
import torch
from tqdm.auto import tqdm

from ..ddpm_core import NoiseMaps, NoiseSchedule, edit, invert, sample, trajectories
from . import batching, host


class InversionSampler(comfy.samplers.Sampler):
    """Inverts the latent that the host hands to it; `noise_maps` is there after the run."""

    def __init__(
        self,
        schedule: NoiseSchedule,
        skipped: int,
        seeds: list[int],
        timesteps_per_call: int,
        info: Mapping[str, str],
    ):
        self.schedule = schedule
        self.skipped = skipped
        self.seeds = seeds
        self.timesteps_per_call = timesteps_per_call
        self.info = info
        self.noise_maps: NoiseMaps | None = None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latent_image = _scaled(model_wrap, latent_image)
        states = trajectories.edit_friendly(latent_image, self.schedule, self.seeds)
        with _Progress(callback, self.schedule.steps, disable_pbar) as progress:
            self.noise_maps = invert(
                batching.SplittingDenoiser(model_wrap, extra_args, len(latent_image)),
                states,
                self.schedule,
                chunks=batching.chunks(
                    model_wrap, extra_args["model_options"], self.schedule, latent_image.shape, self.timesteps_per_call
                ),
                skipped=self.skipped,
                info=self.info,
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
        host.check_same_model(self.noise_maps, model_wrap.model_patcher)
        self._check_run(sigmas, noise)
        with _Progress(callback, len(self.sigmas) - 1, disable_pbar) as progress:
            return sample(
                lambda x, sigma: model_wrap(x, sigma, **extra_args),
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


class EditSampler(comfy.samplers.Sampler):
    """Inverts and edits the latent that the host hands to it in one pass, under a `pair.PairGuider`."""

    def __init__(self, schedule: NoiseSchedule, seeds: list[int]):
        self.schedule = schedule
        self.seeds = seeds

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        latent_image = _scaled(model_wrap, latent_image)
        with _Progress(callback, self.schedule.steps, disable_pbar) as progress:
            return edit(
                lambda x, sigma: model_wrap(x, sigma, **extra_args),
                latent_image.cpu(),
                self.schedule,
                self.seeds,
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

    def __exit__(self, *_):
        self._bar.close()


def _scaled(model_wrap, latent_image: torch.Tensor) -> torch.Tensor:
    """The latent in the model's scaling. The host leaves an all-zero one unscaled on the way in, yet scales it back."""
    return latent_image if latent_image.any() else model_wrap.inner_model.process_latent_in(latent_image)
