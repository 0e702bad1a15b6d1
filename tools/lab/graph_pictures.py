"""The pictures of the help pages whose nodes work inside a host's network: runs of the templates by a real ComfyUI."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ddpm_core.contact_sheet import Tile

from ..batch.server import ComfyServer
from ..batch.template import read_graph, with_inputs
from ..comfyui import PACK
from .pictures import strip

JUG = "a blue clay jug with two lemons on a wooden table by day"


@dataclass(frozen=True)
class Shown:
    """What a run of a template shows: pictures and texts by the titles of their nodes."""

    pictures: Mapping[str, Image.Image]
    texts: Mapping[str, str]

    def tile(self, title: str, note: str) -> Tile:
        """Of a picture of one scene."""
        return Tile(self.pictures[title], note)

    def halves(self, title: str, *notes: str) -> list[Tile]:
        """Of a picture that holds two side by side."""
        picture = self.pictures[title]
        half = picture.width // 2
        return [Tile(picture.crop((k * half, 0, (k + 1) * half, picture.height)), note) for k, note in enumerate(notes)]


class Graphs:
    """The templates on a running server, which keeps what two runs have in common."""

    def __init__(self, server: ComfyServer):
        self.server = server

    def run(self, template: str, changes: Mapping[str, Any] | None = None, more: Mapping[str, Any] = {}) -> Shown:
        """A template with some inputs changed, as `with_inputs` has them, and more nodes by their names."""
        graph = with_inputs(graph_of(template) | dict(more), changes or {})
        pictures, texts = {}, {}
        for node, output in self.server.run(graph).items():
            title = graph[node]["_meta"]["title"]
            if "images" in output:
                pictures[title] = Image.open(self.server.path_of(output["images"][0])).convert("RGB")
            if "text" in output:
                texts[title] = output["text"][0]
        return Shown(pictures, texts)


def graph_of(template: str) -> dict[str, Any]:
    """A template in the API format."""
    return read_graph(PACK / "workflows" / "api" / f"{template}.json")


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
    return strip(
        runs.tile("Original", "original"),
        runs.tile("Without attention", "without"),
        runs.tile("With attention", "0.6 and 0.2"),
        more.tile("With attention", "0.9 and 0.6"),
    )


def _share_attention(graphs: Graphs) -> Image.Image:
    words = _of_class(graph_of("prompt_to_prompt"), "EditFriendlyPromptToPrompt")
    tiles = []
    for method in ("Plug-and-Play", "MasaCtrl"):
        inputs = {"source": [words, 1], "method": method}
        share = {"class_type": "EditFriendlyShareAttention", "inputs": inputs, "_meta": {"title": "Share"}}
        changes = {"Edit with attention.attention": ["share", 0]}
        shown = graphs.run("prompt_to_prompt", changes, {"share": share})
        tiles.append(shown.tile("With attention", method))
    return strip(shown.tile("Original", "original"), shown.tile("Without attention", "without"), *tiles)


def _difference_mask(graphs: Graphs) -> Image.Image:
    title = "Where the prompts differ"
    color = graphs.run("find_the_mask").halves(title, "the mask", "blue to green")
    shape = graphs.run("find_the_mask", {"Target prompt.text": JUG}).halves(title, "the mask", "vase to jug")
    return strip(*color, *shape)


def _word_mask(graphs: Graphs) -> Image.Image:
    shown = {word: graphs.run("find_the_mask", {"Mask from words.words": word}) for word in ("blue", "lemons")}
    halves = [each.halves("Where the words are", "the mask", f'"{word}"') for word, each in shown.items()]
    return strip(*halves[0], *halves[1])


def _report(graphs: Graphs) -> Image.Image:
    tiles = []
    for changes in ({}, {"Edit under the mask.mask": None}, {"Edit under the mask.skip_steps": 15}):
        shown = graphs.run("find_the_mask", changes)
        inside, outside = re.findall(r"\(([\d.]+) %", shown.texts["In words"])[:2]
        tiles.append(shown.tile("Edited", f"{inside}%, {outside}%"))
    return strip(shown.tile("Original", "original"), *tiles)


def _measure(graphs: Graphs) -> Image.Image:
    graph = graph_of("find_the_mask")
    report = graph[_of_class(graph, "EditFriendlyEditReport")]["inputs"]
    inputs = {name: report[name] for name in ("source", "edited", "mask")}
    measure = {"class_type": "EditFriendlyMeasureEdit", "inputs": inputs, "_meta": {"title": "Measured"}}
    tiles, free = [], {"Edit under the mask.mask": None}
    for note, changes in (("masked", {}), ("skip 3", free), ("skip 0", free | {"Edit under the mask.skip_steps": 0})):
        shown = graphs.run("find_the_mask", changes, {"measure": measure})
        published, within = re.findall(r"PSNR dB ([\d.]+|inf)", shown.texts["Measured"])[:2]
        tiles.append(shown.tile("Edited", f"{note}: {published}, {within}"))
    return strip(shown.tile("Original", "original"), *tiles)


def _grid(graphs: Graphs) -> Image.Image:
    return graphs.run("settings_grid").pictures["Sheet"].quantize(256)


def _of_zero_shot(graphs: Graphs, title: str, changes: Mapping[str, Mapping[str, Any]]) -> Image.Image:
    """The original, and a picture of the template with each of some changes, by what is noted."""
    shown = {note: graphs.run("zero_shot", each) for note, each in changes.items()}
    original = next(iter(shown.values())).tile("Original", "original")
    return strip(original, *(each.tile(title, note) for note, each in shown.items()))


def _direction(graphs: Graphs) -> Image.Image:
    strengths = {
        f"strength {s:g}": {"Direction.strength": s, "Zero-shot.guidance_weight": 0.0} for s in (0.0, 0.5, 1.0)
    }
    return _of_zero_shot(graphs, "Edit without it", strengths)


def _sentences(graphs: Graphs) -> Image.Image:
    titles = ("What it shows", "What it is to show")
    texts = {node["_meta"]["title"]: node["inputs"].get("text", "") for node in graph_of("zero_shot").values()}
    source, target = (texts[title].splitlines() for title in titles)
    changes = {
        # of other things on the two sides, as long as they are not all there
        f"{count} of each": {
            f"{titles[0]}.text": "\n".join(source[:count]),
            f"{titles[1]}.text": "\n".join(target[::-1][:count]),
            "Zero-shot.guidance_weight": 0.0,
        }
        for count in (1, 2, 5)
    }
    return _of_zero_shot(graphs, "Edit without it", changes)


def _zero_shot(graphs: Graphs) -> Image.Image:
    weights = {f"weight {weight:g}": {"Zero-shot.guidance_weight": weight} for weight in (0.0, 0.2, 0.5)}
    return _of_zero_shot(graphs, "Zero-shot edit", weights)


def _of_class(graph: Mapping[str, Any], class_type: str) -> str:
    """The name of the node of a class."""
    return next(name for name, node in graph.items() if node["class_type"] == class_type)


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
