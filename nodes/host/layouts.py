"""Transformers by layout: where in a block an attention runs, what it reads, and where the picture's tokens stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from itertools import chain
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ...ddpm_core.attention import Place
from .conds import OWN_TOKENS, Lengths

Reads = Literal["itself", "text", "both"]
"""What a picture's tokens attend to in a module."""

# A block's attention to its own tokens and that to the text, by the names that the host's networks give them.
_PAIRS = (
    ("self_attn", "cross_attn"),
    ("attn1", "attn2"),
    ("self_attention", "cross_attention"),
    ("attn", "cross_attn"),
)
_STACKS = ("double_blocks", "single_blocks", "transformer_blocks", "blocks")


class Tokens(NamedTuple):
    """Where the tokens of an attention stand.

    Args:
        text: those of the prompt, the first; 0 where others stand among them.
        start, stop: those of the picture.
        own: those before the prompt's that the network has for itself, counted in `text`.
    """

    text: int
    start: int
    stop: int
    own: int = 0


@dataclass(frozen=True)
class Call:
    """What a network is called with.

    Args:
        shape: of the latent.
        text: (R, L, D), of what reads one.
        told: beside latent, level and text.
    """

    shape: torch.Size
    text: Tensor | None
    told: dict[str, Any]

    @cached_property
    def pads_before(self) -> bool:
        """Whether the host has put padding, which is 0, before a text, as for Flux 2."""
        if self.text is None:
            return False
        first, last = ((self.text[:, place] == 0).all(dim=-1) for place in (0, -1))
        return bool((first & ~last).any())


TokensOf = Callable[[tuple[Any, ...], Call], Tokens | None]
"""Where tokens stand, by what a module and the network are called with; None where they have no one place."""


@dataclass(frozen=True)
class Site:
    """A module in whose call an attention runs.

    Args:
        reads: what the picture attends to in it.
        tokens: by what the module and the network are called with; None where the host's `attn1_patch` says it.
        more: further attentions in the call, of the picture to itself.
    """

    module: torch.nn.Module
    place: Place
    reads: Reads
    tokens: TokensOf | None = None
    more: int = 0


def sites_of(network: torch.nn.Module) -> tuple[Site, ...]:
    """A transformer's attentions in the order of its blocks; none for a network of another layout."""
    stacks = [child for child in network.children() if isinstance(child, torch.nn.ModuleList)]
    pairs = [pair for stack in stacks for block in stack if (pair := _pair_of(block)) is not None]
    if pairs:
        places = [Place("all", number, 0, 0) for number in range(len(pairs))]
        of_pairs = [
            (Site(own, place, "itself"), Site(text, place, "text"))
            for place, (own, text) in zip(places, pairs, strict=True)
        ]
        return tuple(chain.from_iterable(of_pairs))
    named: dict[str, Any] = dict(network.named_children())
    if "joint_blocks" in named:
        return tuple(
            Site(block, Place("all", number, 0, 0), "both", _of_sd3, int(block.x_block.x_block_self_attn))
            for number, block in enumerate(named["joint_blocks"].children())
        )
    blocks, tokens = _joint_blocks(network, named)
    return tuple(Site(block, Place("all", number, 0, 0), "both", tokens) for number, block in enumerate(blocks))


def _joint_blocks(network: Any, named: dict[str, Any]) -> tuple[list[torch.nn.Module], TokensOf | None]:
    """The blocks with one attention for text and picture, and what says where their tokens stand."""
    if "double_layers" in named:
        return [*named["double_layers"], *named["single_layers"]], partial(_of_aura_flow, network)
    if "double_stream_blocks" in named:
        stacked = [*named["double_stream_blocks"], *named["single_stream_blocks"]]
        return [each.block for each in stacked], partial(_of_hidream, network)
    if "layers" in named and _is_lumina(network):
        return [*named["layers"].children()], partial(_of_lumina, network)
    return [block for name in named if name in _STACKS for block in named[name].children()], None


def lengths_of(network: Any, sites: Sequence[Site]) -> Lengths:
    """How texts of two lengths share a call of a network with these attentions."""
    if not any(site.reads == "both" for site in sites):
        return "repeated"
    if _is_lumina(network):  # which takes a mask, and does not read it
        return network.pad_tokens_multiple or "equal"
    return "masked" if "attention_mask" in signature(network.forward).parameters else "equal"


def padding(network: Any) -> Callable[..., Tensor]:
    """A wrapper of Z-Image's calls, in which texts that were made as long as another are padded as each alone is."""

    def call(executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        own = kwargs.pop(OWN_TOKENS, None)
        if own is None:
            return executor(*args, **kwargs)

        def pad(module: torch.nn.Module, inputs: object, text: Tensor) -> Tensor:
            is_own = torch.arange(text.shape[1], device=text.device) < own.to(text.device)
            return text.where(is_own[..., None], network.cap_pad_token.to(text))

        handle = network.cap_embedder.register_forward_hook(pad)
        try:
            return executor(*args, **kwargs)
        finally:
            handle.remove()

    return call


def _is_lumina(network: Any) -> bool:
    return hasattr(network, "pad_tokens_multiple")


def _of_sd3(args: tuple[Any, ...], _: Call) -> Tokens:
    """Those of Stable Diffusion 3, whose blocks are called with text and picture."""
    text, picture = (part.shape[1] for part in args[:2])
    return Tokens(text, text, text + picture)


def _of_lumina(network: Any, args: tuple[Any, ...], call: Call) -> Tokens:
    """Those of Lumina 2 and Z-Image: the picture stands last, and Z-Image pads text and picture to a multiple."""
    picture = _patches(network, call)
    start = args[0].shape[1] - picture - -picture % (network.pad_tokens_multiple or 1)
    return Tokens(0 if call.told.get("ref_latents") else start, start, start + picture)


def _of_aura_flow(network: Any, args: tuple[Any, ...], call: Call) -> Tokens:
    """Those of AuraFlow: its registers, text, picture, in two streams and then in one."""
    picture, streams = _patches(network, call), [part for part in args[:2] if part.ndim == 3]
    start = sum(part.shape[1] for part in streams) - picture
    return Tokens(start, start, start + picture, own=network.register_tokens.shape[1])


def _of_hidream(network: Any, _: tuple[Any, ...], call: Call) -> Tokens | None:
    """Those of HiDream, which reads a prompt by several encoders, behind the picture."""
    if call.told.get("image_cond") is not None:  # columns beside the picture's own
        return None
    return Tokens(0, 0, _patches(network, call))


def _patches(network: Any, call: Call) -> int:
    return math.prod(math.ceil(side / network.patch_size) for side in call.shape[-2:])


def _pair_of(block: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module] | None:
    children = dict(block.named_children())
    return next(((children[own], children[text]) for own, text in _PAIRS if {own, text} <= children.keys()), None)


def places_of(sites: Sequence[Site]) -> tuple[Place, ...]:
    """Each place once, in order."""
    return tuple(dict.fromkeys(site.place for site in sites))
