"""Nodes that give a GUIDER."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..ddpm_core.guidance import CFGSchedule, SourceGuidance, cfg_scales, from_source
from . import inputs
from .host import Conditioning, ImagesGuider, ModelPatcher, advise_on_guidance, guider_for, told_guidance
from .presets import EditSettings
from .sockets import CATEGORY


class CFGScheduleGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyCFGScheduleGuider",
            display_name="Guide with a CFG Schedule",
            category=f"{CATEGORY}/sample",
            search_aliases=["dynamic cfg", "guidance schedule"],
            description="Classifier-free guidance that falls or rises over the steps. A GUIDER for "
            "SamplerCustomAdvanced with any SAMPLER.",
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


class EditGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditGuider",
            display_name="Guide from Source to Target",
            category=f"{CATEGORY}/sample",
            search_aliases=["pseudo-guidance", "TurboEdit", "h-Edit", "FlowAlign", "source as negative"],
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
                    options=list(get_args(SourceGuidance)),
                    tooltip="source as negative: away from the source prompt in place of the negative one, as "
                    "TurboEdit, FlowAlign and FlowSlider; invert with cfg 1. cfg is then the strength of the edit: 0 "
                    "is the image as it is, 1 the edit without guidance, up to 5 more. h-Edit: a part of the way from "
                    "each, 3 rows a step. "
                    "classifier-free: away from the negative prompt, as ever.",
                ),
                inputs.cfg(
                    "cfg",
                    7.5,
                    "Guidance towards the target prompt: 7.5 for h-Edit, 1.5 for TurboEdit, 7.5 in FlowAlign's paper "
                    "and 13.5 in its code for SD3.",
                ),
                inputs.cfg(
                    "source_cfg",
                    5.0,
                    "h-Edit: guidance away from the source prompt, 5 in the paper. 1 is classifier-free, as much as "
                    "cfg is source as negative.",
                ),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.settings("cfg and cfg_schedule"),
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
        guidance: SourceGuidance,
        cfg: float,
        source_cfg: float,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        settings: EditSettings | None = None,
    ) -> io.NodeOutput:
        if settings is not None:
            cfg, cfg_schedule = settings.preset.target_cfg, "constant"
            target = told_guidance(model, target, settings.preset.target_guidance)
        advise_on_guidance(model, cfg)
        prompts = {"positive": target, "source": source, "negative": negative}
        guider = ImagesGuider(
            model,
            prompts,
            lambda steps: from_source(guidance, cfg_scales(steps, cfg_schedule, cfg, end_cfg), source_cfg),
        )
        return io.NodeOutput(guider)
