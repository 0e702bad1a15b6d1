"""The figures of the papers: that each can be made, and that the pages show what was measured."""

import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from demo.scenes import TEST_SEED
from demo.weights import WEIGHTS
from tools.host import NeedsComfyUI
from tools.lab.__main__ import main
from tools.lab.figures import FIGURES, fill_pages, make_figures
from tools.lab.figures.measured import MEASURED
from tools.lab.figures.results import RESULTS, Table, blocks, filled, made_with, read, tables_of
from tools.lab.figures.subjects import Subjects, rows_counted
from tools.lab.sizes import Sizes

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs" / "figures"
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("figures", "measurements", "demo-model"))
TINY = Sizes(
    paths=20,
    pictures=3,
    steps=4,
    captioned=2,
    latents=3,
    latent_steps=4,
    kinds=("color",),
    per_kind=1,
    edit_steps=2,
    variations=2,
    reconstructed=1,
    most_per_kind=1,
    most_steps=2,
)


BY_NODES = ("fig15", "table1", "table2", "p2p", "flow_attention", "flow_blocks", "flow_background", "words")
"""Those of methods that work inside a host's network."""


@pytest.fixture
def no_comfyui(monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", "")


def made_and_told(model, folder, only=()):
    """The names of the figures made, each with its tables told and its picture drawn."""
    said = []
    make_figures(model, folder, only, sizes=TINY, report=said.append)
    results = read(folder / RESULTS)
    assert results["made with"]["sizes"]["pictures"] == 3
    for name in results["figures"]:
        tables = tables_of(results, name)
        assert tables and all(table.rows for table in tables), name
        assert all(str(table) in "\n".join(said) for table in tables), name
    numbers_alone = {"table1", "table2", "exactness", *MEASURED}
    assert {path.stem for path in folder.glob("*.png")} == set(results["figures"]) - numbers_alone
    assert all(min(Image.open(path).size) > 100 for path in folder.glob("*.png"))
    return list(results["figures"]), said


def test_every_figure_of_the_core_can_be_made_without_comfyui(untrained, tmp_path, no_comfyui):
    made, said = made_and_told(untrained, tmp_path)
    assert made == [name for name in FIGURES if name not in BY_NODES]
    assert [text.split()[0] for text in said if "left out: " in text] == list(BY_NODES)
    with pytest.raises(NeedsComfyUI, match="set COMFYUI_PATH"):
        make_figures(untrained, tmp_path / "other", ["table2"], TINY)


@pytest.mark.once
def test_every_figure_of_the_nodes_can_be_made(comfy, untrained, tmp_path):
    made, _ = made_and_told(untrained, tmp_path, BY_NODES)
    assert made == list(BY_NODES)


def test_a_figure_made_again_stands_beside_the_others(untrained, tmp_path):
    make_figures(untrained, tmp_path, ["fig6"], TINY)
    make_figures(untrained, tmp_path, ["fig13"], TINY)
    assert list(read(tmp_path / RESULTS)["figures"]) == ["fig6", "fig13"]
    with pytest.raises(ValueError, match="made with other sizes: remove it, or write to another folder"):
        make_figures(untrained, tmp_path, ["fig6"], Sizes(pictures=4, steps=4))


def test_a_run_that_was_broken_off_goes_on(untrained, tmp_path, no_comfyui, monkeypatch):
    monkeypatch.setattr("tools.lab.figures.FIGURES", {name: FIGURES[name] for name in ("fig6", "fig7", "fig13")})
    make_figures(untrained, tmp_path, ["fig7"], TINY)
    said = []
    make_figures(untrained, tmp_path, (), TINY, said.append)
    assert [text.splitlines()[0] for text in said if " took " in text] and "left: fig13" in " ".join(said)
    assert not any(text.startswith("fig7") for text in said)
    assert set(read(tmp_path / RESULTS)["figures"]) == {"fig6", "fig7", "fig13"}


def test_two_commands_can_fill_one_folder(untrained, tmp_path):
    """Each keeps what the other has written since it began."""

    def meanwhile(text):
        if text.startswith("fig6:"):
            make_figures(untrained, tmp_path, ["fig13"], TINY)

    make_figures(untrained, tmp_path, ["fig6", "fig7"], TINY, meanwhile)
    assert set(read(tmp_path / RESULTS)["figures"]) == {"fig6", "fig7", "fig13"}


def test_figures_made_side_by_side_are_the_same(untrained, tmp_path, no_comfyui):
    names, made = ["fig6", "fig13"], []
    for processes in (1, 2):
        folder, said = tmp_path / str(processes), []
        make_figures(untrained, folder, names, TINY, said.append, processes)
        results = read(folder / RESULTS)
        assert sum("left: nothing" in text for text in said) == 1
        made.append({name: results["figures"][name]["tables"] for name in names})
        assert {path.stem for path in folder.glob("*.png")} == set(names)
    assert made[0] == made[1]


def test_other_seeds_are_other_held_out_scenes(untrained, tmp_path):
    first = Subjects(untrained, TINY).edits[0].source
    other = Subjects(untrained, replace(TINY, first_seed=TEST_SEED + 1000)).edits[0].source
    assert first.seed < other.seed - 900
    with pytest.raises(ValueError, match=f"held-out scenes begin at seed {TEST_SEED}, not at 7"):
        Sizes(first_seed=7)


def test_the_sizes_are_flags(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr("tools.lab.figures.make_figures", lambda *args, **_: made.append(args))
    monkeypatch.setattr("tools.lab.figures.fill_pages", lambda *_: None)
    assert main(["figures", "--out", str(tmp_path), "--pictures", "4", "--most-per-kind", "6", "--processes", "2"]) == 0
    assert made[0][3] == Sizes(pictures=4, most_per_kind=6) and made[0][5] == 2


def test_an_unknown_figure_is_refused_with_the_names_of_all(capsys, tmp_path):
    assert main(["figures", "--only", "fig5", "fig99", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "no figure fig99" in said and "fig15" in said
    assert not (tmp_path / "out").exists()


def test_a_table_says_the_same_in_each_form():
    table = Table("title", ("a", "b"), {"x": (1.23456, math.nan), "y": (-0.004, 0.5)}, (".2f", ".0%"))
    assert table.markdown() == "|  | a | b |\n|---|---|---|\n| x | 1.23 |  |\n| y | 0.00 | 50% |"
    again = Table.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again.markdown() == table.markdown()
    assert str(table).splitlines() == ["title", "      a    b", "x  1.23     ", "y  0.00  50%"]


def test_pages_are_filled_between_their_comments(tmp_path):
    tables = [Table(title, ("c",), {"r": (number,)}, (".1f",)).to_dict() for title, number in (("A", 1.0), ("B", 2.0))]
    (tmp_path / RESULTS).write_text(json.dumps({"figures": {"fig1": {"tables": tables, "seconds": 61.2}}}))
    page = tmp_path / "page.md"
    page.write_text("x\n<!-- figure fig1 table 2 -->\nold\n<!-- end -->\ny\n<!-- figure fig1 -->\n<!-- end -->\n")
    fill_pages(tmp_path, [page])
    text = page.read_text()
    assert text.startswith("x\n<!-- figure fig1 table 2 -->\n\n|  | c |\n|---|---|\n| r | 2.0 |\n\n<!-- end -->\ny\n")
    assert text.count("| r | 1.0 |") == 1 and "\nA\n\n|" in text and "old" not in text
    fill_pages(tmp_path, [page])
    assert page.read_text() == text
    assert "| fig1 | 61 |\n| all | 61 |" in filled("<!-- times -->\n<!-- end -->", read(tmp_path / RESULTS))
    with pytest.raises(ValueError, match="shows figure fig2, which the results lack"):
        filled("<!-- figure fig2 -->\n<!-- end -->", read(tmp_path / RESULTS))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_shows_the_numbers_of_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert blocks(text)
    assert filled(text, read(KEPT / RESULTS)) == text


def of_present_weights(results) -> bool:
    return results["made with"]["weights"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def test_the_page_walks_through_every_figure_and_its_picture():
    page, results = PAGES[0].read_text(encoding="utf-8"), read(KEPT / RESULTS)
    made = set(results["figures"])
    assert blocks(page) == made - set(MEASURED)
    assert made | set(MEASURED) == set(FIGURES) or not of_present_weights(results)
    for name in made - set(MEASURED):
        assert f"--only {name}`" in page
    shown = re.findall(r"\]\(figures/(\w+\.png)\)", page)
    assert sorted(shown) == sorted(path.name for path in KEPT.glob("*.png"))
    assert sum(path.stat().st_size for path in KEPT.iterdir()) < 3_000_000


def test_the_page_of_measurements_shows_every_table_of_its_own():
    shown = set().union(*(blocks(page.read_text(encoding="utf-8")) for page in PAGES[1:]))
    assert shown & set(MEASURED) == set(read(KEPT / RESULTS)["figures"]) & set(MEASURED)


def test_the_results_are_of_the_weights_that_the_page_names_in_the_sizes_of_the_command():
    results, page = read(KEPT / RESULTS), PAGES[0].read_text(encoding="utf-8")
    kept = results["made with"]
    if of_present_weights(results):
        assert kept["sizes"] == made_with(Sizes())["sizes"]
    else:
        assert f"weights {kept['weights'][:12]}" in page


def test_the_rows_of_a_network_are_counted(untrained):
    with rows_counted(untrained.network) as count:
        untrained.denoiser("", 1.0)(torch.zeros(3, 4, 16, 16), torch.ones(3))
        untrained.denoiser("", 2.0)(torch.zeros(3, 4, 16, 16), torch.ones(3))
    untrained.denoiser("")(torch.zeros(3, 4, 16, 16), torch.ones(3))
    assert count.rows == 3 + 6
