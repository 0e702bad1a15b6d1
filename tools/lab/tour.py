"""The contact sheet by a real ComfyUI: a server starts, runs `workflows/api/tour.json` for each example, and stops."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from demo.scenes import COLORS

from ..batch.server import ComfyServer
from ..comfyui import PACK
from .sheet import EXAMPLES, Example, Row, row_of

TOUR = PACK / "workflows" / "api" / "tour.json"
PATIENCE = 3600  # seconds for one graph; a busy machine is slow, not broken


def make_sheet(comfyui: Path, progress: Callable[[int, int], None]) -> list[Row]:
    """Each example of the sheet, executed by the ComfyUI in `comfyui`.

    Args:
        progress: called with the rows done and the rows in all.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ComfyServer(comfyui, base, log=base / "server.log", timeout=PATIENCE, previews=False) as server:
            for example in EXAMPLES:
                graph = tour(example)
                outputs = server.run(graph)
                latents = {
                    graph[node]["_meta"]["title"]: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
                    for node, output in outputs.items()
                    if "latents" in output  # the others are previews
                }
                rows.append(row_of(example, latents))
                progress(len(rows), len(EXAMPLES))
    return rows


def tour(example: Example) -> dict:
    """The tour graph with the scene, the prompts and the colour of an example."""
    graph = json.loads(TOUR.read_text(encoding="utf-8"))
    inputs = {node["_meta"]["title"]: node["inputs"] for node in graph.values()}
    inputs["Image"] |= {"scene": example.scene.caption, "seed": example.seed}
    inputs["Target prompt"]["text"] = example.target
    red, green, blue = (round(255 * channel) for channel in COLORS[example.color])
    inputs["Paint"]["color"] = red << 16 | green << 8 | blue
    return graph
