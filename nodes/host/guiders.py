"""Guiders of the host: the guidance of the core over its prompts, for images with variations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core.guidance import CFGSchedule, Guidance, cfg_scales, classifier_free
from . import calls
from .conds import Conds, is_plain, of_row
from .levels import LevelsOfRun
from .model import advise_on_guidance
from .sums import Summing, of_two_in_a_call
from .values import Conditioning, ModelPatcher, Sampler

Guide = Callable[[int], Sequence[Guidance]]
"""(steps of a run) -> the guidance of each."""


def cfg_guide(cfg: float, schedule: CFGSchedule = "constant", end_cfg: float = 1.0) -> Guide:
    """Classifier-free guidance whose scale may change over the steps."""
    return lambda steps: classifier_free(cfg_scales(steps, schedule, cfg, end_cfg))


class GuidanceOfRun:
    """Guidance at each level of one run."""

    def __init__(self, sigmas: Tensor, guide: Guide):
        self._levels = LevelsOfRun(sigmas)
        self.of_steps = guide(max(1, len(self._levels)))

    @property
    def is_none(self) -> bool:
        """Whether each step takes its positive prompt alone."""
        return all(len(guidance.prompts) == 1 for guidance in self.of_steps)

    def step(self, timestep: Tensor) -> int:
        """The step that a call belongs to."""
        return self._levels.index(timestep)

    def at(self, timestep: Tensor) -> Guidance:
        """The guidance of the step that a call belongs to."""
        first = self.of_steps[0]
        if all(guidance is first for guidance in self.of_steps):
            return first  # without a look at the level, which waits for the device
        return self.of_steps[self.step(timestep)]


class ImagesGuider(comfy.samplers.CFGGuider):
    """A guidance of rows that are variations of images, row v * B + b of image b.

    A model that reads a picture beside the prompt (inpainting, video from an image) has the host spread the pictures of
    a batch over the rows as [0, 0, 1, 1], where it repeats all else as [0, 1, 0, 1]. So conditionings are prepared for
    the images alone, and what is sampled repeats them.

    The sum of positive and negative prompt is the host's own, so that patches of guidance act on it as in KSampler.

    Args:
        prompts: by the names that the guidance has; the host gives the ControlNets of "positive" to all others.
        guide: of a run.
    """

    images: int | None = None
    """B; None where each row is an image."""

    def __init__(self, model: ModelPatcher, prompts: dict[str, Conditioning], guide: Guide):
        super().__init__(model)
        self.inner_set_conds(prompts)
        self._guide = guide
        self._masks: dict[str, dict[int, Tensor]] = {}

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Sampler, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """The host's own signature."""
        self.guidance = GuidanceOfRun(sigmas, self._guide)
        self._tell(self.guidance.at(sigmas[:1]))
        self._masks = {}
        self._others = calls.code_of_others(self.model_patcher, self.model_options)
        self._log_calls_apart(latent_image.shape[0])  # a nested one has no length
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def _log_calls_apart(self, rows: int) -> None:
        """Say in the log why variations or edits have calls of their own, and what is not apart."""
        apart = [
            name
            for name, is_so in (
                ("variation", self.images not in (None, rows)),
                (
                    "edit",
                    any(of_two_in_a_call(guidance, self.model_options) is None for guidance in self.guidance.of_steps),
                ),
            )
            if is_so
        ]
        if self._others and apart:
            logging.info(
                "A call for each %s, because of model patches (%s); what they keep from call to call, as momentum and "
                "step caches do, they keep of all together",
                " and ".join(apart),
                ", ".join(self._others),
            )

    def inner_sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        device: torch.device,
        sampler: Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """The host's, of the images alone."""
        b = self.images
        self._others = calls.code_of_others(self.model_patcher, self.model_options)  # the host has put all of it there
        self._variations = calls.Variations(self.model_patcher, self._others)
        self._row_by_row = False
        mask = None if denoise_mask is None else denoise_mask[:b]
        return super().inner_sample(noise[:b], latent_image[:b], device, sampler, sigmas, mask, *args, **kwargs)

    def guide_by(self, guidance: GuidanceOfRun) -> None:
        """Take another guidance for the rest of a run."""
        self.guidance = guidance

    def _tell(self, guidance: Guidance) -> None:
        self._told = float(guidance.scale)
        self.set_cfg(self._told)

    def outer_predict_noise(self, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The host's; patches around it read and change the scale of a step as `cfg`."""
        self._tell(self.guidance.at(timestep))
        return super().outer_predict_noise(x, timestep, *args, **kwargs)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided prediction of x_0, by the host's name for it."""
        guidance = self.guidance.at(timestep)
        if self.cfg is not self._told:  # a patch has set another
            guidance = guidance.with_scale(self.cfg)
        return self._guided(guidance, self.conds, model_options or {}, seed, x, timestep)

    def keep_together(self) -> None:
        """Have all variations in one call for the rest of a run, whatever other nodes have put into it."""
        self._variations.keep_together()

    def _by_images(self, call: calls.Call, images: int, x: Tensor, timestep: Tensor) -> Tensor:
        """The guided prediction in a call for each variation, with the masks of all."""
        parts = zip(x.split(images), timestep.split(images), strict=True)
        return self._joined_results([partial(call, *part) for part in parts], timestep)

    def _joined_results(self, parts: Sequence[Callable[[], Tensor]], timestep: Tensor) -> Tensor:
        """The rows of several calls as those of one, with the masks of all."""
        step = self.guidance.step(timestep)
        results: list[Tensor] = []
        masks: list[dict[str, Tensor]] = []
        for part in parts:
            results.append(part())
            masks.append({name: seen[step] for name, seen in self._masks.items() if step in seen})
        for name in masks[0]:
            self._masks[name][step] = torch.cat([part[name] for part in masks])
        return torch.cat(results)

    def _guided(
        self,
        guidance: Guidance,
        conds: dict[str, Conds],
        options: dict[str, Any],
        seed: int | None,
        x: Tensor,
        timestep: Tensor,
        variations: calls.Variations | None = None,
    ) -> Tensor:
        """The guided prediction, of as many rows a call as may share one.

        Args:
            variations: of the prompts, where a run has several sets of them.
        """
        call = partial(self._of_rows, guidance, conds, options, seed)
        return (variations or self._variations)(call, self.images, x, timestep, self._by_images)

    def _of_rows(
        self,
        guidance: Guidance,
        conds: dict[str, Conds],
        options: dict[str, Any],
        seed: int | None,
        x: Tensor,
        timestep: Tensor,
    ) -> Tensor:
        """The guided prediction in one call, or row by row for a network that takes one alone."""
        guidance = guidance.of_rows(slice(len(x)))  # masks are those of all variations, which have the same
        if not self._row_by_row:
            try:
                return self._in_one(guidance, conds, options, seed, x, timestep)
            except RuntimeError as error:
                together = self._others or not all(map(is_plain, conds.values())) or not calls.is_of_one_level(timestep)
                if len(x) == 1 or together or comfy.model_management.is_oom(error):
                    raise
                reason = str(error)
        prompts = [{name: of_row(prompt, k, len(x)) for name, prompt in conds.items()} for k in range(len(x))]
        rows = zip(prompts, x.split(1), timestep.split(1), strict=True)
        parts = [
            partial(self._in_one, guidance.of_rows(slice(k, k + 1)), own, options, seed, *row)
            for k, (own, *row) in enumerate(rows)
        ]
        result = self._joined_results(parts, timestep)
        if not self._row_by_row:
            logging.warning("Edit-friendly: a call for each row, because one for all ended in: %s", reason)
            self._row_by_row = True
        return result

    def _in_one(
        self,
        guidance: Guidance,
        conds: dict[str, Conds],
        options: dict[str, Any],
        seed: int | None,
        x: Tensor,
        timestep: Tensor,
    ) -> Tensor:
        call = Summing(self.inner_model, conds, options, seed, x, timestep)
        result, masks = call.beside_others(guidance) if self._others else call.alone(guidance)
        step = self.guidance.step(timestep) if masks else 0
        for name, mask in masks.items():  # one a step, however often a patch calls
            self._masks.setdefault(name, {})[step] = mask.float().cpu()
        return result

    def masks_of_run(self, names: Sequence[str], like: Tensor) -> list[Tensor]:
        """For each term (rows, 1, *S[1:]), a mean over the steps of the last run; 0 where it never acted.

        Args:
            like: (rows, C, *S[1:]) the latent.
        """
        nowhere = torch.zeros_like(like[:, :1], device="cpu", dtype=torch.float32)
        seen = [list(self._masks.get(name, {}).values()) for name in names]
        return [torch.stack(masks).mean(dim=0) if masks else nowhere for masks in seen]


def guider_for(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    schedule: CFGSchedule = "constant",
    end_cfg: float = 1.0,
) -> ImagesGuider:
    """Classifier-free guidance of two prompts, with a schedule."""
    advise_on_guidance(model, cfg)
    return ImagesGuider(model, {"positive": positive, "negative": negative}, cfg_guide(cfg, schedule, end_cfg))
