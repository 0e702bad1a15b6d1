"""Several edits at once, each along its own difference of predictions and within its own mask.

Source: LEDITS++ (arXiv 2311.16711), Sec. 3:

    D^ = D_0 + sum_c s_c m_c (D_c - D_0)

with the predictions of x_0 under the prompt of each edit c and under that of the inversion (D_0; empty there), at the
edit's own state. The mask m_c is of the places where the term is largest, by a quantile, times what the user has
painted. LEDITS++ writes it for predictions of the noise; a quantile has no scale, so here it is that of predictions of
x_0, and holds for any parameterisation and for flow models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .attention.windows import Window, check_window, is_open


@dataclass(frozen=True, eq=False)
class Term:
    """One edit among several.

    Args:
        scale: s_c; below 0 the prompt is taken away.
        window: the shares of the steps between which it acts.
        quantile: it acts where its term is at least this quantile of its own values, in [0, 1); 0 is everywhere.
        mask: broadcastable to (B, 1, *S[1:]) in [0, 1], what was painted; None for everywhere.

    Raises:
        ValueError: a scale that is not finite, a quantile outside [0, 1), a window the wrong way round.
    """

    scale: float
    window: Window = (0.0, 1.0)
    quantile: float = 0.9
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if not abs(self.scale) < float("inf"):
            raise ValueError(f"the scale of an edit is {self.scale}: use a finite number, such as 5")
        if not 0 <= self.quantile < 1:
            raise ValueError(
                f"the quantile of an edit is {self.quantile:g}: use 0 (everywhere) to below 1, such as 0.9"
            )
        check_window(self.window, "an edit")

    def is_open(self, step: int, steps: int) -> bool:
        """Whether it acts at a step of `steps`."""
        return is_open(self.window, step, steps)

    def support(self, difference: Tensor) -> Tensor:
        """(B, 1, *S[1:]) m_c of a difference D_c - D_0 (B, C, *S[1:])."""
        mask = torch.ones_like(difference[:, :1]) if self.mask is None else self.mask.to(difference)
        if self.quantile:
            size = (difference * mask).abs().sum(dim=1, keepdim=True)
            least = torch.stack([torch.quantile(row.float().flatten(), self.quantile) for row in size])
            mask = mask * (size >= least.view(-1, *[1] * (size.ndim - 1)))
        return mask.expand_as(difference[:, :1])


def combined(base: Tensor, predictions: Sequence[Tensor], terms: Sequence[Term]) -> tuple[Tensor, list[Tensor]]:
    """D^ of the predictions D_0 (B, *S) and D_c, and the mask (B, 1, *S[1:]) of each edit."""
    masks, result = [], base
    for prediction, term in zip(predictions, terms, strict=True):
        difference = prediction - base
        masks.append(term.support(difference))
        result = result + term.scale * masks[-1] * difference
    return result, masks
