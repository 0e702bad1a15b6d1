"""Nodes from noise maps to an image."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io

from . import host, latents
from .samplers import FixedNoise
from .types import CATEGORY, MAX_STEPS, NOISE_MAPS

_SKIP_TOOLTIP = (
    "T_skip: steps left out at the noisy end. More keeps more of the image, fewer lets the prompt change more. "
    "The paper's is 36 of 100; 0 to 40 is useful. With fewer steps, scale it along: 18 of 50. 0 together with the "
    "inversion's prompt and cfg gives the image back."
)


def _noise_maps_input() -> io.Input:
    return NOISE_MAPS.Input("noise_maps", tooltip="From Invert Image or Load Noise Maps, edited or not.")


def _skip_steps_input() -> io.Input:
    return io.Int.Input("skip_steps", default=36, min=0, max=MAX_STEPS, tooltip=_SKIP_TOOLTIP)


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
                _noise_maps_input(),
                io.Float.Input(
                    "cfg",
                    default=15.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance towards the target prompt. The paper uses 15; 7 to 18 is useful.",
                ),
                _skip_steps_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Edit only here, in the size of the image. Outside, the image comes back as it was.",
                ),
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
            inputs=[_noise_maps_input(), _skip_steps_input()],
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
