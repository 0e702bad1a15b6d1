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
from ...ddpm_core.attention import AttentionControl, CrossWeights, Halves, Place, Share, WordMaps
from .blocks import Blocks, Key, key_of
from .transformers import Attention, Edit, OneCall, Site

ModelOptions = dict[str, Any]
Weights = Callable[[int, torch.device, torch.dtype], CrossWeights]
"""Those of an edit at one step, by the number of tokens of text, beside values of a device and dtype."""


class Patches:
    """An edit as patches of single calls.

    Args:
        edit: what to do.
        blocks: of the model.
        steps: of the full schedule.
    """

    def __init__(self, edit: AttentionControl, blocks: Blocks, steps: int):
        self.edit = edit
        self.steps = steps
        self._blocks = blocks
        self._reached: set[Site] = set()
        self._blend_level = attention.blend_level(blocks.places)

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
        seen = {place for place in self._blocks.places if see is not None and self._is_looked_at(place)}
        if self._blocks.sites:
            edits: dict[Site, Edit] = {}
            for site in self._blocks.sites:
                here = [share for share, places in shares if site.place in places and site.reads != "text"]
                cross = weights if site.reads != "itself" else None
                look = see if site.place in seen and site.reads != "itself" else None
                if here or cross or look:
                    edits[site] = partial(_attend, site, here, cross, look, positive)
            OneCall(edits, self._reached).into(transformer_options)
            return options
        if shares:
            at = [(share, {key_of(place) for place in places}) for share, places in shares]
            patches = transformer_options.setdefault("patches", {})
            # behind those of the MODEL, whose changes of queries, keys and values both halves then share
            patches["attn1_patch"] = [*patches.get("attn1_patch", []), partial(_share, at, positive)]
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

    def _is_looked_at(self, place: Place) -> bool:
        return place.part != "middle" and place.level == self._blend_level

    def _weights(self, step: int) -> Weights | None:
        edit = self.edit.cross_at(step, self.steps)
        if edit is None:
            return None

        @cache
        def weights(length: int, device: torch.device, dtype: torch.dtype) -> CrossWeights:
            fitting = edit.padded(length) if self._blocks.sites else edit
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
    grid: Callable[[], Sequence[int]],
    tokens: slice = slice(None),
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values with those of the source in the target's rows.

    Args:
        grid: (frames, h, w) of the picture's tokens.
    """
    named = dict(zip(("queries", "keys", "values"), parts, strict=True))
    for share in shares:
        background = None if share.edited is None else attention.background_of(share.edited, grid())
        for name in share.takes:
            part = named[name]  # of other rows than the others, where another node lays out tiles as rows
            halves = halves_of(len(part), extra_options, None if share.all_prompts else positive)
            pictures = {source.stop - source.start for source, _ in halves}
            if background is not None and any(count % len(background) for count in pictures):
                raise ValueError(
                    f"the mask has {len(background)} pictures, and there are {pictures.pop()} that are edited: connect "
                    "one mask for all, or one for each"
                )
            named[name] = attention.take_source(part, halves, tokens, background)
    return named["queries"], named["keys"], named["values"]


def _share(
    at: Sequence[tuple[Share, set[Key]]],
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
    return _taken(shares, (n, context, value), extra_options, positive, lambda: (1, *size))


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
    of_step = weights(k.shape[1], v.device, v.dtype)
    return attention.cross_attention(there, lambda rows, v: plain(q[rows], k[rows], v), v, halves, of_step)


def _attend(
    site: Site,
    shares: Sequence[Share],
    weights: Weights | None,
    see: WordMaps | None,
    positive: int,
    here: Attention,
) -> Tensor:
    """An attention of a transformer, edited."""
    if shares:
        taken = _taken(shares, (here.q, here.k, here.v), here.options, positive, lambda: here.grid, here.picture)
        here = here.with_parts(*taken)
    halves = halves_of(len(here.q), here.options, positive)
    joint = site.reads == "both"
    if see is not None:
        frames, *size = here.grid
        if frames > 1:
            raise ValueError(f"the places of words are found in pictures, and this latent has {frames} frames")
        q, k = here.flat
        beside = k.shape[1] - here.text if joint else 0
        for rows in halves if see.sets > 1 else [(slice(None),)]:
            see.see(q[:, here.picture], k, here.heads, size, rows, padded=True, beside=beside, bias=here.bias)
    if weights is None or not halves:
        return here()
    of_step = weights(here.text if joint else here.k.shape[-2], here.v.device, here.v.dtype)
    if joint:
        return attention.joint_attention(here(), here.of_rows, here.v, halves, of_step)
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
