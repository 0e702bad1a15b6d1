"""The paper's main use on checkpoints of outside weights."""

from __future__ import annotations

from collections.abc import Sequence

from ..blocks import (
    HELPING_NOTE,
    IMAGE,
    IMAGE_ROOM,
    INVERT,
    RESULT,
    SAMPLE,
    SOURCE_COLORS,
    TARGET_COLORS,
    TEXT_ROOM,
    WORDS,
    Pipeline,
    compared,
    pasted_under,
)
from ..graph import Group, Node, Note, Output, Workflow

HUGGING_FACE = "https://huggingface.co"


def file_of(repository: str, path: str, directory: str = "") -> dict[str, str]:
    """A file of weights in a repository of Hugging Face; its directory of models is that of its path, or told."""
    *_, folder, name = f"/{path}".split("/")
    url = f"{HUGGING_FACE}/{repository}/resolve/main/{path}"
    return {"name": name, "url": url, "directory": directory or folder}


SD15_MODEL = file_of("Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors", "checkpoints")
SDXL_MODEL = file_of("stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors", "checkpoints")
TURBO_MODEL = file_of("stabilityai/sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors", "checkpoints")
ILLUSTRIOUS_MODEL = file_of("OnomaAIResearch/Illustrious-XL-v2.0", "Illustrious-XL-v2.0.safetensors", "checkpoints")
SAM3_MODEL = file_of("Comfy-Org/sam3.1", "checkpoints/sam3.1_multiplex_fp16.safetensors")


GIRL = "a drawing of a girl with yellow hair in a pink dress on a green hill"  # ComfyUI's example.png
GIRL_IN_SNOW = GIRL.replace("green", "snowy")
GIRL_IN_BLUE = GIRL.replace("pink", "blue")
LOW_ROOM = 212  # of a picture below three loaders: the least that newer front ends give it
SMALL, LARGE = 0.25, 1.0  # megapixels that a model is made for: 512 x 512, 1024 x 1024


def text_edit_sd15() -> Workflow:
    return _text_edit("text_edit_sd15", SD15_MODEL, SMALL)


def text_edit_sdxl() -> Workflow:
    return _text_edit("text_edit_sdxl", SDXL_MODEL, LARGE)


def text_edit_illustrious() -> Workflow:
    """With tags, which the model knows words by, at its own guidance."""
    tags = "1girl, child, blonde hair, pink dress, outdoors, sky, {}, full body"
    words = [tags.format(ground) for ground in ("green hill, grass", "snow, winter")]
    return _text_edit("text_edit_illustrious", ILLUSTRIOUS_MODEL, LARGE, words, cfg=7.0)


def text_edit_turbo() -> Workflow:
    """In few steps at TurboEdit's settings, away from the source prompt in place of the empty one."""
    return _text_edit("text_edit_turbo", TURBO_MODEL, SMALL, few_steps=True, cfg=1.5, skip_steps=1)


