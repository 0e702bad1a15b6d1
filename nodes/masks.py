"""Nodes that say where an edit will be: where two prompts differ about an image, where words are in it, and when."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional

from ..ddpm_core import NoiseMaps, masks, sound
from ..ddpm_core.attention import word_heat
from . import inputs
from .host import (
    END,
    LEVELS,
    START,
    Audio,
    Clip,
    Conditioning,
    ModelPatcher,
    check_same_model,
    guider_for,
    heat_of_maps,
    latents,
    loops,
    run_on_maps,
    seconds_of,
    sigmas_at,
    words,
)
from .sockets import CATEGORY

_START_OF_WORDS, _END_OF_WORDS = 0.2, 0.8
_PER_SECOND = 100  # columns of a mask of sound; a latent cell lasts 12 to 93 ms
_LONGEST = 10_000.0  # seconds


def search_inputs(threshold: float, above: str, cost: str, start: float, end: float) -> list[io.Input]:
    """Inputs that all nodes share which find a mask in noise maps.

    Args:
        threshold, start, end: defaults.
        above: what the mask takes in.
        cost: of a level.
    """
    return [
        inputs.slider("threshold", threshold, f"Takes in {above}: lower for a larger mask.", maximum=0.99),
        io.Int.Input(
            "levels",
            advanced=True,
            default=LEVELS,
            min=1,
            max=100,
            tooltip=f"Noise levels to look at, {cost}. More make the mask smoother.",
        ),
        inputs.fraction(
            "start",
            start,
            "The noisiest of these levels, as a fraction of all steps: 0 is the noisiest of all. Noisy levels "
            "know where things will go.",
            advanced=True,
            step=0.01,
        ),
        inputs.fraction(
            "end",
            end,
            "The cleanest of these levels. Clean levels know the outlines of what is there.",
            advanced=True,
            step=0.01,
        ),
        io.Int.Input(
            "grow", default=0, min=0, max=64, tooltip="Widens the mask by so many latent cells (mostly 8 pixels)."
        ),
        io.Image.Input("image", optional=True, tooltip="The image, to show the mask on in the preview."),
    ]


def search_outputs(beside: str) -> list[io.Output]:
    """Outputs of such a node; `beside` names the heat map."""
    return [
        io.Mask.Output(
            display_name="mask",
            tooltip="One for each image, in its size, for any mask input; of sound, latent cells over time.",
        ),
        io.Image.Output(
            display_name="preview",
            tooltip=f"The image, dimmed outside the mask, and beside it (of sound, below it) {beside}.",
        ),
    ]


def found(noise_maps: NoiseMaps, heat: Tensor, threshold: float, grow: int, image: Tensor | None) -> io.NodeOutput:
    """The outputs of such a node, from a map in [0, 1], (B, 1, H, W) or (1, 1, F, H, W)."""
    cell = noise_maps.space.cell
    mask = latents.to_mask(masks.cut(heat, threshold, grow), cell)
    return io.NodeOutput(mask, pictures(noise_maps, image, mask, latents.to_mask(heat, cell)))


class DifferenceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyDifferenceMask",
            display_name="Mask from two Prompts",
            category=f"{CATEGORY}/inspect",
            search_aliases=["automatic mask", "DiffEdit", "find the edit", "segment"],
            description="Finds where an edit will be, before it is made: where the model, shown the noised image, "
            "predicts something else under the target prompt than under the source prompt. For any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input("source", tooltip="The source prompt: what the image shows."),
                inputs.target(),
                inputs.noise_maps(),
                *search_inputs(
                    threshold=0.15,
                    above="what differs more than this fraction of the largest difference",
                    cost="two predictions each",
                    start=START,
                    end=END,
                ),
            ],
            outputs=search_outputs("the difference: bright is large"),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        noise_maps: NoiseMaps,
        threshold: float,
        levels: int,
        start: float,
        end: float,
        grow: int,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        heat = heat_of_maps(model, source, target, noise_maps, levels, start, end)
        return found(noise_maps, heat, threshold, grow, image)


def pictures(noise_maps: NoiseMaps, image: Tensor | None, mask: Tensor, heat: Tensor) -> Tensor:
    """(N, H, 2 * W, 3) for masks (N, H, W): the image that each is of under it, and the heat map.

    Of sound (N, 2 * H', W', 3), the one above the other along the same time.
    """
    count, (height, width) = len(mask), mask.shape[-2:]
    if image is None:
        rows = noise_maps.image
        frames = rows[0].movedim(1, 0) if latents.is_video(rows.shape) else rows[:count]
        shown = frames.reshape(count, -1, *rows.shape[-2:]) if rows.ndim > 4 else frames
        pixels = torch.stack([noise_maps.space.colored(x) for x in shown]).clamp(-1, 1) / 2 + 0.5
    else:
        pixels = image[torch.linspace(0, len(image) - 1, count).round().long(), ..., :3].movedim(-1, 1).float().cpu()
    below = latents.is_sound(noise_maps)
    if below:
        pixels = sound.seen(pixels)
        mask, heat = (functional.adaptive_max_pool2d(part, pixels.shape[-2:]) for part in (mask, heat))
    else:
        method = "nearest-exact" if pixels.shape[-1] < width else "bilinear"
        pixels = latents.resized(pixels, height, width, method)
    parts = zip(pixels.movedim(1, -1), mask, heat, strict=True)
    return torch.stack([masks.shown_on(*part, below=below) for part in parts])


class WordMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyWordMask",
            display_name="Mask from Words",
            category=f"{CATEGORY}/inspect",
            search_aliases=["automatic mask", "attention map", "segment", "find object"],
            description="Finds words of a caption in the image, by where the model attends to them. For Stable "
            "Diffusion's UNets, and transformers within reach of ComfyUI's hooks, as Flux and Qwen-Image; Mask from "
            "two Prompts is for any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                inputs.noise_maps(),
                io.String.Input(
                    "caption", multiline=True, dynamic_prompts=True, tooltip="What the image shows, in a sentence."
                ),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="Words of the caption to look for, such as 'hat' or 'red hat, dog'. Words that stand "
                    "together are looked for together.",
                ),
                *search_inputs(
                    threshold=0.3,
                    above="what is attended to more than this fraction of the strongest",
                    cost="a call each",
                    start=_START_OF_WORDS,
                    end=_END_OF_WORDS,
                ),
            ],
            outputs=search_outputs("the attention: bright is strong"),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: Clip,
        noise_maps: NoiseMaps,
        caption: str,
        words: str,
        threshold: float,
        levels: int,
        start: float,
        end: float,
        grow: int,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        check_same_model(noise_maps, model)
        conditioning, tokens = tokens_of(clip, caption, words)
        chosen = masks.levels_between(noise_maps.full_steps, noise_maps.skipped, levels, start, end)
        guider = guider_for(model, conditioning, conditioning, 1.0)
        loop = loops.word_maps(noise_maps, chosen, tokens)
        seen = run_on_maps(guider, loop, noise_maps, sigmas_at(noise_maps.schedule, chosen))
        maps = seen.unflatten(0, (-1, noise_maps.images)).mean(dim=0)  # over the variations
        heat = word_heat(maps, noise_maps.image.shape[-2:])[:, None]
        return found(noise_maps, heat, threshold, grow, image)


class MaskSeconds(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyMaskSeconds",
            display_name="Mask by Seconds",
            category=f"{CATEGORY}/inspect",
            search_aliases=["audio mask", "time range", "sound", "music"],
            description="A mask of a part of a sound, from one second to another, for any mask input: what lies "
            "outside comes back as it was.",
            inputs=[
                io.Audio.Input("audio", tooltip="The sound that is edited; only its length counts."),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=-_LONGEST,
                    max=_LONGEST,
                    step=0.1,
                    round=0.001,
                    tooltip="Where the mask starts, in seconds; negative counts from the end.",
                ),
                io.Float.Input(
                    "end",
                    default=0.0,
                    min=-_LONGEST,
                    max=_LONGEST,
                    step=0.1,
                    round=0.001,
                    tooltip="Where it ends, in seconds; 0 is the end of the sound, negative counts from there.",
                ),
                io.Float.Input(
                    "fade",
                    default=0.0,
                    min=0.0,
                    max=_LONGEST,
                    step=0.1,
                    round=0.001,
                    tooltip="Seconds in which the mask opens and closes, within start and end.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="One row, with time along its width.")],
        )

    @classmethod
    def execute(cls, audio: Audio, start: float, end: float, fade: float) -> io.NodeOutput:
        return io.NodeOutput(mask_of_seconds(seconds_of(audio), start, end, fade))


def mask_of_seconds(length: float, start: float, end: float, fade: float = 0.0) -> Tensor:
    """(1, 1, W) a MASK of sound from `start` to `end`, in hundredths of a second.

    Args:
        length: of the sound, in seconds.
        start, end: seconds; a negative start, and an end of 0 or less, count from the end of the sound.
        fade: seconds in which it opens after the start and closes before the end, but not where these are the sound's.

    Raises:
        ValueError: a part that is empty or outside the sound.
    """
    first, last = start + length * (start < 0), end + length * (end <= 0)
    if not 0 <= first < min(last, length):
        raise ValueError(
            f"from {first:g} to {last:g} seconds there is nothing of a sound of {length:g} seconds: use a start from 0 "
            "to below its length and an end after it"
        )
    columns = max(1, round(length * _PER_SECOND))
    seconds = (torch.arange(columns) + 0.5) * (length / columns)
    edges = [past for past, inside in ((seconds - first, first > 0), (last - seconds, last < length)) if inside]
    mask = torch.ones(columns)
    for past in edges:
        mask = mask.minimum((past / max(fade, 1e-9)).clamp(0, 1))
    return mask.view(1, 1, -1)


def tokens_of(clip: Clip, caption: str, phrases: str) -> tuple[Conditioning, Tensor]:
    """The caption as CONDITIONING, and (L,) which of its tokens are of some words.

    Raises:
        ValueError: words that the caption does not have, or none.
    """
    prompt, conditioning = words.read(clip, caption)
    tokens = torch.zeros(len(prompt.tokens), dtype=torch.bool)
    for phrase in words.phrases(phrases):
        found = words.positions(clip, prompt, phrase)
        if not found:
            raise ValueError(
                f"'{phrase}' is not in the caption; these words are: {', '.join(prompt.texts) or 'none, it is empty'}"
            )
        tokens[found] = True
    if not tokens.any():
        raise ValueError(f"there are no words to look for: write some of the caption's, {', '.join(prompt.texts)}")
    return conditioning, tokens
