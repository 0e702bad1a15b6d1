"""A UNet's transformers, by what its modules are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, UNetModel, Upsample

from ...ddpm_core.attention import Part, Place

Key = tuple[str, int, int]
"""Part, block and transformer, as the host names where it is."""


def key_of(place: Place) -> Key:
    """The host's name of a transformer."""
    return place.part, place.block, place.index


@dataclass(frozen=True)
class Blocks:
    """A UNet's transformers, and where they stand."""

    places: tuple[Place, ...]
    branches: dict[tuple[str, int], torch.nn.Module]
    """The end of the residual branch of the block that a transformer stands in, by part and number."""

    @classmethod
    def of(cls, network: torch.nn.Module) -> Blocks:
        """Found by what the modules are, not by a table of names.

        Raises:
            ValueError: a network without cross-attention of its own, or of video.
        """
        if not isinstance(network, UNetModel):
            raise ValueError(
                f"this model's network ({type(network).__name__}) has no cross-attention to a prompt: attention edits, "
                "Mask from Words and Zero-Shot Image-to-Image are for Stable Diffusion's UNets (1.5, 2, SDXL). What "
                "works here: the edit without them, a mask, and Mask from two Prompts"
            )
        places: list[Place] = []
        branches: dict[tuple[str, int], torch.nn.Module] = {}
        level = 0
        parts: list[tuple[Part, Any]] = [
            ("input", network.input_blocks),
            ("middle", [] if network.middle_block is None else [network.middle_block]),  # none in distilled SDXL
            ("output", network.output_blocks),
        ]
        for part, stages in parts:
            for number, stage in enumerate(stages):
                for layer in stage:
                    if isinstance(layer, SpatialVideoTransformer):
                        raise ValueError("this is a model of video frames, and attention edits are for images")
                    if isinstance(layer, ResBlock):
                        branch = layer.out_layers[-1]
                    if isinstance(layer, SpatialTransformer):
                        depth = range(len(layer.transformer_blocks))
                        places += [Place(part, number, index, level) for index in depth]
                        branches[part, number] = branch
                    level += isinstance(layer, Downsample) - isinstance(layer, Upsample)
        if not places:
            raise ValueError("this model reads no prompt by cross-attention, so there is nothing to edit in it")
        return cls(tuple(places), branches)

    @property
    def keys(self) -> list[Key]:
        """The host's names of all transformers."""
        return [key_of(place) for place in self.places]