def text_edit_p2p() -> Workflow:
    """Prompt-to-Prompt with these maps, at the paper's settings (Tab. 3)."""
    loader, pipeline = loaded(SD15_MODEL)
    image, scale = picture(SMALL)
    encoded = pipeline.encode(scale["IMAGE"])
    source, target = (
        Node("PrimitiveStringMultiline", title, {"value": text}, room=TEXT_ROOM, colors=colors)
        for title, text, colors in (
            ("Source prompt", GIRL, SOURCE_COLORS),
            ("Target prompt", GIRL_IN_SNOW, TARGET_COLORS),
        )
    )
    words = pipeline.prompt_to_prompt("Words", source["STRING"], target["STRING"])
    empty = pipeline.empty()
    invert = pipeline.invert("Invert", encoded["LATENT"], words["source"], empty, seed=1)
    held = {"attention": words["attention"], "cfg": 9.0, "skip_steps": 12}
    edit = pipeline.sample("Edit", invert, words["target"], empty, **held)
    return Workflow(
        [
            [Note("text_edit_p2p", HELPING_NOTE)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Words", WORDS, [[source, target, words, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [pipeline.compared(scale["IMAGE"], edit["latent"], "text_edit_p2p")])],
        ]
    )


def text_edit_sam3_mask() -> Workflow:
    """Under a mask that SAM3 finds from words; outside it, the image itself and not what the VAE makes of it."""
    loader, pipeline = loaded(SDXL_MODEL)
    image, scale = picture(LARGE)
    encoded = pipeline.encode(scale["IMAGE"])
    finder, of_finder = loaded(SAM3_MODEL, "SAM3")
    words = of_finder.prompt("What to change", "dress", TARGET_COLORS)
    links = {"model": of_finder.model, "image": scale["IMAGE"], "conditioning": words["CONDITIONING"]}
    found = Node("SAM3_Detect", "Find", links)
    shown = Node("MaskPreview", "Where", {"mask": found["masks"]}, room=IMAGE_ROOM)
    source, target, empty = pipeline.source(GIRL), pipeline.target(GIRL_IN_BLUE), pipeline.empty()
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, mask=found["masks"])
    results = pasted(pipeline, edit, found["masks"], scale, "text_edit_sam3_mask")
    return Workflow(
        [
            [Note("text_edit_sam3_mask", HELPING_NOTE - 20)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Where", WORDS, [[finder, words, found, shown]])],
            [Group("3  Words", WORDS, [[source, target, empty]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [results])],
        ]
    )


def text_edit_mask() -> Workflow:
    """Under a mask that is painted."""
    loader, pipeline = loaded(SDXL_MODEL)
    image, scale = picture(LARGE)
    encoded = pipeline.encode(scale["IMAGE"])
    where, mask = painted(LARGE)
    source, target, empty = pipeline.source(GIRL), pipeline.target(GIRL_IN_BLUE), pipeline.empty()
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, mask=mask)
    results = pasted(pipeline, edit, mask, scale, "text_edit_mask")
    return Workflow(
        [
            [Note("text_edit_mask", HELPING_NOTE)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Where", WORDS, [where])],
            [Group("3  Words", WORDS, [[source, target, empty]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [results])],
        ]
    )


def _text_edit(
    name: str,
    model: dict[str, str],
    megapixels: float,
    words: Sequence[str] = (GIRL, GIRL_IN_SNOW),
    few_steps: bool = False,
    **edit: float,
) -> Workflow:
    """Invert and sample.

    Args:
        megapixels: of the picture as it is edited.
        words: of source and target.
        edit: inputs of the sampler other than the paper's, which are the defaults.
    """
    loader, pipeline = loaded(model)
    image, scale = picture(megapixels)
    encoded = pipeline.encode(scale["IMAGE"])
    source, target, empty = pipeline.source(words[0]), pipeline.target(words[1]), pipeline.empty()
    node_id = "EditFriendlyTurboInvert" if few_steps else "EditFriendlyInvert"
    invert = pipeline.invert("Invert", encoded["LATENT"], source, empty, node_id, seed=1)
    sampled = pipeline.sample("Edit", invert, target, source if few_steps else empty, **edit)
    return Workflow(
        [
            [Note(name, HELPING_NOTE)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Words", WORDS, [[source, target, empty]])],
            [Group("3  Invert", INVERT, [[invert]])],
            [Group("4  Edit", SAMPLE, [[sampled]])],
            [Group("5  Result", RESULT, [pipeline.compared(scale["IMAGE"], sampled["latent"], name)])],
        ]
    )


def loaded(model: dict[str, str], title: str = "Model") -> tuple[Node, Pipeline]:
    """The loader of a checkpoint, and what is built from it."""
    loader = Node("CheckpointLoaderSimple", title, {"ckpt_name": model["name"]}, width=270, models=[model])
    return loader, Pipeline(loader["MODEL"], loader["CLIP"], loader["VAE"])


def loaded_apart(
    model: dict[str, str], clip: dict[str, str], vae: dict[str, str], kind: str, second: dict[str, str] | None = None
) -> tuple[Pipeline, list[Node]]:
    """Model, text encoder of one or two files, and VAE; the nodes that load them."""
    models = [file for file in (clip, second) if file]
    names = (
        {"clip_name": clip["name"]} if second is None else {"clip_name1": clip["name"], "clip_name2": second["name"]}
    )
    loaders = [
        Node("UNETLoader", "Model", {"unet_name": model["name"], "weight_dtype": "default"}, models=[model]),
        Node(
            "CLIPLoader" if second is None else "DualCLIPLoader", "Text encoder", names | {"type": kind}, models=models
        ),
        Node("VAELoader", "VAE", {"vae_name": vae["name"]}, models=[vae]),
    ]
    return Pipeline(loaders[0]["MODEL"], loaders[1]["CLIP"], loaders[2]["VAE"]), loaders


def picture(megapixels: float, room: int = IMAGE_ROOM) -> tuple[Node, Node]:
    """A picture of one's own, and the same in the size that a model is made for."""
    image = Node("LoadImage", "Image", {"image": "example.png"}, room=room)
    return image, scaled(image["IMAGE"], megapixels)


def scaled(image: Output, megapixels: float, title: str = "Scale", method: str = "lanczos") -> Node:
    """An image of so many pixels in its own shape, its sides multiples of 16: no model here takes other ones."""
    size = {"upscale_method": method, "megapixels": megapixels, "resolution_steps": 16}
    return Node("ImageScaleToTotalPixels", title, {"image": image} | size)


def painted(megapixels: float) -> tuple[list[Node], Output]:
    """The nodes of a mask that is painted on a picture, and the mask in the size of the scaled picture.

    The picture is loaded once more, as newer mask editors save it black under the mask.
    """
    mask = Node("LoadImage", "Mask", {"image": "example.png"}, room=IMAGE_ROOM)
    as_image = Node("MaskToImage", "Mask as image", {"mask": mask["MASK"]})
    scale = scaled(as_image["IMAGE"], megapixels, "Scale mask", "bilinear")
    as_mask = Node("ImageToMask", "Image as mask", {"image": scale["IMAGE"], "channel": "red"})
    between = [as_image, scale, as_mask]
    for node in between:
        node.collapsed = True
    return [mask, *between], as_mask["MASK"]


def pasted(pipeline: Pipeline, edit: Node, mask: Output, image: Node, filename_prefix: str) -> list[Node]:
    """From an edit under a mask to a file and to one view of before and after: around the mask, the image itself."""
    edited = pipeline.decode(edit["latent"])
    together = pasted_under(mask, edited["IMAGE"], image["IMAGE"])
    saved, both = compared(image["IMAGE"], together["IMAGE"], filename_prefix)
    saved.room -= 40  # for the two above
    return [edited, together, saved, both]
