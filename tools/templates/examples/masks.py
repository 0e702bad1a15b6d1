"""Edits under a mask: one that is given, and one that is found."""

from __future__ import annotations

from ..blocks import (
    CIRCLE,
    DEMO_EDIT,
    HOUSE,
    INVERT,
    PREVIEW_WIDTH,
    RESULT,
    SAMPLE,
    TARGET_COLORS,
    TEXT_ROOM,
    WORDS,
    DemoScene,
    enlarge,
    preview,
    shown_original,
)
from ..graph import Group, Node, Note, Workflow

MASK_ROOM = 220  # the front end gives a picture no less
REPORT_ROOM = 30


def local_edit() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a house at night in summer")
    outside = Node("InvertMask", "All but the house", {"mask": demo.image["mask"]})
    invert = demo.inverted(source, empty)
    everywhere = demo.edit("Edit everywhere", invert, target, empty)
    local = demo.edit("Edit under the mask", invert, target, empty, mask=outside["MASK"])
    results = [
        shown_original(demo.image["image"]),
        demo.shown("Without the mask", everywhere["latent"]),
        demo.saved("Under the mask", local["latent"], "local_edit"),
    ]
    return Workflow(
        [
            *demo.opening("local_edit", source, target, empty, beside=[outside]),
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Sample", SAMPLE, [[everywhere, local]])],
            [Group("5  Results", RESULT, results)],
        ]
    )


def find_the_mask() -> Workflow:
    demo = DemoScene(*CIRCLE)
    source, target, empty = demo.words("a green circle left on a blue ground")
    invert = demo.inverted(source, empty)
    links = {"model": demo.model, "noise_maps": invert["noise_maps"], "image": demo.image["image"]}
    prompts = {"source": source["CONDITIONING"], "target": target["CONDITIONING"]}
    difference = Node("EditFriendlyDifferenceMask", "Mask from two prompts", links | prompts, live_preview=True)
    words = Node(
        "EditFriendlyWordMask",
        "Mask from words",
        links | {"clip": demo.clip, "caption": demo.image["caption"], "words": "red"},
        room=TEXT_ROOM,
        live_preview=True,
    )
    found = [
        [node, large, preview(title, large["IMAGE"], 250, room=MASK_ROOM)]
        for node, title in ((difference, "Where the prompts differ"), (words, "Where the words are"))
        for large in [enlarge(node["preview"])]
    ]
    edit = demo.edit("Edit under the mask", invert, target, empty, mask=difference["mask"])
    decoded, large, edited = demo.saved("Edited", edit["latent"], "find_the_mask", PREVIEW_WIDTH)
    original = shown_original(demo.image["image"])
    report = Node(
        "EditFriendlyEditReport",
        "How far did it go",
        {
            "source": demo.image["image"],
            "edited": decoded["IMAGE"],
            "mask": difference["mask"],
            "noise_maps": invert["noise_maps"],
            "skip_steps": DEMO_EDIT["skip_steps"],
            "cfg": DEMO_EDIT["cfg"],
        },
    )
    said = Node("PreviewAny", "In words", {"source": report["summary"]}, room=REPORT_ROOM)
    return Workflow(
        [
            [Note("find_the_mask", width=290)],
            [demo.group(original[0]), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Find", WORDS, found)],
            [Group("5  Edit", SAMPLE, [[edit]]), Group("7  How far", RESULT, [[report, said]])],
            [Group("6  Results", RESULT, [[original[1], decoded, large, edited]])],
        ]
    )


def several_edits() -> Workflow:
    demo = DemoScene(*CIRCLE)
    source, empty = demo.caption(), demo.empty()
    prompts = [
        demo.prompt(title, text, TARGET_COLORS)
        for title, text in (
            ("First edit", "a green circle left on a blue ground"),
            ("Second edit", "a red circle left on a yellow ground"),
        )
    ]
    invert = demo.inverted(source, empty)
    circle, ground = (
        Node("EditFriendlyAddEdit", title, {"prompt": prompt["CONDITIONING"], "scale": 2.0, "quantile": quantile})
        for title, prompt, quantile in zip(("The circle", "The ground"), prompts, (0.8, 0.2), strict=True)
    )
    ground.inputs["edits"] = circle["edits"]
    both = Node(
        "EditFriendlySampleEdits",
        "Both at once",
        {
            "model": demo.model,
            "source": source["CONDITIONING"],
            "edits": ground["edits"],
            "noise_maps": invert["noise_maps"],
            "skip_steps": DEMO_EDIT["skip_steps"],
        },
        live_preview=True,
    )
    original = shown_original(demo.image["image"], room=210)
    as_image = Node("MaskToImage", "Masks", {"mask": both["masks"]}, collapsed=True)
    large = enlarge(as_image["IMAGE"])
    acted = [as_image, large, preview("Where each has acted", large["IMAGE"])]
    return Workflow(
        [
            *demo.opening("several_edits", source, *prompts, empty, beside=[original[0]]),
            [
                Group("3  Invert", INVERT, [[invert]]),
                Group("Original", RESULT, [original[1:]]),
            ],
            [Group("4  Edits", SAMPLE, [[circle, ground, both]])],
            [Group("5  Result", RESULT, [[*demo.saved("Edited", both["latent"], "several_edits"), *acted]])],
        ]
    )
