"""Nodes that change noise maps."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps, manipulation
from ..ddpm_core.manipulation import Fill, Interpolation
from . import inputs
from .host import Audio, Latent, latents, seconds_of
from .sockets import CATEGORY, NOISE_MAPS

_MAX_PIXELS = 16384
_MAX_SECONDS = 10_000.0


def _noise_maps_output() -> io.Output:
    return NOISE_MAPS.Output(display_name="noise_maps", tooltip="The changed maps; the input stays as it was.")


class LatentShift(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentShift",
            display_name="Shift Noise Maps",
            category=f"{CATEGORY}/manipulate",
            search_aliases=["move image", "pan"],
            description="Moves the noise maps, and with them the image or sound that they sample to. The model fills "
            "in what comes free, so sample with skip_steps above 0 but not too high.",
            inputs=[
                inputs.noise_maps(),
                io.Int.Input(
                    "x",
                    default=0,
                    min=-_MAX_PIXELS,
                    max=_MAX_PIXELS,
                    step=8,
                    tooltip="Image pixels to the right, negative to the left; rounded to whole latent cells, which are "
                    "8 pixels for most models.",
                ),
                io.Int.Input(
                    "y",
                    default=0,
                    min=-_MAX_PIXELS,
                    max=_MAX_PIXELS,
                    step=8,
                    tooltip="Image pixels down, negative up; rounded to whole latent cells, which are 8 pixels for "
                    "most models.",
                ),
                io.Combo.Input(
                    "fill",
                    options=list(get_args(Fill)),
                    default="copy",
                    tooltip="What the free cells hold. copy: columns from elsewhere in the map, the paper's (App. A). "
                    "wrap: what left on the other side. gaussian: fresh noise. The last two are this pack's.",
                ),
                io.Int.Input(
                    "pixels_per_cell",
                    advanced=True,
                    default=0,
                    min=0,
                    max=256,
                    optional=True,
                    tooltip="Image pixels along one side of a latent cell; 0 takes what ComfyUI says. Only for models "
                    "of which it says nothing.",
                ),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=-_MAX_SECONDS,
                    max=_MAX_SECONDS,
                    step=0.1,
                    round=0.001,
                    optional=True,
                    tooltip="For sound, in place of x: seconds later, negative earlier; rounded to latent cells, some "
                    "hundredths of a second each. Needs audio.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="The sound that was inverted, for its length."),
            ],
            outputs=[_noise_maps_output()],
        )

    @classmethod
    def execute(
        cls,
        noise_maps: NoiseMaps,
        x: int,
        y: int,
        fill: Fill,
        pixels_per_cell: int = 0,
        seconds: float = 0.0,
        audio: Audio | None = None,
    ) -> io.NodeOutput:
        cell = pixels_per_cell or noise_maps.space.cell
        if seconds:
            if x or y or not latents.is_sound(noise_maps):
                raise ValueError(
                    f"x is {x}, y {y} and seconds {seconds:g}, for noise maps with rows of "
                    f"{tuple(noise_maps.image.shape[1:])}: x and y move images, seconds moves sound; set the other to 0"
                )
            right, down = round(seconds / seconds_of(audio) * noise_maps.image.shape[-1]), 0
        elif not cell:
            raise ValueError(
                f"it is not known how many pixels a cell of these maps' latent format {noise_maps.space.format} has: "
                "of sound, which has none, set seconds and connect audio; else set pixels_per_cell (most have 8)"
            )
        else:
            right, down = round(x / cell), round(y / cell)
        return io.NodeOutput(manipulation.shift(noise_maps, right, down, fill, noise_maps.seeds))


class NoiseMapsFlip(io.ComfyNode):
    # Not LatentFlip: the host has a node of that id, for LATENT, and the host's own wins without a word.
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNoiseMapsFlip",
            display_name="Flip Noise Maps",
            category=f"{CATEGORY}/manipulate",
            search_aliases=["mirror image"],
            description="Mirrors the noise maps, and with them the image that they sample to.",
            inputs=[
                inputs.noise_maps(),
                io.Boolean.Input(
                    "horizontal", default=True, tooltip="Mirror left to right; of sound, from its end to its start."
                ),
                io.Boolean.Input("vertical", default=False, tooltip="Mirror top to bottom."),
            ],
            outputs=[_noise_maps_output()],
        )

    @classmethod
    def execute(cls, noise_maps: NoiseMaps, horizontal: bool, vertical: bool) -> io.NodeOutput:
        return io.NodeOutput(manipulation.flip(noise_maps, horizontal, vertical))


class MaskColorEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MaskColorEdit",
            display_name="Recolor Noise Maps under a Mask",
            category=f"{CATEGORY}/manipulate",
            search_aliases=["paint color", "color edit", "recolour"],
            description="Draws the image towards painted colors under a mask (the paper's Eq. 7). Invert and sample "
            "with an empty prompt, or with the prompt of the image.",
            inputs=[
                inputs.noise_maps(),
                io.Mask.Input("mask", tooltip="Where to recolor, in the size of the image."),
                io.Latent.Input(
                    "color", tooltip="The image with the colors painted on, from the VAE Encode that encoded the image."
                ),
                inputs.slider(
                    "strength",
                    0.05,
                    minimum=-1.0,
                    step=0.005,
                    tooltip="How far each step is drawn. The paper's 0.05 is for 51 drawn steps of a model of pixels; "
                    "with fewer steps, more.",
                ),
                inputs.fraction(
                    "start_percent",
                    0.30,
                    "Where in the steps the drawing starts, 0 at the noisiest. The paper: 0.30.",
                    advanced=True,
                    step=0.01,
                ),
                inputs.fraction(
                    "end_percent",
                    0.80,
                    "Where in the steps the drawing ends. The paper: 0.80; the steps after it add texture.",
                    advanced=True,
                    step=0.01,
                ),
            ],
            outputs=[_noise_maps_output()],
        )

    @classmethod
    def execute(
        cls,
        noise_maps: NoiseMaps,
        mask: Tensor,
        color: Latent,
        strength: float,
        start_percent: float,
        end_percent: float,
    ) -> io.NodeOutput:
        rows = latents.mask_rows(noise_maps.image.shape, noise_maps.space.cell, mask)
        paint = latents.color_rows(noise_maps, color)
        return io.NodeOutput(manipulation.recolor(noise_maps, rows, paint, strength, start_percent, end_percent))


class NoiseMapsInterpolate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNoiseMapsInterpolate",
            display_name="Interpolate Noise Maps",
            category=f"{CATEGORY}/manipulate",
            search_aliases=["mix", "slerp", "morph"],
            description="Mixes the noise maps of two images that were inverted with the same model and settings. "
            "Sampled, they give something between the two.",
            inputs=[
                NOISE_MAPS.Input("noise_maps_a", tooltip="What weight 0 gives."),
                NOISE_MAPS.Input("noise_maps_b", tooltip="What weight 1 gives."),
                inputs.slider("weight", 0.5, "Fraction of the second."),
                io.Combo.Input(
                    "kind",
                    options=list(get_args(Interpolation)),
                    default="spherical",
                    tooltip="How noise is mixed. spherical keeps its size; linear shrinks it between the two, which "
                    "makes images flat.",
                ),
            ],
            outputs=[_noise_maps_output()],
        )

    @classmethod
    def execute(
        cls, noise_maps_a: NoiseMaps, noise_maps_b: NoiseMaps, weight: float, kind: Interpolation
    ) -> io.NodeOutput:
        return io.NodeOutput(manipulation.interpolate(noise_maps_a, noise_maps_b, weight, kind))
