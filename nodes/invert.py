"""Nodes from an image to noise maps."""

from __future__ import annotations

from comfy_api.latest import io

from ..ddpm_core.trajectories import seeds_of_rows
from . import host, inputs, latents
from .samplers import InversionSampler
from .types import CATEGORY, MAX_STEPS, NOISE_MAPS


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
                inputs.steps(),
                inputs.cfg(
                    "cfg",
                    3.5,
                    "Guidance towards the source prompt. The paper's is 3.5. To get the image back, sample with it.",
                ),
                inputs.eta(),
                inputs.scheduler(),
                inputs.seed(),
                io.Int.Input(
                    "skip_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Leave out the first, noisiest steps: saves their time where the sampler skips at least as "
                    "many. 0 keeps every choice open.",
                ),
                inputs.variations(),
                io.Int.Input(
                    "timesteps_per_call",
                    default=1,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="1 is exact. More timesteps in one call of the model are faster on a GPU, and exact to the "
                    "rounding that the model leaves; 0 takes as many as fit the free memory.",
                ),
                inputs.sigmas(),
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
