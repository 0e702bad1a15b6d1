"""The sentences of the pages that draw a conclusion from numbers, held to the numbers."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.sentences import SENTENCES
from support.sentences.figures import FIGURES, angles, lost_by_ddim, skip_and_strength
from support.sentences.measurements import MEASUREMENTS
from support.sentences.other_pages import CLAIMS, DEMO
from support.sentences.sentence import Tables
from tools.lab.figures.results import RESULTS, Table, read, tables_of

ROOT = Path(__file__).parents[3]
KEPT = read(ROOT / "docs" / "figures" / RESULTS)
EXACT = read(ROOT / "docs" / "exact" / RESULTS)
KEPT["figures"] |= {f"exact {name}": figure for name, figure in EXACT["figures"].items()}
CONCLUDES = re.compile(r"\b(?:[Hh]ere|So|is so|and so|comes? out|does not show)\b")


def one_line(text: str) -> str:
    """Without the tables of the results."""
    return " ".join(re.sub(r"<!-- figure .*?<!-- end -->", "", text, flags=re.DOTALL).split())


def text_of(page: str) -> str:
    return one_line((ROOT / page).read_text(encoding="utf-8"))


def not_held(page: str) -> list[str]:
    """What the sections of a page that show results conclude from them and no sentence holds."""
    found = []
    for part in re.split(r"^#{2,3} ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
        if "<!-- figure" in part:
            text = one_line(re.sub(r"^\|.*$", "", part, flags=re.MULTILINE))
            starts = [(text.find(held.says), len(held.says)) for held in SENTENCES if held.page == page]
            found += [
                text[max(0, word.start() - 40) : word.end() + 40]
                for word in CONCLUDES.finditer(text)
                if not any(0 <= start <= word.start() < start + length for start, length in starts)
            ]
    return found


def tables(kept: Mapping) -> Tables:
    return lambda name, number=1: tables_of(kept, name)[number - 1]


def turned_round(kept: Mapping) -> list[dict]:
    """The results with the rows of each table in turned order under their names, and with its columns."""
    rows, columns = copy.deepcopy(dict(kept)), copy.deepcopy(dict(kept))
    for figure in rows["figures"].values():
        for table in figure["tables"]:
            table["rows"] = dict(zip(table["rows"], reversed(table["rows"].values()), strict=True))
    for figure in columns["figures"].values():
        for table in figure["tables"]:
            table["rows"] = {name: row[::-1] for name, row in table["rows"].items()}
    return [rows, columns]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: f"{sentence.page} {sentence.says[:40]}")
def test_a_sentence_is_true_of_the_numbers_and_would_not_be_of_others(sentence):
    assert text_of(sentence.page).count(sentence.says) == 1
    assert sentence.holds(tables(KEPT))
    assert not all(sentence.holds(tables(other)) for other in turned_round(KEPT))


@pytest.mark.parametrize("page", [FIGURES, MEASUREMENTS, DEMO])
def test_every_conclusion_has_numbers_to_say_it(page):
    assert not not_held(page)


def test_every_remark_on_what_the_demo_shows_has_numbers_to_say_it():
    remarks = re.findall(r"tools\.lab figures --only [\w ]+`: [^|;]*", text_of(CLAIMS))
    held = " ".join(sentence.says for sentence in SENTENCES if sentence.page == CLAIMS)
    assert remarks and not [remark for remark in remarks if remark.partition("figures ")[2].strip() not in held]


def results_of(name: str, columns: tuple[str, ...], rows: Mapping[str, tuple[float, ...]]) -> dict:
    return {"figures": {name: {"tables": [Table("", columns, rows).to_dict()]}}}


# What an earlier model and an earlier page had, where a review found three sentences that the numbers did not carry.
EARLIER = {
    "Fig. 5: the vectors turn back, beside a correlation of -0.33 that their angle contradicts": (
        angles,
        results_of(
            "fig5",
            (
                "deviation of z",
                "correlation of consecutive z",
                "angle between them, degrees",
                "fraction of angles above 150",
            ),
            {"native": (1.00, -0.01, 90, 0.17), "edit friendly": (3.77, -0.33, 120, 0.34)},
        ),
    ),
    "Fig. 14: structure rises with the skip": (
        skip_and_strength,
        results_of(
            "fig14",
            ("success", "error", "structure"),
            {
                "skip 0, strength 1": (1.00, 0.019, 0.68),
                "skip 0, strength 2": (1.00, 0.021, 0.67),
                "skip 0, strength 4": (1.00, 0.030, 0.61),
                "skip 0, strength 7": (1.00, 0.053, 0.52),
                "skip 0.1, strength 1": (1.00, 0.023, 0.68),
                "skip 0.1, strength 2": (1.00, 0.021, 0.65),
                "skip 0.1, strength 4": (1.00, 0.033, 0.60),
                "skip 0.1, strength 7": (1.00, 0.058, 0.52),
                "skip 0.25, strength 1": (0.71, 0.014, 0.78),
                "skip 0.25, strength 2": (0.86, 0.022, 0.62),
                "skip 0.25, strength 4": (0.86, 0.045, 0.49),
                "skip 0.25, strength 7": (1.00, 0.069, 0.43),
                "skip 0.5, strength 1": (0.29, 0.011, 0.89),
                "skip 0.5, strength 2": (0.57, 0.017, 0.83),
                "skip 0.5, strength 4": (0.57, 0.036, 0.68),
                "skip 0.5, strength 7": (0.71, 0.053, 0.56),
            },
        ),
    ),
    "Tab. 1: DDIM and what is built on it lose the image": (
        lost_by_ddim,
        results_of(
            "table1",
            ("success", "error", "structure", "diversity"),
            {
                "DDIM": (0.81, 0.033, 0.57, 0.000),
                "P2P + DDIM": (0.57, 0.035, 0.73, 0.000),
                "P2P + edit friendly": (0.71, 0.015, 0.78, 0.010),
                "edit friendly": (1.00, 0.024, 0.61, 0.019),
            },
        ),
    ),
}


@pytest.mark.parametrize("claim", EARLIER)
def test_what_a_review_found_false_is_rejected(claim):
    holds, results = EARLIER[claim]
    assert not holds(tables(results))


def test_the_image_is_lost_where_both_keep_less_of_it():
    table = copy.deepcopy(EARLIER["Tab. 1: DDIM and what is built on it lose the image"][1])
    table["figures"]["table1"]["tables"][0]["rows"]["P2P + DDIM"][2] = 0.60
    assert lost_by_ddim(tables(table))
