"""Edits with flow models of outside weights: images with SD3.5 and Flux, videos, and sound."""

from __future__ import annotations

from typing import Any

from ..blocks import (
    HELPING_NOTE,
    IMAGE,
    IMAGE_ROOM,
    INVERT,
    RESULT,
    RESULT_WIDTH,
    SAMPLE,
    SOURCE_COLORS,
    TARGET_COLORS,
    WORDS,
    Pipeline,
    conditioning,
)
from ..graph import Group, Node, Note, Workflow
from .checkpoints import (
    GIRL,
    GIRL_IN_BLUE,
    GIRL_IN_SNOW,
    LARGE,
    file_of,
    loaded,
    loaded_apart,
    painted,
    pasted,
    picture,
    scaled,
)

SD3_MODEL = file_of(
    "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors", "checkpoints"
)
FLUX_MODEL = file_of("Comfy-Org/flux1-dev", "flux1-dev-fp8.safetensors", "checkpoints")
_WAN = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
WAN_MODEL = file_of(_WAN, "split_files/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors")
WAN_CLIP = file_of(_WAN, "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors")
WAN_VAE = file_of(_WAN, "split_files/vae/wan_2.1_vae.safetensors")
_WAN22 = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"
HIGH_NOISE, LOW_NOISE = (
    file_of(_WAN22, f"split_files/diffusion_models/wan2.2_t2v_{level}_noise_14B_fp8_scaled.safetensors")
    for level in ("high", "low")
)
ACE_MODEL = file_of("Comfy-Org/ACE-Step_ComfyUI_repackaged", "all_in_one/ace_step_v1_3.5b.safetensors", "checkpoints")
VIDEO, SOUND = "video.mp4", "sound.flac"
PLAYER_ROOM = 250  # a little more than the least that the front end gives a player
AUDIO_ROOM = 60
TAGS_ROOM = 40  # for tags and lyrics, which newer front ends give more than that of 0.17.0
MEGAPIXELS, FRAMES = 0.38, 33  # of a video: 832 x 480 and the like, and frames 4 n + 1
FLOWEDIT: dict[str, Any] = {"scheduler": "simple", "eta": 0.0}
FLOWEDIT_FLUX = FLOWEDIT | {"steps": 28, "skip_steps": 4, "source_cfg": 1.0, "target_cfg": 1.0}
GUIDANCE = 1.5, 5.5  # that Flux is told with the prompts of source and target


def text_edit_sd3() -> Workflow:
    settings = FLOWEDIT | {"steps": 50, "skip_steps": 17, "source_cfg": 3.5, "target_cfg": 13.5}
    return _text_edit("text_edit_sd3", SD3_MODEL, **settings)


def text_edit_flux() -> Workflow:
    return _text_edit("text_edit_flux", FLUX_MODEL, GUIDANCE, **FLOWEDIT_FLUX)


