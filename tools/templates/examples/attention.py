"""What holds an image by its attention: Prompt-to-Prompt, and zero-shot edits along a direction."""

from __future__ import annotations

from tools.lab.settings import HOUSE, VASE

from ..blocks import (
    INVERT,
    RESULT,
    SAMPLE,
    SOURCE_COLORS,
    STRONG_EDIT,
    TARGET_COLORS,
    WORDS,
    DemoScene,
    preview,
)
from ..graph import Group, Node, Note, Workflow

MARBLE = "a blue clay vase with two lemons on a marble table by day"
THINGS = (
    "a red house by the sea", "a white sheep by the hills", "two blue cars by the forest", "a tree by the mountains",
    "a yellow boat by the sea",
)  # fmt: skip


def prompt_to_prompt() -> Workflow:
    demo = DemoScene(*VASE)
    words = demo.prompt_to_prompt("Words", demo.image["caption"], MARBLE)
    empty = demo.empty()
    invert = demo.inverted(words["source"], empty)
    bare = demo.edit("Edit", invert, words["target"], empty, **STRONG_EDIT)
    held = _held_edit(demo, "Edit with attention", invert, words, empty)
    return Workflow(
        [
            *demo.opening("prompt_to_prompt", words),
            [Group("2  Invert", INVERT, [[empty, invert]])],
            *demo.two_results(3, ("Without attention", bare), ("With attention", held), "prompt_to_prompt"),
        ]
    )


def compare_attention() -> Workflow:
    demo = DemoScene(*VASE)
    caption = demo.image["caption"]
    on_ddim = demo.prompt_to_prompt("P2P for DDIM", caption, MARBLE, cross_steps=0.8, self_steps=0.4)
    on_maps = demo.prompt_to_prompt("P2P for these maps", caption, MARBLE, cross_steps=0.6, self_steps=0.2)
    empty = demo.empty()
    ddim = demo.inverted(on_ddim["source"], empty, "DDIM", "EditFriendlyDDIMInvert", keep_residuals=False)
    maps = demo.inverted(on_maps["source"], empty, "Edit friendly")
    edits = [
        demo.edit("a  DDIM", ddim, on_ddim["target"], empty, **STRONG_EDIT),
        _held_edit(demo, "b  P2P on DDIM", ddim, on_ddim, empty),
        _held_edit(demo, "c  P2P with these maps", maps, on_maps, empty),
        demo.edit("d  These maps alone", maps, on_maps["target"], empty),
    ]
    *parts, joined = demo.four_in_one(*(edit["latent"] for edit in edits))
    result = preview("a and b, below c and d", joined["IMAGE"], 390, room=400)
    for node in (on_ddim, on_maps, ddim, maps, *edits):
        node.width = 218
    ddim.width = 236  # the least that its longest name takes
    demo.loader.width = demo.image.width = 240
    return Workflow(
        [
            [demo.group(empty), Note("compare_attention", width=330)],
            [Group("2  Both prompts", WORDS, [[on_ddim, on_maps]])],
            [Group("3  Invert", INVERT, [[ddim], [maps]])],
            [Group("4  Edit", SAMPLE, [edits[::2], edits[1::2]])],
            [Group("5  Results", RESULT, [[*parts, joined, result]])],
        ]
    )


def zero_shot() -> Workflow:
    demo = DemoScene(*HOUSE)
    empty = demo.empty()
    sentences = [
        Node("EditFriendlyEncodeSentences", title, {"clip": demo.clip, "text": text}, room=38, colors=colors)
        for title, time, colors in (
            ("What it shows", "day", SOURCE_COLORS),
            ("What it is to show", "night", TARGET_COLORS),
        )
        for text in ["\n".join(f"{thing} on a clear {time}" for thing in THINGS)]
    ]
    caption = demo.caption()
    direction = Node(
        "EditFriendlyEditDirection",
        "Direction",
        {
            "conditioning": caption["CONDITIONING"],
            "source": sentences[0]["sentences"],
            "target": sentences[1]["sentences"],
        },
    )
    invert = demo.inverted(caption, empty, steps=25)
    plain = demo.edit("Edit", invert, direction["conditioning"], empty, **STRONG_EDIT)
    held = Node(
        "EditFriendlyZeroShotImageToImage",
        "Zero-shot",
        {
            "model": demo.model,
            "source": caption["CONDITIONING"],
            "target": direction["conditioning"],
            "negative": empty["CONDITIONING"],
            "noise_maps": invert["noise_maps"],
            "guidance_weight": 0.2,
            **STRONG_EDIT,
        },
        live_preview=True,
    )
    return Workflow(
        [
            *demo.opening("zero_shot", caption, *sentences, empty),
            [Group("2  Direction, invert", INVERT, [[direction, invert]])],
            *demo.two_results(3, ("Edit without it", plain), ("Zero-shot edit", held), "zero_shot"),
        ]
    )


def _held_edit(demo: DemoScene, title: str, noise_maps: Node, words: Node, empty: Node) -> Node:
    """A strong edit to the target of Prompt-to-Prompt's words, with its attention."""
    return demo.edit(title, noise_maps, words["target"], empty, **STRONG_EDIT, attention=words["attention"])
