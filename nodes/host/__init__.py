"""The only room that imports ComfyUI: its models, conditionings, latents, and runs of its sampling.

What the nodes use of it is named here.
"""

from . import files, ids, latents, loops, words
from .attention_runs import AttentionEdit, same_embedding
from .blocks import Blocks
from .calls import is_patched
from .conds import is_of_one_image
from .fixed_noise import FixedNoise
from .guiders import ImagesGuider, cfg_guide, guider_for
from .keep import KeepImage
from .levels import gain_of_network, levels, levels_at, schedule_for, sigmas_at, with_substeps
from .masks import END, LEVELS, START, found_mask, heat_of_maps, mask_of_edit
from .model import advise_on_guidance, check_same_model, made_with, told_guidance
from .models import ModelsByLevel
from .notices import counted, tell
from .one_pass import edited
from .plan import Plan, RunSettings
from .run import run_on_maps, run_plan, sampled_from_maps, with_lasting_weights
from .values import (
    SCHEDULERS,
    Audio,
    Clip,
    ClipVisionModel,
    Conditioning,
    Latent,
    ModelPatcher,
    Vae,
    decode,
    seconds_of,
    to_latent,
)

__all__ = [
    "AttentionEdit",
    "Audio",
    "Blocks",
    "Clip",
    "ClipVisionModel",
    "Conditioning",
    "END",
    "FixedNoise",
    "ImagesGuider",
    "LEVELS",
    "KeepImage",
    "Latent",
    "ModelPatcher",
    "ModelsByLevel",
    "Plan",
    "SCHEDULERS",
    "START",
    "RunSettings",
    "Vae",
    "advise_on_guidance",
    "cfg_guide",
    "check_same_model",
    "counted",
    "decode",
    "edited",
    "files",
    "found_mask",
    "gain_of_network",
    "guider_for",
    "heat_of_maps",
    "ids",
    "is_of_one_image",
    "is_patched",
    "latents",
    "levels",
    "levels_at",
    "loops",
    "made_with",
    "mask_of_edit",
    "run_on_maps",
    "run_plan",
    "same_embedding",
    "sampled_from_maps",
    "schedule_for",
    "seconds_of",
    "sigmas_at",
    "tell",
    "to_latent",
    "told_guidance",
    "with_lasting_weights",
    "with_substeps",
    "words",
]
