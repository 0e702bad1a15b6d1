"""Sampling from noise maps as a SAMPLER of the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import comfy.utils
import torch
from torch import Tensor

from ...ddpm_core import NoiseMaps, intersection, sample
from ...ddpm_core.sampling import MaskAfter
from . import compat, conds, latents
from .attention_runs import AttentionEdit, SharedRun
from .embeddings import ReplacingDenoiser
from .guiders import ImagesGuider
from .model import advice_on_networks, check_same_model, check_same_prompt
from .run import LoopSampler, Run


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


def _both(first: MaskAfter | None, second: MaskAfter | None) -> MaskAfter | None:
    """The intersection of two masks that change from step to step."""
    if first is None or second is None:
        return first or second
    return lambda step, x: intersection(first(step, x), second(step, x))


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
        denoiser = run.showing(noise_maps.image, run.repeatable(denoiser, noise_maps.seeds[0], self.sigmas))
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
                mask_after=_both(mask_after, opened),
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
        mask = self._noise_maps.mask
        if mask is not None and run.mask is None and run.is_told_by(mask[: len(noise)]):
            raise ValueError(
                "the noise maps were made with a noise mask, by which this model is told what is kept, and the latent "
                "has none: connect the LATENT that was inverted, with its noise mask"
            )
        prompts = getattr(run.guider, "conds", {}).values()
        if len(noise) > images and not all(conds.pictures_repeat(prompt, images) for prompt in prompts):
            raise ValueError(
                f"the latent has {len(noise)} rows, {len(noise) // images} variations of {images} images, and ComfyUI "
                "spreads the pictures of a conditioning over them in another order than the noise maps have: connect "
                f"the latent of {images} images that was inverted"
            )
