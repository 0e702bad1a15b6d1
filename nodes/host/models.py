"""Two MODELs as one, each for its part of the noise levels, as Wan 2.2 has them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import torch
from torch import Tensor

from ...ddpm_core import Network
from .levels import schedule_for, sigma_of_share
from .values import Guider, ModelPatcher, RowWise

_KEY = "edit_friendly_models_by_level"
_OUTER = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
_PREDICT = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
# Wrappers around the calls of a run, of which the host takes those of the MODEL that is sampled.
_AROUND = (
    _OUTER,
    comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING,
    comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE,
    _PREDICT,
)
_VECTORS, _OF_EACH = 16, 2  # of a network's weights, and numbers of each


@dataclass(frozen=True, eq=False)
class ModelsByLevel(RowWise):
    """Two models of one kind, of which the second takes the levels below a sigma.

    The MODEL that they are together is the first with a wrapper of the host's sampling, which loads the second at its
    first call and has it called with patches of its own. What is put on that MODEL later is on both.

    Args:
        first, second: as they came.
        sigma: the lowest level of the first.
    """

    first: ModelPatcher
    second: ModelPatcher
    sigma: float

    @classmethod
    def of_share(cls, first: ModelPatcher, second: ModelPatcher, share: float) -> ModelsByLevel:
        """From a share of noise, b / (a + b), in [0, 1].

        Raises:
            ValueError: models of two kinds, or which are two already; patches that the second cannot bring along.
        """
        for name, what in (("family", _family), ("latent format", _format)):
            if what(first) != what(second):
                raise ValueError(
                    f"high_noise_model has {name} {what(first)}, low_noise_model has {what(second)}: connect the two "
                    "parts of one model, such as Wan 2.2's for high and for low noise"
                )
        if cls.of(first) is not None or cls.of(second) is not None:
            raise ValueError("one of the models is two by itself: connect high_noise_model and low_noise_model to one")
        sigma = sigma_of_share(first, share)
        levels = torch.tensor([0.5, 0.0])
        if not schedule_for(first, levels, 1.0).same_levels(schedule_for(second, levels, 1.0)):
            raise ValueError(
                "high_noise_model and low_noise_model noise an image in different ways (such as diffusion against "
                "flow): connect the two parts of one model"
            )
        around = [name for name in _AROUND if second.wrappers.get(name)]
        if around:
            raise ValueError(
                f"a node has patched low_noise_model to act around a whole run ({', '.join(around)}), as caches "
                "of steps do: put that node after this one, where it acts on both models"
            )
        if first.wrappers.get(_PREDICT):
            raise ValueError(
                "a node has patched high_noise_model to act on each prediction of a run, as Keep Image and CFG "
                "Override do, and it would act on both models: put that node after this one"
            )
        return cls(first, second, sigma)

    @classmethod
    def of(cls, model: ModelPatcher) -> ModelsByLevel | None:
        """The two that a MODEL is; None for one of one model."""
        found = model.wrappers.get(_OUTER, {}).get(_KEY, [])
        return found[0] if found else None

    def together(self) -> ModelPatcher:
        """The MODEL that they are together."""
        model = self.first.clone()
        model.add_wrapper_with_key(_OUTER, _KEY, self)
        return model

    def __call__(self, executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """A run of the host's sampling, by the host's name for such a wrapper."""
        guider: Guider = executor.class_obj  # type: ignore[attr-defined]
        switch = Switch(self, guider)
        comfy.patcher_extension.add_wrapper(_PREDICT, switch, guider.model_options, is_model_options=True)
        try:
            return executor(*args, **kwargs)
        finally:
            switch.close()

    def second_like(self, model: ModelPatcher) -> ModelPatcher:
        """The second with what has been put on the MODEL that they are together."""
        added = {
            name: merged(getattr(self.second, name), getattr(model, name), getattr(self.first, name))
            for name in ("patches", "weight_wrapper_patches", "object_patches", "injections")
        }
        if all(parts == getattr(self.second, name) for name, parts in added.items()):
            return self.second  # loaded once for all runs
        like = self.second.clone()
        for name, parts in added.items():
            setattr(like, name, parts)
        like.patches_uuid = uuid.uuid4()
        return like


class Switch(RowWise):
    """The model of each call of one run."""

    def __init__(self, models: ModelsByLevel, guider: Guider):
        self._guider = guider
        self._sigma = models.sigma
        self._loaded = guider.model_patcher
        self._second = models.second_like(guider.model_patcher)
        if self._second.is_dynamic() and any("hooks" in entry for prompt in guider.conds.values() for entry in prompt):
            self._second = self._second.get_non_dynamic_delegate()  # as the host takes the first, for LoRA hooks
        self._own, self._base = (_options_of(model) for model in (models.second, models.first))
        comfy.sampler_helpers.prepare_model_patcher(self._second, guider.conds, {"transformer_options": {}})

    def __call__(
        self,
        executor: Callable[..., Tensor],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
        seed: int | None = None,
    ) -> Tensor:
        guider = self._guider
        if not (timestep < self._sigma * (1 - 1e-6)).all():
            self._load(guider.model_patcher, x)
            return executor(x, timestep, model_options, seed)
        self._load(self._second, x)
        first = guider.inner_model
        guider.inner_model = self._second.model
        try:
            return executor(x, timestep, merged(self._own, model_options, self._base), seed)
        finally:
            guider.inner_model = first

    def _load(self, model: ModelPatcher, x: Tensor) -> None:
        """Have the host load a model, which makes room by what it has loaded before."""
        if model is not self._loaded:
            comfy.sampler_helpers.prepare_sampling(model, x.shape, self._guider.conds, self._guider.model_options)
            model.pre_run()
            self._loaded = model

    def close(self) -> None:
        self._second.cleanup()
        self._second.restore_hook_patches()


def merged(own: Any, given: Any, base: Any) -> Any:
    """What becomes of `own` when what made `given` of `base` is done to it: of dicts and lists, part by part."""
    if isinstance(given, list):
        return own + [part for part in given if not any(part is known for known in base)]
    if not isinstance(given, dict):
        return given
    result = {key: value for key, value in own.items() if key in given or key not in base}
    for key, value in given.items():
        if key in base and value is base[key]:
            continue
        empty = type(value)() if isinstance(value, dict | list) else None
        part = merged(own.get(key, empty), value, base.get(key, empty))
        if key in own or part != empty or key not in base:
            result[key] = part
    return result


def _options_of(model: ModelPatcher) -> dict[str, Any]:
    """The options of a MODEL with its wrappers and callbacks, as the host puts them together for a run."""
    options: dict[str, Any] = comfy.model_patcher.create_model_options_clone(model.model_options)
    inside = options.setdefault("transformer_options", {})
    for name in ("wrappers", "callbacks"):
        inside[name] = comfy.patcher_extension.merge_nested_dicts(inside.get(name, {}), getattr(model, name))
    return options


def _family(model: ModelPatcher) -> str:
    return type(model.model).__name__


def _format(model: ModelPatcher) -> str:
    return type(model.get_model_object("latent_format")).__name__


def networks(model: ModelPatcher) -> tuple[Network, ...]:
    """The networks of a MODEL, each with the lowest level that it takes."""
    models = ModelsByLevel.of(model)
    if models is None:
        return (Network(_numbers(model)),)
    return Network(_numbers(models.first), models.sigma), Network(_numbers(models.second))


def _numbers(model: ModelPatcher) -> tuple[float, ...]:
    """A few numbers by which a network is known again, in another precision or with a LoRA too.

    Biases and the like, which no LoRA changes, read along fixed random directions.
    """
    weights = [weight for weight in model.model.diffusion_model.parameters() if weight.ndim == 1]
    weights = [weight for weight in weights if weight.is_floating_point() and weight.device.type != "meta"]
    chosen = range(0, len(weights), max(1, len(weights) // _VECTORS))
    numbers: list[float] = []
    for vector in (weights[i].detach().float().cpu() for i in chosen):
        generator = torch.Generator().manual_seed(len(vector))
        directions = torch.randn(_OF_EACH, len(vector), generator=generator)
        numbers += (directions @ vector / vector.norm().clamp(min=1e-12)).tolist()
    return tuple(round(number, 4) for number in numbers)
