"""A guider for two prompts at once: the source's rows and the target's rows in one call of the host."""

from __future__ import annotations

import comfy.conds
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..ddpm_core.guidance import CFGSchedule
from .guide import ScheduledCFGGuider
from .types import Conditioning


class PairGuider(ScheduledCFGGuider):
    """Classifier-free guidance towards `source` in the first half of the rows and `target` in the second.

    Each half has its own scale. Where the host lets rows have conditionings of their own, both halves are one call;
    areas, ControlNets, hooks, prompts of other lengths and patches of the guidance take a call for each half.
    """

    def set_prompts(self, source: Conditioning, target: Conditioning, negative: Conditioning) -> None:
        self.inner_set_conds({"positive": target, "source": source, "negative": negative})

    def set_scales(
        self, source: float, target: float, schedule: CFGSchedule = "constant", target_end: float = 1.0
    ) -> None:
        self._source_scale = source
        self.set_schedule(schedule, target, target_end)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        model_options = model_options or {}
        source, target, negative = (self.conds[name] for name in ("source", "positive", "negative"))
        half = len(x) // 2
        scales = self._source_scale, self._scales.at(timestep)
        both = _joined(source, target, half)
        if both is None or any(name.startswith("sampler_") for name in model_options):
            halves = zip((source, target), scales, x.chunk(2), timestep.chunk(2), strict=True)
            return torch.cat([self._guided(*part, negative, model_options, seed) for part in halves])
        if scales == (1.0, 1.0):
            return comfy.samplers.calc_cond_batch(self.inner_model, [both], x, timestep, model_options)[0]
        uncond, cond = comfy.samplers.calc_cond_batch(self.inner_model, [negative, both], x, timestep, model_options)
        scale = torch.cat([x.new_full((half,), scale) for scale in scales])
        return torch.lerp(uncond, cond, scale.view(-1, *[1] * (x.ndim - 1)))

    def _guided(
        self,
        positive: list[dict],
        scale: float,
        x: Tensor,
        timestep: Tensor,
        negative: list[dict],
        model_options: dict,
        seed: int | None,
    ) -> Tensor:
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, scale, model_options=model_options, seed=seed
        )


def _joined(source: list[dict], target: list[dict], rows: int) -> list[dict] | None:
    """Both prompts as one conditioning of 2 * rows rows; None where they cannot be one."""
    if len(source) != 1 or len(target) != 1:
        return None
    plain = {"model_conds", "uuid", "cross_attn", "pooled_output", "width", "height", "prompt_type"}
    parts = source[0]["model_conds"], target[0]["model_conds"]
    if (set(source[0]) | set(target[0])) - plain or set(parts[0]) != set(parts[1]):
        return None
    joined = {}
    for name in parts[0]:
        conds = [part[name] for part in parts]
        if type(conds[0]) is not type(conds[1]) or type(conds[0]) not in (
            comfy.conds.CONDRegular,
            comfy.conds.CONDCrossAttn,
        ):
            return None
        if conds[0].cond.shape[1:] != conds[1].cond.shape[1:]:
            return None
        tensors = [comfy.utils.repeat_to_batch_size(cond.cond, rows) for cond in conds]
        joined[name] = type(conds[0])(torch.cat(tensors))
    return [{**target[0], "model_conds": joined}]
