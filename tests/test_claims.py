"""docs/claims.md: a row for each claim of the five documents, whose commands and files are there."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tools.exact.figures import FIGURES as EXACT
from tools.lab.figures import FIGURES as DEMO

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
CLAIMS = {
    "An Edit Friendly DDPM Noise Space (arXiv 2304.06140)": 82,
    "There and Back Again (arXiv 2410.23530v2)": 38,
    "Diffusion Inversion Report": 18,
    "The review of 2304.06140": 9,
    "The summary of 2304.06140v2": 17,
}
KINDS = {"exact": "tools.exact", "demo": "", "random": "", "test": "run.py test", "not shown": ""}


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


SECTIONS = {title: rows_of(text) for title, text in re.findall(r"^## (.+)\n\n((?:\|.*\n)+)", PAGE, re.MULTILINE)}
ROWS = [row for rows in SECTIONS.values() for row in rows]


def test_no_claim_of_a_document_is_without_a_row():
    assert {title: len(rows) for title, rows in SECTIONS.items()} == CLAIMS


def test_the_page_counts_its_rows():
    counted = {row[0]: int(row[2]) for row in rows_of(PAGE[: PAGE.index("\n## ")])}
    assert counted == Counter(kind for _, _, kind, _ in ROWS) and counted.keys() == KINDS.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_a_claim_is_shown_by_a_command_or_has_a_reason(row):
    _, _, kind, by = row
    assert "`python " in by or kind == "not shown" and by
    assert KINDS[kind] in by
    for figures, command in ((EXACT, "tools.exact --only"), (DEMO, "tools.lab figures --only")):
        for names in re.findall(rf"`python -m {re.escape(command)} ([\w ]+)`", by):
            assert set(names.split()) <= set(figures)
    for path in re.findall(r"`python run.py test (\S+)`", by):
        assert (ROOT / path).is_file()
