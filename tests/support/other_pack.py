"""Another pack of nodes, for ComfyUI's own loader."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''class Other:
    """A node that shows a text."""

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True
    CATEGORY = "other"

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}

    def show(self):
        return {{"ui": {{"text": ["of the other pack"]}}}}


NODE_CLASS_MAPPINGS = dict.fromkeys({ids!r}, Other)
'''


def make_other_pack(custom_nodes: Path, *ids: str) -> Path:
    """The folder of a pack named other_pack, with a node of each of these ids, all of which show a text."""
    folder = custom_nodes / "other_pack"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(SOURCE.format(ids=ids))
    return folder
