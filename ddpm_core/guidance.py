"""Guidance: the predictions that a step needs, and how they are put together.

Sources: classifier-free guidance (arXiv 2207.12598), whose schedules arXiv 2404.13040 compares; the source prompt in
place of the empty one (TurboEdit, arXiv 2408.00735); h-Edit's explicit form (arXiv 2503.02187); several edits at once,
each in its own place (LEDITS++, arXiv 2311.16711, Sec. 3). All of them are

    D = D_n + w (D_p - D_n) + sum_c s_c m_c (D_c - D_b)

with the predictions of x_0 at the edit's own state under a positive prompt p, a negative n and further prompts c, and
b = n, or p where there is no negative. h-Edit's D_src + w (D_tar - D_0) - w' (D_src - D_0) is p = target, n = empty and
one term, c = source with s = 1 - w'. The mask m_c of LEDITS++ is of the places where the term is largest, by a
quantile, times what the user has painted. It writes all for predictions of the noise; a quantile has no scale, so here
it is that of predictions of x_0, and holds for any parameterisation and for flow models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from .attention.windows import Window, check_window, is_open

CFGSchedule = Literal["constant", "linear", "cosine"]
SourceGuidance = Literal["source as negative", "h-Edit", "classifier-free"]


@dataclass(frozen=True, eq=False)
class Term:
    """One further prompt of a guidance.

    Args:
        scale: s_c; below 0 the prompt is taken away.
        window: the fractions of the steps between which it acts.
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

    @property
    def is_everywhere(self) -> bool:
        """Whether it acts in every place, whatever is predicted."""
        return self.quantile == 0 and self.mask is None

    def support(self, difference: Tensor) -> Tensor:
        """(B, 1, *S[1:]) m_c of a difference D_c - D_b (B, C, *S[1:])."""
        mask = torch.ones_like(difference[:, :1]) if self.mask is None else self.mask.to(difference)
        if self.quantile:
            size = (difference * mask).abs().sum(dim=1, keepdim=True)
            least = torch.stack([torch.quantile(row.float().flatten(), self.quantile) for row in size])
            mask = mask * (size >= least.view(-1, *[1] * (size.ndim - 1)))
        return mask.expand_as(difference[:, :1])


@dataclass(frozen=True, eq=False)
class Guidance:
    """Guidance of one step, with prompts by name.

    Args:
        positive: p, the prompt that is led towards.
        negative: n, the prompt that is led away from; None for none, with a scale of 1.
        scale: w.
        terms: the further prompts c; one of scale 0 is not asked for.
        is_told: that the scale was set from outside, as the host's guidance has it: all is asked for at 0, too.

    Raises:
        ValueError: a scale other than 1 without a negative.
    """

    positive: str
    negative: str | None = None
    scale: float = 1.0
    terms: tuple[tuple[str, Term], ...] = ()
    is_told: bool = False

    def __post_init__(self) -> None:
        if self.negative is None and self.scale != 1:
            raise ValueError(f"guidance with a scale of {self.scale:g} needs a negative prompt")

    def of_rows(self, rows: slice) -> Guidance:
        """The same for some of the rows that the masks of its terms are for."""
        terms = tuple(
            (name, term if term.mask is None or len(term.mask) == 1 else replace(term, mask=term.mask[rows]))
            for name, term in self.terms
        )
        return replace(self, terms=terms)

    def with_scale(self, scale: float) -> Guidance:
        """The same at another scale: w, or that of each term where there is no negative to be led away from."""
        if self.negative is not None:
            return replace(self, scale=scale)
        terms = tuple((name, replace(term, scale=math.copysign(scale, term.scale))) for name, term in self._acting)
        return replace(self, terms=terms, is_told=True)

    @property
    def _acting(self) -> tuple[tuple[str, Term], ...]:
        return tuple((name, term) for name, term in self.terms if term.scale or self.is_told)

    def of_two(self) -> OfTwo | None:
        """The same as guidance of two predictions, each a mean of some; None where a term has a place of its own.

        Terms that act everywhere count among what is led away from, or towards where w is 1:
        D = w D_p + (1 - w) (D_n + sum_c s_c / (1 - w) (D_c - D_n)). Without a negative, several are not of two: each is
        guidance from the positive towards its own prompt.
        """
        base, terms = self.negative or self.positive, self._acting
        if not all(term.is_everywhere for _, term in self.terms):
            return None
        if not terms:
            return OfTwo({self.positive: 1.0}, {base: 1.0}, self.scale)
        if base == self.positive:
            (name, term), *others = terms
            return None if others else OfTwo({name: 1.0}, {base: 1.0}, term.scale)
        is_1 = math.isclose(self.scale, 1)
        weights = {name: term.scale / (1 if is_1 else 1 - self.scale) for name, term in terms}
        if is_1:
            return OfTwo({self.positive: 1.0, **weights, base: -sum(weights.values())}, {base: 1.0}, 1.0)
        return OfTwo({self.positive: 1.0}, {base: 1 - sum(weights.values()), **weights}, self.scale)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the predictions that are needed: p, then n unless it has no weight, then each c."""
        used = self.negative is not None and (self.scale != 1 or bool(self.terms))
        return (self.positive, *([self.negative] if used and self.negative else []), *(name for name, _ in self.terms))

    def combined(self, predictions: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """D of the predictions (B, *S) by name, and the mask (B, 1, *S[1:]) of each term."""
        positive = predictions[self.positive]
        led = positive if self.negative is None else predictions.get(self.negative, positive)
        return self.with_terms(guided(led, positive, self.scale), predictions)

    def with_terms(self, result: Tensor, predictions: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """D of the sum of its first two predictions, which a host may have made by its own guidance."""
        masks: dict[str, Tensor] = {}
        base = predictions[self.negative or self.positive] if self.terms else result
        for name, term in self.terms:
            difference = predictions[name] - base
            masks[name] = term.support(difference)
            result = result + term.scale * masks[name] * difference
        return result, masks


@dataclass(frozen=True)
class OfTwo:
    """Classifier-free guidance of two means of predictions, D = N + w (P - N).

    Args:
        positives, negatives: weights by the names of prompts, with a sum of 1 each.
        scale: w.
    """

    positives: Mapping[str, float]
    negatives: Mapping[str, float]
    scale: float


def guided(uncond: Tensor, cond: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance, D_n + w (D_p - D_n); a scale for each row broadcasts."""
    return uncond + (cond - uncond) * scale


