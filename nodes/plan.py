"""What the nodes that start from a LATENT settle before the host runs their sampler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..ddpm_core import NoiseSchedule, trajectories
from . import host, latents
from .types import Conditioning, Latent, ModelPatcher


@dataclass(frozen=True)
class Settings:
    """The inputs of a node that a run is planned from, by their names; any other name is a TypeError.

    Args:
        steps, scheduler: which levels of the model.
        sigmas: levels to use in place of steps and scheduler.
        eta: 1 is DDPM, 0 is DDIM.
        order: of the steps, 1 or 2.
        seed: of variation 0; variation v has seed + v.
        skip_steps: the paper's T_skip.
        variations: how often the batch is repeated.
    """

    steps: int
    scheduler: str
    sigmas: Tensor | None = None
    eta: float = 1.0
    seed: int = 0
    skip_steps: int = 0
    variations: int = 1
    order: int = 1


@dataclass(frozen=True)
class Plan:
    """The steps to run, the rows to run them on, and what noise maps remember of it.

    Args:
        schedule: the steps that are run, without the skipped ones.
        skipped: noisier steps that are left out.
        latent: (rows, *S) in the LATENT's own scaling; row v * B + b is variation v of image b.
        images: B.
        mask: (rows, 1, *S[1:]) the noise mask of the LATENT, 1 where it may change; or None.
        seeds: one for each row.
        info: provenance for the noise maps.
    """

    schedule: NoiseSchedule
    skipped: int
    latent: Tensor
    images: int
    mask: Tensor | None
    seeds: list[int]
    info: Mapping[str, str]

    @classmethod
    def of(
        cls,
        model: ModelPatcher,
        latent_image: Latent,
        settings: Settings,
        *,
        method: str,
        cfg: float,
        prompt: Conditioning,
        seed_per_image: bool = False,
        **kept: object,
    ) -> Plan:
        """From the inputs of a node.

        Args:
            method, cfg, prompt: of the inversion (or of the sampling that is recorded), for `info`.
            seed_per_image: image b has seed + b, for images that are generated; else all images of a variation share
                one, so that each has the noise that it has alone.
            kept: further settings of the method, for `info`.

        Raises:
            ValueError: levels, a skip or a latent that cannot be.
        """
        if settings.sigmas is None:
            scheduler, sigmas = settings.scheduler, host.levels(model, settings.scheduler, settings.steps)
        else:
            scheduler, sigmas = "custom sigmas", settings.sigmas
        latent = latents.rows_to_invert(model, latent_image, settings.variations)
        images = len(latent) // settings.variations
        alike = 1 if seed_per_image else images
        return cls(
            schedule=host.schedule_for(model, sigmas, settings.eta, settings.order).after(settings.skip_steps),
            skipped=settings.skip_steps,
            latent=latent,
            images=images,
            mask=latents.noise_mask(latent_image, latent.shape),
            seeds=trajectories.seeds_of_rows(settings.seed, alike, len(latent) // alike),
            info=host.provenance(
                model,
                scheduler=scheduler,
                seed=settings.seed,
                variations=settings.variations,
                method=method,
                cfg=cfg,
                prompt_signature=json.dumps(host.signature(prompt)),
                **kept,
            ),
        )
