"""Cross-attention of two prompts: the source's maps at the target's values.

Source: Prompt-to-Prompt (arXiv 2208.01626). Nothing here needs a map of attention written out: with
A = softmax(q k^T / sqrt(d)), what it makes of a cross-attention is

    A' v = A_source M diag(w c r) v + A_target diag(w c (1 - r) + 1 - w) v

where M says which source token a target token takes its map from, r which tokens take one at all, c how much a word
counts and w whether a word's window is open: two ordinary attentions with changed values, in any kernel.

Where text and picture share one attention, A is the part of its map from the picture to the text, and the rest of the
map is the target's own: the same two attentions, with values of 0 and its own at the picture's tokens.

Shapes: R rows, N queries (pixels), L_s and L_t tokens of the two prompts, D channels of all heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .windows import Window, is_open


@dataclass(frozen=True, eq=False)
class CrossEdit:
    """Prompt-to-Prompt's edit of a cross-attention: replace, refine and reweight (arXiv 2208.01626, Sec. 3.2).

    Args:
        matrix: (L_s, L_t) float64, M: the map of target token j is sum_i A_source[:, i] M[i, j].
        shared: (L_t,) bool, r: which target tokens take a map of the source; the others keep their own.
        gain: (L_t,) float64, c: what a token's map is multiplied by while its window is open; below 0 is allowed.
        windows: one for each target token.
    """

    matrix: Tensor
    shared: Tensor
    gain: Tensor
    windows: tuple[Window, ...]

    def is_open(self, step: int, steps: int) -> bool:
        """Whether any token's window is open."""
        return any(is_open(window, step, steps) for window in set(self.windows))

    def padded(self, length: int, *, before: bool = False) -> CrossEdit:
        """The same for contexts that were padded to a length, whose padding is put onto padding.

        Args:
            before: whether the padding stands before the prompts, not behind them.

        Raises:
            ValueError: a length below that of a prompt.
        """
        l_s, l_t = self.matrix.shape
        if length < max(l_s, l_t):
            raise ValueError(
                f"the model reads {length} tokens, the prompts of the attention edit have {l_s} and {l_t}: connect the "
                "conditionings that Prompt-to-Prompt gives"
            )
        if before:
            return self._reversed().padded(length)._reversed()
        more = length - l_t
        matrix, shared = functional.pad(self.matrix, (0, more, 0, length - l_s)), functional.pad(self.shared, (0, more))
        if l_s < length:
            places = torch.arange(l_t, length)
            matrix[places.clamp(min=l_s), places] = 1
            shared[l_t:] = True
        gain = functional.pad(self.gain, (0, more), value=1.0)
        return CrossEdit(matrix, shared, gain, self.windows + self.windows[-1:] * more)

    def _reversed(self) -> CrossEdit:
        """The same of contexts from behind."""
        return CrossEdit(self.matrix.flip(0, 1), self.shared.flip(0), self.gain.flip(0), self.windows[::-1])

    def at(self, step: int, steps: int, length: int) -> CrossWeights:
        """What to do at a step, for contexts that were repeated to a common length.

        Raises:
            ValueError: a length that is no multiple of both prompts'.
        """
        l_s, l_t = self.matrix.shape
        if length % l_s or length % l_t:
            raise ValueError(
                f"the model reads {length} tokens, the prompts of the attention edit have {l_s} and {l_t}: connect the "
                "conditionings that Prompt-to-Prompt gives, and no node that adds tokens to them"
            )
        w = torch.tensor([is_open(window, step, steps) for window in self.windows], dtype=torch.float64)
        r = self.shared.to(torch.float64)
        # A token that stands there n times shares its map between its copies, whose values are equal.
        copies = length // l_t
        return CrossWeights(
            mix=(self.matrix * (w * self.gain * r)).repeat(length // l_s, copies) / copies,
            own=(w * self.gain * (1 - r) + 1 - w).repeat(copies),
        )


class CrossWeights(NamedTuple):
    """A cross edit at one step.

    Args:
        mix: (L, L), M diag(w c r): what the source's map reads of the target's values.
        own: (L,), w c (1 - r) + 1 - w: what the target's own map reads of them.
    """

    mix: Tensor
    own: Tensor

    def to(self, like: Tensor) -> CrossWeights:
        """The same in the dtype and on the device of what they are to be multiplied with."""
        return CrossWeights(self.mix.to(like), self.own.to(like))


Halves = Sequence[tuple[slice, slice]]
"""The rows of source and target in each part of a call that is edited."""
Plain = Callable[[slice, Tensor], Tensor]
"""Attention to the text alone of the queries and keys of some rows, to other values (r, ..., L, D) -> (r, N, D)."""


def cross_attention(
    attend: Callable[[Tensor], Tensor], plain: Plain, v: Tensor, halves: Halves, weights: CrossWeights
) -> Tensor:
    """(R, N, D) a cross-attention in which the target's rows are edited.

    Args:
        attend: the attention of all rows to other values, or what another patch has made of it, as long as it is linear
            in them.
        v: (R, ..., L, D).
        weights: beside v.
    """
    values = v.clone()
    for _, target in halves:
        values[target] *= weights.own[:, None]
    out = attend(values)
    for source, target in halves:
        out[target] += plain(source, weights.mix @ v[target])
    return out


def joint_attention(
    out: Tensor, plain: Plain, v: Tensor, halves: Halves, weights: CrossWeights, picture: slice | None = None
) -> Tensor:
    """(R, N, D) an attention of text and picture in which the picture's places read the text as edited.

    Args:
        out: (R, N, D) the attention as it is.
        v: (R, ..., N, D), the text's tokens first.
        weights: of the text's L tokens, beside v.
        picture: the picture's places among N; None for all behind the text.
    """
    text = len(weights.own)
    picture = picture or slice(text, None)
    edited = out.clone()
    for source, target in halves:
        own, taken = v[target].clone(), torch.zeros_like(v[target])
        own[..., :text, :] *= weights.own[:, None]
        taken[..., :text, :] = weights.mix @ v[target][..., :text, :]
        edited[target, picture] = (plain(target, own) + plain(source, taken))[:, picture]
    return edited
