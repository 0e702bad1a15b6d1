"""Run the example graphs and write what each shows as its thumbnail: `python -m tools.templates.thumbnails`,
with names for some of them.

The front end shows the .jpg of the same name beside a template. Where a graph needs outside weights, it is the image
that it edits, or its sound as a picture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddpm_core import sound
from ddpm_core.contact_sheet import Tile, grid

from ..batch.server import ComfyServer
from .examples import EXAMPLES, FILES, SOUND, WORKFLOWS, models_of
from .page import temporary_server

SIDE = 192
ORDER = ("Original", "Painted")  # then the results as the graph lists them
TILES = 3
SHOWS = ("PreviewImage", "SaveImage")  # a node that works and shows its result, too, would be there twice


def main() -> int:
    with temporary_server() as server:
        for name in sys.argv[1:] or EXAMPLES:
            graph = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())
            images: list[Image.Image]
            if "LoadAudio" in {node["class_type"] for node in graph.values()}:
                images = [picture_of_sound(server.base / "input" / SOUND)]
            elif models_of(name):
                images = [Image.open(server.comfyui / "input" / "example.png")]
            else:
                images = shown(server, graph)
            picture = FILES[name].with_suffix(".jpg")
            tiled(images).save(picture, quality=88)
            print(picture.name)
    return 0


def picture_of_sound(path: Path) -> Image.Image:
    """The waveform above the spectrogram of a file of 16 bits."""
    import av  # ComfyUI's own

    with av.open(str(path)) as file:
        channels = file.streams.audio[0].codec_context.channels
        samples = np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in file.decode(audio=0)])
    pixels = sound.picture(torch.from_numpy(samples.T.astype(np.float32) / 2**15))
    return Image.fromarray((255 * pixels).round().byte().numpy())


def shown(server: ComfyServer, graph: dict[str, Any]) -> list[Image.Image]:
    """The images of a run, the original first."""
    files = {
        graph[node]["_meta"]["title"]: output["images"]
        for node, output in server.run(graph).items()
        if "images" in output and graph[node]["class_type"] in SHOWS
    }
    titles = sorted(files, key=lambda title: (title not in ORDER, list(files).index(title)))
    return [Image.open(server.path_of(file)) for title in titles for file in files[title]]


def tiled(images: list[Image.Image]) -> Image.Image:
    """Images side by side, in rows where there are many."""
    columns = 2 if len(images) == 4 else min(len(images), TILES)
    rows = [[Tile(image) for image in images[k : k + columns]] for k in range(0, len(images), columns)]
    return grid(rows, size=(SIDE, SIDE), margin=0, ground="#202020")


if __name__ == "__main__":
    sys.exit(main())
