"""Edits with flow models of outside weights: images with SD3.5 and Flux, videos, and sound."""

from __future__ import annotations

from typing import Any

from ..blocks import (
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
)
from ..graph import Group, Node, Note, Workflow
from .checkpoints import GIRL, GIRL_IN_SNOW, cropped, file_of, loaded, loaded_apart

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
WIDTH, HEIGHT, FRAMES = 832, 480, 33  # of a video; frames 4 n + 1


def text_edit_sd3() -> Workflow:
    return _text_edit(
        "text_edit_sd3", SD3_MODEL, "FlowEdit, SD3 (paper)", steps=50, skip_steps=17, source_cfg=3.5, target_cfg=13.5
    )


def text_edit_flux() -> Workflow:
    return _text_edit(
        "text_edit_flux", FLUX_MODEL, "FlowEdit, Flux (paper)", steps=28, skip_steps=4, source_cfg=1.0, target_cfg=1.0
    )


def text_edit_video() -> Workflow:
    """By numbers that are FlowEdit's for SD3 but for the guidance."""
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
    crop = cropped(cut["IMAGE"], WIDTH, HEIGHT)
    encoded = pipeline.encode(crop["IMAGE"])
    source = pipeline.source("a red car drives along a road through a green forest")
    target = pipeline.target("a red car drives along a road through a forest in deep snow")
    empty = pipeline.empty()
    settings: dict[str, Any] = {"eta": 0.0, "scheduler": "simple", **values}
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, **settings)
    edited = pipeline.decode(edit["latent"])
    made = Node("CreateVideo", "Put together", {"images": edited["IMAGE"], "fps": parts["fps"]}, collapsed=True)
    kept = {"video": made["VIDEO"], "filename_prefix": f"edit_friendly/{name}"}
    return Workflow(
        [
            [Note(name)],
            [Group("1  Video", IMAGE, [[video, parts, cut, crop, encoded]])],
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
            [Group("6  Result", RESULT, [[edited, Node("SaveAudio", "Edited", kept, RESULT_WIDTH, room=AUDIO_ROOM)]])],
        ]
    )


def _text_edit(name: str, model: dict[str, str], preset: str, **values: float) -> Workflow:
    """In one pass, at the settings of a preset.

    Args:
        values: of the preset, for those who take its wire off.
    """
    loader, pipeline = loaded(model)
    image = Node("LoadImage", "Image", {"image": "example.png"}, room=IMAGE_ROOM)
    crop = cropped(image["IMAGE"], 1024, 1024)
    encoded = pipeline.encode(crop["IMAGE"])
    source, target, empty = pipeline.source(GIRL), pipeline.target(GIRL_IN_SNOW), pipeline.empty()
    settings = Node("EditFriendlyEditPreset", "Settings", {"model": pipeline.model, "preset": preset})
    written: dict[str, Any] = {"scheduler": "simple", "eta": 0.0, "settings": settings["settings"], **values}
    edit = pipeline.in_one_pass(encoded["LATENT"], source, target, empty, **written)
    return Workflow(
        [
            [Note(name)],
            [Group("1  Image and model", IMAGE, [[loader, image, crop, encoded]])],
            [Group("2  Words and settings", WORDS, [[source, target, empty, settings]])],
            [Group("3  Edit", SAMPLE, [[edit]])],
            [Group("4  Result", RESULT, [pipeline.compared(crop["IMAGE"], edit["latent"], name, width=400)])],
        ]
    )


def _saved_video(title: str, inputs: dict[str, object]) -> Node:
    return Node("SaveVideo", title, dict(inputs), RESULT_WIDTH, room=IMAGE_ROOM)
