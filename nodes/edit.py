"""Nodes from an image to an edited image in one pass."""

from __future__ import annotations

import comfy.model_management
import comfy.samplers
from comfy_api.latest import io

from ..ddpm_core.trajectories import seeds_of_rows
from . import host, latents
from .pair import PairGuider
from .samplers import EditSampler
from .types import CATEGORY, MAX_SEED, MAX_STEPS


class EditFriendlyEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEdit",
            display_name="Edit Image (Edit-Friendly DDPM)",
            category=CATEGORY,
            description="Inverts an image and edits it in one pass, without keeping noise maps: the fastest way to one "
            "edit. To try many edits of one image, invert once and sample often instead.",
            inputs=[
                io.Model.Input("model", tooltip="The model to edit with."),
                io.Conditioning.Input("source", tooltip="The source prompt: what the image shows. May be empty."),
                io.Conditioning.Input("target", tooltip="The target prompt: what the image is to show."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, usually empty."),
                io.Latent.Input("latent_image", tooltip="The image, from VAE Encode."),
                io.Int.Input(
                    "steps",
                    default=100,
                    min=1,
                    max=MAX_STEPS,
                    tooltip="Steps of the schedule; those that are not skipped are one call of the model each.",
                ),
                io.Float.Input(
                    "source_cfg",
                    default=3.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance towards the source prompt. The paper uses 3.5.",
                ),
                io.Float.Input(
                    "target_cfg",
                    default=15.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance towards the target prompt. The paper uses 15; 7 to 18 is useful.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Noise of each step: 1 is DDPM, the paper's; towards 0 the steps become those of DDIM.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="ddim_uniform",
                    tooltip="Where the steps lie. ddim_uniform is the paper's; flow models want simple or beta.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of the noise laid over the image. Another seed gives another variation of the edit.",
                ),
                io.Int.Input(
                    "skip_steps",
                    default=36,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="T_skip: steps left out at the noisy end. More keeps more of the image. The paper's is "
                    "36 of 100.",
                ),
                io.Int.Input(
                    "variations",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Edit this many times, with seed, seed + 1, ...: the batch is repeated, as a whole, once "
                    "for each.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Edit only here, in the size of the image. Outside, the image comes back as it was.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use in place of steps and scheduler; must end at 0.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        negative,
        latent_image,
        steps,
        source_cfg,
        target_cfg,
        eta,
        scheduler,
        seed,
        skip_steps,
        variations,
        mask=None,
        sigmas=None,
    ) -> io.NodeOutput:
        sigmas = host.levels(model, scheduler, steps) if sigmas is None else sigmas
        schedule = host.schedule_for(model, sigmas, eta).after(skip_steps)
        latent = latents.rows_to_invert(model, latent_image, variations)
        if mask is not None:
            cell = latents.cell_of(model.get_model_object("latent_format"))
            mask = latents.mask_rows(latent.shape, cell, mask)
        guider = PairGuider(model)
        guider.set_prompts(source, target, negative)
        guider.set_scales(source_cfg, target_cfg)
        sampler = EditSampler(schedule, seeds_of_rows(seed, len(latent) // variations, variations))
        samples = host.run(guider, sampler, latent, schedule.sigmas, seed, mask)
        return io.NodeOutput({"samples": samples.to(comfy.model_management.intermediate_device())})
