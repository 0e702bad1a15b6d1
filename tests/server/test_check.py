"""`python -m tools.batch check` on the real server: the demo model, random weights of SD 1.5's and SDXL's layouts."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from support.model_files import save_sd15_checkpoint, save_sdxl_checkpoint
from tools.batch.__main__ import main
from tools.batch.trials import OF_MAPS

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"
LAYOUTS = {"text_edit_sd15": save_sd15_checkpoint, "text_edit_sdxl": save_sdxl_checkpoint}
SMALL = ("Crop to {side}.width=64", "Crop to {side}.height=64", "Invert.steps=4", "Edit.skip_steps=1")


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


@pytest.mark.parametrize("name", LAYOUTS)
def test_random_weights_of_a_layout_give_the_picture_back(server, comfy, check, name):
    path = server.base / "models" / "checkpoints" / "to-check.safetensors"
    LAYOUTS[name](path)
    side = {"text_edit_sd15": 512, "text_edit_sdxl": 1024}[name]
    small = [part for text in SMALL for part in ("--set", text.format(side=side))]
    graph = ("--graph", WORKFLOWS / f"{name}.json")
    try:
        status, said, page = check("--checkpoint", path.name, *graph, *small, "--no-presets")
    finally:
        path.unlink()
    assert status == 0, said
    assert re.search(r"came back: the largest difference is [01] of 255", said)
    assert "as the graph has it" in said and "14 predictions of the network" in said
    assert "a red house by the sea on a clear day in summer" in page and "clear night in summer" in page
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
