"""The pictures of the help pages whose nodes work inside a host's network: runs of the templates by a real ComfyUI."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..batch.server import ComfyServer
from ..comfyui import PACK
from .drawing import draw_tiles
from .sheet import Tile

GRAPHS = PACK / "workflows" / "api"
ENLARGED = 8  # by which the templates show the demo model's pixels
SQUARE = "a red square left on a blue ground"


@dataclass(frozen=True)
class Shown:
    """What a run of a template shows: pictures and texts by the titles of their nodes."""

    pictures: Mapping[str, Image.Image]
    texts: Mapping[str, str]

    def tile(self, title: str, note: str) -> Tile:
        return Tile(self.pixels(title), note)

    def halves(self, title: str, notes: tuple[str, str]) -> list[Tile]:
        """Of a picture that holds two side by side."""
        parts = self.pixels(title).chunk(2, dim=-1)
        return [Tile(part, note) for part, note in zip(parts, notes, strict=True)]

    def pixels(self, title: str) -> Tensor:
        """(3, H, W) in [-1, 1] as the model has them."""
        pixels = np.asarray(self.pictures[title].convert("RGB"), dtype=np.float32)[::ENLARGED, ::ENLARGED]
        return torch.from_numpy(pixels / 127.5 - 1).movedim(-1, 0)


class Graphs:
    """The templates on a running server, which keeps what two runs have in common."""

    def __init__(self, server: ComfyServer):
        self.server = server

    def run(self, template: str, changes: Mapping[str, Any] | None = None) -> Shown:
        """A template with some inputs changed: `Title.input` to a value, or to None to disconnect it."""
        return self.show(changed(json.loads((GRAPHS / f"{template}.json").read_text(encoding="utf-8")), changes or {}))

    def show(self, graph: dict[str, Any]) -> Shown:
        pictures, texts = {}, {}
        for node, output in self.server.run(graph).items():
            title = graph[node]["_meta"]["title"]
            if "images" in output:
                pictures[title] = Image.open(self.server.path_of(output["images"][0])).convert("RGB")
            if "text" in output:
                texts[title] = output["text"][0]
        return Shown(pictures, texts)


def changed(graph: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A graph with some inputs changed."""
    by_title = {node["_meta"]["title"]: node["inputs"] for node in graph.values()}
    for place, value in changes.items():
        title, name = place.split(".")
        if value is None:
            del by_title[title][name]
        else:
            by_title[title][name] = value
    return graph


