"""The pack's own graph type, the shapes of the host's, and the place of the nodes in the menu."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

__all__ = [
    "ATTENTION_EDIT",
    "CATEGORY",
    "EDITS",
    "MAX_SEED",
    "MAX_STEPS",
    "NATIVE",
    "NOISE_MAPS",
    "Conditioning",
    "Latent",
    "ModelPatcher",
]

Conditioning = list[list[Any]]
"""CONDITIONING: a list of [embedding (B, L, D), options]."""
Latent = dict[str, Any]
"""LATENT: samples (B, *S), and what else the host's nodes put there, such as noise_mask."""

CATEGORY = "edit-friendly DDPM"
NOISE_MAPS = io.Custom("NOISE_MAPS")
ATTENTION_EDIT = io.Custom("EDIT_FRIENDLY_ATTENTION")
EDITS = io.Custom("EDIT_FRIENDLY_EDITS")
MAX_SEED = 0xFFFFFFFFFFFFFFFF
MAX_STEPS = 10000
NATIVE = "native"  # the method of maps that generated their image


def search_aliases(*words: str) -> dict[str, list[str]]:
    """Other words that the node search finds a node by, for a schema; 0.3.64 has no such field, newer hosts do."""
    return {"search_aliases": list(words)} if "search_aliases" in io.Schema.__dataclass_fields__ else {}
