"""Nodes from noise maps to an image."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io

from . import host, inputs, latents
from .samplers import FixedNoise
from .types import CATEGORY


class FixedNoiseSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FixedNoiseSampler",
            display_name="Sample with Fixed Noise",
            category=CATEGORY,
            description="Samples an image from noise maps under a target prompt: what the prompt changes, changes; "
            "the rest stays.",
            inputs=[
                io.Model.Input("model", tooltip="The model that the image was inverted with."),
                io.Conditioning.Input("positive", tooltip="The target prompt: what the image is to show."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, usually empty."),
                inputs.noise_maps(),
                inputs.cfg("cfg", 15.0, "Guidance towards the target prompt. The paper uses 15; 7 to 18 is useful."),
                inputs.skip_steps_of_edit(),
                inputs.mask(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode.")],
        )

    @classmethod
    def execute(cls, model, positive, negative, noise_maps, cfg, skip_steps, mask=None) -> io.NodeOutput:
        host.check_same_model(noise_maps, model)
        sampler = FixedNoise(noise_maps, skip_steps)
        mask = (
            None
            if mask is None
            else latents.mask_rows(noise_maps.image.shape, latents.pixels_per_cell(noise_maps), mask)
        )
        samples = host.run(
            host.guider_for(model, positive, negative, cfg),
            sampler,
            model.model.process_latent_out(noise_maps.image),
            sampler.sigmas,
            host.seed_of(noise_maps),
            mask,
        )
        return io.NodeOutput({"samples": samples.to(comfy.model_management.intermediate_device())})


class SamplerFixedNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SamplerFixedNoise",
            display_name="Fixed Noise SAMPLER",
            category=CATEGORY,
            description="Noise maps as a SAMPLER with its SIGMAS, for SamplerCustomAdvanced with any GUIDER. The noise "
            "input there is not used; give it a latent of the maps' size and batch. A noise mask on that latent limits "
            "the edit.",
            inputs=[inputs.noise_maps(), inputs.skip_steps_of_edit()],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="Replays the noise maps."),
                io.Sigmas.Output(
                    display_name="sigmas", tooltip="The levels that this sampler needs; connect them too."
                ),
            ],
        )

    @classmethod
    def execute(cls, noise_maps, skip_steps) -> io.NodeOutput:
        sampler = FixedNoise(noise_maps, skip_steps)
        return io.NodeOutput(sampler, sampler.sigmas)
