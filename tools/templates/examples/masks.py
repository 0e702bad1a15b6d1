"""Edits under a mask: one that is given, and one that is found."""

from __future__ import annotations

from tools.lab.settings import HOUSE, VASE

from ..blocks import (
    DEMO_EDIT,
    INVERT,
    PREVIEW_WIDTH,
    RESULT,
    SAMPLE,
    TARGET_COLORS,
    TEXT_ROOM,
    WORDS,
    DemoScene,
    original,
    preview,
)
from ..graph import Group, Node, Workflow

MASK_ROOM = 220  # the front end gives a picture no less
REPORT_ROOM = 30


def local_edit() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a red house by the sea on a clear day in winter")
    outside = Node("InvertMask", "All but the house", {"mask": demo.image["mask"]})
    invert = demo.inverted(source, empty)
    everywhere = demo.edit("Edit everywhere", invert, target, empty)
    local = demo.edit("Edit under the mask", invert, target, empty, mask=outside["MASK"])
    return Workflow(
        [
            *demo.opening("local_edit", source, target, empty, outside),
            [Group("2  Invert", INVERT, [[invert]])],
            *demo.two_results(3, ("Without the mask", everywhere), ("Under the mask", local), "local_edit"),
        ]
    )


def find_the_mask() -> Workflow:
    demo = DemoScene(*VASE)
    source, target, empty = demo.words("a green clay vase with two lemons on a wooden table by day")
    invert = demo.inverted(source, empty)
    links = {"model": demo.model, "noise_maps": invert["noise_maps"], "image": demo.image["image"]}
    prompts = {"source": source["CONDITIONING"], "target": target["CONDITIONING"]}
    difference = Node("EditFriendlyDifferenceMask", "Mask from two prompts", links | prompts, live_preview=True)
    words = Node(
        "EditFriendlyWordMask",
        "Mask from words",
        links | {"clip": demo.clip, "caption": demo.image["caption"], "words": "blue"},
        room=TEXT_ROOM,
        live_preview=True,
    )
    found = [
        [node, preview(title, node["preview"], 250, room=MASK_ROOM)]
        for node, title in ((difference, "Where the prompts differ"), (words, "Where the words are"))
    ]
    edit = demo.edit("Edit under the mask", invert, target, empty, mask=difference["mask"])
    decoded, edited = demo.saved("Edited", edit["latent"], "find_the_mask", PREVIEW_WIDTH)
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
            *demo.opening("find_the_mask", source, target, empty),
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Find", WORDS, found)],
            [Group("4  Edit and report", SAMPLE, [[edit, report, said]])],
            [Group("5  Results", RESULT, [[original(demo.image["image"]), decoded, edited]])],
        ]
    )


def several_edits() -> Workflow:
    demo = DemoScene(*VASE)
    source, empty = demo.caption(), demo.empty()
    prompts = [
        demo.prompt(title, text, TARGET_COLORS)
        for title, text in (
            ("First edit", "a green clay vase with two lemons on a wooden table by day"),
            ("Second edit", "a blue clay vase with two lemons on a marble table by day"),
        )
    ]
    invert = demo.inverted(source, empty)
    vase, table = (
        Node("EditFriendlyAddEdit", title, {"prompt": prompt["CONDITIONING"], "scale": 2.0, "quantile": quantile})
        for title, prompt, quantile in zip(("The vase", "The table"), prompts, (0.8, 0.5), strict=True)
    )
    table.inputs["edits"] = vase["edits"]
    both = Node(
        "EditFriendlySampleEdits",
        "Both at once",
        {
            "model": demo.model,
            "source": source["CONDITIONING"],
            "edits": table["edits"],
            "noise_maps": invert["noise_maps"],
            "skip_steps": DEMO_EDIT["skip_steps"],
        },
        live_preview=True,
    )
    as_image = Node("MaskToImage", "Masks", {"mask": both["masks"]}, collapsed=True)
    edits = [
        [vase, table, original(demo.image["image"])],
        [as_image, preview("Where each has acted", as_image["IMAGE"]), both],
    ]
    return Workflow(
        [
            *demo.opening("several_edits", source, *prompts, empty),
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Edits", SAMPLE, edits)],
            [Group("4  Result", RESULT, [demo.saved("Edited", both["latent"], "several_edits")])],
        ]
    )
