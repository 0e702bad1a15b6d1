"""Write the thumbnails that are stale: `python -m tools.templates.thumbnails`, or with names those of some examples.

The front end shows the .jpg of the same name beside a template. It is what the graph shows. Where a graph needs outside
weights it is a card: the name of the model, and an edit of the same kind that the demo model makes. Each file says in
its comment what it was made from.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ddpm_core import sound
from ddpm_core.contact_sheet import Tile, grid
from demo.weights import WEIGHTS
from tools.lab.settings import BOAT, HOUSE, VASE, WOMAN

from ..batch.server import ComfyServer
from .examples import EXAMPLES, FILES, SOUND, WORKFLOWS, models_of
from .page import temporary_server

CAR = ("a red car by the forest on a clear day in summer", 4)
SIDE = 192
GROUND = "#202020"
ORDER = ("Original", "Painted")  # then the results as the graph lists them
TILES = 3
SHOWS = ("PreviewImage", "SaveImage")  # a node that works and shows its result, too, would be there twice
BAR, NAME, SMALL = 34, 18, 11  # heights of the bar of a card, and of its letters
HOLE = 8  # of a film, in pixels
Graph = dict[str, Any]


@dataclass(frozen=True)
class DemoEdit:
    """An edit of a scene of the demo model.

    Args:
        scene: its words and its seed.
        words: one of them, and what it becomes.
        part: what alone may change, as Load Demo Image names it; None for all of it.
        but: all but that part may.
        said: what the card says of it.
    """

    scene: tuple[str, int]
    words: tuple[str, str]
    part: str | None = None
    but: bool = False
    said: str = ""


# The kinds of templates by a word of their names, the last for all others; of one kind, each takes the next edit.
KINDS: Mapping[str, Sequence[DemoEdit]] = {
    "music": (),
    "video": (DemoEdit(CAR, ("summer", "winter")), DemoEdit(CAR, ("day", "night"))),
    "instruction": (
        DemoEdit(HOUSE, ("summer", "winter"), "object", but=True, said="Make it winter."),
        DemoEdit(VASE, ("blue", "green"), "object", said="Make the vase green."),
        DemoEdit(HOUSE, ("day", "night"), "object", but=True, said="Make it night."),
    ),
    "mask": (DemoEdit(WOMAN, ("red", "blue"), "color"), DemoEdit(HOUSE, ("red", "blue"), "object")),
    "find": (DemoEdit(VASE, ("blue", "green"), "object"),),
    "anime": (DemoEdit(WOMAN, ("black", "blond")), DemoEdit(WOMAN, ("black", "red"))),
    "": (
        DemoEdit(HOUSE, ("red", "blue")),
        DemoEdit(HOUSE, ("day", "night")),
        DemoEdit(BOAT, ("yellow", "red")),
        DemoEdit(VASE, ("blue", "green")),
        DemoEdit(VASE, ("wooden", "marble")),
        DemoEdit(BOAT, ("summer", "winter")),
    ),
}


@dataclass(frozen=True)
class Card:
    """What stands for a graph that needs outside weights."""

    kind: str
    model: str
    edit: DemoEdit | None


def main() -> int:
    for path in {*WORKFLOWS.glob("*.jpg")} - {picture_of(name) for name in EXAMPLES}:
        path.unlink()
    names = sys.argv[1:] or stale()
    if not names:
        return 0
    with temporary_server() as server:
        for name in names:
            path = picture_of(name)
            _drawn(server, name).save(path, quality=88, comment=origin(name).encode())
            print(path.name)
    return 0


def picture_of(name: str) -> Path:
    return FILES[name].with_suffix(".jpg")


def stale() -> list[str]:
    """The examples whose picture is missing, or was made from something else than what there is now."""
    return [name for name in EXAMPLES if origin_of(picture_of(name)) != origin(name)]


def origin_of(path: Path) -> str | None:
    """What the file of a thumbnail says it was made from; None where there is no such file."""
    if not path.exists():
        return None
    with Image.open(path) as picture:
        return bytes(picture.info.get("comment", b"")).decode()


def origin(name: str) -> str:
    """A digest of what a thumbnail is made from: the graph that is run, the weights of the demo model, the words."""
    card = card_of(name)
    edit = card.edit if card else None
    graph = _edited(edit) if edit else _api(name)
    weights = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    parts = json.dumps([card and [card.kind, card.model, edit and edit.said], graph, weights], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def card_of(name: str) -> Card | None:
    """The card of an example; None where it can be run."""
    if not models_of(name):
        return None
    kind = _kind(name)
    before = [other for other in list(EXAMPLES)[: list(EXAMPLES).index(name)] if models_of(other)]
    edits = KINDS[kind]
    number = sum(_kind(other) == kind for other in before)
    model = re.search(r"\((.+?)\)$", FILES[name].stem)
    assert model, name
    return Card(kind, model[1], edits[number % len(edits)] if edits else None)


def _kind(name: str) -> str:
    return next(word for word in KINDS if word in FILES[name].stem)


def _api(name: str) -> Graph:
    graph: Graph = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def _edited(edit: DemoEdit) -> Graph:
    """The quick start with another scene and other words, and the mask of a part."""
    graph = copy.deepcopy(_api("quick_start"))
    named = {node["_meta"]["title"]: key for key, node in graph.items()}
    (scene, seed), (old, new) = edit.scene, edit.words
    graph[named["Image"]]["inputs"] |= {"scene": scene, "seed": seed, "part": edit.part or "object"}
    graph[named["Source prompt"]]["inputs"]["text"] = scene
    graph[named["Target prompt"]]["inputs"]["text"] = re.sub(rf"\b{old}\b", new, scene, count=1)
    if edit.part:
        mask: list[Any] = [named["Image"], 1]
        if edit.but:
            graph["but"] = {"class_type": "InvertMask", "inputs": {"mask": mask}, "_meta": {"title": "But"}}
            mask = ["but", 0]
        graph[named["Edit"]]["inputs"]["mask"] = mask
        for key, node, inputs in (
            ("as image", "MaskToImage", {"mask": mask}),
            ("mask", "PreviewImage", {"images": ["as image", 0]}),
        ):
            graph[key] = {"class_type": node, "inputs": inputs, "_meta": {"title": "Mask"}}
    return graph


def _drawn(server: ComfyServer, name: str) -> Image.Image:
    card = card_of(name)
    if card is None:
        if name == "load_and_edit":
            server.run(_api("save_and_reuse"))  # writes what it loads
        return tiled(shown(server, _api(name)))
    if card.edit is None:
        return _with_name(tiled([picture_of_sound(server.base / "input" / SOUND)]), card)
    images = _images(server, _edited(card.edit))
    (both,) = images["Original, edited"]
    before, after = (both.crop((x, 0, x + both.height, both.height)) for x in (0, both.height))
    mask = images["Mask"] if card.kind in ("mask", "find") else []
    return _with_name(tiled([before, *mask, after]), card)


def _with_name(picture: Image.Image, card: Card) -> Image.Image:
    """With the model's name below, and what the model is told."""
    said = card.edit.said if card.edit else ""
    film = 2 * HOLE if card.kind == "video" else 0
    lines = [(card.model, NAME, "white")] + ([(f'"{said}"', NAME - 3, "#a0d0a0")] if said else [])
    made = Image.new("RGB", (picture.width, picture.height + 2 * film + len(lines) * BAR), GROUND)
    made.paste(picture, (0, film))
    pen = ImageDraw.Draw(made)
    if film:
        for x in range(HOLE // 2, made.width, 2 * HOLE):
            for y in (HOLE // 2, film + picture.height + HOLE // 2):
                pen.rectangle((x, y, x + HOLE - 1, y + HOLE - 1), fill="white")
    for number, (text, size, color) in enumerate(lines):
        y = picture.height + 2 * film + number * BAR + BAR // 2
        pen.text((8, y), text, fill=color, font=ImageFont.load_default(size), anchor="lm")
    if card.edit:
        y = picture.height + 2 * film + BAR // 2
        font = ImageFont.load_default(SMALL)
        pen.text((made.width - 8, y), "drawn by the demo model", fill="gray", font=font, anchor="rm")
    return made


def picture_of_sound(path: Path) -> Image.Image:
    """The waveform above the spectrogram of a file of 16 bits."""
    import av  # ComfyUI's own

    with av.open(str(path)) as file:
        channels = file.streams.audio[0].codec_context.channels
        samples = np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in file.decode(audio=0)])
    pixels = sound.picture(torch.from_numpy(samples.T.astype(np.float32) / 2**15))
    return Image.fromarray((255 * pixels).round().byte().numpy())


