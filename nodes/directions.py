"""Nodes for edit directions (pix2pix-zero, arXiv 2302.03027): sentences, and what leads from one set to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import directions
from . import inputs
from .host import Clip, Conditioning, counted, words
from .sockets import CATEGORY

_POOLED = "pooled_output"


class EncodeSentences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEncodeSentences",
            display_name="Encode Sentences",
            category=f"{CATEGORY}/prompt",
            search_aliases=["prompt list", "clip text encode batch"],
            description="Encodes a text line by line: a list of conditionings, one for each sentence, for Edit "
            "Direction.",
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    tooltip="One sentence a line; empty lines do not count. Many and varied ones make a clean "
                    "direction: the paper has about a thousand, a few dozen often do.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="sentences", tooltip="A list, one conditioning for each line.", is_output_list=True
                )
            ],
        )

    @classmethod
    def execute(cls, clip: Clip, text: str) -> io.NodeOutput:
        sentences = [line.strip() for line in text.splitlines() if line.strip()]
        if not sentences:
            raise ValueError("the text has no sentence: write at least one, and each on a line of its own")
        return io.NodeOutput([words.encode(clip, sentence) for sentence in counted(sentences)])


class EditDirection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditDirection",
            display_name="Edit Direction",
            category=f"{CATEGORY}/prompt",
            search_aliases=["pix2pix-zero", "conditioning arithmetic", "concept direction"],
            description="Moves a prompt from one concept to another: adds what sentences about the target have, on "
            "average, and sentences about the source have not. No target prompt has to be written.",
            is_input_list=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="The prompt to move: a caption of the image, or the empty prompt."
                ),
                io.Conditioning.Input(
                    "source", tooltip="Sentences about what the image shows, such as cats, from Encode Sentences."
                ),
                io.Conditioning.Input(
                    "target", tooltip="Sentences about what it is to show, such as dogs: the same kind of sentences."
                ),
                inputs.slider(
                    "strength",
                    1.0,
                    minimum=-10.0,
                    maximum=10.0,
                    step=0.05,
                    tooltip="How far to go. 1 is the paper's; below 0 goes the other way.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="conditioning", tooltip="The prompt, moved: the target prompt."),
                io.Conditioning.Output(
                    display_name="direction", tooltip="What was added at strength 1, as a conditioning by itself."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        conditioning: list[Conditioning],
        source: list[Conditioning],
        target: list[Conditioning],
        strength: list[float],
    ) -> io.NodeOutput:
        for name, values in (("conditioning", conditioning), ("strength", strength)):
            if len(values) != 1:
                raise ValueError(f"{name} is a list of {len(values)}, it has to be one: only source and target may be")
        direction, pooled = _difference(source, target)
        moved = [_moved(embedding, options, direction, pooled, strength[0]) for embedding, options in conditioning[0]]
        return io.NodeOutput(moved, [[direction.float(), {_POOLED: None if pooled is None else pooled.float()}]])


def _difference(source: list[Conditioning], target: list[Conditioning]) -> tuple[Tensor, Tensor | None]:
    """The direction of the tokens (1, L, D) and that of the pooled vectors (1, D'), if there are any; float64."""
    direction = directions.moved(directions.mean(_embeddings(target)), directions.mean(_embeddings(source)), -1.0)
    has_pooled = {options.get(_POOLED) is not None for _, options in _entries([*source, *target])}
    if len(has_pooled) > 1:
        raise ValueError(
            "some of the sentences have a pooled vector and some have none: encode source and target with one CLIP"
        )
    if not has_pooled.pop():
        return direction, None
    return direction, directions.moved(directions.mean(_pooled(target)), directions.mean(_pooled(source)), -1.0)


def _moved(
    embedding: Tensor, options: dict[str, Any], direction: Tensor, pooled: Tensor | None, strength: float
) -> list[Any]:
    own = options.get(_POOLED)
    if own is not None and pooled is not None:
        options = {**options, _POOLED: directions.moved(own, pooled, strength)}
    return [directions.moved(embedding, direction, strength), options]


def _entries(sentences: list[Conditioning]) -> Iterator[list[Any]]:
    return (entry for conditioning in sentences for entry in conditioning)


def _embeddings(sentences: list[Conditioning]) -> Iterator[Tensor]:
    return (embedding for embedding, _ in _entries(sentences))


def _pooled(sentences: list[Conditioning]) -> Iterator[Tensor]:
    return (options[_POOLED] for _, options in _entries(sentences))
