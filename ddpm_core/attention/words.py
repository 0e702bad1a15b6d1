"""Where in a picture words are, by the maps of cross-attention (arXiv 2208.01626, Sec. 3.3).

Shapes: R rows, N queries (pixels), L tokens, D channels of all heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .sharing import Place, patch_of


def attention_maps(q: Tensor, k: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) of each head, in at least single precision.

    Args:
        q: (B, N, heads * D) of N pixels.
        k: (B, M, heads * D) of M tokens.
        bias: that goes with (B, heads, N, M).

    Returns:
        (B, heads, N, M).
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2).to(dtype) for part in (q, k))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return torch.softmax(scores if bias is None else scores + bias.to(scores), dim=-1)


def word_maps(q: Tensor, k: Tensor, tokens: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """(R, N) how much each pixel attends to some tokens, as a mean over heads of the sum over tokens.

    Args:
        q: (R, N, D); k: (R, L, D).
        tokens: (L,) bool.
        bias: that goes with (R, 1, N, L).
    """
    tokens = tokens.to(q.device)
    # by heads, as the maps of a large picture's own tokens are of gigabytes
    parts = zip(q.chunk(heads, dim=-1), k.chunk(heads, dim=-1), strict=True)
    return torch.stack([attention_maps(*part, 1, bias)[:, 0, :, tokens].sum(dim=-1) for part in parts]).mean(dim=0)


class WordMaps:
    """The maps of words, added up over the layers and calls in which they are seen, at the size of the largest.

    Args:
        tokens: (L,) bool, one for each set of words.
    """

    def __init__(self, *tokens: Tensor):
        self._tokens = tokens
        self._sum: Tensor | None = None

    @property
    def sets(self) -> int:
        """How many sets of words there are."""
        return len(self._tokens)

    def see(
        self,
        q: Tensor,
        k: Tensor,
        heads: int,
        size: Sequence[int],
        rows: Sequence[slice],
        *,
        padded: bool = False,
        before: bool = False,
        beside: int = 0,
        bias: Tensor | None = None,
    ) -> None:
        """Add the maps of one layer over a picture of h x w places, those of each set of words in rows of its own.

        Args:
            q: (R', h * w, D); k: (R', M, D), of contexts that were repeated to M tokens.
            size: h and w.
            rows: as many as there are sets of words, of one length R.
            padded: whether the contexts were padded, not repeated.
            before: whether the padding stands before the prompts.
            beside: keys that are no text, the last ones.
            bias: (R', 1, 1, M), or for all rows one.

        Raises:
            ValueError: padded contexts that are shorter than a prompt with the words; other rows than before.
        """
        text = k.shape[1] - beside
        if padded and any(text < len(tokens) for tokens in self._tokens):
            raise ValueError(
                f"the model reads {text} tokens, and a prompt with these words has {max(map(len, self._tokens))}: "
                "connect the CLIP of this model"
            )
        times = [1 if padded else text // len(tokens) for tokens in self._tokens]
        every = [tokens.repeat(n) for n, tokens in zip(times, self._tokens, strict=True)]
        leading = [text - len(tokens) if before else 0 for tokens in every]
        every = [functional.pad(t, (n, k.shape[1] - n - len(t))) for n, t in zip(leading, every, strict=True)]
        maps = torch.stack(
            [
                word_maps(q[part], k[part], tokens, heads, bias if bias is None or len(bias) == 1 else bias[part])
                for part, tokens in zip(rows, every, strict=True)
            ]
        ).unflatten(-1, tuple(size))
        if self._sum is None:
            self._sum = maps
            return
        if maps.shape[:2] != self._sum.shape[:2]:
            raise ValueError(
                f"the model was asked for {self._sum.shape[1]} rows at first and for {maps.shape[1]} later, whose "
                "attention cannot be added up: give the picture alone, in one variation"
            )
        size = [max(sizes) for sizes in zip(self._sum.shape[-2:], maps.shape[-2:], strict=True)]
        self._sum = _resized(self._sum, size) + _resized(maps.to(self._sum), size)

    @property
    def sum(self) -> Tensor:
        """(sets of words, R, h, w) what has been added up.

        Raises:
            RuntimeError: nothing.
        """
        if self._sum is None:
            raise RuntimeError("no map of attention has been seen: a patch runs in the network's place")
        return self._sum


@dataclass(frozen=True, eq=False)
class LocalBlend:
    """Prompt-to-Prompt's local blend: the edit stays where the attention of some words is (arXiv 2208.01626, Sec. 3.3).

    Args:
        source, target: (L_s,) and (L_t,) bool, the tokens of the words in either prompt.
        threshold: of the map's range. The official 0.3 divides by the maximum alone; here the minimum is taken off
            first, which is next to 0 where a start token soaks up attention, and is not where there is none.
        start: the fraction of the steps after which it acts; before, maps are added up.
    """

    source: Tensor
    target: Tensor
    threshold: float = 0.3
    start: float = 0.2

    def mask(self, maps: Tensor, shape: torch.Size) -> Tensor:
        """(R, 1, *S[1:]) 1 where the edit may act.

        Args:
            maps: (2, R, h, w) of the source's words and of the target's, added up over steps and layers.
            shape: (R, *S) of the latent.
        """
        heat = word_heat(maps.flatten(0, 1), shape[-2:])
        found = (heat > self.threshold).to(heat.dtype).unflatten(0, (2, -1)).amax(dim=0)
        return found.view(len(found), *[1] * (len(shape) - 3), *shape[-2:])


def near_quarter(places: Sequence[Place]) -> set[Place]:
    """The places whose maps show where words are: those with a side nearest to a quarter of the latent's.

    The middle counts only where there is nothing else.
    """
    chosen = {place for place in places if place.part != "middle"} or set(places)
    level = min((place.level for place in chosen), key=lambda level: abs(level - 2), default=None)
    return {place for place in chosen if place.level == level}


def word_heat(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(R, H, W) maps of words (R, h, w) from 0 to 1, widened by a sixteenth to each side.

    The official code widens 16 x 16 maps by a 3 x 3 maximum, and the kernel here is the same fraction of the map; it
    takes the nearest neighbour for the latent's size, and here values go evenly between.
    """
    kernel = 1 + 2 * int(min(maps.shape[-2:]) / 16)
    maps = functional.max_pool2d(maps[:, None], kernel, stride=1, padding=kernel // 2)
    patch = patch_of(size, maps.shape[-2:]) or 0  # the last tokens may go beyond the latent's end
    whole = [max(side, patch * n) for side, n in zip(size, maps.shape[-2:], strict=True)]
    maps = _resized(maps, whole)[:, 0, : size[0], : size[1]]
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, *size) of maps (N, C, h, w), values going evenly between."""
    if maps.shape[-2:] == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
