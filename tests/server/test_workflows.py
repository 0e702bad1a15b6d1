"""The example graphs, executed by the server from `workflows/api`; tests/browser runs those of the demo, each."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from support.model_files import save_sd15_checkpoint, save_sdxl_checkpoint
from support.needs import needs_nodes_of
from tools.templates.examples import models_of

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
CHECKPOINTS = {  # tests/host executes the others, whose text encoders have one size, of many gigabytes
    "text_edit_sd15": save_sd15_checkpoint,
    "text_edit_p2p": save_sd15_checkpoint,
    "text_edit_sdxl": save_sdxl_checkpoint,
    "text_edit_illustrious": save_sdxl_checkpoint,
    "text_edit_turbo": save_sdxl_checkpoint,
}
FILES = {"ckpt_name", "clip_name", "clip_name1", "clip_name2", "unet_name", "vae_name", "file", "image", "audio"}
DEPRECATED_LATER = {"SaveAudio"}  # the only node that keeps sound in a file on all hosts
VALUES = {"INT": int, "FLOAT": int | float, "STRING": str, "BOOLEAN": bool, "IMAGECOMPARE": dict}  # the host's widgets


def api_form(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def outputs_by_title(server, name: str) -> dict[str, dict]:
    graph = api_form(name)
    return {graph[node]["_meta"]["title"]: output for node, output in server.run(graph).items()}


def pixels(server, output: dict) -> np.ndarray:
    return np.asarray(Image.open(server.path_of(output["images"][0]))).astype(float) / 255


def small(graph: dict) -> dict:
    """A graph for a real checkpoint with 3 steps in place of 100 and a small image, for random weights."""
    for node in graph.values():
        shrunk = {"steps": 3, "megapixels": 0.01}
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
def test_the_host_defines_all_that_a_graph_uses(server, comfyui_path, name):
    """Every node, none of them deprecated, every input, and every value that is not a file of the user's."""
    needs_nodes_of(name, comfyui_path)
    definitions = server.get("/object_info")
    for node in api_form(name).values():
        definition = definitions[node["class_type"]]
        assert node["class_type"] in DEPRECATED_LATER or not definition.get("deprecated"), node["class_type"]
        required, optional = (definition["input"].get(kind, {}) for kind in ("required", "optional"))
        assert set(required) <= set(node["inputs"]) <= {*required, *optional}
        for name, value in node["inputs"].items():
            assert is_valid(name, (required | optional)[name], value), (node["_meta"]["title"], name, value)


def test_comfy_lint_misses_nothing_but_files_that_users_bring(server, tmp_path):
    """Links, their types, and inputs, of all graphs."""
    schema = tmp_path / "object_info.json"
    known = server.get("/object_info")
    schema.write_text(json.dumps(known))
    names = [
        name
        for name in NAMES
        if {node["class_type"] for node in json.loads((WORKFLOWS / f"{name}.json").read_text()).values()}
        <= known.keys()
    ]
    command = [sys.executable, "-c", "import sys; from comfy_lint.cli import main; sys.exit(main())", "--json"]
    command += ["--schema-cache", str(schema), *(str(WORKFLOWS / f"{name}.json") for name in names)]
    told = json.loads(subprocess.run(command, capture_output=True, encoding="utf-8").stdout)
    assert len(told["files"]) == len(names) >= len(NAMES) - 1
    found = [problem for file in told["files"] for problem in file["diagnostics"]]
    assert not [each for each in found if each["rule"] != "invalid-enum" or each["field"] not in FILES]


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
    """On a picture that is no square: it keeps its shape."""
    Image.linear_gradient("L").resize((150, 100)).convert("RGB").save(server.base / "input" / "wide.png")
    graph = small(api_form(name))
    (image,) = [node for node in graph.values() if node["class_type"] == "LoadImage"]
    image["inputs"]["image"] = "wide.png"
    saved, compared = sorted(server.run(graph).values(), key=len)
    assert pixels(server, saved).shape == (80, 128, 3)
    before, after = (pixels(server, {"images": compared[f"{which}_images"]}) for which in "ab")
    assert before.shape == after.shape and (after == pixels(server, saved)).all()


