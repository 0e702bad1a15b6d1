"""Cross-attention guidance inside the host (pix2pix-zero, arXiv 2302.03027)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...ddpm_core.attention import attention_maps
from ...ddpm_core.directions import common_length, repeated
from ...ddpm_core.zero_shot import attend, map_distance
from . import calls, conds
from .blocks import Blocks, Key
from .guiders import ImagesGuider
from .sums import PREDICTIONS, summing

_Call = list[conds.Conds | None]
"""The prompts of one call of the host; the last is the one that runs."""
_CONTEXT = "c_crossattn"
# What the host would call in place of, or between, the calls made here.
_REFUSED_OPTIONS = (PREDICTIONS, "context_handler", "multigpu_clones")


class _Recording:
    """Keeps the maps of one call, as functions for the host's attn2 slots."""

    def __init__(self) -> None:
        self.maps: dict[Key, Tensor] = {}

    def at(self, block: Key) -> Callable[..., Tensor]:
        def attention(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            self.maps[block] = attention_maps(q, k, extra_options["n_heads"])
            return attend(self.maps[block], v)

        return attention


class _Comparing:
    """Sums how far the maps of one call are from recorded ones: `loss` (B,)."""

    def __init__(self, reference: dict[Key, Tensor]):
        self._reference = reference
        self.loss: Tensor | float = 0.0

    def at(self, block: Key) -> Callable[..., Tensor]:
        def attention(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            maps = attention_maps(q, k, extra_options["n_heads"])
            self.loss = self.loss + map_distance(maps, self._reference[block])
            return attend(maps, v)

        return attention


class HostGuidance:
    """A running guider as the core's `AttentionGuidance`. Its patches live in options of its own, for one call each."""

    def __init__(self, guider: ImagesGuider, extra_args: dict[str, Any]):
        self._guider = guider
        self._extra_args = extra_args
        self._model = guider.inner_model
        self._options = extra_args["model_options"]
        self._blocks = Blocks.of_unet(self._model.diffusion_model, self._options).keys
        _check_options(self._options)
        names = (("source", "source"), ("positive", "target"), ("negative", "negative"))  # the host's and the node's
        source, target, negative = (_one(ours, guider.conds[hosts]) for hosts, ours in names)
        source, target = _of_one_length(source, target)
        # The places of a call tell patches which half they see: the positive comes first.
        self._pairs: list[tuple[_Call, _Call]] = [([source], [target]), ([None, negative], [None, negative])]
        asked = self._options.get("disable_cfg1_optimization", False) or calls.wraps_guidance(self._options)
        if guider.guidance.is_none and not asked:
            self._pairs = self._pairs[:1]
        if others := calls.code_of_others(guider.model_patcher, self._options):
            logging.info(
                "Zero-Shot Image-to-Image: a call for each prompt, so what compares both in one call does not act "
                "(model patches: %s)",
                ", ".join(others),
            )

    @property
    def halves(self) -> int:
        return len(self._pairs)

    def loss(self, half: int, x: Tensor, state: Tensor, sigma: Tensor) -> Tensor:
        """(B,) how far the maps of x (B, *S) in one half are from those of the source's state (B, *S)."""
        source, target = self._pairs[half]
        with torch.no_grad():
            recording = _Recording()
            self._call(source, state, sigma, self._with(recording))
        comparing = _Comparing(recording.maps)
        self._call(target, x, sigma, self._with(comparing))
        if not isinstance(comparing.loss, Tensor):
            raise RuntimeError("none of the model's cross-attention ran: a patch runs in the network's place")
        return comparing.loss

    def gradients(self, x: Tensor, state: Tensor, sigma: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for half in range(self.halves):
            with torch.enable_grad():
                open_x = x.detach().clone().requires_grad_(True)
                found += torch.autograd.grad(self.loss(half, open_x, state, sigma).sum(), open_x)
        return found

    def predict(self, moved: Sequence[Tensor], sigma: Tensor) -> Tensor:
        extra_args = self._extra_args
        if not all(x is moved[0] for x in moved):
            halves = zip(self._pairs, moved, strict=True)
            of_halves = [self._call(target, x, sigma, self._options) for (_, target), x in halves]
            extra_args = {**extra_args, "model_options": summing(self._options, *of_halves)}
        return self._guider(moved[-1], sigma, **extra_args)

    def _with(self, attention: _Recording | _Comparing) -> dict[str, Any]:
        """The options of a call in which `attention` is at every block that reads the text."""
        options = self._options.get("transformer_options", {})
        replaced = options.get("patches_replace", {})
        attn2 = {block: attention.at(block) for block in self._blocks}
        return {
            **self._options,
            "transformer_options": {**options, "patches_replace": {**replaced, "attn2": attn2}},
        }

    def _call(self, entries: _Call, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        return comfy.samplers.calc_cond_batch(self._model, entries, x, sigma, options)[-1]


def _one(name: str, prompt: conds.Conds) -> conds.Conds:
    """A prompt that is one entry for the whole picture, all the time.

    Raises:
        ValueError: any other, by what it carries.
    """
    if why := conds.why_not_plain(name, prompt, "zero-shot guidance", conds.CONTROL):
        raise ValueError(why)
    if _CONTEXT not in prompt[0]["model_conds"]:
        raise ValueError(f"the {name} prompt holds no text that cross-attention reads: connect CLIP Text Encode")
    return prompt


def _of_one_length(source: conds.Conds, target: conds.Conds) -> tuple[conds.Conds, conds.Conds]:
    """Two prompts with as many tokens each, so that their maps can be compared; repeated as the host repeats them.

    Raises:
        ValueError: lengths too far apart.
    """
    first, second = (prompt[0]["model_conds"][_CONTEXT] for prompt in (source, target))
    if first.cond.shape[1] == second.cond.shape[1]:
        return source, target
    length = common_length(part.cond for part in (first, second))
    longer = [type(part)(repeated(part.cond, length)) for part in (first, second)]
    both = zip((source, target), longer, strict=True)
    new = [[{**prompt[0], "model_conds": {**prompt[0]["model_conds"], _CONTEXT: part}}] for prompt, part in both]
    return new[0], new[1]


def _check_options(model_options: dict[str, Any]) -> None:
    """Refuse patches of a MODEL that guidance by gradients cannot go together with.

    Raises:
        ValueError: one of them, by name.
    """
    replaced = model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2")
    strange = [name for name in _REFUSED_OPTIONS if model_options.get(name)] + ["attn2 replacement"] * bool(replaced)
    if strange:
        raise ValueError(
            f"a node has patched the MODEL with {', '.join(strange)}, as IP-Adapter, windows and guidance do; "
            "zero-shot guidance takes that place itself: connect the MODEL from before that node"
        )
