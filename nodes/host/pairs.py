"""The guider of an inversion and an edit in one pass: a source and a target in each call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core.guidance import Guidance, guided
from . import calls
from .conds import Conds, forget_features, joined, of_two_lengths
from .guiders import Guide, ImagesGuider, cfg_guide
from .values import Conditioning, ModelPatcher

if TYPE_CHECKING:
    from .attention_runs import PairedRun


class PairGuider(ImagesGuider):
    """Classifier-free guidance towards `source` in the first half of the rows and `target` in the second.

    Each half has its own scale, and its own copy of the negative prompt: the host gives the areas, ControlNets and
    GLIGEN boxes of a prompt to the negative that it is guided against. Where rows may have conditionings of their own,
    both halves are one call; areas, ControlNets and hooks take a call for each half. Models with code of other nodes
    have a run for each prompt instead (`one_pass`).

    Args:
        negative: None for the prompt of each half itself, which is then not guided.
        source_cfg: scale of the source's half.
        guide: of the target's half.
    """

    attention: PairedRun | None = None
    """What the target takes over of the source's attention, for one run."""

    def __init__(
        self,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        negative: Conditioning | None = None,
        source_cfg: float = 1.0,
        guide: Guide | None = None,
    ):
        prompts = {"positive": target, "source": source, "negative": target if negative is None else negative}
        super().__init__(model, prompts, guide or cfg_guide(1.0))
        self._own_negative = negative is None
        self._source_cfg = source_cfg
        self._joined: dict[int, tuple[Conds | None, Conds | None]] = {}
        self._is_apart: bool | None = None
        self._variations_of_source: calls.Variations | None = None

    def inner_sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """The host's, which prepares the target's half alone; `prepare_source` does the other."""
        source = self.conds.pop("source")
        self._source = {"positive": source, "negative": source if self._own_negative else self.conds["negative"]}
        self._joined, self._is_apart, self._variations_of_source = {}, None, None
        try:
            return super().inner_sample(*args, **kwargs)
        finally:
            self.conds["source"] = source  # the host cleans up after what it finds here

    def prepare_source(self, prepare: Callable[[dict[str, Conds]], dict[str, Conds]]) -> None:
        """Prepare the source's half, as the host has prepared the target's (`run.Run.prepare`)."""
        self._source = prepare(self._source)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided predictions of x_0 of both halves."""
        options = model_options or {}
        target = self.guidance.at(timestep)
        pair = Guidance(target.positive, target.negative, self._source_cfg), target
        if self._is_apart is None:
            self._is_apart, result = self._tried(pair, x, timestep, options, seed)
            if result is not None:
                return result
        if not self._is_apart:
            edited = options if self.attention is None else self.attention.options(options, timestep, positive=0)
            try:
                return self._together(pair, x, timestep, edited)
            except RuntimeError as error:  # no memory for both, or a network that takes one prompt alone
                if self.attention is not None:
                    raise
                reason = str(error)
            logging.warning("Edit-friendly edit: a call for each prompt, because one for both ended in: %s", reason)
            self._is_apart = True
        return self._apart(pair, x, timestep, options, seed)

    def _tried(
        self, pair: tuple[Guidance, Guidance], x: Tensor, timestep: Tensor, options: dict[str, Any], seed: int | None
    ) -> tuple[bool, Tensor | None]:
        """Whether each half has a call of its own, found in the first call of a run; and its result, if it was made.

        Raises:
            ValueError: attention, which needs both in one.
        """
        network = self.inner_model.diffusion_model
        why = alone = None
        if None in self._joined_prompts(len(x) // 2):
            why = "areas, ControlNets or hooks"
            if self.attention is not None:
                prompts = self._source["positive"], self.conds["positive"]
                if of_lengths := of_two_lengths(*prompts, self.attention.lengths):
                    raise ValueError(of_lengths)
        elif not calls.reads_text_by_cross_attention_alone(network):
            alone = self._apart(pair, x, timestep, options, seed)
            try:
                beside = self._together(pair, x, timestep, options)
            except RuntimeError:
                beside = torch.full_like(alone, torch.inf)
            if not calls.is_rounding(beside, alone, x, self.model_patcher):
                why = f"its network ({type(network).__name__}), to which rows are not independent"
        if why is None:
            return False, alone if self.attention is None else None
        if self.attention is not None:
            raise ValueError(
                f"attention needs source and target in one call of the model, and {why} take a call for each: invert "
                "the image and sample from its noise maps, or disconnect attention"
            )
        logging.info("Edit-friendly edit: a call for each prompt, because of %s", why)
        return True, alone

    def _together(
        self, pair: tuple[Guidance, Guidance], x: Tensor, timestep: Tensor, options: dict[str, Any]
    ) -> Tensor:
        rows = len(x) // 2
        cond, uncond = self._joined_prompts(rows)
        scales = [guidance.scale for guidance in pair]
        if scales == [1, 1]:
            uncond = None
        if self.attention is not None:
            options = self.attention.joining(options)
        # in the host's own order, by which patches of attention tell the two
        first, second = comfy.samplers.calc_cond_batch(self.inner_model, [cond, uncond], x, timestep, options)
        if uncond is None:
            return first
        scale = torch.cat([x.new_full((rows,), scale) for scale in scales])
        return guided(second, first, scale.view(-1, *[1] * (x.ndim - 1)))

    def _apart(
        self,
        pair: tuple[Guidance, Guidance],
        x: Tensor,
        timestep: Tensor,
        options: dict[str, Any],
        seed: int | None,
    ) -> Tensor:
        if self._variations_of_source is None:
            self._variations_of_source = calls.Variations(self.model_patcher, self._others)
        of_halves = (self._source, self._variations_of_source), (self.conds, self._variations)
        results = []
        halves = zip(pair, of_halves, x.chunk(2), timestep.chunk(2), strict=True)
        for guidance, (conds, variations), x_half, timestep_half in halves:
            forget_features([conds["negative"], conds["positive"]])  # the halves may share one, with other rows
            results.append(self._guided(guidance, conds, options, seed, x_half, timestep_half, variations))
        return torch.cat(results)

    def _joined_prompts(self, rows: int) -> tuple[Conds | None, Conds | None]:
        """The halves' positive and negative prompts as one of both halves' rows each, which no step changes."""
        if rows not in self._joined:
            pairs = [(self._source[name], self.conds[name]) for name in ("positive", "negative")]
            repeats = calls.reads_text_by_cross_attention_alone(self.inner_model.diffusion_model)
            lengths = self.attention.lengths if self.attention else "repeated" if repeats else "equal"
            self._joined[rows] = joined(*pairs[0], rows, lengths), joined(*pairs[1], rows, lengths)
        return self._joined[rows]
