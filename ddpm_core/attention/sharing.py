"""Self-attention and features of the source in the target's rows, and where in a network.

Sources: Prompt-to-Prompt (arXiv 2208.01626), Plug-and-Play (arXiv 2211.12572), MasaCtrl (arXiv 2304.08465), KV-Edit
(arXiv 2502.17363).

Shapes: R rows, N pixels, D channels of all heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from .cross import Halves
from .windows import Window

Part = Literal["input", "middle", "output", "all"]


@dataclass(frozen=True)
class Place:
    """Where in a network something stands.

    Args:
        part: input (the way down), middle or output (the way up) of a UNet; all of a transformer.
        block: its number within the part.
        index: which transformer of the block.
        level: how often the picture has been halved there.
    """

    part: Part
    block: int
    index: int
    level: int


Rule = Callable[[Sequence[Place]], set[Place]]
"""Which of a model's transformers something acts at."""


def coarse(size: float) -> Rule:
    """Where the picture's side is at most `size` of the latent's: Prompt-to-Prompt's 16 x 16 of 64 x 64 is 1/4."""
    return lambda places: {place for place in places if 0.5**place.level <= size * (1 + 1e-6)}


def fine_output(size: float) -> Rule:
    """On the way up, where the side is at least `size` of the latent's: MasaCtrl's layers from 10 on are 1/2."""
    return lambda places: {p for p in places if p.part == "output" and 0.5**p.level >= size * (1 - 1e-6)}


def output_from_second(places: Sequence[Place]) -> set[Place]:
    """On the way up, from the second block at the coarsest level with attention on: Plug-and-Play's 4 to 11."""
    second = _second_output(places)
    return set() if second is None else {p for p in places if p.part == "output" and p.block >= second}


def second_output_block(places: Sequence[Place]) -> set[Place]:
    """The block that `output_from_second` starts at: Plug-and-Play's 4."""
    return {place for place in places if place.part == "output" and place.block == _second_output(places)}


def everywhere(places: Sequence[Place]) -> set[Place]:
    """At every transformer."""
    return set(places)


def between(first: float, last: float) -> Rule:
    """From one share of the depth to another, of the transformers in the order in which they run."""

    def rule(places: Sequence[Place]) -> set[Place]:
        start, stop = (int(share * len(places) + 1e-6) for share in (first, last))
        return set(places[start:stop])

    return rule


def _second_output(places: Sequence[Place]) -> int | None:
    on_the_way_up = [place for place in places if place.part == "output"]
    coarsest = max((place.level for place in on_the_way_up), default=0)
    blocks = sorted({place.block for place in on_the_way_up if place.level == coarsest})
    return blocks[min(1, len(blocks) - 1)] if blocks else None


@dataclass(frozen=True, eq=False)
class Share:
    """What of the source's self-attention the target takes over.

    Args:
        takes: of queries, keys and values. Queries and keys together are the map.
        where: at which transformers.
        window: when.
        all_prompts: in the rows of every prompt, or in those of the positive one alone.
        edited: (N, H, W) of pixels, above 0.5 where the target keeps its own (arXiv 2502.17363); None for nowhere.
    """

    takes: frozenset[Literal["queries", "keys", "values"]]
    where: Rule
    window: Window
    all_prompts: bool
    edited: Tensor | None = None


@dataclass(frozen=True)
class ShareFeatures:
    """Sharing of the output of a block's residual branch (arXiv 2211.12572, Sec. 4).

    Args:
        where: of the transformers, in whose blocks.
        window: when.
    """

    where: Rule
    window: Window


@dataclass(frozen=True)
class SharingMethod:
    """What a published method shares, and when.

    Args:
        takes, where: of the self-attention.
        start, end: its window, as fractions of the steps.
        features_end: until when the features of a block are shared, or None for never.
    """

    takes: frozenset[Literal["queries", "keys", "values"]]
    where: Rule
    start: float
    end: float
    features_end: float | None = None


METHODS = {
    # arXiv 2211.12572, Sec. 4: 25 and 40 of 50 steps
    "Plug-and-Play": SharingMethod(frozenset(("queries", "keys")), output_from_second, 0.0, 0.5, 0.8),
    # arXiv 2304.08465, Sec. 4.1: from step 4 of 50, layer 10 of 16
    "MasaCtrl": SharingMethod(frozenset(("keys", "values")), fine_output(0.5), 0.08, 1.0),
    "values only": SharingMethod(frozenset(("values",)), everywhere, 0.0, 0.1),
    # arXiv 2502.17363, under a mask
    "keys and values": SharingMethod(frozenset(("keys", "values")), everywhere, 0.0, 1.0),
}


def take_source(part: Tensor, halves: Halves, tokens: slice = slice(None), background: Tensor | None = None) -> Tensor:
    """Queries, keys, values (R, ..., N, D) or features with the source's rows in place of the target's.

    Args:
        tokens: of the picture, among N.
        background: (B, n) bool, which of them are taken; the rows of a half are B images again and again.
    """
    taken = part.clone()
    for source, target in halves:
        of_source, own = part[source][..., tokens, :], taken[target][..., tokens, :]
        if background is None:
            own.copy_(of_source)
        else:
            each = background.repeat(len(own) // len(background), 1).to(part.device)
            each = each.view(len(own), *[1] * (part.ndim - 3), -1, 1)
            own.copy_(of_source.where(each, own))
    return taken


def grid_of(tokens: int, shape: Sequence[int]) -> tuple[int, int, int]:
    """(frames, h, w) in which a network lays the tokens of a latent (R, C, [[T,] H,] W), by patches of one size.

    Raises:
        ValueError: a number of tokens that no patch gives.
    """
    frames, height, width = (1, 1, *shape[2:])[-3:]
    for patch in range(1, max(height, width) + 1):
        grid = (frames, math.ceil(height / patch), math.ceil(width / patch))
        if math.prod(grid) == tokens:
            return grid
    raise ValueError(
        f"a layer has {tokens} tokens for a latent of {width} x {height}, which lie in no grid, so a mask has no place "
        "among them: do without mask and words' places here"
    )


def patch_of(size: Sequence[int], grid: Sequence[int]) -> int | None:
    """The side of a token in cells of a latent (H, W), the last tokens of a grid (h, w) going beyond its end or not.

    None for a grid that no network's patch, a power of 2, makes of it.
    """
    patches = (2**k for k in range(max(size).bit_length() + 1))
    return next((p for p in patches if [math.ceil(side / p) for side in size] == list(grid)), None)


def background_of(edited: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, n) bool, the tokens of a grid (frames, h, w) that hold no cell which is to be edited.

    What a network has put beyond the latent's end, its other end or zeros, is cut off again, and no cell of it.

    Args:
        edited: (B, frames or 1, H, W), above 0 where a cell of the latent is.
    """
    frames, *size = grid
    cells, patch = edited.float(), patch_of(edited.shape[-2:], size)
    if patch is None:  # as of a layer that another node has stretched
        touched = functional.adaptive_max_pool2d(cells, size)
    else:
        touched = functional.max_pool2d(cells, patch, ceil_mode=True)
    return (touched <= 0).expand(-1, frames, -1, -1).flatten(1)
