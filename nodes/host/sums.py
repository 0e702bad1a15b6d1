"""Guided predictions of the rows of one call: the host's own sum of two, and sums of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core.guidance import Guidance, OfTwo
from . import calls
from .conds import Conds, weighted

PREDICTIONS = "sampler_calc_cond_batch_function"
"""The host's option of a function in place of its call of both prompts."""
_OF_SUMS = {"sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function"}
"""Options of a MODEL with code of other nodes that reads the predictions of both prompts."""

Guided = tuple[Tensor, dict[str, Tensor]]
"""A prediction of x_0, and where each further term of its guidance acts."""


def summing(options: dict[str, Any], positive: Tensor, negative: Tensor) -> dict[str, Any]:
    """Options of a call of a guider in which the host's guidance has two predictions that were made before."""
    return {**options, PREDICTIONS: lambda _: [positive, negative]}


def of_two_in_a_call(guidance: Guidance, options: dict[str, Any]) -> OfTwo | None:
    """Guidance of two means that one call can make, as code of other nodes acts on; None where that takes several."""
    two = guidance.of_two()
    if two is not None and len(two.positives) + len(two.negatives) > 2 and calls.acts_in_blocks(options):
        return None
    return two


@dataclass(frozen=True)
class Summing:
    """What a call of a guider is given."""

    model: Any
    conds: dict[str, Conds]
    options: dict[str, Any]
    seed: int | None
    x: Tensor
    timestep: Tensor

    def alone(self, guidance: Guidance) -> Guided:
        """All prompts in one call where there are further ones, else the host's guidance."""
        if not guidance.terms:
            return self.beside_others(guidance)
        names = guidance.prompts
        predictions = self._predictions([self.conds[name] for name in names])
        return guidance.combined(dict(zip(names, predictions, strict=True)))

    def beside_others(self, guidance: Guidance) -> Guided:
        """The same where code of other nodes acts in the host's own guidance of two prompts, in their places.

        So it has all there is to do where that is the guidance, and else that of each term away from what the term is
        added to. Code in blocks (Normalized Attention Guidance) looks for one positive and one negative prompt in a
        call.
        """
        everywhere = {name: torch.ones_like(self.x[:, :1]) for name, _ in guidance.terms}
        two = of_two_in_a_call(guidance, self.options)
        if two is not None:
            positive, negative = (
                weighted([(self.conds[name], weight) for name, weight in side.items()])
                for side in (two.positives, two.negatives)
            )
            if positive is not None and negative is not None:
                return self._hosts(positive, negative, two.scale), everywhere
        base = guidance.negative or guidance.positive
        call = self
        if self.options.keys() & _OF_SUMS:  # else they would read an absent negative prompt where a scale is 1
            call = replace(self, options={**self.options, "disable_cfg1_optimization": True})
        two = guidance.of_two()
        return call._by_terms(guidance, base) if two is None else (call._by_pairs(two, base), everywhere)

    def _by_terms(self, guidance: Guidance, base: str) -> Guided:
        """The host's guidance of each term that has a place of its own."""
        target, of_base = guidance.positive, self._hosts(self.conds[base], self.conds[base], 1.0)
        predictions = {base: of_base}
        for name, term in guidance.terms:
            moved = torch.zeros_like(of_base)
            if term.scale:
                moved = self._hosts(self.conds[name], self.conds[base], term.scale) - of_base
            predictions[name] = of_base + moved / (term.scale or 1.0)
        summed = of_base if base == target else self._hosts(self.conds[target], self.conds[base], guidance.scale)
        return guidance.with_terms(summed, predictions)

    def _by_pairs(self, two: OfTwo, base: str) -> Tensor:
        """The host's guidance of two means of predictions, each prompt in a call with the base."""
        first, *_ = two.positives
        predictions = dict(zip((first, base), self._pair(first, base), strict=True))
        for name in (two.positives.keys() | two.negatives.keys()) - predictions.keys():
            found, beside = self._pair(name, base)
            predictions[name] = predictions[base] + found - beside
        means = (
            torch.stack([weight * predictions[name] for name, weight in side.items()]).sum(dim=0)
            for side in (two.positives, two.negatives)
        )
        call = replace(self, options=summing(self.options, *means))
        return call._hosts(self.conds[first], self.conds[base], two.scale)

    def _pair(self, name: str, base: str) -> list[Tensor]:
        prompts = [self.conds[name], self.conds[base]]
        if PREDICTIONS not in self.options:
            return self._predictions(prompts)
        args = {"conds": prompts, "input": self.x, "sigma": self.timestep, "model": self.model}
        return list(self.options[PREDICTIONS](args | {"model_options": self.options}))

    def _predictions(self, prompts: list[Conds]) -> list[Tensor]:
        return list(comfy.samplers.calc_cond_batch(self.model, prompts, self.x, self.timestep, self.options))

    def _hosts(self, positive: Conds, negative: Conds, scale: float) -> Tensor:
        return comfy.samplers.sampling_function(
            self.model, self.x, self.timestep, negative, positive, scale, model_options=self.options, seed=self.seed
        )