@pytest.mark.once
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("table", "pie"))])
def test_rows_of_the_papers_tables_run_whole(server, name):
    """At the steps of the paper, on the demo model in the place of Stable Diffusion."""
    graph = api_form(name)
    for node in graph.values():
        size = {"width": 64, "height": 64}
        if node["class_type"] == "CheckpointLoaderSimple":
            node |= {"class_type": "EditFriendlyLoadDemoModel", "inputs": {}}
        elif node["class_type"] == "LoadImage":
            scene = {"scene": "a red house by the sea on a clear day", "seed": 1, "part": "object"}
            node |= {"class_type": "EditFriendlyLoadDemoImage", "inputs": scene}
        node["inputs"] |= {key: value for key, value in size.items() if key in node["inputs"]}
        if node["_meta"]["title"] == "Changed words":
            node["inputs"] |= {"blend_words": "day, night", "reweight": "night: 2"}
        if node["_meta"]["title"] in ("Source prompt", "Target prompt"):
            time = "day" if node["_meta"]["title"] == "Source prompt" else "night"
            (text,) = node["inputs"].keys() & {"text", "value"}
            node["inputs"][text] = f"a red house by the sea on a clear {time}"
    (saved,) = server.run(graph).values()
    assert pixels(server, saved).shape == (64, 64, 3)


def test_a_graph_gives_its_images_again(server):
    """Where the server remembers all of them, too."""
    for _ in range(2):
        assert outputs_by_title(server, "quick_start").keys() == {"Original, edited", "Edited"}


def test_quick_start(server):
    """The house becomes blue and the rest stays; and as the note says, by its own words it comes back as it was."""
    graph = api_form("quick_start")
    named = {node["_meta"]["title"]: key for key, node in graph.items()}
    graph["latent"] = {
        "class_type": "VAEDecode",
        "inputs": {"samples": [named["Encode"], 0], "vae": [named["Demo model"], 2]},
    }
    for name, image in (("kept", ["latent", 0]), ("original", [named["Image"], 0])):
        graph[name] = {"class_type": "PreviewImage", "inputs": {"images": image}}

    def run() -> list[np.ndarray]:
        outputs = server.run(graph)
        keys = (named["Original, edited"], "original", "kept", named["Edited"])
        return [pixels(server, outputs[key]) for key in keys]

    both, original, kept, edited = run()
    smaller = both.reshape(128, 3, 256, 3, 3).mean((1, 3))
    assert np.abs(smaller - np.concatenate([original, edited], 1)).mean() < 0.02
    assert original.shape == edited.shape == (128, 128, 3)
    bluer = (edited - original)[..., 2] - (edited - original)[..., 0]
    assert bluer.max() > 0.3
    assert np.median(np.abs(edited - original)) < 0.05
    graph[named["Edit"]]["inputs"] |= {"positive": [named["Source prompt"], 0], "cfg": 1.0}
    assert np.abs(run()[-1] - kept).max() <= 1 / 255


def test_find_the_mask(server):
    outputs = outputs_by_title(server, "find_the_mask")
    for title in ("Where the prompts differ", "Where the words are"):
        assert pixels(server, outputs[title]).shape == (128, 256, 3)
    (words,) = outputs["In words"]["text"]
    assert "Inside the mask: " in words


def test_tour(server):
    latents = {
        title: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
        for title, output in outputs_by_title(server, "tour").items()
        if "latents" in output
    }
    original = latents["Original"]
    assert (latents["Reconstruction"] - original).abs().max() <= 1e-5
    assert latents["Edits"].shape == latents["Kept"].shape == (3, 4, 16, 16)
    changed = [latents[title] for title in ("Shifted", "Flipped", "Recolored", "Edits", "Kept")]
    assert all((part - original).abs().max() > 0.05 for part in changed)
