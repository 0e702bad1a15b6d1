"""The example graphs, one job each, and the blueprints.

A new one is a function in one of these modules, and stands in `_LISTED`, `SCRIPTS` or `BLUEPRINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...comfyui import PACK
from ..graph import Blueprint, Workflow
from .attention import compare_attention, prompt_to_prompt, zero_shot
from .blueprints import edit_by_words, edit_inside_a_mask, invert_and_keep, keep_the_image
from .checkpoints import (
    text_edit_illustrious,
    text_edit_mask,
    text_edit_p2p,
    text_edit_sam3_mask,
    text_edit_sd15,
    text_edit_sdxl,
    text_edit_turbo,
)
from .edit_models import keep_image_flux2_klein, keep_image_flux_kontext, keep_image_qwen_edit
from .first import load_and_edit, quick_start, save_and_reuse, settings_grid, strength_strip, variations
from .flows import (
    SOUND,
    VIDEO,
    text_edit_flux,
    text_edit_flux_mask,
    text_edit_sd3,
    text_edit_sound,
    text_edit_video,
    text_edit_wan22,
)
from .inversions import compare_inversions, noise_statistics
from .manipulation import color_edit, sdedit_comparison, shift_and_flip, tour
from .masks import find_the_mask, local_edit, several_edits
from .tables import (
    pie_p2p_ddim,
    pie_p2p_null_text,
    pie_p2p_pnp_inversion,
    table1_ddim,
    table1_p2p_ddim,
    table1_plug_and_play,
    table2_zero_shot,
    table2_zero_shot_maps,
)
from .transformers import (
    text_edit_anima,
    text_edit_chroma,
    text_edit_flux2_klein,
    text_edit_qwen_image,
    text_edit_z_image_turbo,
)

__all__ = ["BLUEPRINTS", "EXAMPLES", "FILES", "NEWER", "SCRIPTS", "SOUND", "VIDEO", "WORKFLOWS", "models_of"]

WORKFLOWS = PACK / "workflows"

# How the host's dialog lists them, which shows nothing but the names of files: the job first, then the model.
_LISTED: tuple[tuple[str, Callable[[], Workflow]], ...] = (
    ("Quick start - edit a picture by words (demo)", quick_start),
    ("Edit a picture by words (SD 1.5)", text_edit_sd15),
    ("Edit a picture by words (SDXL)", text_edit_sdxl),
    ("Edit an anime picture by tags (Illustrious)", text_edit_illustrious),
    ("Edit a picture in 4 steps (SDXL-Turbo)", text_edit_turbo),
    ("Edit a picture, keep its layout (SD 1.5)", text_edit_p2p),
    ("Edit inside a mask you paint (SDXL)", text_edit_mask),
    ("Edit what words find in a picture (SAM3, SDXL)", text_edit_sam3_mask),
    ("Edit a picture by words (Z-Image-Turbo)", text_edit_z_image_turbo),
    ("Edit a picture by words (Qwen-Image)", text_edit_qwen_image),
    ("Edit a picture by words (FLUX.2 Klein)", text_edit_flux2_klein),
    ("Edit a picture by words (FLUX.1)", text_edit_flux),
    ("Edit inside a mask you paint (FLUX.1)", text_edit_flux_mask),
    ("Edit a picture by words (SD 3.5)", text_edit_sd3),
    ("Edit a picture by words (Chroma)", text_edit_chroma),
    ("Edit an anime picture by words (Anima)", text_edit_anima),
    ("Change a picture by an instruction, keep the rest (FLUX.2 Klein)", keep_image_flux2_klein),
    ("Change a picture by an instruction, keep the rest (Qwen-Image-Edit)", keep_image_qwen_edit),
    ("Change a picture by an instruction, keep the rest (FLUX.1 Kontext)", keep_image_flux_kontext),
    ("Edit a video by words (Wan 2.2)", text_edit_wan22),
    ("Edit a video by words (Wan 2.1)", text_edit_video),
    ("Edit music by words (ACE-Step)", text_edit_sound),
    ("Edit inside a mask (demo)", local_edit),
    ("Find the mask from words (demo)", find_the_mask),
    ("Several edits at once (demo)", several_edits),
    ("Paint a color under a mask (demo)", color_edit),
    ("Move and mirror a picture (demo)", shift_and_flip),
    ("Variations of an edit (demo)", variations),
    ("Five strengths of an edit (demo)", strength_strip),
    ("Nine settings of an edit (demo)", settings_grid),
    ("Save the noise maps of a picture (demo)", save_and_reuse),
    ("Edit with saved noise maps (demo)", load_and_edit),
    ("Pin words and layout, Prompt-to-Prompt (demo)", prompt_to_prompt),
    ("Edit by two sentences, pix2pix-zero (demo)", zero_shot),
    ("Compare painting by SDEdit and by noise maps (demo)", sdedit_comparison),
    ("Compare inversions (demo)", compare_inversions),
    ("Compare edits by attention (demo)", compare_attention),
    ("Compare the noise of inversions (demo)", noise_statistics),
)
EXAMPLES = {example.__name__: example for _, example in _LISTED}
FILES = {
    example.__name__: WORKFLOWS / f"{number:02} {title}.json" for number, (title, example) in enumerate(_LISTED, 1)
}
# What scripts post and nobody opens: in the form of the API alone.
_POSTED = (
    tour,
    table1_ddim,
    table1_p2p_ddim,
    table1_plug_and_play,
    table2_zero_shot,
    table2_zero_shot_maps,
    pie_p2p_ddim,
    pie_p2p_null_text,
    pie_p2p_pnp_inversion,
)
SCRIPTS: dict[str, Callable[[], Workflow]] = {script.__name__: script for script in _POSTED}
# With nodes that the oldest host lacks, so that the newest writes them.
NEWER = {text_edit_sam3_mask.__name__}
BLUEPRINTS: tuple[Callable[[], Blueprint], ...] = (edit_by_words, edit_inside_a_mask, keep_the_image, invert_and_keep)


def models_of(name: str) -> list[Mapping[str, str]]:
    """The files that an example needs from elsewhere: name, url and directory of each."""
    return [model for node in EXAMPLES[name]().nodes for model in node.models]
