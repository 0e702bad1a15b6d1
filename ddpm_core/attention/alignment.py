"""Prompts as cross-attention reads them, and which token of one stands for which of another.

Source: Prompt-to-Prompt (arXiv 2208.01626), and its code for the alignment of prompts of different length.

Shapes: L_s and L_t tokens of the source and of the target.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Mode = Literal["auto", "replace", "refine"]


@dataclass(frozen=True)
class Prompt:
    """A prompt as cross-attention reads it.

    Args:
        tokens: one for each position of the context, chunks laid end to end.
        words: the positions of each word, in order; what is in none is special (start, end, padding).
        texts: what each word reads, for messages.
        chunk: positions of one chunk (77 of CLIP).
        encoder: whose tokens they are, of a model with several that cut a text in ways of their own.
        again: how many of the words are the same text's once more, as another encoder cuts it.
    """

    tokens: tuple[Hashable, ...]
    words: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    chunk: int
    encoder: str = ""
    again: int = 0

    def spelling(self, word: int) -> tuple[Hashable, ...]:
        """The tokens of a word."""
        return tuple(self.tokens[position] for position in self.words[word])

    @property
    def spellings(self) -> list[tuple[Hashable, ...]]:
        """The tokens of each word."""
        return [self.spelling(word) for word in range(len(self.words))]

    @property
    def text(self) -> str:
        """The prompt as its words, without weights."""
        return " ".join(self.texts[: self.counts[0]])

    @property
    def counts(self) -> tuple[int, int]:
        """How many words the text has, and how many as another encoder cuts it."""
        return len(self.words) - self.again, self.again

    def then(self, other: Prompt) -> Prompt:
        """Both as one, of a model that reads a text as two encoders cut it, one behind the other."""
        words = tuple(tuple(position + len(self.tokens) for position in word) for word in other.words)
        return Prompt(
            self.tokens + other.tokens,
            self.words + words,
            self.texts + other.texts,
            self.chunk,
            f"{self.encoder}+{other.encoder}",
            len(words),
        )

    def find(self, phrase: Prompt) -> list[int]:
        """The positions of the words of a phrase, wherever it stands in this prompt; empty where it does not."""
        wanted, here = phrase.spellings, self.spellings
        starts = [i for i in range(len(here) - len(wanted) + 1) if wanted and here[i : i + len(wanted)] == wanted]
        return sorted({p for i in starts for word in self.words[i : i + len(wanted)] for p in word})

    def after(self, position: int) -> Prompt:
        """Its tokens from a position on, and the words that lie there whole, as one chunk."""
        kept = [k for k, word in enumerate(self.words) if word[0] >= position]
        words = tuple(tuple(p - position for p in self.words[k]) for k in kept)
        texts = tuple(self.texts[k] for k in kept)
        return Prompt(self.tokens[position:], words, texts, len(self.tokens) - position, self.encoder)

    @cached_property
    def content(self) -> tuple[int, ...]:
        """The positions of all words, in order."""
        return tuple(position for word in self.words for position in word)

    def chunk_of_specials(self, c: int) -> tuple[list[int], list[int]]:
        """The positions of chunk c before its first word, and those after its last."""
        inside = range(c * self.chunk, min((c + 1) * self.chunk, len(self.tokens)))
        content = [position for position in self.content if position in inside]
        if not content:  # start, then end and padding
            first = inside.start + (len(inside) > 1 and self.tokens[inside.start] != self.tokens[inside.start + 1])
            return list(range(inside.start, first)), list(range(first, inside.stop))
        return list(range(inside.start, content[0])), list(range(content[-1] + 1, inside.stop))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.tokens) // self.chunk)


class Alignment(NamedTuple):
    """Which source tokens a target token takes its map from.

    Args:
        matrix: (L_s, L_t) float64, M.
        shared: (L_t,) bool, r: False where a target token keeps its own map.
        changed: the target's positions that no equal source token stands at.
    """

    matrix: Tensor
    shared: Tensor
    changed: list[int]


def align(source: Prompt, target: Prompt, mode: Mode = "auto", *, changed_words_share: bool = True) -> Alignment:
    """Put the target's tokens onto the source's.

    Args:
        mode: "replace" puts word k onto word k; "refine" puts equal tokens onto each other, as many as can be in order,
            and leaves all others their own maps; "auto" replaces where both have as many words.
        changed_words_share: whether a word that "replace" puts onto another takes its map, as the official code has it,
            or keeps its own, as "refine" has it.

    Start, end and padding are put onto their like, chunk by chunk, whatever stands between them.

    Raises:
        ValueError: "replace" with different numbers of words.
    """
    if mode == "auto":
        mode = "replace" if source.counts == target.counts else "refine"
    matrix = torch.zeros(len(source.tokens), len(target.tokens), dtype=torch.float64)
    shared = torch.zeros(len(target.tokens), dtype=torch.bool)
    changed: list[int] = []
    if mode == "replace":
        _replace(source, target, matrix, shared, changed, changed_words_share)
    else:
        _refine(source, target, matrix, shared, changed)
    for c in range(target.chunks):
        _put_specials(source, target, c, matrix, shared)
    return Alignment(matrix, shared, changed)


def _replace(
    source: Prompt, target: Prompt, matrix: Tensor, shared: Tensor, changed: list[int], changed_words_share: bool
) -> None:
    if source.counts != target.counts:
        numbers = [" and ".join(str(count) for count in prompt.counts if count) or "0" for prompt in (source, target)]
        raise ValueError(
            f"replace needs prompts of as many words: the source has {numbers[0]} ({source.text}), the target "
            f"{numbers[1]} ({target.text}); use refine, or write them word by word alike"
        )
    for k, (froms, tos) in enumerate(zip(source.words, target.words, strict=True)):
        same = source.spelling(k) == target.spelling(k)
        if not same:
            changed += tos
        if len(froms) == len(tos):
            matrix[list(froms), list(tos)] = 1
        else:  # all pieces of one word among all pieces of the other
            matrix[torch.tensor(froms)[:, None], torch.tensor(tos)] = 1 / len(tos)
        shared[list(tos)] = same or changed_words_share


def _refine(source: Prompt, target: Prompt, matrix: Tensor, shared: Tensor, changed: list[int]) -> None:
    froms, tos = ([prompt.tokens[position] for position in prompt.content] for prompt in (source, target))
    pairs = dict(common_subsequence(froms, tos))
    for j, to in enumerate(target.content):
        if j in pairs:
            matrix[source.content[pairs[j]], to] = 1
            shared[to] = True
        else:
            changed.append(to)


def common_subsequence(source: Sequence[Hashable], target: Sequence[Hashable]) -> list[tuple[int, int]]:
    """(j, i) for each target token j that is put onto an equal source token i, as many as can be in order.

    The global alignment of Needleman and Wunsch with gap 0, match 1, mismatch -1, by which two gaps are always better
    than a mismatch. Among equals the official code's order of tracing back decides: skip a target token, then a source
    token, then a pair.
    """
    score = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, a in enumerate(source, 1):
        for j, b in enumerate(target, 1):
            score[i][j] = max(score[i][j - 1], score[i - 1][j], score[i - 1][j - 1] + (1 if a == b else -1))
    pairs, i, j = [], len(source), len(target)
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((j, i))
    return pairs[::-1]


def _put_specials(source: Prompt, target: Prompt, c: int, matrix: Tensor, shared: Tensor) -> None:
    """Start onto start, end onto end, padding onto the padding at its place, or onto the first where there is none."""
    d = min(c, source.chunks - 1)
    (froms_lead, froms), (tos_lead, tos) = source.chunk_of_specials(d), target.chunk_of_specials(c)
    pairs = list(zip(froms_lead, tos_lead, strict=False))
    if froms:
        end, *padding = froms
        offset = d * source.chunk - c * target.chunk
        for n, to in enumerate(tos):
            place = to + offset
            pairs.append((end if n == 0 or not padding else min(max(place, padding[0]), padding[-1]), to))
    for at, to in pairs:
        matrix[at, to] = 1
        shared[to] = True
