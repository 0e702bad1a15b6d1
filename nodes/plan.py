"""What the nodes that start from a LATENT settle before the host runs their sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..ddpm_core import NoiseSchedule, trajectories
from . import host, latents


@dataclass(frozen=True)
class Plan:
    """The steps to run, the rows to run them on, and what noise maps remember of it.

    Args:
        schedule: the steps that are run, without the skipped ones.
        skipped: noisier steps that are left out.
        latent: (rows, *S) in the LATENT's own scaling; row v * B + b is variation v of image b.
        seeds: one for each row.
        info: provenance for the noise maps.
    """

    schedule: NoiseSchedule
    skipped: int
    latent: Tensor
    seeds: list[int]
    info: Mapping[str, str]

    @classmethod
    def of(
        cls,
        model,
        latent_image: dict,
        steps: int,
        scheduler: str,
        eta: float,
        sigmas: Tensor | None = None,
        seed: int = 0,
        skip_steps: int = 0,
        variations: int = 1,
        seed_per_image: bool = False,
        **remembered: object,
    ) -> Plan:
        """From the inputs of a node.

        Args:
            sigmas: levels to use in place of steps and scheduler.
            seed_per_image: image b has seed + b, for images that are generated; else all images of a variation share
                one, so that each has the noise that it has alone.
            remembered: further inputs for `info`.

        Raises:
            ValueError: levels, a skip or a latent that cannot be.
        """
        if sigmas is None:
            sigmas = host.levels(model, scheduler, steps)
        else:
            scheduler = "custom sigmas"
        latent = latents.rows_to_invert(model, latent_image, variations)
        images = 1 if seed_per_image else len(latent) // variations
        settings = {"scheduler": scheduler, "seed": seed, "variations": variations, **remembered}
        return cls(
            schedule=host.schedule_for(model, sigmas, eta).after(skip_steps),
            skipped=skip_steps,
            latent=latent,
            seeds=trajectories.seeds_of_rows(seed, images, len(latent) // images),
            info=host.provenance(model, **settings),
        )
