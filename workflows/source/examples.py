"""The example graphs, one job each. `EXAMPLES` lists them; a new one is a function here and its name there."""

from __future__ import annotations

from collections.abc import Callable

from demo.settings import SHIFT

from . import notes
from .blocks import (
    DEMO_EDIT,
    DEMO_INVERSION,
    IMAGE,
    IMAGE_ROOM,
    INVERT,
    PREVIEW_WIDTH,
    REPLAY,
    RESULT,
    SAMPLE,
    SOURCE_COLORS,
    STRONG_EDIT,
    TARGET_COLORS,
    TEXT_ROOM,
    WORDS,
    DemoModel,
    DemoScene,
    Pipeline,
    enlarge,
    preview,
    save,
    shown_original,
)
from .graph import Group, Node, Note, Output, Workflow

YELLOW = 0xE6D21E
RED = 0xDB2924
MASK_ROOM = 220  # the front end gives a picture no less
REPORT_ROOM = 140
THINGS = ("red circle left", "yellow square right", "white triangle centre", "purple circle right", "red square centre")
HUGGING_FACE = "https://huggingface.co"
SD15_MODEL = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": f"{HUGGING_FACE}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    "directory": "checkpoints",
}
SDXL_MODEL = {
    "name": "sd_xl_base_1.0.safetensors",
    "url": f"{HUGGING_FACE}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "directory": "checkpoints",
}


