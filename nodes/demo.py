"""Nodes of the bundled demo model and its scenes, so that a template runs before anything is downloaded.

What only they need is imported when they run, so that a start of ComfyUI does not wait for it.
"""

from __future__ import annotations

import torch
from comfy_api.latest import io

from .sockets import CATEGORY, MAX_SEED

PARTS = ("object", "color", "sky", "ground", "place", "fruit", "table", "wall", "face", "hair", "wears")


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadDemoModel",
            display_name="Load Demo Model",
            category=f"{CATEGORY}/demo",
            search_aliases=["test model", "example model", "checkpoint"],
            description="A small text-to-image model that comes with the pack, for drawn scenes of 128 x 128 pixels: "
            "houses, boats, trees, cars, balloons and sheep in a landscape, still lifes with a vessel and fruit, and "
            "portraits. It knows few words and names them when a prompt has another. Invert with cfg 1, edit with "
            "cfg 2 and skip 3 of 25 steps.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The diffusion model, in the host's own UNet class."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, for CLIP Text Encode."),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="Its autoencoder: latents of 4 channels, an eighth of the image's side.",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..demo.weights import load_weights
        from .host import demo

        loaded = load_weights()
        return io.NodeOutput(demo.diffusion_model(loaded), demo.text_model(loaded), demo.autoencoder(loaded))


class LoadDemoImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadDemoImage",
            display_name="Load Demo Image",
            category=f"{CATEGORY}/demo",
            search_aliases=["test image", "example image"],
            description="A scene that the demo model was not trained on, with its caption and a mask.",
            inputs=[
                io.String.Input(
                    "scene",
                    default="a red house by the sea on a clear day in summer",
                    tooltip="What the scene shows, such as 'a blue glass vase with two lemons' or 'a smiling "
                    "woman with red hair'. What it leaves open comes from the seed; empty for any scene.",
                ),
                io.Int.Input(
                    "seed",
                    default=1,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of everything that the words leave open.",
                ),
                io.Combo.Input(
                    "part",
                    options=list(PARTS),
                    default="object",
                    optional=True,
                    tooltip="What the mask covers: the object (thing, vessel or person), what has the color of the "
                    "caption, or another part of such a scene.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The scene, 128 x 128 pixels."),
                io.Mask.Output(display_name="mask", tooltip="Where the part is."),
                io.String.Output(display_name="caption", tooltip="What it shows, in the demo model's words."),
            ],
        )

    @classmethod
    def execute(cls, scene: str, seed: int, part: str = "object") -> io.NodeOutput:
        from ..demo.rendering import render
        from ..demo.scenes import TEST_SEED, sample_scene, scene_of_caption

        drawn = scene_of_caption(scene, TEST_SEED + seed) if scene.strip() else sample_scene(TEST_SEED + seed)
        rendering = render(drawn)
        if part not in rendering.masks:
            raise ValueError(
                f"{drawn.caption!r} has no mask of its {part}: set part to one of {', '.join(rendering.masks)}"
            )
        image = (torch.from_numpy(rendering.image).float().movedim(0, -1)[None] + 1) / 2
        mask = torch.from_numpy(rendering.masks[part]).float()[None]
        return io.NodeOutput(image, mask, drawn.caption)
