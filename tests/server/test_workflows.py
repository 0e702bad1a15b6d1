"""The example graphs that need no outside weights, executed as they stand in `workflows/api`."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"


def outputs_by_title(server, name: str) -> dict[str, dict]:
    graph = json.loads((WORKFLOWS / name).read_text())
    return {graph[node]["_meta"]["title"]: output for node, output in server.run(graph).items()}


def pixels(server, output: dict) -> np.ndarray:
    return np.asarray(Image.open(server.path_of(output["images"][0]))).astype(float) / 255


def test_every_workflow_is_tested_here():
    assert {path.name for path in WORKFLOWS.glob("*.json")} == {"quick_start.json", "tour.json"}


def test_quick_start(server):
    outputs = outputs_by_title(server, "quick_start.json")
    original, back, edited = (pixels(server, outputs[name]) for name in ("Original", "Reconstruction", "Edited"))
    assert np.abs(original - back).max() <= 1 / 255
    changed = np.abs(original - edited).max(axis=-1) > 0.2
    assert 0.02 < changed.mean() < 0.4  # the circle, and not the ground


def test_tour(server):
    latents = {
        title: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
        for title, output in outputs_by_title(server, "tour.json").items()
    }
    original = latents["Original"]
    assert (latents["Reconstruction"] - original).abs().max() <= 1e-5
    assert latents["Edits"].shape == (4, 3, 32, 32)
    # Replayed without a prompt, the image follows its maps; what the shift brought in is the model's own.
    assert (latents["Shifted"][..., 6:] - original[..., :-6]).abs().mean() < 0.2
    assert (latents["Flipped"] - original.flip(-1)).abs().mean() < 0.2
    assert (latents["Recolored"] - original).abs().max() > 0.2
