"""A guider for two prompts at once: the source's rows and the target's rows in one call of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..ddpm_core.guidance import CFGSchedule
from .attention import PairedRun
from .conds import Conds, forget_features, joined
from .guide import ScheduledCFGGuider
from .types import Conditioning


class PairGuider(ScheduledCFGGuider):
    """Classifier-free guidance towards `source` in the first half of the rows and `target` in the second.

    Each half has its own scale, and its own copy of the negative prompt: the host gives the areas, ControlNets and
    GLIGEN boxes of a prompt to the negative that it is guided against. Where rows may have conditionings of their own,
    both halves are one call; areas, ControlNets, hooks and patches of the guidance take a call for each half.
    """

    def set_prompts(self, source: Conditioning, target: Conditioning, negative: Conditioning) -> None:
        self.inner_set_conds({"positive": target, "source": source, "negative": negative})

    def set_scales(
        self, source: float, target: float, schedule: CFGSchedule = "constant", target_end: float = 1.0
    ) -> None:
        self._source_scale = source
        self.set_schedule(schedule, target, target_end)

    attention: PairedRun | None = None
    """What the target takes over of the source's attention, for one run."""

    def inner_sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """The host's, which prepares the target's half alone; `prepare_source` does the other."""
        source = self.conds.pop("source")
        self._source = {"positive": source, "negative": self.conds["negative"]}
        try:
            return super().inner_sample(*args, **kwargs)
        finally:
            self.conds["source"] = source  # the host cleans up after what it finds here

    def prepare_source(self, prepare: Callable[[dict[str, Conds]], dict[str, Conds]]) -> None:
        """Prepare the source's half, as the host has prepared the target's (`samplers.Run.prepare`)."""
        self._source = prepare(self._source)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        model_options = model_options or {}
        half = len(x) // 2
        scales = self._source_scale, self._scales.at(timestep)
        cond, uncond = (joined(self._source[name], self.conds[name], half) for name in ("positive", "negative"))
        if cond is None or uncond is None or any(name.startswith("sampler_") for name in model_options):
            if self.attention is not None:
                raise ValueError(
                    "attention needs source and target in one call of the model, and areas, ControlNets, hooks or "
                    "patches of the guidance take a call for each: invert the image and sample from its noise maps, "
                    "or disconnect attention"
                )
            halves = zip((self._source, self.conds), scales, x.chunk(2), timestep.chunk(2), strict=True)
            return torch.cat([self._guided(*part, model_options, seed) for part in halves])
        if scales == (1.0, 1.0):
            uncond = None
        if self.attention is not None:
            model_options = self.attention.options(model_options, timestep, positive=0)
        # in the host's own order, by which patches of attention tell the two
        out = comfy.samplers.calc_cond_batch(self.inner_model, [cond, uncond], x, timestep, model_options)
        if uncond is None:
            return out[0]
        scale = torch.cat([x.new_full((half,), scale) for scale in scales])
        return torch.lerp(out[1], out[0], scale.view(-1, *[1] * (x.ndim - 1)))

    def _guided(
        self,
        conds: dict[str, Conds],
        scale: float,
        x: Tensor,
        timestep: Tensor,
        model_options: dict,
        seed: int | None,
    ) -> Tensor:
        prompts = conds["negative"], conds["positive"]
        forget_features(prompts)  # the halves may share one, and take it with other rows
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, *prompts, scale, model_options=model_options, seed=seed
        )
