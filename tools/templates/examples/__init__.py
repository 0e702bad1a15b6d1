"""The example graphs, one job each, and the blueprints.

A new one is a function in one of these modules, and its name in `EXAMPLES`, `SCRIPTS` or `BLUEPRINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..graph import Blueprint, Workflow
from .attention import compare_attention, prompt_to_prompt, zero_shot
from .blueprints import edit_by_words, edit_inside_a_mask, invert_and_keep, keep_the_image
from .checkpoints import text_edit_p2p, text_edit_sam3_mask, text_edit_sd15, text_edit_sdxl, text_edit_turbo
from .edit_models import keep_image_flux2_klein, keep_image_flux_kontext, keep_image_qwen_edit
from .first import load_and_edit, quick_start, save_and_reuse, settings_grid, strength_strip, variations
from .flows import SOUND, VIDEO, text_edit_flux, text_edit_sd3, text_edit_sound, text_edit_video
from .inversions import compare_inversions, noise_statistics
from .manipulation import color_edit, sdedit_comparison, shift_and_flip, tour
from .masks import find_the_mask, local_edit, several_edits
from .transformers import (
    text_edit_anima,
    text_edit_chroma,
    text_edit_flux2_klein,
    text_edit_qwen_image,
    text_edit_z_image_turbo,
)

__all__ = ["BLUEPRINTS", "EXAMPLES", "NEWER", "SCRIPTS", "SOUND", "VIDEO", "models_of"]

EXAMPLES: dict[str, Callable[[], Workflow]] = {
    example.__name__: example
    for example in (
        quick_start,
        text_edit_sd15,
        text_edit_sdxl,
        text_edit_p2p,
        text_edit_turbo,
        text_edit_sam3_mask,
        text_edit_sd3,
        text_edit_flux,
        text_edit_qwen_image,
        text_edit_z_image_turbo,
        text_edit_flux2_klein,
        text_edit_chroma,
        text_edit_anima,
        text_edit_video,
        text_edit_sound,
        keep_image_flux2_klein,
        keep_image_qwen_edit,
        keep_image_flux_kontext,
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
        several_edits,
        settings_grid,
        strength_strip,
        zero_shot,
        save_and_reuse,
        load_and_edit,
    )
}
# What scripts post and nobody opens: in the form of the API alone.
SCRIPTS: dict[str, Callable[[], Workflow]] = {tour.__name__: tour}
# With nodes that the oldest host lacks, so that the newest writes them.
NEWER = {text_edit_sam3_mask.__name__}
BLUEPRINTS: tuple[Callable[[], Blueprint], ...] = (edit_by_words, edit_inside_a_mask, keep_the_image, invert_and_keep)


def models_of(name: str) -> list[Mapping[str, str]]:
    """The files that an example needs from elsewhere: name, url and directory of each."""
    return [model for node in EXAMPLES[name]().nodes for model in node.models]
