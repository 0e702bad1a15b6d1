"""Socket types of the pack, the limits of its inputs, and the place of its nodes in the menu."""

from comfy_api.latest import io

CATEGORY = "edit-friendly DDPM"
NOISE_MAPS = io.Custom("NOISE_MAPS")
ATTENTION_EDIT = io.Custom("EDIT_FRIENDLY_ATTENTION")
EDITS = io.Custom("EDIT_FRIENDLY_EDITS")
SETTINGS = io.Custom("EDIT_FRIENDLY_SETTINGS")
MAX_SEED = 0xFFFFFFFFFFFFFFFF
MAX_STEPS = 10000
