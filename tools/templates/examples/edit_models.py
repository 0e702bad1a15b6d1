"""Edit models, which are told what to change, with Keep Image, so that the rest stays."""

from __future__ import annotations

from ..blocks import IMAGE, RESULT, SAMPLE, TARGET_COLORS, TEXT_ROOM, WORDS, Pipeline
from ..graph import Group, Node, Note, Output, Wire, Workflow
from .checkpoints import LARGE, LOW_ROOM, file_of, loaded_apart, picture

INSTRUCTION = "Make it winter: the hill is covered in snow."


KLEIN_MODEL = file_of("black-forest-labs/FLUX.2-klein-4b-fp8", "flux-2-klein-4b-fp8.safetensors", "diffusion_models")
KLEIN_CLIP = file_of("Comfy-Org/z_image_turbo", "split_files/text_encoders/qwen_3_4b.safetensors")
KLEIN_VAE = file_of("Comfy-Org/flux2-dev", "split_files/vae/flux2-vae.safetensors")
QWEN_MODEL = file_of(
    "Comfy-Org/Qwen-Image-Edit_ComfyUI", "split_files/diffusion_models/qwen_image_edit_2509_fp8_e4m3fn.safetensors"
)
QWEN_CLIP = file_of("Comfy-Org/Qwen-Image_ComfyUI", "split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors")
QWEN_VAE = file_of("Comfy-Org/Qwen-Image_ComfyUI", "split_files/vae/qwen_image_vae.safetensors")
KONTEXT_MODEL = file_of(
    "Comfy-Org/flux1-kontext-dev_ComfyUI", "split_files/diffusion_models/flux1-dev-kontext_fp8_scaled.safetensors"
)
CLIP_L = file_of("comfyanonymous/flux_text_encoders", "clip_l.safetensors", "text_encoders")
T5 = file_of("comfyanonymous/flux_text_encoders", "t5xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders")
FLUX_VAE = file_of("Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors")


def keep_image_flux2_klein() -> Workflow:
    pipeline, loaders = loaded_apart(KLEIN_MODEL, KLEIN_CLIP, KLEIN_VAE, "flux2")
    image, scale = picture(LARGE, LOW_ROOM)
    scale.collapsed = True
    (of_image, *others), edited = edited_by_klein(pipeline, scale["IMAGE"], INSTRUCTION)
    return _workflow("keep_image_flux2_klein", pipeline, scale, [[*loaders, image, scale, *of_image], *others], edited)


def edited_by_klein(
    pipeline: Pipeline, image: Wire, instruction: str | Wire, seed: int | Wire = 1, **kept: float | Wire
) -> tuple[list[list[Node]], Output]:
    """Four steps without guidance, by the model's own scheduler.

    Args:
        kept: inputs of Keep Image.

    Returns:
        the nodes of image, words, Keep and edit, and the edited latent
    """
    size = Node("GetImageSize", "Size", {"image": image}, collapsed=True)
    encoded = pipeline.encode(image)
    asked = pipeline.prompt("Instruction", instruction, TARGET_COLORS)
    seen = _seen("The image, to the model", asked, encoded)
    empty = Node("ConditioningZeroOut", "Empty prompt", {"conditioning": seen["CONDITIONING"]}, collapsed=True)
    keep = pipeline.keep(encoded["LATENT"], **kept)
    links = {"model": keep["model"], "positive": seen["CONDITIONING"], "negative": empty["CONDITIONING"]}
    guider = Node("CFGGuider", "Guider", links | {"cfg": 1.0}, collapsed=True)
    noise = Node("RandomNoise", "Noise", {"noise_seed": seed})
    sampler = Node("KSamplerSelect", "Sampler", {"sampler_name": "euler"}, collapsed=True)
    levels = {"steps": 4, "width": size["width"], "height": size["height"]}
    sigmas = Node("Flux2Scheduler", "Levels", levels, collapsed=True)
    edit = Node(
        "SamplerCustomAdvanced",
        "Edit",
        {
            "noise": noise["NOISE"],
            "guider": guider["GUIDER"],
            "sampler": sampler["SAMPLER"],
            "sigmas": sigmas["SIGMAS"],
            "latent_image": encoded["LATENT"],
        },
        live_preview=True,
    )
    steps = [guider, noise, sampler, sigmas, edit]
    return [[size, encoded], [asked, seen, empty], [keep], steps], edit["output"]


