"""Guiders of the host: for images with variations, and with guidance that changes over the steps."""

from __future__ import annotations

import logging
import math
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import cfg_scales
from ..ddpm_core.guidance import CFGSchedule
from . import inputs
from .types import CATEGORY, Conditioning, ModelPatcher, search_aliases


class LevelsOfRun:
    """Which step of one run a call of the model belongs to."""

    def __init__(self, sigmas: Tensor):
        self._levels = sigmas[:-1].cpu()

    def __len__(self) -> int:
        return len(self._levels)

    def index(self, timestep: Tensor) -> int:
        """The step that starts at a call's sigma; a level between two steps belongs to the earlier one.

        Looked up, never counted: guidance patches call a model more than once a step.
        """
        noisier = int((self._levels >= timestep.flatten()[0].item() * (1 - 1e-4)).sum())
        return max(noisier - 1, 0)


class ScalesOfRun:
    """The scale of guidance at each level of one run."""

    def __init__(self, sigmas: Tensor, schedule: CFGSchedule, first: float, last: float):
        self._levels = LevelsOfRun(sigmas)
        self._scales = cfg_scales(max(1, len(self._levels)), schedule, first, last)

    @property
    def are_all_1(self) -> bool:
        """Whether there is no guidance at all."""
        return all(math.isclose(scale, 1.0) for scale in self._scales)

    def at(self, timestep: Tensor) -> float:
        """The scale of the step that a call belongs to."""
        if len(set(self._scales)) == 1:
            return self._scales[0]  # without a look at the level, which waits for the device
        return self._scales[self._levels.index(timestep)]


class ImagesGuider(comfy.samplers.CFGGuider):
    """The host's classifier-free guidance of rows that are variations of images, row v * B + b of image b.

    A model that reads a picture beside the prompt (inpainting, video from an image) has the host spread the pictures of
    a batch over the rows as [0, 0, 1, 1], where it repeats all else as [0, 1, 0, 1]. So conditionings are prepared for
    the images alone, and what is sampled repeats them.
    """

    images: int | None = None
    """B; None where each row is an image."""

    def inner_sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        device: torch.device,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        b = self.images
        mask = None if denoise_mask is None else denoise_mask[:b]
        return super().inner_sample(noise[:b], latent_image[:b], device, sampler, sigmas, mask, *args, **kwargs)


class ScheduledCFGGuider(ImagesGuider):
    """The same with a scale for every step."""

    def set_schedule(self, schedule: CFGSchedule, first: float, last: float) -> None:
        self.schedule = schedule, first, last

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        self._scales = ScalesOfRun(sigmas, *self.schedule)
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        self.set_cfg(self._scales.at(timestep))
        return super().predict_noise(x, timestep, model_options or {}, seed)


def advise(model: ModelPatcher, *scales: float) -> None:
    """Say in the log where guidance is asked of a model that has learned to do without."""
    if model.model.model_config.unet_config.get("guidance_embed") and any(scale != 1 for scale in scales):
        logging.warning(
            "This model is guidance-distilled: set cfg to 1 and put FluxGuidance on the prompts (Edit Preset has "
            "numbers); with cfg %s each step takes two calls, for what the model was not trained for",
            " and ".join(f"{scale:g}" for scale in scales),
        )


def guider_for(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    schedule: CFGSchedule = "constant",
    end_cfg: float = 1.0,
) -> ImagesGuider:
    """The host's own classifier-free guidance, or that with a schedule."""
    advise(model, cfg)
    guider = ImagesGuider(model) if schedule == "constant" else ScheduledCFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    if schedule != "constant":
        guider.set_schedule(schedule, cfg, end_cfg)
    return guider


class CFGScheduleGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyCFGScheduleGuider",
            display_name="Guide with a CFG Schedule",
            category=f"{CATEGORY}/sample",
            **search_aliases("dynamic cfg", "guidance schedule"),
            description="Classifier-free guidance that falls (or rises) over the steps: strong where the composition "
            "is made, weak where detail is. A GUIDER for SamplerCustomAdvanced with any SAMPLER.",
            inputs=[
                io.Model.Input("model", tooltip="The model to sample with."),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                inputs.negative(),
                inputs.cfg("cfg", 8.0, "Guidance at the first, noisiest step."),
                inputs.cfg_schedule("cosine"),
                inputs.end_cfg(),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        cfg_schedule: CFGSchedule,
        end_cfg: float,
    ) -> io.NodeOutput:
        return io.NodeOutput(guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg))
