"""Nodes from noise maps to an image, and from a prompt to an image with its noise maps."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps
from ..ddpm_core.guidance import CFGSchedule
from . import advice, guide, host, inputs, latents
from .attention import AttentionEdit
from .plan import Plan, Settings
from .samplers import FixedNoise, NativeSampler
from .types import CATEGORY, NATIVE, NOISE_MAPS, Conditioning, Latent, ModelPatcher, search_aliases


class FixedNoiseSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FixedNoiseSampler",
            display_name="Sample with Fixed Noise",
            category=f"{CATEGORY}/sample",
            **search_aliases("edit image by prompt", "DDPM inversion", "resample"),
            description="Samples an image from noise maps under a target prompt: what the prompt changes, changes; "
            "the rest stays.",
            inputs=[
                inputs.model_of_maps(),
                inputs.target("positive"),
                inputs.negative(),
                inputs.noise_maps(),
                inputs.cfg("cfg", 15.0, "Guidance towards the target prompt. The paper uses 15; 7 to 18 is useful."),
                inputs.skip_steps_of_edit(),
                inputs.mask(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.attention(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        noise_maps: NoiseMaps,
        cfg: float,
        skip_steps: int,
        mask: Tensor | None = None,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        attention: AttentionEdit | None = None,
    ) -> io.NodeOutput:
        advice.tell(cls.hidden and cls.hidden.unique_id, advice.on_settings(noise_maps, skip_steps, cfg))
        guider = guide.guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg)
        samples = run_fixed_noise(guider, noise_maps, skip_steps, mask, attention)
        return io.NodeOutput({"samples": samples})


def run_fixed_noise(
    guider: guide.ImagesGuider,
    noise_maps: NoiseMaps,
    skip_steps: int,
    mask: Tensor | None = None,
    attention: AttentionEdit | None = None,
    progress: tuple[int, int] | None = None,
) -> Tensor:
    """(rows, *S) what noise maps sample to under a guider, in the LATENT's own scaling.

    Args:
        mask: a MASK of the image.
        attention: what to keep of the image's own attention.
        progress: of several runs that the node's progress counts as one: the steps before this one, and all.

    Raises:
        ValueError: maps of another model, a skip that they do not cover, a mask that does not fit.
    """
    host.check_same_model(noise_maps, guider.model_patcher)
    sampler = FixedNoise(noise_maps, skip_steps, latents.mask_of_maps(noise_maps, mask), attention)
    samples = host.run_on_maps(guider, sampler, sampler.sigmas, noise_maps, progress)
    return samples.to(comfy.model_management.intermediate_device())


class SamplerFixedNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySamplerFixedNoise",
            display_name="Noise Maps to SAMPLER",
            category=f"{CATEGORY}/sample",
            **search_aliases("edit image by prompt", "custom sampler"),
            description="Noise maps as a SAMPLER with its SIGMAS, for SamplerCustomAdvanced with any GUIDER. The noise "
            "input there is not used; give it a latent of the maps' size and batch. A noise mask on that latent limits "
            "the edit.",
            inputs=[inputs.noise_maps(), inputs.skip_steps_of_edit(), inputs.attention()],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="Replays the noise maps."),
                io.Sigmas.Output(
                    display_name="sigmas", tooltip="The levels that this sampler needs; connect them too."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, noise_maps: NoiseMaps, skip_steps: int, attention: AttentionEdit | None = None) -> io.NodeOutput:
        sampler = FixedNoise(noise_maps, skip_steps, attention=attention)
        advice.tell(cls.hidden and cls.hidden.unique_id, advice.on_settings(noise_maps, skip_steps))
        return io.NodeOutput(sampler, sampler.sigmas)


class SampleWithNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySampleWithNoiseMaps",
            display_name="Generate Image with Noise Maps",
            category=f"{CATEGORY}/sample",
            **search_aliases("native noise", "text to image"),
            description="Ordinary sampling (DDPM, like euler_ancestral, or DDIM) that also gives the noise it used, as "
            "native noise maps: to edit a generated image, or to compare with the maps of an inversion.",
            inputs=[
                io.Model.Input("model", tooltip="The model to generate with."),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                inputs.negative(),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An Empty Latent Image for the size and the batch; its content only counts outside a noise "
                    "mask. Image b of the batch has seed + b.",
                ),
                inputs.steps(),
                inputs.cfg("cfg", 7.5, "Guidance towards the prompt. To get the image again, sample with the same."),
                inputs.eta(
                    0.0,
                    "Noise of each step: 1 is DDPM, 0 is DDIM, where the starting noise alone makes the image and an "
                    "inversion can look for it.",
                ),
                inputs.scheduler(),
                inputs.seed(),
                inputs.sigmas(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.order(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The generated image, for VAE Decode."),
                NOISE_MAPS.Output(display_name="noise_maps", tooltip="The noise that made it."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        cfg: float,
        seed: int,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        **settings: Any,
    ) -> io.NodeOutput:
        chosen = Settings(seed=seed, **settings)
        plan = Plan.of(model, latent_image, chosen, method=NATIVE, cfg=cfg, prompt=positive, seed_per_image=True)
        sampler = NativeSampler(plan)
        guider = guide.guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg)
        samples = host.run(guider, sampler, plan.latent, plan.schedule.sigmas, seed, images=plan.images, mask=plan.mask)
        latent = {"samples": samples.to(comfy.model_management.intermediate_device())}
        return io.NodeOutput(latent, sampler.noise_maps)
