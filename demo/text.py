"""The demo text encoder: words to token ids to a context for cross-attention.

Token 0 pads. The empty caption is all padding, which is what the network learns as "unconditional" when captions are
dropped in training (arXiv 2207.12598).

Shapes: B batch, L = 20 tokens, D context width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .scenes import (
    COLORS,
    EXPRESSIONS,
    FRUITS,
    HAIRS,
    MATERIALS,
    NUMBERS,
    PERSONS,
    PLACES,
    SEASONS,
    TABLES,
    THINGS,
    TIMES,
    VESSELS,
    WEARS,
    WEATHERS,
)

PAD = ""
MAX_TOKENS = 20
_OTHERS = (
    "a", "an", "and", "at", "by", "in", "on", "the", "with", "coat", "hair", "table", "weather",
    "landscape", "still", "life", "portrait",
)  # fmt: skip
_NAMED = (
    *THINGS, *THINGS.values(), *NUMBERS.values(), *COLORS, *PLACES, *WEATHERS, *TIMES, *SEASONS, *VESSELS, *MATERIALS,
    *FRUITS, *FRUITS.values(), *TABLES, *PERSONS, *EXPRESSIONS, *HAIRS, *(worn for worn in WEARS if worn != "nothing"),
)  # fmt: skip
# Token ids are positions in this list and are part of the weights file: append only.
_INSTRUCTING = ("make", "turn", "move", "show", "give", "remove", "it", "to", "into")
VOCABULARY = (PAD, *dict.fromkeys((*_OTHERS, *_NAMED, *_INSTRUCTING)))
_ID = {word: i for i, word in enumerate(VOCABULARY)}


def tokenize(caption: str) -> list[int]:
    """A caption as 20 token ids; case, commas and full stops are ignored.

    Raises:
        ValueError: a word is not in the vocabulary, or there are more than 20 words.
    """
    words = caption.lower().replace(",", " ").replace(".", " ").split()
    unknown = [word for word in words if word not in _ID]
    if unknown:
        known = ", ".join(sorted(word for word in VOCABULARY if word))
        raise ValueError(f"the demo model does not know the words: {', '.join(unknown)}. It knows: {known}")
    if len(words) > MAX_TOKENS:
        raise ValueError(f"the caption has {len(words)} words, the demo model takes at most {MAX_TOKENS}: {caption!r}")
    return [_ID[word] for word in words] + [0] * (MAX_TOKENS - len(words))


def tokens(captions: list[str]) -> Tensor:
    """Captions as a tensor of token ids (B, 20) int64."""
    return torch.tensor([tokenize(caption) for caption in captions], dtype=torch.int64).reshape(-1, MAX_TOKENS)


class Layer(nn.Module):
    """Self-attention and a feed-forward part, each normalised before and added after."""

    def __init__(self, width: int, heads: int, operations: Any):
        super().__init__()
        self.norm1 = operations.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = operations.LayerNorm(width)
        self.mlp = nn.Sequential(operations.Linear(width, 4 * width), nn.GELU(), operations.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) -> the same."""
        n = self.norm1(x)
        x = x + self.attention(n, n, n, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """Token and position embeddings, then two transformer layers, so that "red hair" and "red coat" differ.

    Args:
        operations: what has the classes of the layers, by PyTorch's names: a host has its own.
    """

    def __init__(self, width: int = 96, heads: int = 3, layers: int = 2, operations: Any = nn):
        super().__init__()
        self.token_embedding = operations.Embedding(len(VOCABULARY), width)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(MAX_TOKENS, width))
        self.layers = nn.Sequential(*(Layer(width, heads, operations) for _ in range(layers)))
        self.final_norm = operations.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64 -> context (B, L, D)."""
        return self.final_norm(self.layers(self.token_embedding(ids) + self.position_embedding))