def classifier_free(scales: Sequence[float], positive: str = "positive", negative: str = "negative") -> list[Guidance]:
    """Guidance of each step from a scale for each."""
    return _of_scales(scales, lambda scale: Guidance(positive, negative, scale))


def from_source(
    kind: SourceGuidance,
    scales: Sequence[float],
    source_scale: float,
    *,
    target: str = "positive",
    source: str = "source",
    negative: str = "negative",
) -> list[Guidance]:
    """Guidance of each step from the source prompt towards the target.

    Args:
        kind: "source as negative" leads away from the source in place of the negative prompt; "h-Edit" from each by a
            scale of its own; "classifier-free" from the negative prompt.
        scales: w of each step.
        source_scale: w' of h-Edit. 1 is classifier-free; as much as w is source as negative.
    """

    def at(scale: float) -> Guidance:
        if kind == "source as negative" or (kind == "h-Edit" and source_scale == scale):
            return Guidance(target, source, scale)
        if kind == "classifier-free" or source_scale == 1:
            return Guidance(target, negative, scale)
        return Guidance(target, negative, scale, ((source, Term(1 - source_scale, quantile=0.0)),))

    return _of_scales(scales, at)


def several(
    terms: Mapping[str, Term], steps: int, full_steps: int | None = None, base: str = "positive"
) -> list[Guidance]:
    """Guidance of `steps` steps by several edits, each in its own window of the full steps."""
    guidances, before = [], None
    for step in range(steps):
        acting = tuple((name, term) for name, term in terms.items() if term.is_open(step, full_steps or steps))
        if before is None or acting != before.terms:
            before = Guidance(base, terms=acting)
        guidances.append(before)
    return guidances


def cfg_scales(steps: int, schedule: CFGSchedule, first: float, last: float = 1.0) -> list[float]:
    """The scale of each of `steps` steps, from `first` at the noisiest to `last` at the cleanest.

    Args:
        schedule: "constant" stays at `first`; "linear" falls (or rises) evenly; "cosine" slowly at both ends.

    Raises:
        ValueError: an unknown schedule, fewer than one step.
    """
    if schedule not in get_args(CFGSchedule):
        raise ValueError(f"the cfg schedule is {schedule!r}: use one of {', '.join(get_args(CFGSchedule))}")
    if steps < 1:
        raise ValueError(f"a cfg schedule needs at least one step, got {steps}")
    passed = [i / max(1, steps - 1) for i in range(steps)]
    if schedule == "constant":
        return [first] * steps
    if schedule == "cosine":
        passed = [0.5 * (1 - math.cos(math.pi * p)) for p in passed]
    return [first + p * (last - first) for p in passed]


def _of_scales(scales: Sequence[float], at: Callable[[float], Guidance]) -> list[Guidance]:
    """One value for each scale: equal steps share it."""
    known = {scale: at(scale) for scale in set(scales)}
    return [known[scale] for scale in scales]
