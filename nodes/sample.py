"""Nodes from noise maps to an image, and from a prompt to an image with its noise maps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import Method, NoiseMaps
from ..ddpm_core.guidance import CFGSchedule
from . import advice, inputs
from .host import (
    AttentionEdit,
    Conditioning,
    FixedNoise,
    Latent,
    ModelPatcher,
    Plan,
    RunSettings,
    check_same_model,
    gain_of_network,
    guider_for,
    latents,
    loops,
    run_plan,
    sampled_from_maps,
    tell,
    to_latent,
    told_guidance,
)
from .presets import EditSettings
from .sockets import CATEGORY, NOISE_MAPS


class FixedNoiseSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FixedNoiseSampler",
            display_name="Sample with Fixed Noise",
            category=f"{CATEGORY}/sample",
            search_aliases=["edit image by prompt", "DDPM inversion", "resample"],
            description="Samples an image from noise maps under a target prompt: what the prompt changes, changes; "
            "the rest stays nearly as it was, and exactly so outside a mask.",
            inputs=[
                inputs.model_of_maps(),
                inputs.target("positive"),
                inputs.negative(),
                inputs.noise_maps(),
                inputs.cfg(
                    "cfg",
                    15.0,
                    "Guidance towards the target prompt. The paper uses 15; its code's README suggests 7 to 18, for "
                    "edit-friendly maps.",
                ),
                inputs.skip_steps_of_edit(),
                inputs.mask(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.attention(),
                inputs.settings("skip_steps, cfg and cfg_schedule"),
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
        settings: EditSettings | None = None,
    ) -> io.NodeOutput:
        if settings is not None:
            preset = settings.preset
            skip_steps, cfg, cfg_schedule = preset.skip_steps, preset.target_cfg, "constant"
            positive = told_guidance(model, positive, preset.target_guidance)
        check_same_model(noise_maps, model)
        sampler = FixedNoise(noise_maps, skip_steps, latents.mask_of_maps(noise_maps, mask), attention)
        gain = gain_of_network(model, sampler.sigmas[0])
        said = advice.on_settings(noise_maps, skip_steps, cfg), advice.on_first_step(gain)
        tell(cls.hidden and cls.hidden.unique_id, "; ".join(filter(None, said)))
        guider = guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg)
        return io.NodeOutput(to_latent(sampled_from_maps(guider, sampler, noise_maps, sampler.sigmas)))


class SamplerFixedNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySamplerFixedNoise",
            display_name="Noise Maps to SAMPLER",
            category=f"{CATEGORY}/sample",
            search_aliases=["edit image by prompt", "custom sampler"],
            description="Noise maps as a SAMPLER with its SIGMAS, for SamplerCustomAdvanced with any GUIDER. The noise "
            "input there is not used; give it a latent of the maps' size and batch. A noise mask on that latent limits "
            "the edit.",
            inputs=[
                inputs.noise_maps(),
                inputs.skip_steps_of_edit(),
                inputs.attention(),
                inputs.settings("skip_steps"),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="Replays the noise maps."),
                io.Sigmas.Output(
                    display_name="sigmas",
                    tooltip="The levels that this sampler needs; connect them too, whole or split over two samplers.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        noise_maps: NoiseMaps,
        skip_steps: int,
        attention: AttentionEdit | None = None,
        settings: EditSettings | None = None,
    ) -> io.NodeOutput:
        if settings is not None:
            skip_steps = settings.preset.skip_steps
        sampler = FixedNoise(noise_maps, skip_steps, attention=attention)
        tell(cls.hidden and cls.hidden.unique_id, advice.on_settings(noise_maps, skip_steps))
        return io.NodeOutput(sampler, sampler.sigmas)


class SampleWithNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySampleWithNoiseMaps",
            display_name="Generate Image with Noise Maps",
            category=f"{CATEGORY}/sample",
            search_aliases=["native noise", "text to image"],
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
                inputs.seed("Of the noise that makes the image. Another seed makes another image."),
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
        of_run = RunSettings(seed=seed, **settings)
        plan = Plan.of(model, latent_image, of_run, method=Method.NATIVE, cfg=cfg, prompt=positive)
        guider = guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg)
        noise_maps = run_plan(guider, loops.generation(plan), plan)
        return io.NodeOutput(to_latent(model.model.process_latent_out(noise_maps.image), latent_image), noise_maps)
