"""Attention control inside the host: the source's rows beside the target's, for one run of one of the pack's samplers.

Everything that is installed goes into the model options of a single call: nothing stays on the MODEL, on its modules
or on the guider, whatever ends the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import torch
from torch import Tensor

from ...ddpm_core import attention
from ...ddpm_core.attention import AttentionControl, CrossWeights, Halves, Place, Share, WordMaps
from . import calls, conds
from .blocks import Blocks, Key, key_of
from .conds import Conds
from .levels import LevelsOfRun
from .transformers import Attention, Edit, OneCall, Site
from .values import Conditioning, Guider

ModelOptions = dict[str, Any]


@dataclass(frozen=True, eq=False)
class AttentionEdit:
    """ATTENTION_EDIT: an edit, and the prompt that the source's rows are told.

    Args:
        source: the prompt.
        says: what it reads, for messages.
        edit: what the target takes over.
    """

    source: Conditioning
    says: str
    edit: AttentionControl

    def and_also(self, other: AttentionEdit) -> AttentionEdit:
        """Both at once.

        Raises:
            ValueError: of different sources, or each with an edit of the cross-attention.
        """
        if not same_embedding(self.source, other.source):
            raise ValueError(
                f"the attention edits have different sources ({self.says}; {other.says}): connect one source "
                "conditioning to both"
            )
        return AttentionEdit(self.source, self.says, self.edit.and_also(other.edit))


def same_embedding(a: Conditioning, b: Conditioning) -> bool:
    """Whether two CONDITIONINGs tell a model the same words."""
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.equal(x, y) for (x, *_), (y, *_) in zip(a, b, strict=True)
    )


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


class EditedRun:
    """One run with an attention edit.

    Args:
        edit: what the target takes over.
        guider: that is being sampled with.
        model_options: of the run.
        sigmas: (T'+1,) the levels that run.
        steps: of the full schedule.

    Raises:
        ValueError: a model or patches that cannot share.
    """

    def __init__(self, edit: AttentionControl, guider: Guider, model_options: ModelOptions, sigmas: Tensor, steps: int):
        refuse_what_cannot_share(edit, model_options)
        blocks = Blocks.of(guider.inner_model.diffusion_model, model_options)
        if blocks.sites and edit.features:
            raise ValueError(
                "Plug-and-Play keeps features of a UNet's residual blocks, and this model is a transformer "
                f"({type(guider.inner_model.diffusion_model).__name__}): use values only, or keys and values"
            )
        if not edit.acts_at(blocks.places):
            raise ValueError(
                f"this attention edit does nothing with this model, none of whose {len(blocks.places)} blocks with "
                "attention is among those that it acts at (MasaCtrl: on a UNet's way up, at half the latent's side and "
                "more): use another method, as values only, or other blocks"
            )
        self.lengths: conds.Lengths = blocks.lengths
        self._patches = Patches(edit, blocks, steps)
        self._levels = LevelsOfRun(sigmas)
        self._maps = None if edit.blend is None else WordMaps(edit.blend.source, edit.blend.target)

    def _is_open(self, step: int) -> bool:
        return self._patches.edit.is_open(step, self._patches.steps)

    def mask_after(self, step: int, x: Tensor) -> Tensor | None:
        """(R, 1, *S[1:]) what of the edit is kept after a step; None for all of it."""
        edit = self._patches.edit
        if self._maps is None or edit.blend is None or not edit.blends(step, self._patches.steps):
            return None
        return edit.blend.mask(self._maps.sum, x.shape)


class PairedRun(EditedRun):
    """A run whose guider brings the source's rows itself, before the target's in each prompt."""

    def options(self, model_options: ModelOptions, timestep: Tensor, positive: int) -> ModelOptions:
        """Those of a call with what acts at its step."""
        step = self._levels.index(timestep)
        if not self._is_open(step):
            return model_options
        return self._patches.into(model_options, step, positive, self._maps)


class SharedRun(EditedRun):
    """A run in which the source's rows are put beside the target's, behind any guider of the host.

    Args:
        edit, guider, sigmas, steps: as of every `EditedRun`; the guider's conditionings are ready for the model.
        extra_args: what the host handed to the sampler; not changed.
        source_state: the source's (R, *S) at step i, counted from the first that runs.
        prepare: makes prompts ready for the model, as the host has made the guider's own.
    """

    def __init__(
        self,
        edit: AttentionEdit,
        guider: Guider,
        extra_args: dict[str, Any],
        sigmas: Tensor,
        steps: int,
        *,
        source_state: Callable[[int], Tensor],
        prepare: Callable[[dict[str, Conds]], dict[str, Conds]],
    ):
        super().__init__(edit.edit, guider, extra_args["model_options"], sigmas, steps)
        self._guider = guider
        self._source_state = source_state
        self._source = prepare({"positive": comfy.sampler_helpers.convert_cond(edit.source)})["positive"]
        self._rows: int | None = None  # that the last call had for a prompt
        self._others = calls.code_of_others(guider.model_patcher, extra_args["model_options"])
        self._ran = self._joined = False
        options = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
        comfy.patcher_extension.add_wrapper(
            comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, self._call, options, is_model_options=True
        )
        self.extra_args = {**extra_args, "model_options": options}

    def mask_after(self, step: int, x: Tensor) -> Tensor | None:
        """The same.

        Raises:
            ValueError: a guider that never came by.
        """
        if not self._ran:
            raise ValueError(
                "this guider calls the model in a way of its own, by which the source's rows cannot ride along: use "
                "CFGGuider or Guide with a CFG Schedule, or disconnect attention"
            )
        return super().mask_after(step, x)

    def _call(
        self,
        executor: Callable[..., list[Tensor]],
        model: Any,
        prompts: list[Conds | None],
        x: Tensor,
        timestep: Tensor,
        model_options: ModelOptions,
    ) -> list[Tensor]:
        """The host's call of several prompts, with the source's rows before the target's where they are needed."""
        self._ran = True
        step = self._levels.index(timestep)
        # by identity, for guiders list their prompts in orders of their own
        positive = next((i for i, prompt in enumerate(prompts) if prompt is self._guider.conds.get("positive")), None)
        if positive is None or not self._is_open(step):
            self._expect(len(x), prompts)
            return executor(model, prompts, x, timestep, model_options)
        options = self._patches.into(model_options, step, positive, self._maps)
        both = torch.cat([self._source_state(step).to(x), x])
        target = prompts[positive] or []
        entry = conds.joined(self._source, target, len(x), self.lengths, allowed=conds.CONTROL)
        if entry is None:
            raise ValueError(why_not_joined(self._source, target))
        if self._others:
            self._check(executor, model, entry, target, both, timestep, model_options)
        joined: list[Conds | None] = [entry if i == positive else prompt for i, prompt in enumerate(prompts)]
        others = [None if i == positive else prompt for i, prompt in enumerate(prompts)]
        # the other prompts' rows of the source are calculated where they are edited, else for nothing
        apart = any(others) and not self._patches.edit.of_all_prompts(step, self._patches.steps)
        if apart:
            joined = [entry if i == positive else None for i in range(len(prompts))]
        self._expect(len(both), joined)
        try:
            out = executor(model, joined, both, torch.cat([timestep, timestep]), options)
        except RuntimeError as error:
            if self._joined or comfy.model_management.is_oom(error):
                raise
            raise ValueError(
                f"the network ({type(model.diffusion_model).__name__}) does not take source and target prompt in one "
                f"call, as attention edits need it: {error}"
            ) from error
        self._joined = True
        out = [part[len(x) :] for part in out]
        if apart:
            self._expect(len(x), others)
            rest = executor(model, others, x, timestep, model_options)
            out = [out[i] if i == positive else part for i, part in enumerate(rest)]
        return out

    def _check(
        self,
        executor: Callable[..., list[Tensor]],
        model: Any,
        entry: Conds,
        target: Conds,
        both: Tensor,
        timestep: Tensor,
        model_options: ModelOptions,
    ) -> None:
        """Try, once, whether code of other nodes leaves the target's rows as they are without the source's.

        Raises:
            ValueError: it does not.
        """
        x = both[len(both) // 2 :]
        self._expect(len(both), [entry])
        beside = executor(model, [entry], both, torch.cat([timestep, timestep]), model_options)[0][len(x) :]
        self._expect(len(x), [target])
        alone, again = (executor(model, [target], x, timestep, model_options)[0] for _ in range(2))
        model_patcher = self._guider.model_patcher
        by_chance = not calls.is_rounding(again, alone, x, model_patcher)  # as Tome merges pixels
        if not (by_chance or calls.is_rounding(beside, alone, x, model_patcher)):
            raise ValueError(
                f"model patches of other nodes ({', '.join(self._others)}) take the rows of a call as one, or hold "
                "something for each of them, so the source's rows cannot ride along: edit one picture at a time, "
                "remove those nodes, or disconnect attention"
            )
        self._others = []

    def _expect(self, rows: int, prompts: Sequence[Conds | None]) -> None:
        if rows != self._rows:
            conds.forget_features([prompt for prompt in prompts if prompt is not None])
            self._rows = rows


# Options of a MODEL with which the source's rows cannot ride along, and what to do.
_UNSHAREABLE = {
    "context_handler": "attention edits cannot go through context windows: remove the node that sets them",
    "sampler_calc_cond_batch_function": "another node replaces ComfyUI's call of the model "
    "(sampler_calc_cond_batch_function), so the source's rows cannot ride along: remove that node, or disconnect "
    "attention",
    "multigpu_clones": "ComfyUI runs this model on several GPUs, each with a part of the prompts, and what is edited "
    "has to be in one place: remove the node that spreads the model over GPUs, or disconnect attention",
}


def refuse_what_cannot_share(edit: AttentionControl, model_options: ModelOptions) -> None:
    """Refuse patches of other nodes that mix rows, or that read them in an order of their own.

    Raises:
        ValueError: such a patch.
    """
    for name, why in _UNSHAREABLE.items():
        if model_options.get(name):
            raise ValueError(why)
    replaced = model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn1", {})
    guidance = [
        function
        for name in ("sampler_pre_cfg_function", "sampler_post_cfg_function")
        for function in model_options.get(name, [])
    ]
    if any(_share_state(patch, function) for patch in replaced.values() for function in guidance):
        raise ValueError(
            "Self-Attention Guidance, or a patch like it, keeps maps of self-attention for its guidance, of a number "
            "of rows that is another with attention connected: remove it, or disconnect attention (Perturbed-Attention "
            "Guidance works)"
        )


def _share_state(a: Callable[..., Any], b: Callable[..., Any]) -> bool:
    """Whether two functions of a node hand values to each other: by variables of one closure, or as one's methods."""
    cells = [{id(cell) for cell in getattr(function, "__closure__", None) or ()} for function in (a, b)]
    owners = [getattr(function, "__self__", None) for function in (a, b)]
    return bool(cells[0] & cells[1]) or (owners[0] is not None and owners[0] is owners[1])


def why_not_joined(source: Conds, target: Conds) -> str:
    """Why two prompts cannot ride in one call."""
    return (
        conds.why_not_plain("source", source, "an attention edit")
        or conds.why_not_plain("target", target, "an attention edit", conds.CONTROL)
        or "source and target prompt cannot share a call of the model: their conditionings are of different kinds or "
        "lengths; make both by the same nodes, as with Prompt-to-Prompt, with the same reference pictures or none"
    )
