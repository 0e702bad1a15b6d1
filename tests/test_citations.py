"""Where the code and the pages cite an equation of arXiv 2304.06140 with its section, it is the paper's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTION_OF_EQUATION = dict(zip("1234567", "3333445", strict=True))
CITATION = re.compile(r"Sec\. ([\d.]*\d)(?:,|:| \()? ?Eqs?\. (\d)")
CITING = [
    path
    for pattern in ("ddpm_core/**/*.py", "nodes/**/*.py", "web/docs/*.md")
    for path in sorted(ROOT.glob(pattern))
    if CITATION.search(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", CITING, ids=lambda path: path.name)
def test_an_equation_is_cited_with_its_section(path):
    for section, equation in CITATION.findall(path.read_text(encoding="utf-8")):
        assert SECTION_OF_EQUATION[equation] == section
