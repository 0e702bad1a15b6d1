"""`python -m tools.batch check` on the real server: the demo model, random weights in the layouts of others."""

import base64
import io
import json
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from support import random_networks
from support.model_files import save_flux_checkpoint, save_sd15_checkpoint, save_sdxl_checkpoint, save_wan_files
from tools.batch.__main__ import main
from tools.batch.check import METRICS
from tools.batch.trials import OF_MAPS
from tools.evaluation import weights
from tools.evaluation.pictures import of_image
from tools.evaluation.protocols import BY_NAME, Pair
from tools.templates.examples import models_of

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"
FROM_MAPS = {"Invert.steps": 4, "Edit.skip_steps": 1}
FLOWS = {"Edit.steps": 4, "Edit.skip_steps": 1}
LAYOUTS = [  # what writes its files, smaller settings, and the predictions of an edit at these
    ("text_edit_sd15", save_sd15_checkpoint, FROM_MAPS, 2 * 4 + 2 * 3),
    ("text_edit_sdxl", save_sdxl_checkpoint, FROM_MAPS, 2 * 4 + 2 * 3),
    ("text_edit_flux", save_flux_checkpoint, FLOWS, 3 + 3),
    ("text_edit_video", save_wan_files, FLOWS, 2 * 3 + 2 * 3),
]


@pytest.fixture
def check(server, tmp_path, capsys):
    """The command: its exit code, what it said and the page."""

    def run(*arguments) -> tuple[int, str, str]:
        out = tmp_path / "check.html"
        status = main(["check", *map(str, arguments), "--server", server.url, "--out", str(out)])
        return status, capsys.readouterr().out, out.read_text() if out.exists() else ""

    return run


def pictures_of(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_the_demo_model_is_exact_and_edits_by_each_preset(check, demo_graph, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    prompts = ("--source", "a red house by the sea", "--target", "a green house by the sea")
    status, said, page = check("--graph", demo_graph, "--picture", tmp_path / "red.png", *prompts)
    assert status == 0, said
    assert "the picture came back: the largest difference is 0 of 255" in said
    assert len(pictures_of(page)) == 3 + len(OF_MAPS)
    assert "100 steps (ddim_uniform), 36 skipped, cfg 3.5 and 15" in page
    assert "328 predictions of the network" in said
    assert "http" not in page  # all of it is in the file


def test_the_page_has_metrics_by_networks_of_ones_own(check, demo_graph, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    source, target = "a red house by the sea", "a green house by the sea"
    folder = random_networks.save_all(tmp_path / "weights")
    prompts = ("--source", source, "--target", target, "--no-presets", "--weights", folder)
    status, said, page = check("--graph", demo_graph, "--picture", tmp_path / "red.png", *prompts)
    assert status == 0, said
    through_vae, _, edited = map(of_image, pictures_of(page))
    pair = Pair(through_vae, edited, source_prompt=source, target_prompt=target)
    networks = weights.load(folder).networks
    values = [(metric, metric.value(pair, networks)) for metric in map(BY_NAME.__getitem__, METRICS)]
    assert not any(math.isnan(value) for _, value in values)
    assert all(f"<br>{metric.heading}: {metric.shown(value)}" in page for metric, value in values)


@pytest.mark.parametrize(("name", "save", "smaller", "predictions"), LAYOUTS)
def test_random_weights_of_a_layout_give_the_picture_back(server, comfy, check, name, save, smaller, predictions):
    network, *others = (server.base / "models" / model["directory"] / model["name"] for model in models_of(name))
    network = network.with_stem("to-check")
    settings = {"Scale.megapixels": 0.01} | smaller
    small = [part for place, value in settings.items() for part in ("--set", f"{place}={value}")]
    try:
        save(network, *others)
        graph = ("--graph", WORKFLOWS / f"{name}.json")
        status, said, page = check("--checkpoint", network.name, *graph, *small, "--no-presets")
    finally:
        for path in (network, *others):
            path.unlink(missing_ok=True)
    assert status == 0, said
    assert re.search(r"came back: the largest difference is [01] of 255", said)
    assert f"{predictions} predictions of the network" in said.partition("as the graph has it")[2]
    assert "a red house by the sea on a clear day in summer" in page and "clear night in summer" in page
    back, edited = map(float, re.findall(r"mean difference from the picture: ([\d.]+) of 255", page))
    assert back < 0.5 < edited
    assert len(pictures_of(page)) == 3


def test_what_the_server_lacks_is_told(check):
    status, said, page = check("--checkpoint", "not-there.safetensors", "--picture", "docs/demo-sheet.png")
    assert status == 1 and "The words are those of the graph" in said
    assert "'not-there.safetensors' is not on the server, it has: " in said and "not-there" in page


def test_a_graph_without_an_edit_is_refused(check, tmp_path):
    graph = json.loads((WORKFLOWS / "text_edit_sd15.json").read_text())
    graph["9"]["class_type"] = "KSampler"
    (tmp_path / "other.json").write_text(json.dumps(graph))
    with pytest.raises(SystemExit, match="2"):
        check("--graph", tmp_path / "other.json")
