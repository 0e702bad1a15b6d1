"""Nodes from an image to an edited image in one pass."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import masks as core_masks
from ..ddpm_core import narrower
from ..ddpm_core.guidance import CFGSchedule
from . import host, inputs, latents, masks
from .attention import AttentionEdit, same_embedding
from .guide import advise
from .pair import PairGuider
from .plan import Plan, Settings
from .samplers import EditSampler
from .types import CATEGORY, Conditioning, Latent, ModelPatcher, search_aliases


class EditFriendlyEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEdit",
            display_name="Edit Image (Edit-Friendly DDPM)",
            category=f"{CATEGORY}/sample",
            **search_aliases("edit image by prompt", "DDPM inversion", "img2img"),
            description="Inverts an image and edits it in one pass, without keeping noise maps: the fastest way to one "
            "edit. To try many edits of one image, invert once and sample often instead.",
            inputs=[
                io.Model.Input("model", tooltip="The model to edit with."),
                io.Conditioning.Input("source", tooltip="The source prompt: what the image shows. May be empty."),
                inputs.target(),
                inputs.negative(),
                io.Latent.Input("latent_image", tooltip="The image, from VAE Encode."),
                inputs.steps(),
                inputs.cfg("source_cfg", 3.5, "Guidance towards the source prompt. The paper uses 3.5."),
                inputs.cfg(
                    "target_cfg", 15.0, "Guidance towards the target prompt. The paper uses 15; 7 to 18 is useful."
                ),
                inputs.eta_of_edit(0.0, " On flow models 1 is DDS, 0 is FlowEdit, and the rest lies between them."),
                inputs.scheduler(),
                inputs.seed(),
                inputs.skip_steps_of_edit(),
                inputs.variations(),
                inputs.mask(),
                inputs.sigmas(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                io.Float.Input(
                    "auto_mask",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    optional=True,
                    tooltip="Finds by itself where to edit: where the prompts differ by more than this share of the "
                    "largest difference. 0 is off, 0.15 is ordinary; lower for a larger mask. Takes 7 more calls.",
                ),
                inputs.attention(),
                inputs.order(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode."),
                io.Mask.Output(
                    display_name="mask", tooltip="Where the edit was allowed: the given and the found mask together."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        source_cfg: float,
        target_cfg: float,
        seed: int,
        mask: Tensor | None = None,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        auto_mask: float = 0.0,
        attention: AttentionEdit | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        if attention is not None and not same_embedding(attention.source, source):
            raise ValueError(
                f"the attention edit has another source ({attention.says}) than this node: connect the source output "
                "of Prompt-to-Prompt to both"
            )
        chosen = Settings(seed=seed, **settings)
        plan = Plan.of(model, latent_image, chosen, method="edit friendly", cfg=source_cfg, prompt=source)
        cell = latents.cell_of(model.get_model_object("latent_format"))
        if mask is not None:
            mask = latents.mask_rows(plan.latent.shape, cell, mask)
        if auto_mask > 0:
            heat = masks.heat_of_plan(model, source, target, plan, seed, mask)
            found = core_masks.cut(heat, auto_mask)
            mask = narrower(mask, found.repeat(len(plan.latent) // len(found), *[1] * (found.ndim - 1)))
        advise(model, source_cfg, target_cfg)
        guider = PairGuider(model)
        guider.set_prompts(source, target, negative)
        guider.set_scales(source_cfg, target_cfg, cfg_schedule, end_cfg)
        sampler = EditSampler(plan, mask, attention)
        samples = host.run(
            guider,
            sampler,
            plan.latent,
            plan.schedule.sigmas,
            seed,
            images=plan.images,
            mask=plan.mask,
        )
        return io.NodeOutput(
            {"samples": samples.to(comfy.model_management.intermediate_device())},
            masks.mask_of_edit(sampler.mask, plan, cell),
        )
