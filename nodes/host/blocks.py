"""A network's transformers, by what its modules are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ...ddpm_core.attention import Part, Place
from .conds import Lengths
from .layouts import Site, lengths_of, places_of, sites_of

Key = tuple[str, int, int]
"""Part, block and transformer, as the host names where it is."""


def key_of(place: Place) -> Key:
    """The host's name of a transformer."""
    return place.part, place.block, place.index


def is_unet(network: torch.nn.Module) -> bool:
    """Whether a network is a UNet in Stable Diffusion's layout, of whatever class."""
    return all(hasattr(network, part) for part in ("input_blocks", "middle_block", "output_blocks"))


def is_of_frames(layer: torch.nn.Module) -> bool:
    """Whether a transformer takes the rows of a call for frames, as Stable Video Diffusion's do."""
    return hasattr(layer, "time_stack")


def without_compilation(wrappers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Wrappers of a run's calls but for the host's own that compiles the network, which is no other for that."""
    return {kind: {key: held[key] for key in held if key != COMPILE_KEY} for kind, held in wrappers.items()}


def _is_compiled(network: torch.nn.Module, model_options: dict[str, Any]) -> bool:
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
    return any(held.get(COMPILE_KEY) for held in wrappers.values()) or any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    )


@dataclass(frozen=True)
class Blocks:
    """A network's transformers, and where they stand."""

    places: tuple[Place, ...]
    branches: dict[tuple[str, int], torch.nn.Module]
    """The end of the residual branch of the block that a transformer stands in, by part and number; in a UNet."""
    sites: tuple[Site, ...] = ()
    """Their attentions; in a network that is a transformer."""
    lengths: Lengths = "repeated"
    """How texts of two lengths share a call of the network."""

    @classmethod
    def of(cls, network: torch.nn.Module, model_options: dict[str, Any]) -> Blocks:
        """Found by what the modules have, not by classes, in whose place other packs put their own.

        Args:
            model_options: of a run.

        Raises:
            ValueError: a network that is compiled, whose attention is out of reach, or a UNet of video.
        """
        if is_unet(network) or _is_compiled(network, model_options):
            return cls.of_unet(network, model_options)
        if sites := sites_of(network):
            return cls(places_of(sites), {}, sites, lengths_of(network, sites))
        raise ValueError(
            f"the attention of this model's network ({type(network).__name__}) is not within reach of ComfyUI's hooks, "
            "so attention edits and Mask from Words do not work with it. What works here: the edit without them, a "
            "mask, and Mask from two Prompts"
        )

    @classmethod
    def of_unet(cls, network: torch.nn.Module, model_options: dict[str, Any]) -> Blocks:
        """Those of a UNet alone.

        Raises:
            ValueError: a network that is compiled, is no UNet, or is of video.
        """
        if _is_compiled(network, model_options):
            raise ValueError(
                "this model's network is compiled (torch.compile), and compiled code may go on with the attention of "
                "an earlier step: connect the MODEL from before the node that compiles it"
            )
        if not is_unet(network):
            raise ValueError(
                f"this model's network ({type(network).__name__}) has no cross-attention to a prompt that Zero-Shot "
                "Image-to-Image could steer: it is for Stable Diffusion's UNets (1.5, 2, SDXL). What works here: the "
                "edit without it, a mask, and Mask from two Prompts"
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
                    if is_of_frames(layer):
                        raise ValueError("this is a model of video frames, and attention edits are for images")
                    if hasattr(layer, "out_layers"):
                        branch = layer.out_layers[-1]
                    if hasattr(layer, "transformer_blocks"):
                        depth = range(len(layer.transformer_blocks))
                        places += [Place(part, number, index, level) for index in depth]
                        branches[part, number] = branch
                    if hasattr(layer, "use_conv") and not hasattr(layer, "out_layers"):
                        level += 1 if hasattr(layer, "op") else -1  # a layer that halves, or doubles
        if not places:
            raise ValueError("this model reads no prompt by cross-attention, so there is nothing to edit in it")
        return cls(tuple(places), branches)

    @property
    def keys(self) -> list[Key]:
        """The host's names of all transformers."""
        return [key_of(place) for place in self.places]