def quick_start() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    source = demo.source(demo.image["caption"])
    target = demo.target("a green circle left on a blue ground")
    empty = demo.empty()
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION)
    back = demo.sample("Reconstruct", invert["noise_maps"], source, empty, **REPLAY)
    edit = demo.sample("Edit", invert["noise_maps"], target, empty, **DEMO_EDIT)
    original, reconstruction = shown_original(demo.image["image"]), demo.shown("Reconstruction", back["latent"])
    return Workflow(
        [
            [Note(notes.QUICK_START)],
            [demo.group(), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Sample", SAMPLE, [[back, edit]])],
            [
                Group(
                    "5  Results",
                    RESULT,
                    [original, reconstruction, demo.saved("Edited", edit["latent"], "quick_start")],
                )
            ],
        ]
    )


def variations() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    source = demo.source(demo.image["caption"])
    target = demo.target("a yellow square right on a green ground")
    empty = demo.empty()
    invert = demo.invert("Invert four times", demo.latent, source, empty, **DEMO_INVERSION, variations=4)
    edit = demo.sample("Edit all four", invert["noise_maps"], target, empty, **DEMO_EDIT)
    return Workflow(
        [
            [Note(notes.VARIATIONS)],
            [demo.group(), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Four noise maps", INVERT, [[invert]])],
            [Group("4  Four edits", SAMPLE, [[edit, *shown_original(demo.image["image"])]])],
            [Group("5  Results", RESULT, [demo.saved("Variations", edit["latent"], "variations", width=390)])],
        ]
    )


def shift_and_flip() -> Workflow:
    demo = DemoScene("a house by day in summer", seed=5)
    empty = demo.empty()
    invert = demo.invert_without_prompt(empty)
    shift = Node("LatentShift", "Shift", {"noise_maps": invert["noise_maps"], "x": SHIFT})
    flip = Node("NoiseMapsFlip", "Flip", {"noise_maps": invert["noise_maps"], "horizontal": True})
    shifted = demo.sample("Sample shifted", shift["noise_maps"], empty, empty, **REPLAY)
    flipped = demo.sample("Sample flipped", flip["noise_maps"], empty, empty, **REPLAY)
    return Workflow(
        [
            [Note(notes.SHIFT_AND_FLIP)],
            [demo.group(empty), Group("Original", RESULT, [shown_original(demo.image["image"])])],
            [Group("2  Invert", INVERT, [[invert]]), Group("3  Shift and flip", WORDS, [[shift, flip]])],
            [Group("4  Sample", SAMPLE, [[shifted, flipped]])],
            [
                Group(
                    "5  Results",
                    RESULT,
                    [
                        demo.shown("Shifted", shifted["latent"]),
                        demo.saved("Flipped", flipped["latent"], "shift_and_flip"),
                    ],
                )
            ],
        ]
    )


def color_edit() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    empty = demo.empty()
    paint = Node("EmptyImage", "Paint", {"width": 32, "height": 32, "color": YELLOW})
    painted = demo.encode(paint["IMAGE"])
    invert = demo.invert_without_prompt(empty)
    recolor = demo.recolor(invert, painted)
    sample = demo.sample("Sample", recolor["noise_maps"], empty, empty, **REPLAY)
    mask = Node("MaskToImage", "Mask to image", {"mask": demo.image["mask"]}, collapsed=True)
    original, shown_mask = shown_original(demo.image["image"]), [mask, *shown_original(mask["IMAGE"], "Mask")]
    return Workflow(
        [
            [Note(notes.COLOR_EDIT)],
            [demo.group(empty), Group("2  Paint", WORDS, [[paint, painted]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Recolor", SAMPLE, [[recolor, sample]])],
            [
                Group(
                    "5  Results",
                    RESULT,
                    [original, shown_mask, demo.saved("Recolored", sample["latent"], "color_edit")],
                )
            ],
        ]
    )


def local_edit() -> Workflow:
    demo = DemoScene("a house by day in summer", seed=5)
    source = demo.source(demo.image["caption"])
    target = demo.target("a house at night in summer")
    empty = demo.empty()
    outside = Node("InvertMask", "All but the house", {"mask": demo.image["mask"]})
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION)
    everywhere = demo.sample("Edit everywhere", invert["noise_maps"], target, empty, **DEMO_EDIT)
    local = demo.sample("Edit under the mask", invert["noise_maps"], target, empty, **DEMO_EDIT, mask=outside["MASK"])
    original, unmasked = shown_original(demo.image["image"]), demo.shown("Without the mask", everywhere["latent"])
    return Workflow(
        [
            [Note(notes.LOCAL_EDIT)],
            [demo.group(outside), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Sample", SAMPLE, [[everywhere, local]])],
            [
                Group(
                    "5  Results",
                    RESULT,
                    [original, unmasked, demo.saved("Under the mask", local["latent"], "local_edit")],
                )
            ],
        ]
    )


def sdedit_comparison() -> Workflow:
    demo = DemoScene("a house by day in summer", seed=5)
    empty = demo.empty()
    color = Node("EmptyImage", "Color", {"width": 32, "height": 32, "color": RED})
    strokes = Node(
        "ImageCompositeMasked",
        "Paint on the image",
        {"destination": demo.image["image"], "source": color["IMAGE"], "mask": demo.image["mask"]},
    )
    painted = demo.encode(strokes["IMAGE"])
    sdedit = Node(
        "KSampler",
        "SDEdit",
        {
            "model": demo.model,
            "positive": empty["CONDITIONING"],
            "negative": empty["CONDITIONING"],
            "latent_image": painted["LATENT"],
            "seed": 1,
            "steps": 50,
            "cfg": 1.0,
            "sampler_name": "euler_ancestral",
            "scheduler": "ddim_uniform",
            "denoise": 0.5,
        },
        live_preview=True,
    )
    invert = demo.invert_without_prompt(empty)
    recolor = demo.recolor(invert, painted)
    sample = demo.sample("Sample", recolor["noise_maps"], empty, empty, **REPLAY)
    before = [*shown_original(demo.image["image"]), *shown_original(strokes["IMAGE"], "Painted")]
    sdedit_large, sample_large = demo.large(sdedit["LATENT"]), demo.large(sample["latent"])
    after = [preview("SDEdit result", sdedit_large[-1]["IMAGE"]), preview("Color edit", sample_large[-1]["IMAGE"])]
    return Workflow(
        [
            [Note(notes.SDEDIT_COMPARISON)],
            [demo.group(empty), Group("2  Paint", WORDS, [[color, strokes, painted]])],
            [Group("3a  Invert", INVERT, [[invert]])],
            [Group("4a  Recolor", SAMPLE, [[recolor, sample, *sample_large]])],
            [Group("3b  SDEdit", INVERT, [[sdedit, *sdedit_large]])],
            [Group("5  Results", RESULT, [before, after])],
        ]
    )


def compare_inversions() -> Workflow:
    demo = DemoScene("a house by day in summer", seed=5)
    source = demo.source(demo.image["caption"])
    target = demo.target("a house at night in summer")
    empty = demo.empty()
    inversions = _three_inversions(demo, source, empty)
    edits = [
        demo.sample(f"Edit {letter}", invert["noise_maps"], target, empty, **DEMO_EDIT)
        for letter, invert in zip("abc", inversions, strict=True)
    ]
    for edit in edits:
        edit.width = 264  # so that the results below, which are narrower, end left of the minimap
    results = [demo.shown(f"Result {letter}", edit["latent"]) for letter, edit in zip("abc", edits, strict=True)]
    return Workflow(
        [
            [
                demo.group(),
                Group("2  Words", WORDS, [[source, target, empty]]),
                Note(notes.COMPARE_INVERSIONS_NEXT, width=330, title="And then"),
            ],
            [
                Group("3  Invert", INVERT, [[invert] for invert in inversions]),
                Note(notes.COMPARE_INVERSIONS, width=806),
            ],
            [Group("4  Edit", SAMPLE, [[edit] for edit in edits]), Group("5  Results", RESULT, results)],
        ]
    )


def noise_statistics() -> Workflow:
    demo = DemoScene("a house by day in summer", seed=5)
    source, empty = demo.source(demo.image["caption"]), demo.empty()
    inversions = _three_inversions(demo, source, empty)
    first, second, third = (invert["noise_maps"] for invert in inversions)
    measure = Node(
        "NoiseMapsStatistics",
        "Statistics",
        {"noise_maps": first, "noise_maps_2": second, "noise_maps_3": third},
        room=TEXT_ROOM,
    )
    plots = Node("PreviewImage", "Plots", {"images": measure["plots"]}, 500, room=360)
    numbers = Node("PreviewAny", "Numbers", {"source": measure["numbers"]}, 500, room=190)
    return Workflow(
        [
            [Note(notes.NOISE_STATISTICS)],
            [demo.group(), Group("2  Words", WORDS, [[source, empty]])],
            [Group("3  Invert", INVERT, [[invert] for invert in inversions]), Group("4  Measure", SAMPLE, [[measure]])],
            [Group("5  What tells them apart", RESULT, [[plots, numbers]])],
        ]
    )


def _three_inversions(demo: DemoScene, source: Node, empty: Node) -> list[Node]:
    return [
        demo.invert("Edit friendly", demo.latent, source, empty, **DEMO_INVERSION),
        demo.invert("CycleDiffusion", demo.latent, source, empty, "CycleDiffusionInvert", **DEMO_INVERSION),
        demo.invert("DDIM", demo.latent, source, empty, "DDIMInvert", **DEMO_INVERSION, keep_residuals=False),
    ]


def prompt_to_prompt() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    words = demo.prompt_to_prompt("Words", demo.image["caption"], "a red circle left on a green ground")
    empty = demo.empty()
    invert = demo.invert("Invert", demo.latent, words["source"], empty, **DEMO_INVERSION)
    bare = demo.sample("Edit", invert["noise_maps"], words["target"], empty, **STRONG_EDIT)
    held = demo.sample(
        "Edit with attention",
        invert["noise_maps"],
        words["target"],
        empty,
        **STRONG_EDIT,
        attention=words["attention"],
    )
    original, without = shown_original(demo.image["image"]), demo.shown("Without attention", bare["latent"])
    return Workflow(
        [
            [Note(notes.PROMPT_TO_PROMPT)],
            [demo.group(), Group("2  Words", WORDS, [[words, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Sample", SAMPLE, [[bare, held]])],
            [
                Group(
                    "5  Results",
                    RESULT,
                    [original, without, demo.saved("With attention", held["latent"], "prompt_to_prompt")],
                )
            ],
        ]
    )


def compare_attention() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    caption, target = demo.image["caption"], "a red circle left on a green ground"
    on_ddim = demo.prompt_to_prompt("P2P for DDIM", caption, target, cross_steps=0.8, self_steps=0.4)
    on_maps = demo.prompt_to_prompt("P2P for these maps", caption, target, cross_steps=0.6, self_steps=0.2)
    empty = demo.empty()
    ddim = demo.invert(
        "DDIM", demo.latent, on_ddim["source"], empty, "DDIMInvert", **DEMO_INVERSION, keep_residuals=False
    )
    maps = demo.invert("Edit friendly", demo.latent, on_maps["source"], empty, **DEMO_INVERSION)
    edits = [
        demo.sample("a  DDIM", ddim["noise_maps"], on_ddim["target"], empty, **STRONG_EDIT),
        demo.sample(
            "b  P2P on DDIM",
            ddim["noise_maps"],
            on_ddim["target"],
            empty,
            **STRONG_EDIT,
            attention=on_ddim["attention"],
        ),
        demo.sample(
            "c  P2P with these maps",
            maps["noise_maps"],
            on_maps["target"],
            empty,
            **STRONG_EDIT,
            attention=on_maps["attention"],
        ),
        demo.sample("d  These maps alone", maps["noise_maps"], on_maps["target"], empty, **DEMO_EDIT),
    ]
    first, second, third, fourth = (edit["latent"] for edit in edits)
    rows = [_joined(first, second, "x"), _joined(third, fourth, "x")]
    sheet = _joined(rows[0]["LATENT"], rows[1]["LATENT"], "y")
    large = demo.large(sheet["LATENT"])
    result = preview("a and b, below c and d", large[-1]["IMAGE"], 468, room=360)
    for node in (on_ddim, on_maps, ddim, maps, *edits):
        node.width = 226  # so that the edits end left of the minimap
    ddim.width = 236  # the least that its longest name takes
    demo.loader.width = demo.image.width = 240
    return Workflow(
        [
            [Note(notes.COMPARE_ATTENTION, width=264), demo.group(empty)],
            [Group("2  Words", WORDS, [[on_ddim], [on_maps]]), Group("6  Results", RESULT, [[result]])],
            [
                Group("3  Invert", INVERT, [[ddim], [maps]]),
                Group("5  Side by side", RESULT, [[*rows, sheet, *large]]),
            ],
            [Group("4  Edit", SAMPLE, [edits[::2], edits[1::2]])],
        ]
    )


def find_the_mask() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    source = demo.source(demo.image["caption"])
    target = demo.target("a green circle left on a blue ground")
    empty = demo.empty()
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION)
    links = {"model": demo.model, "noise_maps": invert["noise_maps"], "image": demo.image["image"]}
    prompts = {"source": source["CONDITIONING"], "target": target["CONDITIONING"]}
    difference = Node("DifferenceMask", "Mask from two prompts", links | prompts, live_preview=True)
    words = Node(
        "WordMask",
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
    edit = demo.sample("Edit under the mask", invert["noise_maps"], target, empty, **DEMO_EDIT, mask=difference["mask"])
    decoded, large, edited = demo.saved("Edited", edit["latent"], "find_the_mask", PREVIEW_WIDTH)
    original = shown_original(demo.image["image"])
    report = Node(
        "EditReport",
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
            [Note(notes.FIND_THE_MASK, width=290)],
            [demo.group(original[0]), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Find", WORDS, found)],
            [Group("5  Edit", SAMPLE, [[edit, decoded]]), Group("7  How far", RESULT, [[report, said]])],
            [Group("6  Results", RESULT, [[original[1], large, edited]])],
        ]
    )


def settings_grid() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    source = demo.source(demo.image["caption"])
    target = demo.target("a red circle left on a green ground")
    empty = demo.empty()
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION)
    grid = Node(
        "EditGrid",
        "Grid",
        {
            "model": demo.model,
            "positive": target["CONDITIONING"],
            "negative": empty["CONDITIONING"],
            "noise_maps": invert["noise_maps"],
            "vae": demo.vae,
            "skips": "4, 14, 24",
            "cfgs": "1, 3, 9",
        },
        room=IMAGE_ROOM,  # Nodes 2.0 shows what it gives and its live preview, one below the other
        live_preview=True,
    )
    sheet = save("Sheet", grid["sheet"], "settings_grid", width=480)
    sheet.room = 580
    return Workflow(
        [
            [Note(notes.SETTINGS_GRID)],
            [demo.group(), Group("2  Words", WORDS, [[source, target, empty]])],
            [
                Group("3  Invert", INVERT, [[invert]]),
                Group("Original", RESULT, [shown_original(demo.image["image"])]),
            ],
            [Group("4  Every pair", SAMPLE, [[grid]])],
            [Group("5  Result", RESULT, [[sheet]])],
        ]
    )


def zero_shot() -> Workflow:
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    empty = demo.empty()
    sentences = [
        Node("EncodeSentences", title, {"clip": demo.clip, "text": text}, room=100, colors=colors)
        for title, ground, colors in (
            ("What it shows", "blue", SOURCE_COLORS),
            ("What it is to show", "green", TARGET_COLORS),
        )
        for text in ["\n".join(f"a {thing} on a {ground} ground" for thing in THINGS)]
    ]
    caption = demo.source(demo.image["caption"])
    direction = Node(
        "EditDirection",
        "Direction",
        {
            "conditioning": caption["CONDITIONING"],
            "source": sentences[0]["sentences"],
            "target": sentences[1]["sentences"],
        },
    )
    invert = demo.invert("Invert", demo.latent, caption, empty, **DEMO_INVERSION | {"steps": 25})
    plain = demo.sample("Edit", invert["noise_maps"], direction["conditioning"], empty, **STRONG_EDIT)
    held = Node(
        "ZeroShotImageToImage",
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
            [Note(notes.ZERO_SHOT)],
            [demo.group(empty), Group("2  Sentences", WORDS, [sentences])],
            [Group("3  Direction", WORDS, [[caption, direction]]), Group("4  Invert", INVERT, [[invert]])],
            [Group("5  Sample", SAMPLE, [[plain, held]])],
            [
                Group(
                    "6  Results",
                    RESULT,
                    [
                        shown_original(demo.image["image"]),
                        demo.shown("Edit without it", plain["latent"]),
                        demo.saved("Zero-shot edit", held["latent"], "zero_shot"),
                    ],
                )
            ],
        ]
    )


def save_and_reuse() -> Workflow:
    demo = DemoScene("a boat by day in summer", seed=6)
    source = demo.source(demo.image["caption"])
    empty = demo.empty()
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION)
    keep = Node(
        "SaveNoiseMaps",
        "Save noise maps",
        {"noise_maps": invert["noise_maps"], "filename_prefix": "edit_friendly/boat"},
    )
    back = demo.sample("Reconstruct", invert["noise_maps"], source, empty, **REPLAY)
    return Workflow(
        [
            [Note(notes.SAVE_AND_REUSE)],
            [demo.group(), Group("2  Words", WORDS, [[source, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Keep", SAMPLE, [[keep]]), Group("5  Check", SAMPLE, [[back]])],
            [Group("6  Result", RESULT, [demo.saved("Reconstruction", back["latent"], "save_and_reuse")])],
        ]
    )


def load_and_edit() -> Workflow:
    demo = DemoModel()
    file = "edit_friendly/boat_00001_.noisemaps.safetensors [output]"  # the first that save_and_reuse writes
    load = Node("LoadNoiseMaps", "Load noise maps", {"file": file})
    sunset, winter = demo.target("a boat at sunset in summer"), demo.target("a boat by day in winter")
    empty = demo.empty()
    first = demo.sample("Edit to sunset", load["noise_maps"], sunset, empty, **DEMO_EDIT)
    second = demo.sample("Edit to winter", load["noise_maps"], winter, empty, **DEMO_EDIT)
    return Workflow(
        [
            [Note(notes.LOAD_AND_EDIT)],
            [
                Group("1  Noise maps", IMAGE, [[demo.loader, load]]),
                Group("2  Words", WORDS, [[sunset, winter, empty]]),
            ],
            [Group("3  Sample", SAMPLE, [[first], [second]])],
            [
                Group(
                    "4  Results",
                    RESULT,
                    [
                        demo.saved("Sunset", first["latent"], "load_and_edit"),
                        demo.saved("Winter", second["latent"], "load_and_edit"),
                    ],
                )
            ],
        ]
    )


def tour() -> Workflow:
    """Everything on one scene; `demo.tour` sets the scene, the target prompt and the paint by their titles."""
    demo = DemoScene("a red circle left on a blue ground", seed=2)
    source = demo.source(demo.image["caption"])
    target = demo.target("a green circle left on a blue ground")
    empty = demo.empty()
    paint = Node("EmptyImage", "Paint", {"width": 32, "height": 32, "color": YELLOW})
    painted = demo.encode(paint["IMAGE"])
    invert = demo.invert("Invert", demo.latent, source, empty, **DEMO_INVERSION, variations=4)
    bare = demo.invert_without_prompt(empty)
    shift = Node("LatentShift", "Shift", {"noise_maps": bare["noise_maps"], "x": SHIFT})
    flip = Node("NoiseMapsFlip", "Flip", {"noise_maps": bare["noise_maps"]})
    recolor = demo.recolor(bare, painted)
    back = demo.sample("Reconstruct", bare["noise_maps"], empty, empty, **REPLAY)
    edit = demo.sample("Edit", invert["noise_maps"], target, empty, **DEMO_EDIT)
    moved = [
        demo.sample(title, maps["noise_maps"], empty, empty, **REPLAY)
        for title, maps in (("Sample shifted", shift), ("Sample flipped", flip))
    ]
    recolored = demo.sample("Sample recolored", recolor["noise_maps"], empty, empty, **REPLAY)
    latents = [demo.latent, *(node["latent"] for node in (back, edit, *moved, recolored))]
    titles = ("Original", "Reconstruction", "Edits", "Shifted", "Flipped", "Recolored")
    kept = [_save_latent(title, samples) for title, samples in zip(titles, latents, strict=True)]
    one = Node("LatentFromBatch", "One edit", {"samples": edit["latent"]}, collapsed=True)
    rows = [
        _joined(one["LATENT"], latents[3], "x"),
        _joined(latents[4], latents[5], "x"),
    ]
    sheet = _joined(rows[0]["LATENT"], rows[1]["LATENT"], "y")
    large = demo.large(sheet["LATENT"])
    return Workflow(
        [
            [
                Note(notes.TOUR, width=290),
                Group("8  Results", RESULT, [[one, *rows, sheet, *large, preview("All", large[-1]["IMAGE"], 266)]]),
            ],
            [demo.group(paint, painted), Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert], [bare]]), Group("4  Move", WORDS, [[shift, flip], [recolor]])],
            [Group("5  Sample", SAMPLE, [[back, edit], moved])],
            [Group("6  Keep", IMAGE, [kept]), Group("7  Recolor", SAMPLE, [[recolored]])],
        ]
    )


def text_edit_sd15() -> Workflow:
    return _text_edit("text_edit_sd15", notes.TEXT_EDIT_SD15, SD15_MODEL, side=512)


def text_edit_sdxl() -> Workflow:
    return _text_edit("text_edit_sdxl", notes.TEXT_EDIT_SDXL, SDXL_MODEL, side=1024)


def _text_edit(name: str, note: str, model: dict[str, str], side: int) -> Workflow:
    """The paper's main use, at its settings, which are the defaults of the nodes."""
    loader = Node("CheckpointLoaderSimple", "Model", {"ckpt_name": model["name"]}, width=290, models=[model])
    pipeline = Pipeline(loader["MODEL"], loader["CLIP"], loader["VAE"])
    image = Node("LoadImage", "Image", {"image": "example.png"}, room=IMAGE_ROOM)
    scale = Node(
        "ImageScale",
        f"Crop to {side}",
        {"image": image["IMAGE"], "upscale_method": "lanczos", "width": side, "height": side, "crop": "center"},
    )
    encoded = pipeline.encode(scale["IMAGE"])
    source = pipeline.source("a drawing of a girl with yellow hair in a pink dress on a green hill")
    target = pipeline.target("a drawing of a girl with yellow hair in a pink dress on a snowy hill")
    empty = pipeline.empty()
    invert = pipeline.invert("Invert", encoded["LATENT"], source, empty, seed=1)
    edit = pipeline.sample("Edit", invert["noise_maps"], target, empty)
    edited = pipeline.decode(edit["latent"])
    return Workflow(
        [
            [Note(note)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [[edited, save("Edited", edited["IMAGE"], name, width=420)]])],
        ]
    )


def _save_latent(title: str, samples: Output) -> Node:
    inputs = {"samples": samples, "filename_prefix": f"edit_friendly/{title.lower()}"}
    return Node("SaveLatent", title, inputs, collapsed=True, space_below=16)  # a badge of its own stands above it


def _joined(first: Output, second: Output, dim: str) -> Node:
    return Node("LatentConcat", "Join", {"samples1": first, "samples2": second, "dim": dim}, collapsed=True)


EXAMPLES: dict[str, Callable[[], Workflow]] = {
    example.__name__: example
    for example in (
        quick_start,
        text_edit_sd15,
        text_edit_sdxl,
        variations,
        shift_and_flip,
        color_edit,
        local_edit,
        sdedit_comparison,
        compare_inversions,
        noise_statistics,
        prompt_to_prompt,
        compare_attention,
        find_the_mask,
        settings_grid,
        zero_shot,
        save_and_reuse,
        load_and_edit,
        tour,
    )
}
