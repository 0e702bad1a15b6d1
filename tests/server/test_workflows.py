"""The example graphs, executed by the server from `workflows/api`; tests/browser runs those of the demo, each."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tools.benchmarks.random_weights import save_sd15_checkpoint, save_sdxl_checkpoint
from tools.templates.examples import models_of

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
CHECKPOINTS = {  # tests/host executes the others, whose text encoders have one size, of many gigabytes
    "text_edit_sd15": save_sd15_checkpoint,
    "text_edit_p2p": save_sd15_checkpoint,
    "text_edit_sdxl": save_sdxl_checkpoint,
    "text_edit_turbo": save_sdxl_checkpoint,
}
FILES = {"ckpt_name", "clip_name", "clip_name1", "clip_name2", "unet_name", "vae_name", "file", "image", "audio"}
DEPRECATED_LATER = {"SaveAudio"}  # the only node that keeps sound in a file on all hosts
VALUES = {"INT": int, "FLOAT": int | float, "STRING": str, "BOOLEAN": bool}


def api_form(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def outputs_by_title(server, name: str) -> dict[str, dict]:
    graph = api_form(name)
    return {graph[node]["_meta"]["title"]: output for node, output in server.run(graph).items()}


def pixels(server, output: dict) -> np.ndarray:
    return np.asarray(Image.open(server.path_of(output["images"][0]))).astype(float) / 255


def small(graph: dict) -> dict:
    """A graph for a real checkpoint with 3 steps in place of 100 and an image of 64 pixels, for random weights."""
    for node in graph.values():
        shrunk = {"steps": 3, "width": 64, "height": 64}
        node["inputs"] |= {name: value for name, value in shrunk.items() if name in node["inputs"]}
        if node["class_type"] == "FixedNoiseSampler":
            node["inputs"]["skip_steps"] = 1
    return graph


def is_valid(name: str, spec: list, value: object) -> bool:
    """Whether the host takes a value; links, and files that only some machines have, are for the tests that run it."""
    if isinstance(value, list) or name in FILES:
        return True
    type_, options = (*spec, {})[:2]
    choices = type_ if isinstance(type_, list) else options.get("options")  # older nodes of the host, and newer ones
    if choices is not None:  # in newer hosts some bring inputs of their own along
        return value in [choice["key"] if isinstance(choice, dict) else choice for choice in choices]
    if isinstance(value, int | float) and "min" in options:
        return options["min"] <= value <= options["max"]
    return isinstance(value, VALUES[type_])


@pytest.mark.parametrize("name", NAMES)
def test_the_host_defines_all_that_a_graph_uses(server, name):
    """Every node, none of them deprecated, every input, and every value that is not a file of the user's."""
    definitions = server.get("/object_info")
    for node in api_form(name).values():
        definition = definitions[node["class_type"]]
        assert node["class_type"] in DEPRECATED_LATER or not definition.get("deprecated"), node["class_type"]
        required, optional = (definition["input"].get(kind, {}) for kind in ("required", "optional"))
        assert set(required) <= set(node["inputs"]) <= {*required, *optional}
        for name, value in node["inputs"].items():
            assert is_valid(name, (required | optional)[name], value), (node["_meta"]["title"], name, value)


@pytest.fixture
def checkpoint(server, comfy, name):
    """The checkpoint that a graph names, of random weights, while the test runs: SDXL's CLIP-G alone is 1.4 GB."""
    (model,) = models_of(name)
    path = server.base / "models" / model["directory"] / model["name"]
    CHECKPOINTS[name](path)
    yield path
    with contextlib.suppress(PermissionError):  # where a file that a server has open cannot go
        path.unlink()


def test_shifts_fill_as_the_paper_does():
    """App. A of arXiv 2304.06140, and the smallest error on the demo model."""
    nodes = [node for name in NAMES for node in api_form(name).values() if node["class_type"] == "LatentShift"]
    assert {node["inputs"]["fill"] for node in nodes} == {"copy"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_graphs_for_outside_weights_run_on_files_of_that_layout(server, checkpoint, name):
    (output,) = server.run(small(api_form(name))).values()
    assert pixels(server, output).shape == (64, 64, 3)


def test_a_graph_gives_its_images_again(server):
    """Where the server remembers all of them, too."""
    for _ in range(2):
        assert outputs_by_title(server, "quick_start").keys() == {"Original", "Reconstruction", "Edited"}


def test_quick_start(server):
    outputs = outputs_by_title(server, "quick_start")
    original, back, edited = (pixels(server, outputs[name]) for name in ("Original", "Reconstruction", "Edited"))
    assert np.abs(original - back).max() <= 1 / 255
    changed = np.abs(original - edited).max(axis=-1) > 0.2
    assert 0.02 < changed.mean() < 0.4  # the circle, and not the ground


def test_prompt_to_prompt(server):
    """The circle stays in its place with attention, and not without."""
    outputs = outputs_by_title(server, "prompt_to_prompt")
    titles = ("Original", "Without attention", "With attention")
    original, without, held = (red(pixels(server, outputs[title])) for title in titles)
    shared = [(original & edited).sum() / (original | edited).sum() for edited in (without, held)]
    assert shared[1] > shared[0] + 0.1, shared


def test_several_edits(server):
    """The circle becomes green and the ground yellow in one run, and the first mask is of the circle."""
    outputs = outputs_by_title(server, "several_edits")
    original, edited = (pixels(server, outputs[title]) for title in ("Original", "Edited"))
    circle = red(original)
    green, yellow = (edited[part].mean(axis=0) for part in (circle, ~circle))
    assert green.argmax() == 1
    assert min(yellow[:2]) > yellow[2] + 0.3
    shown = outputs["Where each has acted"]["images"]
    first = np.asarray(Image.open(server.path_of(shown[0]))).astype(float)[..., 0] / 255
    assert first[circle].mean() > first[~circle].mean() + 0.5


def test_find_the_mask(server):
    outputs = outputs_by_title(server, "find_the_mask")
    original, edited = (pixels(server, outputs[title]) for title in ("Original", "Edited"))
    assert 0.02 < (np.abs(original - edited).max(axis=-1) > 1 / 255).mean() < 0.25  # the mask, and nothing beyond it
    (words,) = outputs["In words"]["text"]
    assert "Outside the mask: nothing changed (0.0 %" in words


def red(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] > 0.5) & (image[..., 1] < 0.4) & (image[..., 2] < 0.4)


def test_tour(server):
    latents = {
        title: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
        for title, output in outputs_by_title(server, "tour").items()
        if "latents" in output
    }
    original = latents["Original"]
    assert (latents["Reconstruction"] - original).abs().max() <= 1e-5
    assert latents["Edits"].shape == (4, 3, 32, 32)
    # Replayed without a prompt, the image follows its maps; what the shift brought in is the model's own.
    assert (latents["Shifted"][..., 6:] - original[..., :-6]).abs().mean() < 0.2
    assert (latents["Flipped"] - original.flip(-1)).abs().mean() < 0.2
    assert (latents["Recolored"] - original).abs().max() > 0.2
