"""Edits as one node each: what ComfyUI's library of nodes lists as subgraph blueprints.

Model, text encoder and VAE come from outside, so that each works with whatever loads them, and with a LoRA.
"""

from __future__ import annotations

from ..blocks import IMAGE, INVERT, RESULT, SAMPLE, TEXT_ROOM, WORDS, Pipeline, pasted_under
from ..graph import Blueprint, Entry, Group, Node, Workflow
from .edit_models import edited_by_klein

PICTURE, MODEL, CLIP, VAE = (Entry(name) for name in ("image", "model", "clip", "vae"))
# In the words' place, for older front ends name no box of text.
SOURCE, TARGET = Entry("source prompt", "what the picture shows"), Entry("target prompt", "what it is to show")
SEED = Entry("seed", 1)


def edit_by_words() -> Blueprint:
    return _edit(
        "Edit a picture by words",
        "Say what the picture shows, and the same with other words for what is to change. Keep: more keeps more of the "
        "picture. Cfg: more follows the words more. At the paper's settings for Stable Diffusion 1.5, SDXL and the "
        "like; the picture in the size that the model is made for.",
    )


def edit_inside_a_mask() -> Blueprint:
    return _edit(
        "Edit inside a mask",
        "Changes a picture by words under a mask alone; all around it stays as it was, pixel by pixel. Say what the "
        "picture shows, and the same with other words for what is to change. Keep: more keeps more of the picture. "
        "Cfg: more follows the words more.",
        Entry("mask"),
    )


def keep_the_image() -> Blueprint:
    instruction = Entry("instruction", "what to change")
    keep, tolerance = Entry("keep", 1.0), Entry("tolerance", 0.15)
    pipeline = Pipeline(MODEL, CLIP, VAE)
    (image, words, held, edit), edited = edited_by_klein(
        pipeline, PICTURE, instruction, SEED, amount=keep, tolerance=tolerance
    )
    result = pipeline.decode(edited)
    return Blueprint(
        "Keep the image while an edit model works",
        "Tells an edit model what to change, and holds what it leaves nearly as it was. Keep: how firmly. Tolerance: "
        "how much counts as left; too much takes the edit back. For FLUX.2 Klein, in 4 steps; a picture of about a "
        "megapixel.",
        Workflow(
            [
                [Group("1  Image", IMAGE, [image])],
                [Group("2  Words", WORDS, [words]), Group("3  Keep", WORDS, [held])],
                [Group("4  Edit", SAMPLE, [edit])],
                [Group("5  Result", RESULT, [[result]])],
            ]
        ),
        [PICTURE, MODEL, CLIP, VAE, instruction, keep, tolerance, SEED],
        {"image": result["IMAGE"]},
        room=TEXT_ROOM,
    )


def invert_and_keep() -> Blueprint:
    steps, cfg, prefix = Entry("steps", 100), Entry("cfg", 3.5), Entry("file name", "edit_friendly/picture")
    pipeline = Pipeline(MODEL, CLIP, VAE)
    encoded, source, empty = pipeline.encode(PICTURE), pipeline.source(SOURCE), pipeline.empty()
    invert = pipeline.invert("Invert", encoded["LATENT"], source, empty, steps=steps, cfg=cfg, seed=1)
    save = {"noise_maps": invert["noise_maps"], "filename_prefix": prefix}
    saved = Node("EditFriendlySaveNoiseMaps", "Save noise maps", save)
    return Blueprint(
        "Invert and keep",
        "Finds the noise of a picture and saves it in the output folder, so that you invert once and edit often: with "
        "Sample with Fixed Noise now, and with Load Noise Maps another day. Say what the picture shows.",
        Workflow(
            [
                [Group("1  Image and words", IMAGE, [[encoded, source, empty]])],
                [Group("2  Invert", INVERT, [[invert]])],
                [Group("3  Keep", RESULT, [[saved]])],
            ]
        ),
        [PICTURE, MODEL, CLIP, VAE, SOURCE, steps, cfg, prefix],
        {"noise_maps": invert["noise_maps"]},
        room=TEXT_ROOM,
    )


def _edit(name: str, description: str, mask: Entry | None = None) -> Blueprint:
    """In one pass, at the settings of the preset "edit friendly (paper)".

    Under a mask, what is outside is the picture itself and not what the VAE makes of it.
    """
    keep, cfg = Entry("keep", 0.36), Entry("cfg", 15.0)
    pipeline = Pipeline(MODEL, CLIP, VAE)
    encoded = pipeline.encode(PICTURE)
    source, target, empty = pipeline.source(SOURCE), pipeline.target(TARGET), pipeline.empty()
    levels = Node("EditFriendlyNoiseLevels", "Levels", {"model": MODEL, "skip_fraction": keep})
    settings = {
        "source_cfg": 3.5,
        "target_cfg": cfg,
        "seed": SEED,
        "sigmas": levels["sigmas"],
        "skip_steps": levels["skip_steps"],
    }
    under = {"mask": mask} if mask else {}
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, **settings, **under)
    result = [pipeline.decode(edit["latent"])]
    if mask:
        result.append(pasted_under(mask, result[0]["IMAGE"], PICTURE))
    return Blueprint(
        name,
        description,
        Workflow(
            [
                [Group("1  Image and words", IMAGE, [[encoded, source, target, empty]])],
                [Group("2  Levels", INVERT, [[levels]])],
                [Group("3  Edit", SAMPLE, [[edit]])],
                [Group("4  Result", RESULT, [result])],
            ]
        ),
        [PICTURE, *under.values(), MODEL, CLIP, VAE, SOURCE, TARGET, keep, cfg, SEED],
        {"image": result[-1]["IMAGE"]},
        room=2 * TEXT_ROOM,
    )
