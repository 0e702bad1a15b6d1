"""Attention edits as patches of single calls of a model: the source's rows beside the target's.

Everything that is installed goes into the model options of one call: nothing stays on the MODEL or on its modules,
whatever ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_patcher
import comfy.patcher_extension
import torch
from torch import Tensor

from ...ddpm_core import attention
from ...ddpm_core.attention import AttentionControl, CrossWeights, Halves, Share, WordMaps
from .blocks import Blocks, Key, key_of
from .latents import mask_rows
from .layouts import Site
from .transformers import Attention, Edit, OneCall

ModelOptions = dict[str, Any]
Weights = Callable[[int, bool, torch.device, torch.dtype], CrossWeights]
"""Those of an edit at one step, by the number of tokens of text and whether padding stands before them, beside values
of a device and dtype.
"""
Background = Callable[[Share, tuple[int, ...], tuple[int, int, int]], Tensor]
"""(B, n) bool, the tokens of a grid (frames, h, w) that a share's mask leaves as they are, in latents (B, *S)."""


class Patches:
    """An edit as patches of single calls.

    Args:
        edit: what to do.
        blocks: of the model.
        steps: of the full schedule.
        cell: of the latent space, in which masks are.
    """

    def __init__(self, edit: AttentionControl, blocks: Blocks, steps: int, cell: int | None = None):
        self.edit = edit
        self.steps = steps
        self._blocks = blocks
        self._reached: set[Site] = set()
        self._looked_at = attention.near_quarter(blocks.places)
        self._background: Background = cache(partial(_background, cell))

    def into(self, model_options: ModelOptions, step: int, positive: int, see: WordMaps | None = None) -> ModelOptions:
        """A copy of the options of a call with this edit in it.

        Args:
            positive: the number of the positive prompt among those of the call.
            see: takes the maps of words: of one set in all rows, or of two in those of source and target.
        """
        options = comfy.model_patcher.create_model_options_clone(model_options)
        transformer_options = options.setdefault("transformer_options", {})
        shares = [(share, share.where(self._blocks.places)) for share in self.edit.shares_at(step, self.steps)]
        weights = self._weights(step)
        seen = self._looked_at if see is not None else set()
        if self._blocks.sites:
            edits: dict[Site, Edit] = {}
            for site in self._blocks.sites:
                here = [share for share, places in shares if site.place in places and site.reads != "text"]
                cross = weights if site.reads != "itself" else None
                look = see if site.place in seen and site.reads != "itself" else None
                if here or cross or look:
                    edits[site] = partial(_attend, here, self._background, cross, look, positive)
            OneCall(edits, self._reached).into(transformer_options)
            return options
        if shares:
            at = [(share, {key_of(place) for place in places}) for share, places in shares]
            patches = transformer_options.setdefault("patches", {})
            # behind those of the MODEL, whose changes of queries, keys and values both halves then share
            patches["attn1_patch"] = [*patches.get("attn1_patch", []), partial(_share, at, self._background, positive)]
        if weights is not None or see is not None:
            replace = dict(transformer_options.get("patches_replace", {}))
            there = replace.get("attn2", {})
            replace["attn2"] = dict(there)
            for place in self._blocks.places if weights is not None else seen:
                key = key_of(place)
                before = there.get(key, there.get(key[:2]))
                replace["attn2"][key] = partial(_cross, weights, before, positive, see if place in seen else None)
            transformer_options["patches_replace"] = replace
        if features := self.edit.features_at(step, self.steps):
            chosen = {(p.part, p.block) for part in features for p in part.where(self._blocks.places)}
            modules = [self._blocks.branches[name] for name in chosen]
            comfy.patcher_extension.add_wrapper(
                comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL,
                partial(_take_features, modules),
                transformer_options,
            )
        return options

    def _weights(self, step: int) -> Weights | None:
        edit = self.edit.cross_at(step, self.steps)
        if edit is None:
            return None

        @cache
        def weights(length: int, before: bool, device: torch.device, dtype: torch.dtype) -> CrossWeights:
            fitting = edit.padded(length, before=before) if self._blocks.sites else edit
            return fitting.at(step, self.steps, length).to(torch.empty(0, device=device, dtype=dtype))

        return weights


