"""The pack's own graph type and the place of its nodes in the menu."""

from comfy_api.latest import io

CATEGORY = "edit-friendly DDPM"
NOISE_MAPS = io.Custom("NOISE_MAPS")
MAX_SEED = 0xFFFFFFFFFFFFFFFF
MAX_STEPS = 10000
NATIVE = "native"  # the method of maps that generated their image


def search_aliases(*words: str) -> dict[str, list[str]]:
    """Other words that the node search finds a node by, for a schema; 0.3.64 has no such field, newer hosts do."""
    return {"search_aliases": list(words)} if "search_aliases" in io.Schema.__dataclass_fields__ else {}
