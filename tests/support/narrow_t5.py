"""The host's T5 text encoders, narrow, since it knows them in one size alone, of ten gigabytes.

Also the text of a pack that a ComfyUI loads; so it imports nothing of the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = 320  # of the tokenizer beside a umT5; the host has that of T5 itself
_NARROW = {"num_layers": 1, "num_heads": 1, "d_ff": 64}
_BY_KIND = {"t5": {"d_model": 64}, "umt5": {"vocab_size": WORDS}}  # Wan's network takes no other width than umT5's


def narrowed(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a T5 or a umT5 with one layer."""
    return config | _NARROW | _BY_KIND[config["model_type"]]


def narrow_t5(base: Path) -> None:
    """Make each T5 of a ComfyUI that is started on this folder narrow, by a pack of its own."""
    folder = base / "custom_nodes" / "narrow_t5"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(Path(__file__).read_text(encoding="utf-8") + _PATCH, encoding="utf-8")


_PATCH = """
from comfy.text_encoders.t5 import T5

_init = T5.__init__
T5.__init__ = lambda self, config, *others: _init(self, narrowed(config), *others)
NODE_CLASS_MAPPINGS = {}
"""
