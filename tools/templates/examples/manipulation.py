"""Edits of the noise maps themselves: moved, flipped, recolored; and the tour, which does all of it on one scene."""

from __future__ import annotations

from demo.autoencoder import FACTOR
from tools.lab.settings import HOUSE, SHIFT, VARIATIONS, VASE

from ..blocks import (
    INVERT,
    PREVIEW_WIDTH,
    RESULT,
    SAMPLE,
    SAVED_ROOM,
    WORDS,
    DemoScene,
    original,
    plain,
    preview,
    save,
)
from ..graph import Group, Node, Note, Output, Workflow

YELLOW, BLUE = 0xF2C933, 0x2B5CC2  # those of the scenes


def shift_and_flip() -> Workflow:
    demo = DemoScene(*HOUSE)
    empty = demo.empty()
    invert = demo.inverted_without_prompt(empty)
    shift = _shift(invert)
    flip = Node("EditFriendlyNoiseMapsFlip", "Flip", {"noise_maps": invert["noise_maps"], "horizontal": True})
    shifted = demo.replay("Sample shifted", shift, empty, empty)
    flipped = demo.replay("Sample flipped", flip, empty, empty)
    left, right = demo.decode(shifted["latent"]), demo.decode(flipped["latent"])
    results = [
        preview("Shifted", left["IMAGE"]),
        save("Flipped", right["IMAGE"], "shift_and_flip", PREVIEW_WIDTH),
    ]
    results[1].room = SAVED_ROOM
    return Workflow(
        [
            [Note("shift_and_flip")],
            [demo.group(empty, original(demo.image["image"]))],
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Move, mirror, sample", SAMPLE, [[shift, shifted, left], [flip, flipped, right]])],
            [Group("4  Results", RESULT, [results])],
        ]
    )


def color_edit() -> Workflow:
    demo = DemoScene(*VASE, part="color")
    empty = demo.empty()
    paint = plain("Paint", YELLOW)
    color = demo.encode(paint["IMAGE"])
    invert = demo.inverted_without_prompt(empty)
    recolor = demo.recolor(invert, color)
    sample = demo.replay("Sample", recolor, empty, empty)
    mask = Node("MaskToImage", "Mask to image", {"mask": demo.image["mask"]}, collapsed=True)
    results = [
        [original(demo.image["image"]), mask, preview("Mask", mask["IMAGE"])],
        demo.saved("Recolored", sample["latent"], "color_edit"),
    ]
    return Workflow(
        [
            *demo.opening("color_edit", empty, paint, color),
            [Group("2  Invert", INVERT, [[invert]])],
            [Group("3  Recolor", SAMPLE, [[recolor, sample]])],
            [Group("4  Results", RESULT, results)],
        ]
    )


def sdedit_comparison() -> Workflow:
    demo = DemoScene(*HOUSE)
    empty = demo.empty()
    paint = plain("Color", BLUE)
    strokes = Node(
        "ImageCompositeMasked",
        "Paint on the image",
        {"destination": demo.image["image"], "source": paint["IMAGE"], "mask": demo.image["mask"]},
    )
    color = demo.encode(strokes["IMAGE"])
    sdedit = Node(
        "KSampler",
        "SDEdit",
        {
            "model": demo.model,
            "positive": empty["CONDITIONING"],
            "negative": empty["CONDITIONING"],
            "latent_image": color["LATENT"],
            "seed": 1,
            "steps": 50,
            "cfg": 1.0,
            "sampler_name": "euler_ancestral",
            "scheduler": "ddim_uniform",
            "denoise": 0.5,
        },
        live_preview=True,
    )
    invert = demo.inverted_without_prompt(empty)
    recolor = demo.recolor(invert, color)
    sample = demo.replay("Sample", recolor, empty, empty)
    before = [original(demo.image["image"]), preview("Painted", strokes["IMAGE"])]
    by_sdedit, by_maps = demo.decode(sdedit["LATENT"]), demo.decode(sample["latent"])
    after = [preview("SDEdit result", by_sdedit["IMAGE"]), preview("Color edit", by_maps["IMAGE"])]
    return Workflow(
        [
            [Note("sdedit_comparison")],
            [demo.group(empty), Group("2  Paint", WORDS, [[paint, strokes, color]])],
            [Group("3a  Invert", INVERT, [[invert]])],
            [Group("4a  Recolor", SAMPLE, [[recolor, sample, by_maps]])],
            [Group("3b  SDEdit", INVERT, [[by_sdedit, sdedit]])],
            [Group("5  Results", RESULT, [before, after])],
        ]
    )


def tour() -> Workflow:
    """Everything on one scene; `tools.lab.sheet` sets the scene, the target prompt and the paint by their titles."""
    demo = DemoScene(*HOUSE, part="color")
    source, target, empty = demo.words("a red house by the sea on a clear night in summer")
    paint = plain("Paint", YELLOW)
    color = demo.encode(paint["IMAGE"])
    invert = demo.inverted(source, empty, variations=VARIATIONS)
    bare = demo.inverted_without_prompt(empty)
    shift = _shift(bare)
    flip = Node("EditFriendlyNoiseMapsFlip", "Flip", {"noise_maps": bare["noise_maps"]})
    recolor = demo.recolor(bare, color)
    back = demo.replay("Reconstruct", bare, empty, empty)
    edit = demo.edit("Edit", invert, target, empty)
    keep = demo.keep(demo.latent)
    kept_edit = demo.edit("Edit and keep", invert, target, empty, model=keep["model"])
    shifted = demo.replay("Sample shifted", shift, empty, empty)
    flipped = demo.replay("Sample flipped", flip, empty, empty)
    recolored = demo.replay("Sample recolored", recolor, empty, empty)
    latents = [demo.latent, *(node["latent"] for node in (back, edit, kept_edit, shifted, flipped, recolored))]
    titles = ("Original", "Reconstruction", "Edits", "Kept", "Shifted", "Flipped", "Recolored")
    kept = [_save_latent(title, samples) for title, samples in zip(titles, latents, strict=True)]
    one = Node("LatentFromBatch", "One edit", {"samples": edit["latent"]}, collapsed=True)
    sheet = demo.four_in_one(one["LATENT"], shifted["latent"], flipped["latent"], recolored["latent"])
    return Workflow(
        [
            [demo.group(source, target, empty, paint, color)],
            [Group("Noise maps", INVERT, [[invert, bare, shift, flip, recolor]])],
            [Group("Sample", SAMPLE, [[back, edit, keep, kept_edit, shifted, flipped, recolored]])],
            [Group("Results", RESULT, [[one, *sheet, preview("All", sheet[-1]["IMAGE"]), *kept]])],
        ]
    )


def _shift(noise_maps: Node) -> Node:
    return Node("LatentShift", "Shift", {"noise_maps": noise_maps["noise_maps"], "x": SHIFT * FACTOR})


def _save_latent(title: str, samples: Output) -> Node:
    inputs = {"samples": samples, "filename_prefix": f"edit_friendly/{title.lower()}"}
    return Node("SaveLatent", title, inputs, collapsed=True)
