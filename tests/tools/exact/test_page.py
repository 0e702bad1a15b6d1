"""docs/exact.md shows what was measured, every section within its bounds."""

import re
from functools import partial
from pathlib import Path

import pytest

from tools.exact import edits, figures, manipulations
from tools.exact.__main__ import main
from tools.exact.oracles import Check
from tools.lab.figures.results import RESULTS, blocks, filled, read, tables_of

DOCS = Path(__file__).parents[3] / "docs"
PAGE, KEPT = DOCS / "exact.md", DOCS / "exact"


def test_the_page_shows_the_numbers_of_the_results_and_every_section():
    text, results = PAGE.read_text(encoding="utf-8"), read(KEPT / RESULTS)
    assert filled(text, results) == text
    assert blocks(text) == set(figures.FIGURES) == set(results["figures"])
    shown = re.findall(r"\]\(exact/(\w+\.png)\)", text)
    assert sorted(shown) == sorted(path.name for path in KEPT.glob("*.png"))


def test_every_number_on_the_page_is_within_its_bound():
    results = read(KEPT / RESULTS)
    rows = {
        (name, what): row
        for name in results["figures"]
        for table in tables_of(results, name)
        for what, row in table.rows.items()
        if table.columns[3:] == ("expected", "within")
    }
    assert len(rows) > 100
    assert not [key for key, (value, _, _, expected, within) in rows.items() if abs(value - expected) > within]


def test_the_nodes_on_the_page_are_as_the_core():
    (table,) = tables_of(read(KEPT / RESULTS), "nodes")
    assert len(table.rows) == len(figures.BY_BOTH) and all(apart < 1e-3 for _, apart in table.rows.values())


def numbers_of(name):
    (table,) = tables_of(read(KEPT / RESULTS), name)
    return table.rows


def test_the_sentences_of_the_page_follow_from_its_numbers():
    """The order of the methods, CycleDiffusion beside native maps, the fall between the constructions, and the dip."""
    leads = [row for what, row in numbers_of("methods").items() if what.startswith("edit friendly over")]
    assert len(leads) == 3 and all(low > 0.3 for _, low, *_ in leads)
    unguided = numbers_of("unguided")
    for turned in (2, 4):
        kept = {
            method: unguided[f"{turned} of 24 turned, {method}: structure kept"]
            for method in ("edit friendly", "DDIM", "CycleDiffusion", "native", "SDEdit")
        }
        assert abs(kept["native"][0] - kept["CycleDiffusion"][0]) < 0.06
        assert kept["edit friendly"][1] > max(kept[name][2] for name in kept if name != "edit friendly")
    between = [row[0] for what, row in numbers_of("between").items() if what.endswith("structure kept")]
    assert between == sorted(between, reverse=True)
    dip = [value for value, *_ in numbers_of("dip").values()]
    assert min(dip) in dip[1:-1]
    settings = numbers_of("settings")
    at_80 = [settings[f"{name}, skip 80: structure kept"][0] for name in ("DDIM, 9", "CycleDiffusion, 4", "SDEdit, 15")]
    for name, skips in edits.FIG_15.items():
        for cfg, skip in skips:
            of = settings[f"{name}, {cfg:g}, skip {skip}: structure kept"]
            assert of[1] > 0.7 if name == "edit friendly" else of[2] < 0.5
    assert min(at_80) > 0.8 and settings["DDIM, 9, skip 80: appearance reached"][0] < 0.95
    triangle = numbers_of("triangle")
    assert all((row[0] > 90) == ("latent" in what) for what, row in triangle.items() if "angle at" in what)
    mirrored = {what.removeprefix("mirrored as probable by "): row for what, row in numbers_of("mirrored").items()}
    assert mirrored["0.1, edit friendly"][2] < 0.3 * mirrored["0.1, native"][1]
    assert mirrored["0.1, edit friendly"][2] < mirrored["0.01, edit friendly"][1] < mirrored["0.01, native"][1]
    guidance = numbers_of("guidance")
    alike, apart = (guidance[f"cfg {cfg:g}: error by cosine over that by linear"][0] for cfg in (7.5, 15))
    assert abs(alike - 1) < 0.03 and apart > 1.05
    paint = numbers_of("paint")
    assert all(1 - paint[f"s {s:g}: detail kept"][0] < paint[f"s {s:g}: response"][0] for s in manipulations.RESPONSES)
    table_1 = {what: row[0] for what, row in numbers_of("table1").items()}
    assert table_1["Prompt-to-Prompt with ours: error over that on DDIM"] < 0.1
    table_2 = {
        what.removesuffix(": error over that without guidance"): row[0] for what, row in numbers_of("table2").items()
    }
    printed = abs(table_2["DDIM, weight 0.1"] - table_2["edit friendly, weight 0.03"])
    assert printed < 0.1 and table_2["edit friendly, weight 0.1"] < table_2["DDIM, weight 0.1"] / 2
    shifts = numbers_of("shifts")
    for cells in (1, 2, 4):
        assert shifts[f"by {cells}, edit friendly"][2] < shifts[f"by {cells}, native"][1] / 3
        _, low, high, *_ = shifts[f"by {cells}, CycleDiffusion - native"]
        assert low < 0.05 and high > -0.05


