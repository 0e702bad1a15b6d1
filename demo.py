"""The main job on the bundled demo model, as one sheet of pictures; run by `python run.py demo`.

With ComfyUI a real server starts, executes `workflows/api/tour.json` for each example, and stops. Without, the core
alone does the same.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from comfy_server import ComfyServer
from ddpm_core.demo.drawing import draw_sheet
from ddpm_core.demo.model import load_model
from ddpm_core.demo.scenes import COLORS
from ddpm_core.demo.sheet import EXAMPLES, Example, Row, make_sheet, row_of

ROOT = Path(__file__).resolve().parent
TOUR = ROOT / "workflows" / "api" / "tour.json"
SHEET = ROOT / "output" / "demo-sheet.png"


def main() -> int:
    started = time.monotonic()
    comfyui = os.environ.get("COMFYUI_PATH")
    rows = rows_of_comfyui(Path(comfyui)) if comfyui else make_sheet(load_model(), progress=report)
    SHEET.parent.mkdir(exist_ok=True)
    draw_sheet(rows).save(SHEET)
    maker = f"ComfyUI, from {TOUR.name}" if comfyui else "the core alone"
    print(f"Made by {maker}: {len(rows)} scenes in {time.monotonic() - started:.0f} s.")
    print(f"Largest reconstruction error: {max(row.reconstruction_error for row in rows):.1e} of a range of 2.")
    print(f"The sheet: {SHEET}")
    return 0


def rows_of_comfyui(comfyui: Path) -> list[Row]:
    """Each example of the sheet, executed by a ComfyUI server."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        print("Starting ComfyUI ...", flush=True)
        with ComfyServer(comfyui, base, log=base / "server.log", previews=False) as server:
            for example in EXAMPLES:
                graph = tour(example)
                outputs = server.run(graph)
                latents = {
                    graph[node]["_meta"]["title"]: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
                    for node, output in outputs.items()
                    if "latents" in output  # the others are previews
                }
                rows.append(row_of(example, latents))
                report(len(rows), len(EXAMPLES))
    return rows


def tour(example: Example) -> dict:
    """The tour graph with the scene, the prompts and the colour of an example."""
    graph = json.loads(TOUR.read_text())
    inputs = {node["_meta"]["title"]: node["inputs"] for node in graph.values()}
    inputs["Image"] |= {"scene": example.scene.caption, "seed": example.seed}
    inputs["Target prompt"]["text"] = example.target
    red, green, blue = (round(255 * channel) for channel in COLORS[example.color])
    inputs["Paint"]["color"] = red << 16 | green << 8 | blue
    return graph


def report(done: int, count: int) -> None:
    print(f"Scene {done} of {count}", flush=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
