"""Nodes that say what an edit keeps of the image's own attention."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from comfy_api.latest import io

from ..ddpm_core.attention import (
    METHODS,
    AttentionControl,
    CrossEdit,
    LocalBlend,
    Mode,
    Prompt,
    Share,
    Window,
    align,
    between,
    check_window,
    coarse,
    shared_by,
)
from . import inputs
from .host import AttentionEdit, Clip, Conditioning, words
from .presets import EditSettings
from .sockets import ATTENTION_EDIT, CATEGORY

ChangedWords = Literal["source map", "own map"]


class PromptToPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyPromptToPrompt",
            display_name="Prompt-to-Prompt",
            category=f"{CATEGORY}/attention",
            search_aliases=["p2p", "attention control", "cross attention", "word swap", "reweight"],
            description="Edits an image by editing its prompt, and keeps the image's own layout: where each word of "
            "the source prompt acts, the word of the target prompt in its place acts too. For the attention input of "
            "the samplers from noise maps and of Edit Image; use the source for the inversion as well.",
            inputs=[
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                io.String.Input(
                    "source_text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the image shows: the prompt that it is inverted with.",
                ),
                io.String.Input(
                    "target_text", multiline=True, dynamic_prompts=True, tooltip="What the image is to show."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(get_args(Mode)),
                    default="auto",
                    tooltip="replace puts word for word, refine keeps what both have and lets new words act by "
                    "themselves; auto replaces where both prompts have as many words.",
                ),
                inputs.fraction(
                    "cross_steps",
                    0.6,
                    "For which fraction of the steps words act where they did in the source. More keeps more of "
                    "the layout. The paper uses 0.6 with these noise maps, 0.8 without. A change of season or time of "
                    "day, or of where things are, wants less.",
                ),
                inputs.fraction(
                    "self_steps",
                    0.2,
                    "For which fraction of the steps the pixels attend to each other as they did in the source. "
                    "More keeps more of the shapes. The paper uses 0.2 with these noise maps, 0.4 without.",
                ),
                io.String.Input(
                    "reweight",
                    advanced=True,
                    default="",
                    optional=True,
                    tooltip="How much words of the target count while their steps last: 'red: 2, hat: 0.5'. 1 is as it "
                    "is, 0 not at all, below 0 turns away from it.",
                ),
                io.String.Input(
                    "word_steps",
                    advanced=True,
                    default="",
                    optional=True,
                    tooltip="Steps of their own for words of the target: 'red: 0.4, hat: 0.1-0.5', in place of "
                    "cross_steps.",
                ),
                io.Combo.Input(
                    "changed_words",
                    advanced=True,
                    options=list(get_args(ChangedWords)),
                    default="source map",
                    optional=True,
                    tooltip="With replace: source map has a changed word act where the word did that it replaces, as "
                    "published; own map lets it find its own place, for things of another shape.",
                ),
                inputs.fraction(
                    "self_size",
                    0.25,
                    "At which layers self_steps acts: where the picture is at most this fraction of the latent's "
                    "side. 0.25 is 16 x 16 of an image of 512 pixels, as in its code; others use 0.5. All layers of a "
                    "transformer have one size: 1 is all of them, less is none.",
                    advanced=True,
                    optional=True,
                ),
                io.String.Input(
                    "blend_words",
                    advanced=True,
                    default="",
                    optional=True,
                    tooltip="Local blend: words of either prompt, such as 'cat, dog', beyond whose places the image "
                    "stays as it is. Empty for none. Takes the source's rows in all steps. Mask from Words makes a "
                    "mask that one can see and paint on.",
                ),
                inputs.fraction(
                    "blend_threshold",
                    0.3,
                    "How strongly a place must attend to the blend words, as a fraction of the strongest.",
                    advanced=True,
                    optional=True,
                ),
                inputs.settings("cross_steps and self_steps"),
            ],
            outputs=[
                ATTENTION_EDIT.Output(display_name="attention", tooltip="For the attention input of a sampler."),
                io.Conditioning.Output(
                    display_name="source", tooltip="The source prompt, for the inversion or for Edit Image."
                ),
                io.Conditioning.Output(display_name="target", tooltip="The target prompt, for the sampler."),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: Clip,
        source_text: str,
        target_text: str,
        mode: Mode,
        cross_steps: float,
        self_steps: float,
        reweight: str = "",
        word_steps: str = "",
        changed_words: ChangedWords = "source map",
        self_size: float = 0.25,
        blend_words: str = "",
        blend_threshold: float = 0.3,
        settings: EditSettings | None = None,
    ) -> io.NodeOutput:
        if settings is not None:
            cross_steps, self_steps = settings.preset.cross_steps, settings.preset.self_steps
            settings.check_has("Prompt-to-Prompt", cross_steps, self_steps)
        (source, of_source), (target, of_target) = words.read(clip, source_text), words.read(clip, target_text)
        alignment = align(source, target, mode, changed_words_share=changed_words == "source map")
        gain = torch.ones(len(target.tokens), dtype=torch.float64)
        for phrase, value in words.parse(reweight, "reweight"):
            gain[_positions(clip, phrase, target, source)] = words.number(value, "reweight")
        windows: list[Window] = [(0.0, cross_steps)] * len(target.tokens)
        for phrase, value in words.parse(word_steps, "word_steps"):
            for position in _positions(clip, phrase, target, source):
                windows[position] = words.window(value, f"word_steps at '{phrase}'")
        edit = AttentionControl(
            cross=CrossEdit(alignment.matrix, alignment.shared, gain, tuple(windows)),
            shares=(
                Share(
                    frozenset(("queries", "keys")),
                    coarse(self_size),
                    (0.0, self_steps),
                    all_prompts=False,
                ),
            ),
            blend=_blend(clip, source, target, blend_words, blend_threshold),
        )
        return io.NodeOutput(AttentionEdit(of_source, source_text, edit), of_source, of_target)


OWN = -1.0


class ShareAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyShareAttention",
            display_name="Share Self-Attention",
            category=f"{CATEGORY}/attention",
            search_aliases=[
                "plug and play",
                "PnP",
                "MasaCtrl",
                "mutual self-attention",
                "feature injection",
                "KV-Edit",
            ],
            description="Keeps what the image's own self-attention says: its layout (Plug-and-Play) or its looks "
            "(MasaCtrl, values only, keys and values). For the attention input of the samplers from noise maps and of "
            "Edit Image; the source prompt is that of the inversion, and may be empty.",
            inputs=[
                io.Conditioning.Input("source", tooltip="The prompt that the image is inverted with."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    tooltip="Plug-and-Play keeps where things are, and lets their looks change. MasaCtrl keeps looks, "
                    "and lets pose and layout change: with few steps skipped. Values only keeps colors and texture of "
                    "what is in the same place. Keys and values keeps more, and with a mask leaves what is in it free "
                    "(KV-Edit). Transformers (Flux, Qwen-Image, ...) take the last two.",
                ),
                *(
                    io.Float.Input(
                        name,
                        default=OWN,
                        min=OWN,
                        max=1.0,
                        step=0.02,
                        round=0.001,
                        optional=True,
                        advanced=True,
                        tooltip=f"{what} -1 is the method's own: {own}.",
                    )
                    for name, what, own in (
                        ("start", "From which fraction of the steps on.", "0, for MasaCtrl 0.08 (step 4 of 50)"),
                        ("end", "Until which fraction.", "0.5 for Plug-and-Play, 0.1 for values only, else 1"),
                        (
                            "features_end",
                            "Plug-and-Play: until which fraction the features of a block are kept too.",
                            "0.8",
                        ),
                    )
                ),
                ATTENTION_EDIT.Input(
                    "attention", optional=True, tooltip="Another attention edit of the same source, to have both."
                ),
                inputs.settings("start, end and features_end"),
                *(
                    io.Float.Input(
                        name,
                        default=OWN,
                        min=OWN,
                        max=1.0,
                        step=0.01,
                        round=0.001,
                        optional=True,
                        advanced=True,
                        tooltip=f"{what} of the model's depth {does}: 0 is its first block, 1 behind its last. -1 is "
                        "the method's own: all, or a part of a UNet for Plug-and-Play and MasaCtrl.",
                    )
                    for name, what, does in (
                        ("first_block", "From which fraction", "on attention is shared"),
                        ("last_block", "Until which fraction", "attention is shared"),
                    )
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the edit goes: only what is outside is shared, as by KV-Edit. Give it to the "
                    "sampler too, and the rest stays as it is.",
                ),
            ],
            outputs=[ATTENTION_EDIT.Output(display_name="attention", tooltip="For the attention input of a sampler.")],
        )

    @classmethod
    def execute(
        cls,
        source: Conditioning,
        method: str,
        start: float = OWN,
        end: float = OWN,
        features_end: float = OWN,
        attention: AttentionEdit | None = None,
        settings: EditSettings | None = None,
        first_block: float = OWN,
        last_block: float = OWN,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        chosen = METHODS[method]
        if settings is not None:
            preset = settings.preset
            start, end, features_end = preset.self_start, preset.self_steps, preset.feature_steps
            settings.check_has(method, end, features_end)
        window = (chosen.start if start == OWN else start, chosen.end if end == OWN else end)
        check_window(window, method)
        until = chosen.features_end if features_end == OWN else features_end
        where = None
        if (first_block, last_block) != (OWN, OWN):
            blocks = (max(first_block, 0.0), 1.0 if last_block == OWN else last_block)
            check_window(blocks, f"{method}'s blocks")
            where = between(*blocks)
        edit = AttentionEdit(source, f"the source of {method}", shared_by(chosen, window, until, where, mask))
        return io.NodeOutput(edit if attention is None else attention.and_also(edit))


def _positions(clip: Clip, phrase: str, target: Prompt, source: Prompt) -> list[int]:
    """Where some words stand in the target.

    Raises:
        ValueError: nowhere.
    """
    found = words.positions(clip, target, phrase)
    if not found and words.positions(clip, source, phrase):
        raise ValueError(
            f"'{phrase}' is in the source prompt alone; these words are in the target: {', '.join(target.texts)}"
        )
    if not found:
        raise words.unknown(phrase, source, target)
    return found


def _blend(clip: Clip, source: Prompt, target: Prompt, text: str, threshold: float) -> LocalBlend | None:
    chosen = words.phrases(text)
    if not chosen:
        return None
    here, there = (torch.zeros(len(prompt.tokens), dtype=torch.bool) for prompt in (source, target))
    for phrase in chosen:
        places = [words.positions(clip, prompt, phrase) for prompt in (source, target)]
        if not any(places):
            raise words.unknown(phrase, source, target)
        for mask, found in zip((here, there), places, strict=True):
            mask[found] = True
    return LocalBlend(here, there, threshold)
