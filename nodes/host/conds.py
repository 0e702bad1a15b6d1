"""The host's prepared conditionings, as a running guider holds them: what of them may share a call, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import comfy.conds
import comfy.controlnet
import comfy.utils
import torch
from torch.nn import functional

from .values import Conditioning

Conds = list[dict[str, Any]]
"""One prompt: what `comfy.samplers.process_conds` makes of a CONDITIONING."""

# What a conditioning may hold that the host reads once for a whole call, whatever its rows are.
CONTROL = {"control", "control_apply_to_uncond"}
ONE_LEVEL = {"hooks", "gligen", "default"}  # by the level of the first row
PER_CALL = (
    CONTROL
    | ONE_LEVEL
    | {"area", "strength", "mask", "mask_strength", "set_area_to_bounds"}
    | {"start_percent", "end_percent", "timestep_start", "timestep_end"}
)


def why_not_plain(which: str, prompt: Conds, what: str, allowed: Collection[str] = ()) -> str | None:
    """Why a prompt is not one entry for the whole picture, all the time; None where it is.

    Args:
        which: source, target or negative.
        what: the method that takes no other.
        allowed: what of PER_CALL it may hold.
    """
    if len(prompt) != 1:
        return (
            f"the {which} prompt has {len(prompt)} entries, and {what} takes one: do without Conditioning (Combine) "
            "and areas"
        )
    if strange := sorted(set(prompt[0]) & PER_CALL - set(allowed)):
        return (
            f"the {which} prompt has {', '.join(strange)}, and {what} takes one prompt for the whole picture at every "
            "step: do without areas, masks, times and hooks; to edit in one place, give the sampler a mask"
        )
    return None


Lengths = Literal["equal", "repeated", "masked"] | int
"""How texts of two lengths share a call: not at all; repeated, as the host does it, which changes nothing for a network
that reads text by cross-attention alone; padded under a mask, which changes nothing for one that takes a mask; or where
a network pads both to the same multiple of so many tokens.
"""
OWN_TOKENS = "own_tokens"
"""(R, 1) of a text that was made longer, how many tokens are its own: told to `transformers.padding`."""


def of_two_lengths(source: Conds, target: Conds, lengths: Lengths) -> str | None:
    """Why the lengths of two texts cannot share a call, and what to do; None where they can."""
    texts = [entry["model_conds"].get("c_crossattn") for prompt in (source, target) for entry in prompt[:1]]
    tokens = [text.cond.shape[1] for text in texts if text is not None]
    multiple = lengths if isinstance(lengths, int) else 1
    if lengths in ("repeated", "masked") or len({-(-count // multiple) for count in tokens}) < 2:
        return None
    reads, help_there = f"pads them to multiples of {multiple}", ""
    if multiple == 1:
        reads = "has one length of text in a call"
        help_there = (
            f", or with a T5 (Flux, Chroma) put T5 Tokenizer Options with a min_length of {max(tokens)} or more behind "
            "the CLIP of both and invert again"
        )
    return (
        "source and target prompt cannot share a call of the model: their conditionings are of different kinds or "
        f"lengths ({tokens[0]} and {tokens[1]} tokens, and this model {reads}): add words to the shorter until they "
        f"come to the same{help_there}"
    )


def joined(a: Conds, b: Conds, rows: int, lengths: Lengths, allowed: Collection[str] = ()) -> Conds | None:
    """Two conditionings as one of 2 * rows rows; None where they cannot be one.

    Args:
        lengths: of their texts.
        allowed: what of PER_CALL the second may hold; it goes for both.
    """
    if len(a) != 1 or len(b) != 1 or set(a[0]) & PER_CALL or set(b[0]) & PER_CALL - set(allowed):
        return None
    parts: Sequence[dict[str, Any]] = [a[0]["model_conds"], b[0]["model_conds"]]
    if lengths == "masked":
        parts = _masked(parts)
    if isinstance(lengths, int):
        parts = _made_as_long(parts, lengths)
    if set(parts[0]) != set(parts[1]):
        return None
    both = {}
    for name in parts[0]:
        # the host's own rules of what can share a call, and how
        first, second = (part[name].process_cond(batch_size=rows, area=None) for part in parts)
        if type(first) is not type(second) or not first.can_concat(second):
            return None
        if isinstance(first.cond, torch.Tensor) and first.cond.shape != second.cond.shape and lengths != "repeated":
            return None
        both[name] = type(first)(first.concat([second]))
    return [{**b[0], "model_conds": both}]


def _masked(prompts: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Texts of one length, whose padding is masked; as they are, where they have one."""
    texts = [prompt["c_crossattn"].cond for prompt in prompts]
    longest = max(text.shape[1] for text in texts)
    if all(text.shape[1] == longest for text in texts):
        return prompts
    padded = []
    for prompt, text in zip(prompts, texts, strict=True):
        more = longest - text.shape[1]
        told = prompt.get("attention_mask")
        mask = torch.ones(text.shape[:2], dtype=torch.long, device=text.device) if told is None else told.cond
        no = torch.finfo(mask.dtype).min if mask.is_floating_point() else 0  # as the host's networks read a mask
        of_text = {
            "c_crossattn": functional.pad(text, (0, 0, 0, more)),
            "attention_mask": functional.pad(mask, (0, more), value=no),
        }
        padded.append({**prompt, **{name: comfy.conds.CONDRegular(part) for name, part in of_text.items()}})
    return padded


