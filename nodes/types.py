"""The pack's own graph type and the place of its nodes in the menu."""

from comfy_api.latest import io

CATEGORY = "edit-friendly DDPM"
NOISE_MAPS = io.Custom("NOISE_MAPS")
MAX_SEED = 0xFFFFFFFFFFFFFFFF
MAX_STEPS = 10000
