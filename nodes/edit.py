"""Nodes from an image to an edited image in one pass."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import Method, intersection
from ..ddpm_core.guidance import CFGSchedule
from . import advice, inputs
from .host import (
    AttentionEdit,
    Conditioning,
    Latent,
    ModelPatcher,
    Plan,
    RunSettings,
    advise_on_guidance,
    cfg_guide,
    edited,
    found_mask,
    gain_of_network,
    latents,
    mask_of_edit,
    same_embedding,
    tell,
    to_latent,
    told_guidance,
)
from .presets import EditSettings
from .sockets import CATEGORY


class EditFriendlyEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEdit",
            display_name="Edit Image (Edit-Friendly DDPM)",
            category=f"{CATEGORY}/sample",
            search_aliases=["edit image by prompt", "DDPM inversion", "img2img"],
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
                    "target_cfg",
                    15.0,
                    "Guidance towards the target prompt. The paper uses 15; its code's README suggests 7 to 18.",
                ),
                inputs.eta_of_edit(
                    0.0,
                    " On flow models 1 is DDS for one choice of its step sizes, 0 is FlowEdit, and the rest lies "
                    "between them.",
                ),
                inputs.scheduler(),
                inputs.seed(),
                inputs.skip_steps_of_edit(),
                inputs.variations(),
                inputs.mask(),
                inputs.sigmas(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.slider(
                    "auto_mask",
                    0.0,
                    maximum=0.99,
                    optional=True,
                    tooltip="Finds by itself where to edit: where the prompts differ by more than this fraction of the "
                    "largest difference. 0 is off, 0.15 is ordinary; lower for a larger mask. Takes 7 more calls.",
                ),
                inputs.attention("It adds no rows here: a step takes those of the source in any case."),
                inputs.order(),
                inputs.settings("steps, scheduler, skip_steps, eta, both cfgs and cfg_schedule"),
                inputs.source_prediction("half the rows, and source and source_cfg are used for auto_mask alone"),
                inputs.slider(
                    "strength",
                    -1.0,
                    minimum=-1.0,
                    maximum=5.0,
                    step=0.05,
                    optional=True,
                    tooltip="The edit as a slider, in place of both cfgs and the negative prompt: 0 is the image as it "
                    "is, 1 the edit without guidance, up to 5 more than that. Below 0 is off.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode."),
                io.Mask.Output(
                    display_name="mask", tooltip="Where the edit was allowed: the given and the found mask together."
                ),
            ],
            hidden=[io.Hidden.unique_id],
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
        settings: EditSettings | None = None,
        source_prediction: inputs.SourcePrediction = "model",
        strength: float = -1.0,
        **chosen: Any,
    ) -> io.NodeOutput:
        if attention is not None and not same_embedding(attention.source, source):
            raise ValueError(
                f"the attention edit has another source ({attention.says}) than this node: connect the source output "
                "of Prompt-to-Prompt to both"
            )
        if settings is not None:
            preset = settings.for_inversion(Method.EDIT_FRIENDLY, one_pass=True)
            source_cfg, target_cfg, cfg_schedule = preset.source_cfg, preset.target_cfg, "constant"
            chosen |= {"sigmas": settings.sigmas, "skip_steps": preset.skip_steps, "eta": preset.eta}
            source = told_guidance(model, source, preset.source_guidance)
            target = told_guidance(model, target, preset.target_guidance)
        if strength >= 0:  # D_src + w (D_tar - D_src)
            negative, source_cfg, target_cfg, cfg_schedule = source, 1.0, strength, "constant"
        by_image = source_prediction == "image"
        if by_image and (attention is not None or strength >= 0):
            raise ValueError(
                f"{'strength' if attention is None else 'attention'} needs what the model predicts of the source, and "
                "source_prediction is image: set it to model, or for a weaker edit use Keep Image or more skip_steps"
            )
        of_run = RunSettings(seed=seed, **chosen)
        plan = Plan.of(model, latent_image, of_run, method=Method.EDIT_FRIENDLY, cfg=source_cfg, prompt=source)
        said = advice.on_first_step(gain_of_network(model, plan.schedule.sigmas[0]))
        tell(cls.hidden and cls.hidden.unique_id, said)
        cell = plan.facts.space.cell
        allowed = None if mask is None else latents.mask_rows(plan.latent.shape, cell, mask)
        if auto_mask > 0:
            allowed = intersection(allowed, found_mask(model, source, target, plan, auto_mask, allowed))
        advise_on_guidance(model, source_cfg, target_cfg)
        guide = cfg_guide(target_cfg, cfg_schedule, end_cfg)
        samples = edited(
            model,
            source,
            target,
            negative,
            plan,
            source_cfg=source_cfg,
            guide=guide,
            mask=allowed,
            attention=attention,
            by_image=by_image,
        )
        return io.NodeOutput(to_latent(samples, latent_image), latents.to_mask(mask_of_edit(allowed, plan), cell))
