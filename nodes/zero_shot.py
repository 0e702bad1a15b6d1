"""A node that samples under cross-attention guidance (pix2pix-zero, arXiv 2302.03027)."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps
from ..ddpm_core.guidance import CFGSchedule
from . import inputs
from .host import (
    Blocks,
    Conditioning,
    ImagesGuider,
    ModelPatcher,
    advise_on_guidance,
    cfg_guide,
    check_same_model,
    latents,
    loops,
    sampled_from_maps,
    to_latent,
    with_lasting_weights,
)
from .presets import EditSettings
from .sockets import CATEGORY, MAX_STEPS, NOISE_MAPS


class ZeroShotImageToImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyZeroShotImageToImage",
            display_name="Zero-Shot Image-to-Image",
            category=f"{CATEGORY}/sample",
            search_aliases=["pix2pix-zero", "cross-attention guidance", "edit image by prompt"],
            description="Samples an image from noise maps under a target prompt and pulls, by gradients, what the "
            "words look at back to where it is in the source. For UNets (SD 1.5, SDXL). With guidance each step takes "
            "6 calls of the model and 2 ways back through it, some 5 times as long as Sample with Fixed Noise, and the "
            "memory of training.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input(
                    "source", tooltip="What the image shows; the paper's source prompt is empty, for both nodes."
                ),
                io.Conditioning.Input(
                    "target", tooltip="What it is to show: the source moved by Edit Direction, or a prompt."
                ),
                inputs.negative(),
                NOISE_MAPS.Input("noise_maps", tooltip="From Invert Image; the paper takes 50 steps."),
                inputs.cfg("cfg", 7.5, "Guidance towards the target prompt, 7.5 in the paper. 1 takes half the time."),
                io.Float.Input(
                    "guidance_weight",
                    default=0.03,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=0.0001,
                    tooltip="How strongly the source's layout is held. The paper's is 0.03 with edit-friendly maps "
                    "and 0.1 with DDIM's. 0 is Sample with Fixed Noise.",
                ),
                io.Int.Input(
                    "skip_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="T_skip: steps left out at the noisy end, 0 in the paper. More keeps more of the image.",
                ),
                inputs.mask(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.settings("skip_steps, cfg, cfg_schedule and guidance_weight"),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        negative: Conditioning,
        noise_maps: NoiseMaps,
        cfg: float,
        guidance_weight: float,
        skip_steps: int,
        mask: Tensor | None = None,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        settings: EditSettings | None = None,
    ) -> io.NodeOutput:
        if settings is not None:
            preset = settings.preset
            cfg, skip_steps, guidance_weight = preset.target_cfg, preset.skip_steps, preset.guidance_weight
            cfg_schedule = "constant"
            settings.check_has("zero-shot guidance", guidance_weight)
        check_same_model(noise_maps, model)
        Blocks.of_unet(model.get_model_object("diffusion_model"), model.model_options)
        if noise_maps.uncond is not None:
            raise ValueError(
                "the noise maps carry embeddings of null-text inversion, which hold the image by themselves: sample "
                "them with Sample with Fixed Noise, or invert with Invert Image (Edit-Friendly DDPM)"
            )
        allowed, guide = latents.mask_of_maps(noise_maps, mask), cfg_guide(cfg, cfg_schedule, end_cfg)
        first = noise_maps.first_step(skip_steps)
        sampler = loops.zero_shot_sampling(noise_maps, weight=guidance_weight, skip_steps=skip_steps, mask=allowed)
        advise_on_guidance(model, cfg)
        prompts = {"positive": target, "negative": negative, "source": source}
        guider = ImagesGuider(with_lasting_weights(model), prompts, guide)
        samples = sampled_from_maps(guider, sampler, noise_maps, noise_maps.schedule.sigmas[first:])
        return io.NodeOutput(to_latent(samples))
