"""docs/families.md, written by the tests of all families; and the sentence of the README that stands for it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "families.md"
COLUMNS = ("replay", "one pass", "longer prompt", "three a call", "mask", "rows", "kept", "file", "attention")
BEGIN, END = "<!-- families -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Measured:
    """One cell of the table.

    Args:
        error: of the largest value.
        at_most: what it may be.
        remark: what else was seen.
    """

    error: float
    at_most: float
    remark: str = ""

    @property
    def holds(self) -> bool:
        return self.error <= self.at_most

    def __str__(self) -> str:
        number = f"{self.error:.0e}".replace("e-0", "e-") if self.error else "0"
        if self.remark and not self.error:
            return self.remark
        return f"{number if self.holds else f'**{number}**'} {self.remark}".rstrip()


Cells = Mapping[str, Measured]


def verdict(cells: Cells) -> str:
    """What came of a family: exact, refused or wrong."""
    if "refused" in cells:
        return "refused"
    return "exact" if all(column in cells and cells[column].holds for column in COLUMNS) else "wrong"


def write_page(found: Mapping[str, Cells], version: str) -> None:
    """Put the table of a run in the place of the last one."""
    count = {word: [verdict(cells) for cells in found.values()].count(word) for word in ("exact", "refused", "wrong")}
    lines = [
        f"ComfyUI {version}, {datetime.date.today().isoformat()}: {len(found)} families, {count['exact']} exact, "
        f"{count['refused']} refused, {count['wrong']} wrong.",
        "",
        f"| family | | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for name, cells in found.items():
        shown = [str(cells.get(column, "" if "refused" in cells else "**failed**")) for column in COLUMNS]
        lines.append(f"| {name} | {verdict(cells)} | {' | '.join(shown)} |")
    lines += ["", "What is said of those that are refused:", ""]
    lines += [f"- {name}: {cells['refused'].remark}" for name, cells in found.items() if "refused" in cells]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    PAGE.write_text(before + "\n".join(lines) + "\n" + after, encoding="utf-8")


def counts() -> dict[str, str]:
    """What the page says in all: version, date, and how many families are what."""
    found = re.search(
        r"^ComfyUI (?P<version>\S+), (?P<date>\S+): (?P<families>\d+) families, (?P<exact>\d+) exact, "
        r"(?P<refused>\d+) refused, (?P<wrong>\d+) wrong\.$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert found, f"{PAGE} holds no table: python run.py test tests/host/test_families.py --all-families"
    return found.groupdict()
