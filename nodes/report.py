"""A node that says how far an edit went, and what to turn if that is not what was wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..ddpm_core import Method, NoiseMaps, measures
from ..ddpm_core.measures import Change
from . import advice
from .sockets import CATEGORY, MAX_STEPS, NOISE_MAPS

_UNKNOWN = -1
# In percent of the full range: an autoencoder alone takes a photograph up to about so far from itself.
_NOTHING, _AUTOENCODER, _CLEAR, _MOST = 0.3, 3.0, 8.0, 20.0
_BLACK = 0.03  # of the full range: what resizing and a VAE leave of it
BLACK_UNDER_MASK = (
    "The source is black just where the mask is. ComfyUI's mask editor saves a picture so: load the picture once more "
    "in a second Load Image, and take only the mask from the one that was painted on."
)


class EditReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditReport",
            display_name="How Far Did the Edit Go",
            category=f"{CATEGORY}/inspect",
            search_aliases=["nothing changed", "compare images", "difference", "advice"],
            description="Compares an edited image with its source and says in words how far the edit went, within the "
            "mask and outside it, and what to turn if it was too little or too much.",
            is_output_node=True,
            inputs=[
                io.Image.Input("source", tooltip="The image before the edit: best from VAE Decode of its own latent."),
                io.Image.Input("edited", tooltip="The edited image or images."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the edit was wanted, in the size of the image. Without one, everywhere.",
                ),
                NOISE_MAPS.Input(
                    "noise_maps",
                    optional=True,
                    tooltip="The maps that were sampled from: the advice then names numbers that suit them.",
                ),
                io.Int.Input(
                    "skip_steps",
                    default=_UNKNOWN,
                    min=_UNKNOWN,
                    max=MAX_STEPS,
                    optional=True,
                    tooltip="That of the edit, for the advice; -1 for unknown.",
                ),
                io.Float.Input(
                    "cfg",
                    default=_UNKNOWN,
                    min=_UNKNOWN,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    optional=True,
                    tooltip="Guidance towards the target prompt of the edit, for the advice; -1 for unknown.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="summary", tooltip="The same in words, for Preview Any."),
                io.Float.Output(
                    display_name="inside",
                    tooltip="Mean difference in percent of the full range, within the mask; without one, of all.",
                ),
                io.Float.Output(
                    display_name="outside", tooltip="The same outside the mask; 0 where there is no outside."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        edited: Tensor,
        mask: Tensor | None = None,
        noise_maps: NoiseMaps | None = None,
        skip_steps: int = _UNKNOWN,
        cfg: float = _UNKNOWN,
    ) -> io.NodeOutput:
        changes = changes_of(source, edited, mask)
        inside, outside = (_mean([pair[k] for pair in changes]) for k in (0, 1))
        summary = "\n".join(
            [
                *_in_words(inside, outside, mask is not None),
                *([BLACK_UNDER_MASK] if mask is not None and is_black_under(source, edited, mask) else []),
                *_each(changes),
                *_what_to_turn(inside, outside, mask is not None, noise_maps, skip_steps, cfg),
            ]
        )
        numbers = (0.0 if math.isnan(change.mean) else change.mean for change in (inside, outside))
        return io.NodeOutput(summary, *numbers, ui=ui.PreviewText(summary))


def changes_of(source: Tensor, edited: Tensor, mask: Tensor | None) -> list[tuple[Change, Change]]:
    """Within the mask and outside, for each edited image.

    Args:
        source, edited: IMAGEs (N, H, W, C) and (M, H, W, C); image k of the edited ones is of source k % N.
        mask: MASK (K, H, W) or None; mask k % K is of image k.

    Raises:
        ValueError: sizes that differ by more than a VAE crops, batches that do not go together, an empty mask.
    """
    height, width = edited.shape[1:3]
    cropped = cropped_to(source[..., :3], height, width, "source")
    check_batch(len(source), len(edited), "source images")
    if mask is not None:
        mask = mask.reshape(-1, *mask.shape[-2:])
        check_batch(len(mask), len(edited), "masks")
        if not mask.any():
            raise ValueError("the mask is empty, so there is no inside to measure: paint one, or connect none")
        mask = cropped_to(mask[..., None], height, width, "mask")[..., 0].float().cpu()
    return [
        measures.change(
            cropped[k % len(cropped)].float().cpu(),
            image[..., :3].float().cpu(),
            None if mask is None else mask[k % len(mask)],
        )
        for k, image in enumerate(edited)
    ]


def is_black_under(source: Tensor, edited: Tensor, mask: Tensor) -> bool:
    """Whether a source is black where its mask is and hardly anywhere else, of inputs that `changes_of` takes."""
    height, width = edited.shape[1:3]
    masks = cropped_to(mask.reshape(-1, *mask.shape[-2:], 1), height, width, "mask")[..., 0].cpu()
    dark = cropped_to(source[..., :3], height, width, "source").cpu().amax(dim=-1) <= _BLACK
    for k in range(len(edited)):
        of_source, of_mask = dark[k % len(dark)], masks[k % len(masks)]
        inside, outside = of_source[of_mask > 0.99], of_source[of_mask < 0.01]
        if len(inside) and len(outside) and inside.float().mean() > 0.95 and outside.float().mean() < 0.25:
            return True
    return False


def check_batch(count: int, edited: int, what: str) -> None:
    if edited % count:
        raise ValueError(f"there are {count} {what} for {edited} edited images: use one, or one for each image")


def cropped_to(image: Tensor, height: int, width: int, what: str) -> Tensor:
    """(N, height, width, C) the middle of an image: what a VAE keeps of one that is no whole number of cells."""
    middle = measures.middle(image.shape[1:3], (height, width))
    if middle is None:
        raise ValueError(
            f"the {what} is {image.shape[2]} x {image.shape[1]} pixels, the edited image {width} x {height}: connect "
            f"the {what} of the image that was encoded, after any resizing"
        )
    return image[(slice(None), *middle)]


def _mean(changes: Sequence[Change]) -> Change:
    """Over the images that have such a region; NaN where none has."""
    known = [change for change in changes if not math.isnan(change.mean)]
    if not known:
        return Change(math.nan, math.nan)
    parts = torch.tensor([(change.mean, change.visible) for change in known], dtype=torch.float64).mean(dim=0)
    return Change(*parts.tolist())


def _in_words(inside: Change, outside: Change, masked: bool) -> list[str]:
    where = "Inside the mask" if masked else "In the whole image"
    lines = [f"{where}: {_word(inside)} ({_numbers(inside)})."]
    if not math.isnan(outside.mean):
        lines.append(f"Outside the mask: {_word(outside)} ({_numbers(outside)}).")
    return lines


def _word(change: Change) -> str:
    if change.mean < _NOTHING:
        return "nothing changed"
    if _is_little(change):
        return "next to nothing changed, no more than a VAE alone may change"
    if change.mean < _CLEAR:
        return "a part changed" if change.visible < 50 else "it changed a little all over"
    return "it changed clearly" if change.mean < _MOST else "it changed almost completely"


def _numbers(change: Change) -> str:
    return f"{change.mean:.1f} % of the full range in the mean, {change.visible:.0f} % of the pixels visibly"


def _each(changes: Sequence[tuple[Change, Change]]) -> list[str]:
    if len(changes) == 1:
        return []
    return ["Each image: " + ", ".join(f"{inside.mean:.1f}" for inside, _ in changes) + " %."]


def _is_little(change: Change) -> bool:
    return change.mean < _AUTOENCODER and change.visible < 5


def _what_to_turn(
    inside: Change, outside: Change, masked: bool, noise_maps: NoiseMaps | None, skip_steps: int, cfg: float
) -> list[str]:
    lines = []
    if noise_maps is not None and skip_steps != _UNKNOWN:
        settings = advice.on_settings(noise_maps, skip_steps, None if cfg == _UNKNOWN else cfg)
        lines += [f"Settings: {settings}."] if settings else []
    if _is_little(inside):
        lines.append(f"For more: {', or '.join(_for_more(masked, noise_maps, skip_steps, cfg))}.")
    if masked and outside.mean >= _AUTOENCODER:
        lines.append(
            "To keep the outside: connect this mask to the sampler (outside it the image then comes back as it was), "
            f"or {_keep_more(skip_steps)}."
        )
    elif not masked and inside.visible > 50:
        lines.append(
            "If that is more than was meant: give the sampler a mask (Mask from two Prompts finds one), "
            f"{_keep_more(skip_steps)}, or lower cfg{_from(cfg)}."
        )
    return lines


def _for_more(masked: bool, noise_maps: NoiseMaps | None, skip_steps: int, cfg: float) -> list[str]:
    """Changes of settings that make an edit go further, the likeliest first."""
    ways, held = [], 0 if noise_maps is None else noise_maps.skipped
    if skip_steps == _UNKNOWN:
        ways.append("lower skip_steps")
    elif skip_steps > held:
        ways.append(f"lower skip_steps from {skip_steps} to {max(held, skip_steps // 2)}")
    elif held:
        ways.append(f"invert again with skip_steps below {held}, which is all that these maps hold")
    null_text = (
        noise_maps is not None and noise_maps.origin is not None and noise_maps.origin.method is Method.NULL_TEXT
    )
    most = 18.0 if noise_maps is None else advice.usual_of(noise_maps).most_cfg
    if not null_text and (cfg == _UNKNOWN or cfg < most):
        ways.append("raise cfg" if cfg == _UNKNOWN else f"raise cfg from {cfg:g} to {min(most, max(2.0, 1.5 * cfg)):g}")
    ways.append("see that source and target prompt differ in what is to change")
    if masked:
        ways.append("see that the mask covers what is to change")
    return ways


def _keep_more(skip_steps: int) -> str:
    return f"raise skip_steps{_from(skip_steps)}"


def _from(value: float) -> str:
    return "" if value == _UNKNOWN else f" from {value:g}"