@contextmanager
def graphs(comfyui: Path) -> Iterator[Graphs]:
    """While a server runs."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ComfyServer(comfyui, base, log=base / "server.log", previews=False) as server:
            yield Graphs(server)


def _prompt_to_prompt(graphs: Graphs) -> Image.Image:
    runs = graphs.run("prompt_to_prompt")
    more = graphs.run("prompt_to_prompt", {"Words.cross_steps": 0.9, "Words.self_steps": 0.6})
    return draw_tiles(
        [
            runs.tile("Original", "original"),
            runs.tile("Without attention", "without"),
            runs.tile("With attention", "0.6 and 0.2"),
            more.tile("With attention", "0.9 and 0.6"),
        ]
    )


def _share_attention(graphs: Graphs) -> Image.Image:
    tiles = []
    for note, until in (("0.5 and 0.8", -1.0), ("to the end", 1.0)):  # MasaCtrl acts at sizes that this model has not
        graph = json.loads((GRAPHS / "prompt_to_prompt.json").read_text(encoding="utf-8"))
        words = next(node for node in graph if graph[node]["class_type"] == "EditFriendlyPromptToPrompt")
        inputs = {"source": [words, 1], "method": "Plug-and-Play", "end": until, "features_end": until}
        graph["share"] = {"class_type": "EditFriendlyShareAttention", "inputs": inputs, "_meta": {"title": "Share"}}
        shown = graphs.show(changed(graph, {"Edit with attention.attention": ["share", 0]}))
        tiles.append(shown.tile("With attention", note))
    first = [shown.tile("Original", "original"), shown.tile("Without attention", "without")]
    return draw_tiles([*first, *tiles])


def _difference_mask(graphs: Graphs) -> Image.Image:
    title, notes = "Where the prompts differ", ("the mask", "red to green")
    color = graphs.run("find_the_mask").halves(title, notes)
    shape = graphs.run("find_the_mask", {"Target prompt.text": SQUARE}).halves(title, ("the mask", "circle to square"))
    return draw_tiles([*color, *shape])


def _word_mask(graphs: Graphs) -> Image.Image:
    tiles = []
    for words in ("red", "blue"):
        shown = graphs.run("find_the_mask", {"Mask from words.words": words})
        tiles += shown.halves("Where the words are", ("the mask", f'"{words}"'))
    return draw_tiles(tiles)


def _report(graphs: Graphs) -> Image.Image:
    masked = graphs.run("find_the_mask")
    tiles = [masked.tile("Original", "original")]
    free = graphs.run("find_the_mask", {"Edit under the mask.mask": None})
    weak = graphs.run("find_the_mask", {"Edit under the mask.skip_steps": 30})
    for shown in (masked, free, weak):
        inside, outside = re.findall(r"\(([\d.]+) %", shown.texts["In words"])[:2]
        tiles.append(shown.tile("Edited", f"{inside}%, {outside}%"))
    return draw_tiles(tiles)


def _measure(graphs: Graphs) -> Image.Image:
    tiles, free = [], {"Edit under the mask.mask": None}
    for note, changes in (("masked", {}), ("skip 6", free), ("skip 0", free | {"Edit under the mask.skip_steps": 0})):
        graph = json.loads((GRAPHS / "find_the_mask.json").read_text(encoding="utf-8"))
        report = next(node for node in graph.values() if node["class_type"] == "EditFriendlyEditReport")["inputs"]
        inputs = {name: report[name] for name in ("source", "edited", "mask")}
        graph["measure"] = {"class_type": "EditFriendlyMeasureEdit", "inputs": inputs, "_meta": {"title": "Measured"}}
        shown = graphs.show(changed(graph, changes))
        published, within = re.findall(r"PSNR dB ([\d.]+|inf)", shown.texts["Measured"])[:2]
        tiles.append(shown.tile("Edited", f"{note}: {published}, {within}"))
    return draw_tiles([shown.tile("Original", "original"), *tiles])


def _grid(graphs: Graphs) -> Image.Image:
    return graphs.run("settings_grid").pictures["Sheet"].quantize(256)


def _direction(graphs: Graphs) -> Image.Image:
    tiles = []
    for strength in (0.0, 0.5, 1.0):
        shown = graphs.run("zero_shot", {"Direction.strength": strength, "Zero-shot.guidance_weight": 0.0})
        tiles.append(shown.tile("Edit without it", f"strength {strength:g}"))
    return draw_tiles([shown.tile("Original", "original"), *tiles])


def _sentences(graphs: Graphs) -> Image.Image:
    graph = json.loads((GRAPHS / "zero_shot.json").read_text(encoding="utf-8"))
    titles = ("What it shows", "What it is to show")
    texts = {node["_meta"]["title"]: node["inputs"].get("text", "") for node in graph.values()}
    source, target = (texts[title].splitlines() for title in titles)
    tiles = []
    for count in (1, 2, 5):  # of other things on the two sides, as long as they are not all there
        chosen = ("\n".join(source[:count]), "\n".join(target[::-1][:count]))
        changes = {f"{title}.text": text for title, text in zip(titles, chosen, strict=True)}
        shown = graphs.run("zero_shot", changes | {"Zero-shot.guidance_weight": 0.0})
        tiles.append(shown.tile("Edit without it", f"{count} of each"))
    return draw_tiles([shown.tile("Original", "original"), *tiles])


def _zero_shot(graphs: Graphs) -> Image.Image:
    tiles = []
    for weight in (0.0, 0.2, 0.5):
        shown = graphs.run("zero_shot", {"Zero-shot.guidance_weight": weight})
        tiles.append(shown.tile("Zero-shot edit", f"weight {weight:g}"))
    return draw_tiles([shown.tile("Original", "original"), *tiles])


GRAPH_PICTURES: dict[str, Callable[[Graphs], Image.Image]] = {
    "EditFriendlyPromptToPrompt": _prompt_to_prompt,
    "EditFriendlyShareAttention": _share_attention,
    "EditFriendlyDifferenceMask": _difference_mask,
    "EditFriendlyWordMask": _word_mask,
    "EditFriendlyEditReport": _report,
    "EditFriendlyMeasureEdit": _measure,
    "EditFriendlyEditGrid": _grid,
    "EditFriendlyEditDirection": _direction,
    "EditFriendlyEncodeSentences": _sentences,
    "EditFriendlyZeroShotImageToImage": _zero_shot,
}
