"""The way from an image to an edit, its variations and its settings; noise maps in a file."""

from __future__ import annotations

from tools.lab.settings import BOAT, HOUSE

from ..blocks import (
    IMAGE,
    IMAGE_ROOM,
    INVERT,
    RESULT,
    SAMPLE,
    TUNED,
    DemoPipeline,
    DemoScene,
    joined,
    original,
    preview,
    save,
)
from ..graph import Group, Node, Note, Workflow

BOTH_WIDTH = 480  # of the quick start's view of two pictures


def quick_start() -> Workflow:
    """With both sentences written out, as for a picture of one's own."""
    demo = DemoScene(*HOUSE)
    source, empty = demo.source(HOUSE[0]), demo.empty()
    target = demo.target(HOUSE[0].replace("red", "blue"))
    invert = demo.inverted(source, empty)
    edit = demo.edit("Edit", invert, target, empty)
    decoded = demo.decode(edit["latent"])
    both = joined(demo.image, decoded, "right")
    scaled = {"image": both["IMAGE"], "upscale_method": "lanczos", "scale_by": 3.0}
    larger = Node("ImageScaleBy", "3 times as large", scaled, collapsed=True)
    shown = preview("Original, edited", larger["IMAGE"], BOTH_WIDTH, room=BOTH_WIDTH // 2)
    edited = save("Edited", decoded["IMAGE"], "quick_start")
    edited.collapsed = True  # its picture is in the view
    return Workflow(
        [
            [Note("quick_start", 330)],
            [demo.group(source, target, empty)],
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Edit", SAMPLE, [[edit, decoded]])],
            [Group("4  Before and after", RESULT, [[both, larger, edited, shown]])],
        ]
    )


def variations() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a red house by the mountains on a clear day in winter")
    invert = demo.inverted(source, empty, "Invert four times", variations=4)
    edit = demo.edit("Edit all four", invert, target, empty)
    return Workflow(
        [
            *demo.opening("variations", source, target, empty),
            [Group("2  Four noise maps", INVERT, [[invert]])],
            [Group("3  Four edits", SAMPLE, [[edit, original(demo.image["image"])]])],
            [Group("4  Results", RESULT, [demo.saved("Variations", edit["latent"], "variations", width=390)])],
        ]
    )


def settings_grid() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a red house by the sea on a clear night in summer")
    chosen = {"skips": "2, 7, 12", "cfgs": "1, 3, 9"}
    return _on_one_sheet("settings_grid", "3  Every pair", demo, source, target, empty, empty, **chosen)


def strength_strip() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a blue house by the sea on a clear day in summer")
    chosen = {"skips": str(TUNED.skip_steps), "cfgs": "0, 0.5, 1, 2, 4"}
    return _on_one_sheet("strength_strip", "3  Five strengths", demo, source, target, empty, source, **chosen)


def _on_one_sheet(
    name: str, what: str, demo: DemoScene, source: Node, target: Node, empty: Node, negative: Node, **chosen: str
) -> Workflow:
    """One inversion at several settings."""
    invert = demo.inverted(source, empty)
    grid = Node(
        "EditFriendlyEditGrid",
        "Grid",
        {
            "model": demo.model,
            "positive": target["CONDITIONING"],
            "negative": negative["CONDITIONING"],
            "noise_maps": invert["noise_maps"],
            "vae": demo.vae,
            **chosen,
        },
        room=IMAGE_ROOM,  # Nodes 2.0 shows what it gives and its live preview, one below the other
        live_preview=True,
    )
    sheet = save("Sheet", grid["sheet"], name, width=480)
    sheet.room = 480
    return Workflow(
        [
            *demo.opening(name, source, target, empty),
            [Group("2  Invert", INVERT, [[invert]])],
            [Group(what, SAMPLE, [[original(demo.image["image"]), grid]])],
            [Group("4  Result", RESULT, [[sheet]])],
        ]
    )


def save_and_reuse() -> Workflow:
    demo = DemoScene(*BOAT)
    source, empty = demo.caption(), demo.empty()
    invert = demo.inverted(source, empty)
    keep = Node(
        "EditFriendlySaveNoiseMaps",
        "Save noise maps",
        {"noise_maps": invert["noise_maps"], "filename_prefix": "edit_friendly/boat"},
    )
    back = demo.replay("Reconstruct", invert, source, empty)
    return Workflow(
        [
            *demo.opening("save_and_reuse", source, empty),
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Keep and check", SAMPLE, [[keep, back]])],
            [Group("4  Result", RESULT, [demo.saved("Reconstruction", back["latent"], "save_and_reuse")])],
        ]
    )


def load_and_edit() -> Workflow:
    demo = DemoPipeline()
    file = "edit_friendly/boat_00001_.noisemaps.safetensors [output]"  # the first that save_and_reuse writes
    load = Node("EditFriendlyLoadNoiseMaps", "Load noise maps", {"file": file})
    whens = ("at a clear sunset in summer", "on a clear day in winter")
    sunset, winter = (demo.target(f"a yellow boat by the mountains {when}") for when in whens)
    empty = demo.empty()
    first = demo.edit("Edit to sunset", load, sunset, empty)
    second = demo.edit("Edit to winter", load, winter, empty)
    results = [
        demo.saved("Sunset", first["latent"], "load_and_edit"),
        demo.saved("Winter", second["latent"], "load_and_edit"),
    ]
    return Workflow(
        [
            [Note("load_and_edit")],
            [Group("1  Maps and words", IMAGE, [[demo.loader, load, sunset, winter, empty]])],
            [Group("2  Sample", SAMPLE, [[first], [second]])],
            [Group("3  Results", RESULT, results)],
        ]
    )