def halves_of(rows: int, extra_options: dict[str, Any], only: int | None) -> Halves:
    """The rows of source and target for each prompt of a call, or for one of them.

    The host lays prompts one behind the other in an order of its own, and may split them over several calls.
    """
    prompts: list[int] = extra_options["cond_or_uncond"]
    each = rows // len(prompts)
    starts = [j * each for j, prompt in enumerate(prompts) if only is None or prompt == only]
    return [(slice(a, a + each // 2), slice(a + each // 2, a + each)) for a in starts]


def attend(extra_options: dict[str, Any]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The host's own attention, in whatever kernel the user has chosen."""
    return partial(
        comfy.ldm.modules.attention.optimized_attention,
        heads=extra_options["n_heads"],
        attn_precision=extra_options["attn_precision"],
        transformer_options=extra_options,
    )


def _taken(
    shares: Sequence[Share],
    parts: tuple[Tensor, Tensor, Tensor],
    extra_options: dict[str, Any],
    positive: int,
    background: Callable[[Share], Tensor],
    tokens: slice = slice(None),
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values with those of the source in the target's rows.

    Args:
        background: of a share with a mask.
    """
    named = dict(zip(("queries", "keys", "values"), parts, strict=True))
    for share in shares:
        taken = None if share.edited is None else background(share)
        for name in share.takes:
            part = named[name]  # of other rows than the others, where another node lays out tiles as rows
            halves = halves_of(len(part), extra_options, None if share.all_prompts else positive)
            named[name] = attention.take_source(part, halves, tokens, taken)
    return named["queries"], named["keys"], named["values"]


def _background(cell: int | None, share: Share, shape: tuple[int, ...], grid: tuple[int, int, int]) -> Tensor:
    assert share.edited is not None
    # a cell's mean is above 0 where any pixel of it is edited
    cells = mask_rows(torch.Size(shape), cell, (share.edited > 0.5).float())
    return attention.background_of(cells.reshape(-1, *(1, 1, *shape[2:])[-3:]), grid)


def _edited(shape: Sequence[int], extra_options: dict[str, Any]) -> tuple[int, ...]:
    """(B, *S) of the latents of the target alone, of those that a call is given."""
    rows, *axes = shape
    return rows // (2 * len(extra_options["cond_or_uncond"])), *axes


def _share(
    at: Sequence[tuple[Share, set[Key]]],
    background: Background,
    positive: int,
    n: Tensor,
    context: Tensor,
    value: Tensor,
    extra_options: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    here = (*extra_options["block"][:2], extra_options.get("block_index", 0))
    shares = [share for share, keys in at if here in keys]
    if not shares:
        return n, context, value
    rows, size = extra_options["activations_shape"][0], extra_options["activations_shape"][-2:]
    if n.shape[:2].numel() != rows * math.prod(size):  # tiles are rows of fewer pixels
        raise ValueError(
            f"another node merges the pixels of each row by themselves ({n.shape[1]} of {math.prod(size)} are left, as "
            "by Tome Patch Model), so those of source and target no longer match: remove it, or leave the "
            "self-attention alone (self_steps 0)"
        )
    if len(n) != rows and any(share.edited is not None for share in shares):
        raise ValueError(
            "another node lays out parts of each picture as rows of their own, as HyperTile does, among which a mask "
            "has no place: remove it, or do without the mask of Share Self-Attention"
        )
    shape = _edited(extra_options["original_shape"], extra_options)
    return _taken(shares, (n, context, value), extra_options, positive, lambda s: background(s, shape, (1, *size)))


def _cross(
    weights: Weights | None,
    before: Callable[..., Tensor] | None,
    positive: int,
    see: WordMaps | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    extra_options: dict[str, Any],
) -> Tensor:
    halves = halves_of(len(q), extra_options, positive)
    if see is not None:
        size = extra_options["activations_shape"][-2:]
        for rows in halves if see.sets > 1 else [(slice(None),)]:
            see.see(q, k, extra_options["n_heads"], size, rows)
    plain = attend(extra_options)

    def there(v: Tensor) -> Tensor:
        return plain(q, k, v) if before is None else before(q, k, v, extra_options)

    if weights is None or not halves:
        return there(v)
    of_step = weights(k.shape[1], False, v.device, v.dtype)
    return attention.cross_attention(there, lambda rows, v: plain(q[rows], k[rows], v), v, halves, of_step)


def _attend(
    shares: Sequence[Share],
    background: Background,
    weights: Weights | None,
    see: WordMaps | None,
    positive: int,
    here: Attention,
) -> Tensor:
    """An attention of a transformer, edited."""
    if shares:
        shape = _edited(here.call.shape, here.options)
        parts = here.q, here.k, here.v
        taken = _taken(shares, parts, here.options, positive, lambda s: background(s, shape, here.grid), here.picture)
        here = here.with_parts(*taken)
    halves = halves_of(len(here.q), here.options, positive)
    if here.reads == "itself" or not (see or (weights and halves)):
        return here()
    joint = here.reads == "both"
    text = here.tokens.text if joint else here.k.shape[-2]
    if not text:
        raise ValueError(
            "words have no place of their own in this model, which reads reference pictures between parts of a prompt, "
            "or a prompt by several encoders: use Share Self-Attention, or do without the reference pictures"
        )
    before = here.call.pads_before or here.tokens.own > 0
    if see is not None:
        frames, *size = here.grid
        if frames > 1:
            raise ValueError(f"the places of words are found in pictures, and this latent has {frames} frames")
        q, k = here.flat
        looked_at, beside = q[:, here.picture], k.shape[1] - text
        for rows in halves if see.sets > 1 else [(slice(None),)]:
            see.see(looked_at, k, here.heads, size, rows, padded=True, before=before, beside=beside, bias=here.bias)
    if weights is None or not halves:
        return here()
    of_step = weights(text, before, here.v.device, here.v.dtype)
    if joint:
        return attention.joint_attention(here(), here.of_rows, here.v, halves, of_step, here.picture)
    return attention.cross_attention(here, here.of_rows, here.v, halves, of_step)


def _take_features(
    modules: list[torch.nn.Module], executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """One call of the network with hooks that live no longer."""
    transformer_options = kwargs.get("transformer_options") or args[4]  # (timesteps, context, y, control, options)
    halves = halves_of(len(x), transformer_options, None)

    def take(module: torch.nn.Module, inputs: object, features: Tensor) -> Tensor:
        return attention.take_source(features, halves)

    handles = [module.register_forward_hook(take) for module in modules]
    try:
        return executor(x, *args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
