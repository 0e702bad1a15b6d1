"""Runs of the pack's samplers with an attention edit, in which the source's rows ride beside the target's.

Everything that is installed goes into the model options of the run: nothing stays on the MODEL or on the guider,
whatever ends it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import torch
from torch import Tensor

from ...ddpm_core.attention import AttentionControl, WordMaps
from . import calls, conds
from .attention_patches import ModelOptions, Patches
from .blocks import Blocks
from .conds import Conds
from .layouts import padding
from .levels import LevelsOfRun
from .model import latent_space
from .models import ModelsByLevel
from .values import Conditioning, Guider, ModelPatcher


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
        refuse_what_cannot_share(model_options)
        blocks = Blocks.of(guider.inner_model.diffusion_model, model_options)
        if blocks.sites or edit.features:
            refuse_two_models(guider.model_patcher)
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
        self._network = guider.inner_model.diffusion_model
        self._patches = Patches(edit, blocks, steps, latent_space(guider.model_patcher).cell)
        self._levels = LevelsOfRun(sigmas)
        self._maps = None if edit.blend is None else WordMaps(edit.blend.source, edit.blend.target)

    def joining(self, model_options: ModelOptions) -> ModelOptions:
        """Those of calls in which texts of two lengths share rows."""
        if not isinstance(self.lengths, int):
            return model_options
        options = comfy.model_patcher.create_model_options_clone(model_options)
        comfy.patcher_extension.add_wrapper(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, padding(self._network), options, is_model_options=True
        )
        return options

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
        self._seen: set[int] = set()  # steps at which the target was called
        self._joined, self._uuid = False, uuid.uuid4()
        options = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
        comfy.patcher_extension.add_wrapper(
            comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, self._call, options, is_model_options=True
        )
        self.extra_args = {**extra_args, "model_options": self.joining(options)}

    def mask_after(self, step: int, x: Tensor) -> Tensor | None:
        """The same.

        Raises:
            ValueError: a guider that did not call the target by itself.
        """
        if self._is_open(step) and step not in self._seen:
            raise ValueError(
                "this guider calls the model in a way of its own, by which the source's rows cannot ride along: use "
                "CFGGuider or Guide with a CFG Schedule, or disconnect attention (Guide from Source to Target with "
                "h-Edit at cfg 1 does so where other nodes have patched the model's guidance: remove those, or use "
                "another cfg; a step cache calls no model in some steps: remove it)"
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
        step = self._levels.index(timestep)
        # by identity, for guiders list their prompts in orders of their own
        positive = next((i for i, prompt in enumerate(prompts) if prompt is self._guider.conds.get("positive")), None)
        if positive is not None:
            self._seen.add(step)
        if positive is None or not self._is_open(step):
            self._expect(len(x), prompts)
            return executor(model, prompts, x, timestep, model_options)
        options = self._patches.into(model_options, step, positive, self._maps)
        both = torch.cat([self._source_state(step).to(x), x])
        target = prompts[positive] or []
        entry = conds.joined(self._source, target, len(x), self.lengths, allowed=conds.CONTROL)
        if entry is None:
            raise ValueError(why_not_joined(self._source, target, self.lengths))
        entry = [{**entry[0], "uuid": self._uuid}]  # by which step caches know a prompt's rows
        if self._others:
            self._check(executor, model, entry, target, both, timestep, model_options)
        joined: list[Conds | None] = [entry if i == positive else prompt for i, prompt in enumerate(prompts)]
        others = [None if i == positive else prompt for i, prompt in enumerate(prompts)]
        # the other prompts' rows of the source are calculated where they are edited, else for nothing
        apart = (
            any(others)
            and not self._patches.edit.of_all_prompts(step, self._patches.steps)
            and not calls.acts_in_blocks(model_options)  # which may look for both prompts of a call
        )
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


def refuse_two_models(model: ModelPatcher) -> None:
    """Refuse two models by level, for what is looked for in the modules of one network.

    Raises:
        ValueError: it is such a MODEL.
    """
    if ModelsByLevel.of(model) is not None:
        raise ValueError(
            "this MODEL is two models by level, and their attention is looked for in the modules of one: connect one "
            "of the two, with its part of the levels, or do without what reads attention"
        )


def refuse_what_cannot_share(model_options: ModelOptions) -> None:
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


def why_not_joined(source: Conds, target: Conds, lengths: conds.Lengths) -> str:
    """Why two prompts cannot ride in one call."""
    return (
        conds.why_not_plain("source", source, "an attention edit")
        or conds.why_not_plain("target", target, "an attention edit", conds.CONTROL)
        or conds.of_two_lengths(source, target, lengths)
        or "source and target prompt cannot share a call of the model: their conditionings are of different kinds or "
        "lengths; make both by the same nodes, as with Prompt-to-Prompt, with the same reference pictures or none"
    )
