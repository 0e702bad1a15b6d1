"""A guider of three predictions: of the source prompt, of the target prompt and of the empty one."""

from __future__ import annotations

from typing import get_args

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core.guidance import CFGSchedule, Guidance, scale_of_source
from . import inputs
from .guide import ScheduledCFGGuider, advise
from .types import CATEGORY, Conditioning, ModelPatcher, search_aliases


class SourceTargetGuider(ScheduledCFGGuider):
    """D_src + w (D_tar - D_0) - w' (D_src - D_0), all at the edit's own state; w follows a schedule.

    Two of the three are the host's own guidance, patches of it included. With all three, its patches see target and
    empty prompt, and what the source adds comes to what they make of them.
    """

    def set_prompts(self, source: Conditioning, target: Conditioning, negative: Conditioning) -> None:
        self.inner_set_conds({"positive": target, "source": source, "negative": negative})

    def set_guidance(self, guidance: Guidance, source_scale: float) -> None:
        self._guidance, self._source_scale = guidance, source_scale

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        model_options, scale = model_options or {}, self._scales.at(timestep)
        source_scale = scale_of_source(self._guidance, scale, self._source_scale)
        target, source, empty = (self.conds[name] for name in ("positive", "source", "negative"))
        if source_scale in (1.0, scale):  # one of the three has the weight 0
            other = empty if source_scale == 1 else source
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, other, target, scale, model_options=model_options, seed=seed
            )
        # in the host's own order, by which patches of attention tell the first two
        predictions = comfy.samplers.calc_cond_batch(
            self.inner_model, [target, empty, source], x, timestep, model_options
        )
        guided = comfy.samplers.cfg_function(
            self.inner_model,
            *predictions[:2],
            scale,
            x,
            timestep,
            model_options=model_options,
            cond=target,
            uncond=empty,
        )
        return torch.add(guided, predictions[2] - predictions[1], alpha=1 - source_scale)


class EditGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditGuider",
            display_name="Guide from Source to Target",
            category=f"{CATEGORY}/sample",
            **search_aliases("pseudo-guidance", "TurboEdit", "h-Edit", "FlowAlign", "source as negative"),
            description="Guidance along the difference of two prompts, so that it adds what the target has and the "
            "source has not. A GUIDER for SamplerCustomAdvanced, with Noise Maps to SAMPLER; for any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input("source", tooltip="The source prompt: that of the inversion."),
                inputs.target(),
                io.Conditioning.Input(
                    "negative", tooltip="The negative prompt, usually empty. Not asked with source as negative."
                ),
                io.Combo.Input(
                    "guidance",
                    options=list(get_args(Guidance)),
                    tooltip="source as negative: away from the source prompt in place of the negative one, as "
                    "TurboEdit and FlowAlign; invert with cfg 1. h-Edit: a part of the way from each, 3 rows a step. "
                    "classifier-free: away from the negative prompt, as ever.",
                ),
                inputs.cfg(
                    "cfg",
                    7.5,
                    "Guidance towards the target prompt: 7.5 for h-Edit, 1.5 for TurboEdit, 13.5 for FlowAlign.",
                ),
                inputs.cfg(
                    "source_cfg",
                    5.0,
                    "h-Edit: guidance away from the source prompt, 5 in the paper. 1 is classifier-free, as much as "
                    "cfg is source as negative.",
                ),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        negative: Conditioning,
        guidance: Guidance,
        cfg: float,
        source_cfg: float,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
    ) -> io.NodeOutput:
        advise(model, cfg)
        guider = SourceTargetGuider(model)
        guider.set_prompts(source, target, negative)
        guider.set_guidance(guidance, source_cfg)
        guider.set_schedule(cfg_schedule, cfg, end_cfg)
        return io.NodeOutput(guider)
