"""`python -m tools.lab`: what it writes and prints, and what it refuses. With any weights."""

from __future__ import annotations

import pytest
from PIL import Image

from tools.lab import __main__ as lab
from tools.lab.__main__ import main
from tools.lab.methods import METHODS
from tools.lab.settings import LabSettings
from tools.lab.sheet import COLUMNS, EXAMPLES, by_core, draw, draw_edits

HOUSE, TREE = "a red house by the sea", "a tree by the sea"


@pytest.fixture(autouse=True)
def small(monkeypatch, untrained):
    """In place of the bundled weights."""
    monkeypatch.setattr(lab, "load_model", lambda path=None: untrained)


def test_the_sheet_has_every_column(untrained, monkeypatch):
    monkeypatch.setattr("tools.lab.sheet.LabSettings", lambda: LabSettings(steps=4))
    said = []
    rows = by_core(untrained, EXAMPLES[:1], lambda *done: said.append(done))
    assert said == [(1, 1)]
    assert len(rows[0].tiles) == len(COLUMNS)
    assert rows[0].reconstruction_error < 1e-5
    assert min(draw(rows).size) > 128
    assert draw_edits(rows).width > 2 * 192


def test_masks_are_measured(capsys):
    assert main(["masks", "--per-kind", "1", "--kind", "color"]) == 0
    assert "mean" in capsys.readouterr().out


def test_without_comfyui_the_table_is_of_the_methods_of_the_core(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_PATH", "")
    assert main(["evaluate", "--per-kind", "1", "--kind", "color", "--steps", "4"]) == 0
    said = capsys.readouterr()
    assert "the table lacks: P2P + edit friendly, " in said.err
    rows = {line.split(", steps 4 ")[0] for line in said.out.splitlines() if " all " in line}
    assert rows == {method.name + more for method in METHODS if method.by_core for more in method.rows}


@pytest.mark.parametrize(
    "command", [["evaluate", "--per-kind", "1", "--method", "P2P + edit friendly"], ["words", "--per-kind", "1"]]
)
def test_without_comfyui_what_needs_it_says_so(monkeypatch, capsys, command):
    monkeypatch.setenv("COMFYUI_PATH", "")
    assert main(command) == 1
    assert "there is none: set COMFYUI_PATH to its folder" in capsys.readouterr().err


def test_a_picture_is_edited(tmp_path, capsys):
    out = tmp_path / "new" / "edit.png"
    command = ["edit", "--prompt", HOUSE, "--target", TREE, "--steps", "4", "--skip", "0.25"]
    assert main([*command, "--out", str(out)]) == 0
    assert Image.open(out).size == (3 * 128, 128)
    assert str(out) in capsys.readouterr().out
    Image.new("RGB", (64, 96)).save(tmp_path / "own.png")
    assert main([*command, "--image", str(tmp_path / "own.png"), "--out", str(out)]) == 0
    assert Image.open(out).size == (3 * 64, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "a dragon", "--target", TREE], "dragon"),
        (["--prompt", "by the sea", "--target", TREE], "a scene shows one of"),
        (["--prompt", HOUSE, "--target", "a dragon"], "dragon"),
        (["--prompt", HOUSE, "--target", TREE, "--steps", "7"], "divisor"),
        (["--prompt", HOUSE, "--target", TREE, "--steps", "4", "--skip", "1"], "skip_steps"),
        (["--prompt", HOUSE, "--target", TREE, "--image", "missing.png"], "missing.png"),
    ],
)
def test_it_says_what_is_wrong(arguments, message, tmp_path, capsys):
    assert main(["edit", *arguments, "--out", str(tmp_path / "edit.png")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_picture_of_an_odd_size_is_refused_with_the_sizes_it_takes(tmp_path, capsys):
    picture = tmp_path / "odd.png"
    Image.new("RGB", (33, 40)).save(picture)
    assert main(["edit", "--prompt", HOUSE, "--target", TREE, "--image", str(picture)]) == 1
    assert "33 x 40" in (error := capsys.readouterr().err)
    assert "multiples of 8" in error