def text_edit_flux_mask() -> Workflow:
    """Under a mask that is painted, with the keys and values of what is around it (KV-Edit, arXiv 2502.17363)."""
    loader, pipeline = loaded(FLUX_MODEL)
    image, scale = picture(LARGE)
    encoded = pipeline.encode(scale["IMAGE"])
    where, mask = painted(LARGE)
    source, target, empty = pipeline.source(GIRL), pipeline.target(GIRL_IN_BLUE), pipeline.empty()
    told = _told(source, target, GUIDANCE)
    hold = Node(
        "EditFriendlyShareAttention",
        "Hold",
        {"source": conditioning(told[0]), "method": "keys and values", "mask": mask},
    )
    settings = FLOWEDIT_FLUX | {"mask": mask, "attention": hold["attention"]}
    edit = pipeline.in_one_pass(encoded["LATENT"], *told, empty, **settings)
    results = pasted(pipeline, edit, mask, scale, "text_edit_flux_mask")
    return Workflow(
        [
            [Note("text_edit_flux_mask", HELPING_NOTE)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Where", WORDS, [where])],
            [Group("3  Words", WORDS, [[source, target, empty, *told, hold]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [results])],
        ]
    )


def text_edit_video() -> Workflow:
    """By numbers that are FlowEdit's for SD3 but for the target's guidance."""
    pipeline, loaders = loaded_apart(WAN_MODEL, WAN_CLIP, WAN_VAE, "wan")
    return _video("text_edit_video", pipeline, loaders, steps=50, source_cfg=3.5, target_cfg=10.0, skip_steps=17)


def text_edit_wan22() -> Workflow:
    """Two models, of which the first takes the noisy levels, at their own guidance and shift."""
    pipeline, (high, *others) = loaded_apart(HIGH_NOISE, WAN_CLIP, WAN_VAE, "wan")
    low = Node("UNETLoader", "Low noise", {"unet_name": LOW_NOISE["name"]}, models=[LOW_NOISE])
    high.title = "High noise"
    links = {"high_noise_model": high["MODEL"], "low_noise_model": low["MODEL"], "boundary": 0.875}
    both = Node("EditFriendlySwitchModels", "Both models", links)
    shifted = Node("ModelSamplingSD3", "Shift", {"model": both["model"], "shift": 8.0}, collapsed=True)
    pipeline.model = shifted["MODEL"]
    loaders = [high, low, both, shifted, *others]
    return _video("text_edit_wan22", pipeline, loaders, steps=20, source_cfg=1.0, target_cfg=3.5, skip_steps=6)


def _video(name: str, pipeline: Pipeline, loaders: list[Node], **values: float) -> Workflow:
    """A few frames of a video, in one pass without noise of its own (FlowEdit).

    Args:
        values: of Edit Image.
    """
    video = Node("LoadVideo", "Video", {"file": VIDEO}, room=PLAYER_ROOM)
    parts = Node("GetVideoComponents", "Frames", {"video": video["VIDEO"]}, collapsed=True)
    inputs = {"image": parts["images"], "batch_index": 0, "length": FRAMES}
    cut = Node("ImageFromBatch", f"First {FRAMES} frames", inputs)
    scale = scaled(cut["IMAGE"], MEGAPIXELS)
    encoded = pipeline.encode(scale["IMAGE"])
    source = pipeline.source("a red car drives along a road through a green forest")
    target = pipeline.target("a red car drives along a road through a forest in deep snow")
    empty = pipeline.empty()
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, **FLOWEDIT | values)
    edited = pipeline.decode(edit["latent"])
    made = Node("CreateVideo", "Put together", {"images": edited["IMAGE"], "fps": parts["fps"]}, collapsed=True)
    kept = {"video": made["VIDEO"], "filename_prefix": f"edit_friendly/{name}"}
    return Workflow(
        [
            [Note(name)],
            [Group("1  Video", IMAGE, [[video, parts, cut, scale, encoded]])],
            [Group("2  Model", IMAGE, [loaders])],
            [Group("3  Words", WORDS, [[source, target, empty]])],
            [Group("4  Edit", SAMPLE, [[edit]])],
            [Group("5  Result", RESULT, [[edited, made, _saved_video("Edited", kept)]])],
        ]
    )


def text_edit_sound() -> Workflow:
    """A part of a piece of music, played by other instruments."""
    loader, pipeline = loaded(ACE_MODEL)
    audio = Node("LoadAudio", "Sound", {"audio": SOUND})
    encoded = Node("VAEEncodeAudio", "Encode", {"audio": audio["AUDIO"], "vae": pipeline.vae}, collapsed=True)
    source, target = (
        Node(
            "TextEncodeAceStepAudio",
            title,
            {"clip": pipeline.clip, "tags": f"{what}, slow, calm, instrumental", "lyrics": "[inst]"},
            room=TAGS_ROOM,
            colors=colors,
        )
        for title, what, colors in (
            ("Source prompt", "solo piano", SOURCE_COLORS),
            ("Target prompt", "solo acoustic guitar", TARGET_COLORS),
        )
    )
    empty = Node("ConditioningZeroOut", "Empty prompt", {"conditioning": source["CONDITIONING"]}, collapsed=True)
    when = Node("EditFriendlyMaskSeconds", "When", {"audio": audio["AUDIO"], "fade": 0.5})
    invert = pipeline.invert("Invert", encoded["LATENT"], source, empty, steps=50, cfg=1.0, scheduler="simple", seed=1)
    edit = pipeline.sample("Edit", invert, target, empty, cfg=5.0, skip_steps=15, mask=when["mask"])
    invert.live_preview = edit.live_preview = False  # the host shows none of sound
    edited = Node("VAEDecodeAudio", "Decode", {"samples": edit["latent"], "vae": pipeline.vae}, collapsed=True)
    kept = {"audio": edited["AUDIO"], "filename_prefix": "edit_friendly/text_edit_sound"}
    return Workflow(
        [
            [Note("text_edit_sound")],
            [Group("1  Sound and model", IMAGE, [[loader, audio, encoded]])],
            [Group("2  Words", WORDS, [[source, target, empty]]), Group("3  When", WORDS, [[when]])],
            [Group("4  Invert", INVERT, [[invert]])],
            [Group("5  Edit", SAMPLE, [[edit]])],
            [Group("6  Result", RESULT, [[edited, Node("SaveAudio", "Edited", kept, 246, room=AUDIO_ROOM)]])],
        ]
    )


def _text_edit(
    name: str, model: dict[str, str], guidance: tuple[float, float] | None = None, **settings: Any
) -> Workflow:
    """In one pass.

    Args:
        guidance: that a distilled model is told with either prompt.
        settings: of Edit Image. They stand in the node and not in a preset, so that each can be changed there.
    """
    loader, pipeline = loaded(model)
    image, scale = picture(LARGE)
    encoded = pipeline.encode(scale["IMAGE"])
    source, target, empty = pipeline.source(GIRL), pipeline.target(GIRL_IN_SNOW), pipeline.empty()
    words = [source, target, empty]
    if guidance:
        source, target = _told(source, target, guidance)
        words += [source, target]
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, **settings)
    decoded, saved, both = pipeline.compared(scale["IMAGE"], edit["latent"], name, width=RESULT_WIDTH)
    both.room = saved.room  # side by side, for there is no column of an inversion
    return Workflow(
        [
            [Note(name)],
            [Group("1  Image and model", IMAGE, [[loader, image, scale, encoded]])],
            [Group("2  Words", WORDS, [words])],
            [Group("3  Edit", SAMPLE, [[edit]])],
            [Group("4  Result", RESULT, [[decoded, saved], [both]])],
        ]
    )


def _told(source: Node, target: Node, guidance: tuple[float, float]) -> tuple[Node, Node]:
    """Both prompts with the guidance that the model is told."""

    def guided(title: str, prompt: Node, number: float) -> Node:
        return Node("FluxGuidance", title, {"conditioning": conditioning(prompt), "guidance": number})

    return guided("Guidance of source", source, guidance[0]), guided("Guidance of target", target, guidance[1])


def _saved_video(title: str, inputs: dict[str, object]) -> Node:
    return Node("SaveVideo", title, dict(inputs), RESULT_WIDTH, room=IMAGE_ROOM)