def _made_as_long(prompts: Sequence[dict[str, Any]], multiple: int) -> Sequence[dict[str, Any]]:
    """Texts of one length, each told its own; as they are, where a network pads them to others or reads them apart."""
    lengths = [prompt["c_crossattn"].cond.shape[1] for prompt in prompts]
    padded = {-(-length // multiple) for length in lengths}
    if len(set(lengths)) == 1 or len(padded) > 1 or any("ref_latents" in prompt for prompt in prompts):
        return prompts
    more: list[dict[str, Any]] = [
        {
            "c_crossattn": comfy.conds.CONDRegular(
                functional.pad(prompt["c_crossattn"].cond, (0, 0, 0, max(lengths) - length))
            ),
            OWN_TOKENS: comfy.conds.CONDRegular(torch.tensor([[length]])),
            "num_tokens": comfy.conds.CONDConstant(max(lengths)),
        }
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    return [{**prompt, **part} for prompt, part in zip(prompts, more, strict=True)]


def weighted(parts: Collection[tuple[Conds, float]]) -> Conds | None:
    """One prompt whose prediction is a mean of those of some, by weights of sum 1; None where the host takes no mean.

    It does by the strength of entries, where each prompt is one for the whole picture at every step.
    """
    if len(parts) == 1:
        return next(iter(parts))[0]
    if any(len(prompt) != 1 or set(prompt[0]) & PER_CALL - CONTROL for prompt, _ in parts):
        return None
    return [{**prompt[0], "strength": weight} for prompt, weight in parts]


def for_rows(conds: Conds, rows: int) -> Conds:
    """The conditioning expanded to `rows` rows, in the host's order."""
    return [
        {
            **cond,
            "model_conds": {
                name: part.process_cond(batch_size=rows, area=None) for name, part in cond["model_conds"].items()
            },
        }
        for cond in conds
    ]


def is_plain(conds: Conds) -> bool:
    """Whether the host reads a prompt row by row: nothing of it is for a whole call."""
    return not any(set(cond) & PER_CALL for cond in conds)


def of_row(conds: Conds, row: int, rows: int) -> Conds:
    """The conditioning of one of `rows` rows, which the host repeats in its own order."""

    def of(part: Any) -> Any:
        if isinstance(part, comfy.conds.CONDConstant):
            return part
        cut = [value[row : row + 1] for value in part.cond] if isinstance(part.cond, list) else part.cond[row : row + 1]
        return type(part)(cut)

    return [
        {**cond, "model_conds": {name: of(part) for name, part in cond["model_conds"].items()}}
        for cond in for_rows(conds, rows)
    ]


def tells_the_same(a: Conds, b: Conds) -> bool:
    """Whether two prompts, entry by entry, tell the model the same."""

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, torch.Tensor):
            return isinstance(y, torch.Tensor) and torch.equal(x, y)
        if isinstance(x, list):
            return len(x) == len(y) and all(map(same, x, y))
        return bool(x == y)

    models = [[entry["model_conds"] for entry in prompt] for prompt in (a, b)]
    return all(
        set(first) == set(second) and all(same(part.cond, second[name].cond) for name, part in first.items())
        for first, second in zip(*models, strict=False)  # the host adds entries for areas
    )


def is_of_one_image(conditioning: Conditioning) -> bool:
    """Whether a CONDITIONING tells all images of a batch the same: no tensor in it has a row for each."""
    return not any(_has_rows(part) for entry in conditioning for part in entry)


def _has_rows(part: object) -> bool:
    if isinstance(part, torch.Tensor):
        return part.ndim > 1 and len(part) > 1
    if isinstance(part, dict):
        return any(_has_rows(value) for value in part.values())
    if isinstance(part, list | tuple):
        return any(_has_rows(value) for value in part)
    if isinstance(part, comfy.controlnet.ControlBase):
        return _has_rows(part.cond_hint_original) or _has_rows(part.previous_controlnet)
    return False


def pictures_repeat(conds: Conds, images: int) -> bool:
    """Whether pictures that the model reads come again for each variation of `images` images, as rows do."""
    parts = [part for cond in conds for part in cond["model_conds"].values()]
    pictures = [part.cond for part in parts if isinstance(part, comfy.conds.CONDNoiseShape)]
    return all(
        len(picture) <= images or torch.equal(picture, comfy.utils.repeat_to_batch_size(picture[:images], len(picture)))
        for picture in pictures
    )


def control_models(prompts: Iterable[Conds]) -> list[torch.nn.Module]:
    """The networks of all ControlNets on several prompts."""
    return [patcher.model for control in _all_controls(prompts) for patcher in control.get_models()]


def forget_features(prompts: Iterable[Conds]) -> None:
    """Have T2I-Adapters take the features of their pictures anew: they keep those for the rows of their first call."""
    for control in _all_controls(prompts):
        if hasattr(control, "control_input"):
            control.cond_hint = None


def _all_controls(prompts: Iterable[Conds]) -> list[comfy.controlnet.ControlBase]:
    return [control for conds in prompts for cond in conds for control in controls(cond)]


def controls(cond: dict[str, Any]) -> list[comfy.controlnet.ControlBase]:
    """The ControlNets on a conditioning, the last applied first."""
    found, control = [], cond.get("control")
    while control is not None:
        found.append(control)
        control = control.previous_controlnet
    return found
