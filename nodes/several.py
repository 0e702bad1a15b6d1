"""Nodes for several edits at once (LEDITS++, arXiv 2311.16711)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps
from ..ddpm_core.guidance import Term, several
from . import inputs
from .host import (
    Conditioning,
    FixedNoise,
    ImagesGuider,
    ModelPatcher,
    check_same_model,
    latents,
    sampled_from_maps,
    to_latent,
)
from .sockets import CATEGORY, EDITS, MAX_STEPS, NOISE_MAPS

Direction = Literal["add", "remove"]


@dataclass(frozen=True, eq=False)
class OneEdit:
    """An edit of a chain.

    Args:
        prompt: what is added, or taken away.
        term: how; its mask is not set yet.
        mask: a MASK of the image, what was painted; or None.
    """

    prompt: Conditioning
    term: Term
    mask: Tensor | None


Edits = tuple[OneEdit, ...]
"""EDITS: a chain, in the order in which it was made."""


class AddEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyAddEdit",
            display_name="Add an Edit",
            category=f"{CATEGORY}/several",
            search_aliases=["LEDITS++", "multiple edits", "semantic guidance"],
            description="One edit among several that are made at once: chain these nodes and give the last to Sample "
            "Several Edits. Each edit has its own prompt, strength, time and place.",
            inputs=[
                io.Conditioning.Input(
                    "prompt", tooltip="What to add or to remove, such as 'sunglasses'; or the image's caption, changed."
                ),
                io.Combo.Input(
                    "direction", options=list(get_args(Direction)), tooltip="Towards the prompt, or away from it."
                ),
                inputs.cfg(
                    "scale", 5.0, "How strongly. LEDITS++ has 5; with a changed caption less, 1.25 on the demo model."
                ),
                inputs.fraction(
                    "quantile",
                    0.9,
                    "Where: only in the places where the prompt changes the prediction most. 0.9 is the tenth of the "
                    "image with the largest changes, as in LEDITS++; 0.5 half of it; 0 everywhere.",
                    step=0.01,
                ),
                inputs.fraction("start", 0.0, "From which fraction of the steps on it acts.", advanced=True),
                inputs.fraction("end", 1.0, "Until which fraction.", advanced=True),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only here, in the size of the image: painted, or from Mask from Words, Mask from two "
                    "Prompts or Mask by Seconds. The quantile is of what is left under it.",
                ),
                EDITS.Input("edits", optional=True, tooltip="From another Add an Edit, to make both at once."),
            ],
            outputs=[EDITS.Output(display_name="edits", tooltip="These and this one, in this order.")],
        )

    @classmethod
    def execute(
        cls,
        prompt: Conditioning,
        direction: Direction,
        scale: float,
        quantile: float,
        start: float,
        end: float,
        mask: Tensor | None = None,
        edits: Edits = (),
    ) -> io.NodeOutput:
        term = Term(scale if direction == "add" else -scale, (start, end), quantile)
        return io.NodeOutput((*edits, OneEdit(prompt, term, mask)))


class SampleEdits(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySampleEdits",
            display_name="Sample Several Edits",
            category=f"{CATEGORY}/several",
            search_aliases=["LEDITS++", "multiple edits"],
            description="Makes several edits of one image at once, each in its own place: one call of the model a "
            "step for all of them. For any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input(
                    "source", tooltip="The prompt of the inversion, empty in LEDITS++; the edits start from it."
                ),
                EDITS.Input("edits", tooltip="From the last Add an Edit of the chain."),
                NOISE_MAPS.Input(
                    "noise_maps", tooltip="From Invert Image with the source prompt and cfg 1, edited or not."
                ),
                io.Int.Input(
                    "skip_steps",
                    default=15,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="T_skip: steps left out at the noisy end. More keeps more of the image. LEDITS++ leaves "
                    "out 0.15 of them: 15 of 100.",
                ),
                inputs.mask(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode."),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="Where each edit has acted, as a mean over its steps: all images for the first edit, then "
                    "for the next.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        edits: Edits,
        noise_maps: NoiseMaps,
        skip_steps: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        if not edits:
            raise ValueError("the chain holds no edit: connect the last Add an Edit")
        check_same_model(noise_maps, model)
        sampler = FixedNoise(noise_maps, skip_steps, latents.mask_of_maps(noise_maps, mask))
        named = {f"edit {i}": edit for i, edit in enumerate(edits)}
        terms = {
            name: replace(edit.term, mask=latents.mask_of_maps(noise_maps, edit.mask)) for name, edit in named.items()
        }
        prompts = {"positive": source, **{name: edit.prompt for name, edit in named.items()}}
        guider = ImagesGuider(model, prompts, lambda steps: several(terms, steps, noise_maps.full_steps))
        samples = sampled_from_maps(guider, sampler, noise_maps, sampler.sigmas)
        seen = guider.masks_of_run(list(terms), noise_maps.image)
        masks = [latents.to_mask(part[: noise_maps.images], noise_maps.space.cell) for part in seen]
        return io.NodeOutput(to_latent(samples), torch.cat(masks))