def test_exact_scores_and_the_demo_side_by_side():
    """Each row of that table from both results; the same order, and DDIM near on the demo alone."""
    exact, page = numbers_of("methods"), PAGE.read_text(encoding="utf-8")
    demo = tables_of(read(DOCS / "figures" / RESULTS), "edits")[0].rows
    methods = ("edit friendly", "DDIM", "CycleDiffusion", "SDEdit")
    kept = {}
    for name in methods:
        (of,) = (row for what, row in exact.items() if what.startswith(f"{name},") and what.endswith("structure kept"))
        success, low, high, error, within, structure = demo[name]
        row = [f"{number:.3f}" for number in of[:3]] + [f"{number:.2f}" for number in (success, low, high)]
        row += [f"{error:.3f}", f"{within:.3f}", f"{structure:.2f}"]
        assert f"| {name} | {' | '.join(row)} |" in page
        kept[name] = of[0], -error, structure
    for place in (0, 1):
        assert sorted(methods, key=lambda name: kept[name][place], reverse=True) == list(methods)
    ours, ddim = kept["edit friendly"], kept["DDIM"]
    assert ours[0] - ddim[0] > 0.3 and ours[1] - ddim[1] < 0.005 and abs(ours[2] - ddim[2]) < 0.02
    assert numbers_of("unguided")["0 of 24 turned, DDIM: structure kept"][0] > 0.99


def test_what_the_page_says_of_flow_edits_follows_from_its_numbers():
    """The two that gain do so beyond chance and at a smaller error; the others do not; and the orders of inversions."""
    flow = numbers_of("flow")
    over = {name: (low, high, error < of_other) for name, (*_, error, _, low, high, of_other) in flow.items()}
    gain = {name for name, (low, _, smaller) in over.items() if low > 0 and smaller}
    assert gain == {"FlowAlign, strength 3, pull 0.1, skip 20", "strength from 0 to 3, skip 20"}
    assert all(over[name][0] < 0 < over[name][1] for name in ("soft field", "ChordEdit, 0.9 and 0.75"))
    assert over["VAGS, the same"][1] < 0
    assert flow["one noise"][1] < flow["FlowEdit, skip 0"][1] / 2
    for name, (calls, *_, order, kept, _, _) in numbers_of("order").items():
        assert order == pytest.approx(1 if "textbook" in name else 2, abs=0.2)
        assert calls == (2 if "iteration" in name else 1)
        assert "textbook" in name or kept < numbers_of("order")[f"{name.split(',')[0]}, textbook"][-2]


@pytest.fixture
def one_oracle(monkeypatch):
    def stand_in(value):
        checks = [Check("a number", value, 1.0, 0.1)]
        monkeypatch.setitem(figures.FIGURES, "paint", lambda: figures._result("A title", lambda: checks))

    return stand_in


def test_the_command_makes_what_is_left_and_says_so(monkeypatch, tmp_path, capsys):
    made = []

    def section(name):
        made.append(name)
        return figures._result(name, lambda: [Check("a number", 1.0, 1.0, 0.1)])

    for name in list(figures.FIGURES):
        monkeypatch.setitem(figures.FIGURES, name, partial(section, name))
    assert main(["--only", "paint", "plane", "--out", str(tmp_path)]) == 0
    assert "left: plane" in capsys.readouterr().out
    assert main(["--out", str(tmp_path)]) == 0
    assert sorted(made) == sorted(figures.FIGURES) and capsys.readouterr().out.rstrip().endswith("left: nothing")


@pytest.mark.parametrize(("value", "status"), [(1.05, 0), (1.2, 1)])
def test_the_command_fails_where_a_number_is_beyond_its_bound(one_oracle, tmp_path, capsys, value, status):
    one_oracle(value)
    assert main(["--only", "paint", "--out", str(tmp_path)]) == status
    assert "A title" in capsys.readouterr().out
    assert list(read(tmp_path / RESULTS)["figures"]) == ["paint"]
