"""Held-out edits of scenes as a data set in PIE-Bench's layout, and graphs that edit its pictures with the demo model.

So everything that `python -m tools.batch evaluate` does can be tried without a download.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.rendering import render
from demo.scenes import Scene

from ..batch.template import leading_to, read_graph
from ..comfyui import PACK
from .edits import Edit, choose_edits, kept_by

TEMPLATE = PACK / "workflows" / "api" / "compare_inversions.json"
METHODS = {
    "edit_friendly": "EditFriendlyInvert",
    "cycle_diffusion": "EditFriendlyCycleDiffusionInvert",
    "ddim": "EditFriendlyDDIMInvert",
    "sdedit": "KSampler",
}
# What PIE-Bench calls such edits.
EDIT_TYPES = {
    **dict.fromkeys(("thing", "vessel", "fruit", "person"), "1"), "number": "2", "wears": "2", "expression": "4",
    "color": "6", "hair": "6", "material": "7", "table": "7", "place": "8",
    **dict.fromkeys(("time", "weather", "season"), "9"),
}  # fmt: skip
Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One edit of the data set; mask (H, W) bool is true where the ground truth changes."""

    path: str
    kind: str
    picture: bytes
    source: str
    target: str
    mask: np.ndarray


def entries(per_kind: int, kinds: Sequence[str]) -> list[Entry]:
    """The first held-out edits of each kind."""
    return [_entry(number, edit) for number, edit in enumerate(choose_edits(per_kind, kinds=kinds))]


def _entry(number: int, edit: Edit) -> Entry:
    path = f"{edit.kind}/{number:012}.png"
    return Entry(
        path, edit.kind, file_of(edit.source), edit.source.caption, edit.target.caption, ~kept_by(edit).numpy()
    )


def file_of(scene: Scene) -> bytes:
    """A scene as a PNG of 128 x 128 pixels."""
    file = io.BytesIO()
    pixels = np.clip((render(scene).image.transpose(1, 2, 0) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def runs_of(mask: np.ndarray) -> list[int]:
    """A mask as PIE-Bench has it: starts and lengths, row by row."""
    padded = np.concatenate([[0], mask.ravel().astype(np.int8), [0]])
    starts, ends = (np.flatnonzero(np.diff(padded) == step) for step in (1, -1))
    return np.stack([starts, ends - starts], axis=1).ravel().tolist()


def write(folder: Path, made: Sequence[Entry]) -> Path:
    """The data set in a folder; its mapping file."""
    mapping = {}
    for number, entry in enumerate(made):
        path = folder / "annotation_images" / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.picture)
        mapping[f"{number:012}"] = {
            "image_path": entry.path,
            "original_prompt": entry.source,
            "editing_prompt": entry.target,
            "editing_instruction": "",
            "editing_type_id": EDIT_TYPES[entry.kind],
            "blended_word": "",
            "mask": runs_of(entry.mask),
        }
    (folder / "mapping_file.json").write_text(json.dumps(mapping, indent=1), encoding="utf-8")
    return folder / "mapping_file.json"


def write_graphs(folder: Path) -> list[Path]:
    """A graph for `python -m tools.batch edit --graph` for each of METHODS, at the demo model's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, class_type in METHODS.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(graph_of(class_type), indent=1), encoding="utf-8")
    return paths


def graph_of(class_type: str) -> Graph:
    """The branch of the template that goes by this inversion, from a picture that is loaded to one that is saved.

    A KSampler, which has no inversion, edits from the noised picture: SDEdit (arXiv 2108.01073), at the same skip.
    """
    graph: Graph = read_graph(TEMPLATE)
    by_title = {node["_meta"]["title"]: name for name, node in graph.items()}
    image = by_title["Image"]
    graph[image] = _node("LoadImage", "Image", image="none.png")
    graph[by_title["Source prompt"]]["inputs"]["text"] = ""
    if class_type == "KSampler":
        sampler = by_title["Edit a"]
        graph[sampler] = _sdedit(graph, graph[sampler]["inputs"], [by_title["Encode"], 0])
    else:
        inversion = next(name for name, node in graph.items() if node["class_type"] == class_type)
        sampler = _reader(graph, inversion)
        graph[sampler]["_meta"]["title"], graph[inversion]["_meta"]["title"] = "Edit", "Invert"
    vae = graph[by_title["Encode"]]["inputs"]["vae"]
    graph["decode"] = _node("VAEDecode", "Decode", samples=[sampler, 0], vae=vae)
    graph["save"] = _node("SaveImage", "Edited", images=["decode", 0], filename_prefix="edited")
    return leading_to(graph, "save")


def _sdedit(graph: Graph, edit: Mapping[str, Any], latent: list[Any]) -> dict[str, Any]:
    """A KSampler with the prompts and settings of an edit, which skips as many steps."""
    inversion = graph[edit["noise_maps"][0]]["inputs"]
    links = {name: edit[name] for name in ("model", "positive", "negative", "cfg")}
    steps, skipped = inversion["steps"], edit["skip_steps"]
    return _node(
        "KSampler",
        "Edit",
        **links,
        latent_image=latent,
        seed=inversion["seed"],
        steps=steps - skipped,
        sampler_name="euler_ancestral",
        scheduler=inversion["scheduler"],
        denoise=1 - skipped / steps,
    )


def _node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


def _reader(graph: Graph, node: str) -> str:
    """The node that takes the output of another."""
    return next(name for name, entry in graph.items() if [node, 0] in entry["inputs"].values())
