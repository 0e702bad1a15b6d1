"""Plans of the runs that start from a LATENT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...ddpm_core import Facts, Method, NoiseSchedule, Origin, __version__, trajectories
from . import latents
from .levels import levels, schedule_for
from .model import latent_space, rows_are_frames, signature
from .models import networks
from .values import Conditioning, Latent, ModelPatcher

_FRAMES_APART = 2**32  # between seeds of frames, so that none is that of another variation


@dataclass(frozen=True)
class RunSettings:
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
        mask: (rows, 1, *S[1:]) the noise mask of the LATENT, 1 where it may change; or None.
        facts: of the noise maps; seeds and images among them.
    """

    schedule: NoiseSchedule
    skipped: int
    latent: Tensor
    mask: Tensor | None
    facts: Facts

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a row."""
        return self.facts.seeds

    @property
    def images(self) -> int:
        """B."""
        return self.facts.images or len(self.latent)

    @property
    def full_steps(self) -> int:
        """The steps of the schedule, skipped ones included."""
        return self.schedule.steps + self.skipped

    @classmethod
    def of(
        cls,
        model: ModelPatcher,
        latent_image: Latent,
        settings: RunSettings,
        *,
        method: Method,
        cfg: float,
        prompt: Conditioning,
        notes: Mapping[str, object] | None = None,
    ) -> Plan:
        """From the inputs of a node.

        Args:
            method, cfg, prompt: of the inversion, or of the sampling that is recorded.
            notes: further settings, for people.

        Raises:
            ValueError: levels, a skip or a latent that cannot be.
        """
        if settings.sigmas is None:
            scheduler, sigmas = settings.scheduler, levels(model, settings.scheduler, settings.steps)
        else:
            scheduler, sigmas = "custom sigmas", settings.sigmas
        latent = latents.rows_to_invert(model, latent_image, settings.variations)
        images = len(latent) // settings.variations
        told = {"scheduler": scheduler, "pack_version": __version__, **(notes or {})}
        return cls(
            schedule=schedule_for(model, sigmas, settings.eta, settings.order).after(settings.skip_steps),
            skipped=settings.skip_steps,
            latent=latent,
            mask=latents.noise_mask(latent_image, latent.shape),
            facts=Facts(
                tuple(
                    trajectories.seeds_of_rows(
                        settings.seed, _offsets(model, latent_image, images, method), settings.variations
                    )
                ),
                images,
                Origin(method, cfg, signature(prompt), networks(model)),
                latent_space(model),
                {key: str(value) for key, value in told.items()},
            ),
        )


def _offsets(model: ModelPatcher, latent_image: Latent, images: int, method: Method) -> list[int]:
    """The offset of each image's seed from that of its variation.

    None for pictures that are inverted, so that each has the noise that it has alone. Generated images have one each,
    by their place in the batch that they are of; so have frames where a video is a batch.
    """
    places = [*(latent_image.get("batch_index") or range(images))]
    if len(places) != images:
        places = [*range(images)]
    if method is Method.NATIVE:
        return places
    return [place * _FRAMES_APART for place in places] if rows_are_frames(model) else [0] * images
