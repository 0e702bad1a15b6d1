"""A node that samples noise maps at several skips and cfgs and lays the results out as one sheet."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..ddpm_core import NoiseMaps, contact_sheet
from . import inputs
from .host import (
    AttentionEdit,
    Conditioning,
    FixedNoise,
    ModelPatcher,
    Vae,
    check_same_model,
    decode,
    guider_for,
    is_of_one_image,
    is_patched,
    latents,
    made_with,
    sampled_from_maps,
)
from .sockets import CATEGORY

_Number = TypeVar("_Number", int, float)


class EditGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditGrid",
            display_name="Grid of Skips and CFGs",
            category=f"{CATEGORY}/sample",
            search_aliases=["xy plot", "compare settings", "contact sheet", "strength slider"],
            description="Samples noise maps at every pair of several skips and cfgs, as the paper's Fig. 14 does: one "
            "look shows which setting an image wants.",
            is_output_node=True,
            inputs=[
                inputs.model_of_maps(),
                inputs.target("positive"),
                inputs.negative(),
                inputs.noise_maps(),
                io.Vae.Input("vae", tooltip="Decodes the results; sound is shown as waveform and spectrogram."),
                io.String.Input(
                    "skips",
                    default="12, 24, 36",
                    tooltip="One row of the sheet for each of these skip_steps, with commas between them.",
                ),
                io.String.Input(
                    "cfgs",
                    default="5, 10, 15",
                    tooltip="One column for each of these cfgs. Every pair is a whole run of the sampler. If the "
                    "source prompt is connected to negative and the image inverted with cfg 1, these are strengths: 0 "
                    "is the image as it is, 1 the edit without guidance, up to 5 more.",
                ),
                # One row: a sheet of each would be too small to read.
                inputs.row(),
                inputs.mask(),
                inputs.attention(),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All results and the image, with their settings."),
                io.Image.Output(display_name="images", tooltip="The results as a batch, row by row of the sheet."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        noise_maps: NoiseMaps,
        vae: Vae,
        skips: str,
        cfgs: str,
        row: int,
        mask: Tensor | None = None,
        attention: AttentionEdit | None = None,
    ) -> io.NodeOutput:
        all_skips, all_cfgs = listed("skips", skips, int), listed("cfgs", cfgs, float)
        rows = len(noise_maps.image)
        if row >= rows:
            raise ValueError(f"row is {row}, the noise maps have {rows} rows: use 0 to the last of them")
        check_same_model(noise_maps, model)
        prompts = [positive, negative] + ([attention.source] if attention else [])
        allowed = latents.mask_of_maps(noise_maps, mask)
        # What is told of each image of a batch goes by its place there, so then all images of the variation are run.
        alone = attention is None and all(map(is_of_one_image, prompts)) and not is_patched(model)
        first = row if alone else row - row % noise_maps.images
        chosen = range(first, row + 1 if first == row else first + noise_maps.images)
        part = noise_maps.rows(chosen)
        if allowed is not None and len(allowed) > 1:
            allowed = allowed[list(chosen)]
        samplers = [FixedNoise(part, skip_steps, allowed, attention) for skip_steps in all_skips]
        steps = [len(sampler.sigmas) - 1 for sampler in samplers]
        before, total, images = 0, sum(steps) * len(all_cfgs), []
        for (sampler, run), cfg in itertools.product(zip(samplers, steps, strict=True), all_cfgs):
            guider = guider_for(model, positive, negative, cfg)
            samples = sampled_from_maps(guider, sampler, part, sampler.sigmas, (before, total))
            images.append(decode(vae, samples[row - first][None])[:1])
            before += run
        source = decode(vae, noise_maps.space.of_latent(noise_maps.image[row : row + 1]))[:1]
        origin = noise_maps.origin
        from_source = origin is not None and origin.cfg == 1 and made_with(noise_maps, negative)
        sheet = _sheet(all_skips, all_cfgs, images, source, "strength" if from_source else "cfg")
        return io.NodeOutput(sheet, torch.cat(images), ui=ui.PreviewImage(sheet, cls=cls))


def listed(name: str, text: str, kind: Callable[[str], _Number]) -> list[_Number]:
    """The numbers of an input that lists them.

    Raises:
        ValueError: none, one that is no number of the kind, or one that is out of range.
    """
    parts = [part for part in text.replace(";", ",").replace("\n", ",").split(",") if part.strip()]
    what = "a whole number of 0 or more" if kind is int else "a number from 0 to 100"
    if not parts:
        raise ValueError(f"{name} is empty: list at least one number, such as {'12, 24' if kind is int else '5, 10'}")
    numbers = []
    for part in parts:
        try:
            number = kind(part)
        except ValueError:
            raise ValueError(f"{name} holds {part.strip()!r}, which is not {what}: list such, as 5, 10") from None
        if not 0 <= number <= (float("inf") if kind is int else 100):  # not a number is neither
            raise ValueError(f"{name} holds {part.strip()!r}, which is not {what}: list such, as 5, 10")
        numbers.append(number)
    return numbers


def _sheet(skips: list[int], cfgs: list[float], images: list[Tensor], source: Tensor, of: str) -> Tensor:
    """(1, H, W, 3) in [0, 1] the results, a row for each skip and a column for each cfg, and under them the source."""
    tiles = [image[0].movedim(-1, 0) * 2 - 1 for image in [*images, source]]
    rows = [tiles[k : k + len(cfgs)] for k in range(0, len(images), len(cfgs))]
    labels = [f"skip {skip}" for skip in skips]
    picture = contact_sheet.grid([*rows, tiles[-1:]], [*labels, "image"], [f"{of} {cfg:g}" for cfg in cfgs])
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]
