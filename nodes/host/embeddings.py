"""The unconditional embedding of a guider, replaced from step to step (null-text inversion, arXiv 2211.09794)."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core.null_text import UncondDenoiser
from . import calls
from .conds import Conds
from .guiders import ImagesGuider
from .levels import LevelsOfRun
from .sums import summing
from .values import Guider

_CONTEXT = "c_crossattn"  # what the host calls the text's part of the model's conditioning


class ReplacingDenoiser:
    """A guider as the core's denoiser, with the embedding of each step in place of its negative prompt's.

    Args:
        sigmas: (T+1,) the levels of the run.
        embeddings: (T, B, L, D) on the device.
    """

    def __init__(self, guider: Guider, extra_args: dict[str, Any], sigmas: Tensor, embeddings: Tensor):
        _negative(guider)
        self._guider = guider
        self._extra_args = extra_args
        self._levels = LevelsOfRun(sigmas)
        self._embeddings = embeddings

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        embedding = self._embeddings[self._levels.index(sigma)]
        self._guider.conds["negative"] = [_with_embedding(_negative(self._guider), embedding)]
        return self._guider(x, sigma, **self._extra_args)


class OpenGuidance:
    """A running guider with its unconditional embedding as a variable that has gradients.

    The sum of both predictions is the host's own. The conditional one is made once a step, unless code of other nodes
    may look at both in one call.
    """

    def __init__(self, guider: ImagesGuider, extra_args: dict[str, Any]):
        self._negative = _negative(guider)
        self._guider = guider
        self._extra_args = extra_args
        self._options = extra_args["model_options"]
        self._others = calls.code_of_others(guider.model_patcher, self._options)

    def embedding(self, rows: int) -> Tensor:
        """(rows, L, D) the negative prompt's own embedding, where the search starts."""
        embedding = self._negative["model_conds"][_CONTEXT].cond.to(torch.float32)
        return embedding.expand(rows, -1, -1) if len(embedding) == 1 else embedding

    def __call__(self, x: Tensor, sigma: Tensor) -> UncondDenoiser:
        cond: Tensor | None = None
        if not self._others:
            with torch.no_grad():
                cond = self._predict(self._guider.conds["positive"], x, sigma)

        def predict(uncond: Tensor) -> Tensor:
            negative = [_with_embedding(self._negative, uncond)]
            self._guider.conds["negative"] = negative
            extra_args = self._extra_args
            if cond is not None:
                options = summing(self._options, cond, self._predict(negative, x, sigma))
                extra_args = {**extra_args, "model_options": options}
            return self._guider(x, sigma, **extra_args)

        return predict

    def _predict(self, conds: Conds, x: Tensor, sigma: Tensor) -> Tensor:
        return comfy.samplers.calc_cond_batch(self._guider.inner_model, [conds], x, sigma, self._options)[0]


def _negative(guider: Guider) -> dict[str, Any]:
    """The guider's one negative conditioning.

    Raises:
        ValueError: a guider without one, or with several; a model whose text is not one embedding.
    """
    prompts = getattr(guider, "conds", {})
    negative = prompts.get("negative", [])
    if any("area" in cond for prompt in prompts.values() for cond in prompt):
        raise ValueError(
            "null-text embeddings take the place of one negative conditioning, and ComfyUI gives the negative prompt a "
            "part for each area of the prompts: use prompts without areas (masks are fine), or another inversion"
        )
    if len(negative) != 1:
        raise ValueError(
            f"null-text embeddings take the place of one negative conditioning, this guider has {len(negative)}: use "
            "CFGGuider or Guide with a CFG Schedule, with one plain CLIP Text Encode as negative"
        )
    context = negative[0]["model_conds"].get(_CONTEXT)
    if context is None or context.cond.ndim != 3:
        raise ValueError(
            "null-text inversion moves the text embedding that cross-attention reads, and this model has none: use a "
            "Stable Diffusion kind of model, or another inversion"
        )
    return negative[0]


def _with_embedding(conditioning: dict[str, Any], embedding: Tensor) -> dict[str, Any]:
    model_conds = conditioning["model_conds"]
    context = type(model_conds[_CONTEXT])(embedding)
    return {**conditioning, "model_conds": {**model_conds, _CONTEXT: context}}