def shown(server: ComfyServer, graph: Graph) -> list[Image.Image]:
    """The images of a run, the original first."""
    files = _images(server, graph)
    whole = [title for title in files if title.startswith("Original, ")]  # one view of all
    titles = whole or sorted(files, key=lambda title: (title not in ORDER, list(files).index(title)))
    return [image for title in titles for image in files[title]]


def _images(server: ComfyServer, graph: Graph) -> dict[str, list[Image.Image]]:
    """The images of a run by the titles of the nodes that show them."""
    return {
        graph[node]["_meta"]["title"]: [Image.open(server.path_of(file)) for file in output["images"]]
        for node, output in server.run(graph).items()
        if "images" in output and graph[node]["class_type"] in SHOWS
    }


def tiled(images: list[Image.Image]) -> Image.Image:
    """Images side by side, in rows where there are many; one alone in its own shape, and so a sheet, which has all."""
    images = [image for image in images if image.width > 2 * image.height][:1] or images
    if len(images) == 1:
        wide = min(TILES, max(1, round(images[0].width / images[0].height)))
        return grid([[Tile(images[0])]], size=(wide * SIDE, SIDE), margin=0, ground=GROUND)
    columns = 2 if len(images) == 4 else min(len(images), TILES)
    rows = [[Tile(image) for image in images[k : k + columns]] for k in range(0, len(images), columns)]
    return grid(rows, size=(SIDE, SIDE), margin=0, ground=GROUND)


if __name__ == "__main__":
    sys.exit(main())
