"""The demo text encoder: words to token ids to a context for cross-attention.

A caption is at most eight words out of a fixed vocabulary. Token 0 pads. The empty caption is all padding, which is
what the network learns as "unconditional" when captions are dropped in training (arXiv 2207.12598).

Shapes: B batch, L = 8 tokens, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .scenes import COLORS, OBJECTS, POSITIONS, SEASONS, SHAPES

PAD = ""
MAX_TOKENS = 8
# Token ids are positions in this list and are part of the weights file: append only.
VOCABULARY = (
    PAD, "a", "on", "ground", "at", "by", "in", "day", "sunset", "night",
    *COLORS, *SHAPES, *POSITIONS, *OBJECTS, *SEASONS,
)  # fmt: skip
_ID = {word: i for i, word in enumerate(VOCABULARY)}


def tokenize(caption: str) -> list[int]:
    """A caption as eight token ids; case, commas and full stops are ignored.

    Raises:
        ValueError: a word is not in the vocabulary, or there are more than eight words.
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
    """Captions as a tensor of token ids (B, 8) int64."""
    return torch.tensor([tokenize(caption) for caption in captions], dtype=torch.int64).reshape(-1, MAX_TOKENS)


class TextEncoder(nn.Module):
    """Token and position embeddings, then one transformer layer, so that "red circle" and "red ground" differ."""

    def __init__(self, width: int = 64, heads: int = 2):
        super().__init__()
        self.token_embedding = nn.Embedding(len(VOCABULARY), width)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(MAX_TOKENS, width))
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64 -> context (B, L, D)."""
        x = self.token_embedding(ids) + self.position_embedding
        n = self.norm1(x)
        x = x + self.attention(n, n, n, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.final_norm(x)