def keep_image_qwen_edit() -> Workflow:
    """The model's own text encoder reads the image too, and hands it on to the network."""
    pipeline, loaders = loaded_apart(QWEN_MODEL, QWEN_CLIP, QWEN_VAE, "qwen_image")
    shift = Node("ModelSamplingAuraFlow", "Shift", {"model": pipeline.model, "shift": 3.0}, collapsed=True)
    pipeline.model = shift["MODEL"]
    image = _image()
    scale = Node("FluxKontextImageScale", "Scale", {"image": image["IMAGE"]}, collapsed=True)
    encoded = pipeline.encode(scale["IMAGE"])
    read = {"clip": pipeline.clip, "vae": pipeline.vae, "image1": scale["IMAGE"]}
    asked = Node(
        "TextEncodeQwenImageEditPlus",
        "Instruction",
        read | {"prompt": INSTRUCTION},
        room=TEXT_ROOM,
        colors=TARGET_COLORS,
    )
    empty = Node("TextEncodeQwenImageEditPlus", "Empty prompt", read | {"prompt": ""}, collapsed=True)
    keep = pipeline.keep(encoded["LATENT"])
    edit = _ksampler(keep, asked, empty, encoded, steps=20, cfg=4.0)
    return _workflow(
        "keep_image_qwen_edit",
        pipeline,
        scale,
        [[*loaders, shift, image, scale, encoded], [asked, empty], [keep], [edit]],
        edit["LATENT"],
    )


def keep_image_flux_kontext() -> Workflow:
    """Guidance is told to the model, so a step is one call."""
    pipeline, loaders = loaded_apart(KONTEXT_MODEL, CLIP_L, FLUX_VAE, "flux", T5)
    image = _image()
    scale = Node("FluxKontextImageScale", "Scale", {"image": image["IMAGE"]}, collapsed=True)
    encoded = pipeline.encode(scale["IMAGE"])
    asked = pipeline.prompt("Instruction", INSTRUCTION, TARGET_COLORS)
    seen = _seen("The image, to the model", asked, encoded)
    guided = Node("FluxGuidance", "Guidance", {"conditioning": seen["CONDITIONING"], "guidance": 2.5})
    empty = Node("ConditioningZeroOut", "Empty prompt", {"conditioning": asked["CONDITIONING"]}, collapsed=True)
    keep = pipeline.keep(encoded["LATENT"])
    edit = _ksampler(keep, guided, empty, encoded, steps=20, cfg=1.0)
    return _workflow(
        "keep_image_flux_kontext",
        pipeline,
        scale,
        [[*loaders, image, scale, encoded], [asked, seen, guided, empty], [keep], [edit]],
        edit["LATENT"],
    )


def _image() -> Node:
    return Node("LoadImage", "Image", {"image": "example.png"}, room=LOW_ROOM)


def _seen(title: str, prompt: Node, encoded: Node) -> Node:
    links = {"conditioning": prompt["CONDITIONING"], "latent": encoded["LATENT"]}
    return Node("ReferenceLatent", title, links, collapsed=True)


def _ksampler(keep: Node, positive: Node, negative: Node, encoded: Node, **values: float) -> Node:
    links = {
        "model": keep["model"],
        "positive": positive["CONDITIONING"],
        "negative": negative["CONDITIONING"],
        "latent_image": encoded["LATENT"],
    }
    settings = {"seed": 1, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return Node("KSampler", "Edit", links | settings | values, live_preview=True)


def _workflow(name: str, pipeline: Pipeline, image: Node, nodes: list[list[Node]], edited: Output) -> Workflow:
    """Image and model, words, what keeps the image, the edit; and the result."""
    of_image, words, keep, edit = nodes
    return Workflow(
        [
            [Note(name)],
            [Group("1  Image and model", IMAGE, [of_image])],
            [Group("2  Words", WORDS, [words])],
            [Group("3  Keep and edit", SAMPLE, [[*keep, *edit]])],
            [Group("4  Result", RESULT, [pipeline.compared(image["IMAGE"], edited, name)])],
        ]
    )
