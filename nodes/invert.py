"""Nodes from an image to noise maps."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..ddpm_core.trajectories import seeds_of_rows
from . import host, latents
from .samplers import InversionSampler
from .types import CATEGORY, MAX_SEED, MAX_STEPS, NOISE_MAPS


class EditFriendlyInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyInvert",
            display_name="Invert Image (Edit-Friendly DDPM)",
            category=CATEGORY,
            description="Turns a real image into the noise maps of a DDPM sampler. Sampled again with the same prompt "
            "they give the image back exactly; with another prompt, the image keeps its structure.",
            inputs=[
                io.Model.Input("model", tooltip="The model to invert with; edit with the same one."),
                io.Conditioning.Input("positive", tooltip="The source prompt: what the image shows. May be empty."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, usually empty."),
                io.Latent.Input("latent_image", tooltip="The image, from VAE Encode."),
                io.Int.Input(
                    "steps",
                    default=100,
                    min=1,
                    max=MAX_STEPS,
                    tooltip="Steps of the schedule, each one call of the model. The paper uses 100; 50 may do.",
                ),
                io.Float.Input(
                    "cfg",
                    default=3.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance towards the source prompt. The paper uses 3.5. Sample with the same prompt and "
                    "cfg to get the image back.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Noise of each step: 1 is DDPM, the paper's. Towards 0 the steps become those of DDIM and "
                    "the maps hold less of the image.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="ddim_uniform",
                    tooltip="Where the steps lie. ddim_uniform is the paper's (where steps does not divide 1000 it may "
                    "give a step more); flow models want simple or beta.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of the noise laid over the image. Another seed gives another variation of an edit.",
                ),
                io.Int.Input(
                    "skip_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Leave out the first, noisiest steps: saves their time where the sampler skips at least as "
                    "many. 0 keeps every choice open.",
                ),
                io.Int.Input(
                    "variations",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Invert this many times, with seed, seed + 1, ...: the batch is repeated, as a whole, once "
                    "for each.",
                ),
                io.Int.Input(
                    "timesteps_per_call",
                    default=1,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="1 is exact. More timesteps in one call of the model are faster on a GPU, and exact to the "
                    "rounding that the model leaves; 0 takes as many as fit the free memory.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use in place of steps and scheduler; must end at 0.",
                ),
            ],
            outputs=[NOISE_MAPS.Output(display_name="noise_maps", tooltip="The image as fixed noise.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        steps,
        cfg,
        eta,
        scheduler,
        seed,
        skip_steps,
        variations,
        timesteps_per_call=1,
        sigmas=None,
    ) -> io.NodeOutput:
        scheduler = scheduler if sigmas is None else "custom sigmas"
        sigmas = host.levels(model, scheduler, steps) if sigmas is None else sigmas
        schedule = host.schedule_for(model, sigmas, eta).after(skip_steps)
        latent = latents.rows_to_invert(model, latent_image, variations)
        seeds = seeds_of_rows(seed, len(latent) // variations, variations)
        info = host.provenance(
            model, method="edit friendly", scheduler=scheduler, cfg=cfg, seed=seed, variations=variations
        )
        sampler = InversionSampler(schedule, skip_steps, seeds, timesteps_per_call, info)
        host.run(host.guider_for(model, positive, negative, cfg), sampler, latent, schedule.sigmas, seed)
        return io.NodeOutput(sampler.noise_maps)
