"""Self-attention and features of the source in the target's rows, and where in a UNet.

Sources: Prompt-to-Prompt (arXiv 2208.01626), Plug-and-Play (arXiv 2211.12572), MasaCtrl (arXiv 2304.08465).

Shapes: R rows, N pixels, D channels of all heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .cross import Halves
from .windows import Window

Part = Literal["input", "middle", "output"]


@dataclass(frozen=True)
class Place:
    """Where in a UNet something stands.

    Args:
        part: input (the way down), middle or output (the way up).
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


def _second_output(places: Sequence[Place]) -> int | None:
    on_the_way_up = [place for place in places if place.part == "output"]
    coarsest = max((place.level for place in on_the_way_up), default=0)
    blocks = sorted({place.block for place in on_the_way_up if place.level == coarsest})
    return blocks[min(1, len(blocks) - 1)] if blocks else None


@dataclass(frozen=True)
class Share:
    """What of the source's self-attention the target takes over.

    Args:
        takes: of queries, keys and values. Queries and keys together are the map.
        where: at which transformers.
        window: when.
        all_prompts: in the rows of every prompt, or in those of the positive one alone.
    """

    takes: frozenset[Literal["queries", "keys", "values"]]
    where: Rule
    window: Window
    all_prompts: bool


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
}


def take_source(part: Tensor, halves: Halves) -> Tensor:
    """Queries, keys, values or features (R, ...) with the source's rows in place of the target's."""
    taken = part.clone()
    for source, target in halves:
        taken[target] = part[source]
    return taken
