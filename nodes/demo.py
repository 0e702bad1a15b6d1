"""Nodes of the bundled demo model and its scenes, so that a template runs before anything is downloaded."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..demo.model import load_model
from ..demo.scenes import TEST_SEED, render, sample_scene, scene_of_caption
from .host import demo
from .sockets import CATEGORY, MAX_SEED


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadDemoModel",
            display_name="Load Demo Model",
            category=f"{CATEGORY}/demo",
            search_aliases=["test model", "example model", "checkpoint"],
            description="A tiny text-to-image model that comes with the pack, for 32 x 32 pixel scenes: colored shapes "
            "on colored grounds, houses and boats by day, at sunset and at night, in summer and winter. It knows few "
            "words and names them when a prompt has another. Invert with cfg 1, edit with cfg 2 and skip 6 of "
            "50 steps.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The diffusion model, in the host's own UNet class."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, for CLIP Text Encode."),
                io.Vae.Output(
                    display_name="vae", tooltip="Pixels as they are: the model works without a latent space."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        loaded = load_model()
        return io.NodeOutput(demo.diffusion_model(loaded), demo.text_model(loaded), demo.pixel_space())


class LoadDemoImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadDemoImage",
            display_name="Load Demo Image",
            category=f"{CATEGORY}/demo",
            search_aliases=["test image", "example image"],
            description="A scene that the demo model was not trained on, with its caption and the mask of its object.",
            inputs=[
                io.String.Input(
                    "scene",
                    default="a red circle left on a blue ground",
                    tooltip="What the scene shows, such as 'a house at night in winter'. What it leaves open comes "
                    "from the seed; empty for any scene.",
                ),
                io.Int.Input(
                    "seed",
                    default=1,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of everything that the words leave open.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene, 32 x 32 pixels."),
                io.Mask.Output(display_name="mask", tooltip="Where its object is."),
                io.String.Output(display_name="caption", tooltip="What it shows, in the demo model's words."),
            ],
        )

    @classmethod
    def execute(cls, scene: str, seed: int) -> io.NodeOutput:
        drawn = scene_of_caption(scene, TEST_SEED + seed) if scene.strip() else sample_scene(TEST_SEED + seed)
        rendering = render(drawn)
        image = (torch.from_numpy(rendering.image).float().movedim(0, -1)[None] + 1) / 2
        mask = torch.from_numpy(rendering.masks["object"]).float()[None]
        return io.NodeOutput(image, mask, drawn.caption)
