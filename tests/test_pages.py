"""The pages: what they link to, the commands, files, nodes and templates that they name are there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from support.families.page import counts
from support.node_ids import LATER, NODE_IDS
from tools.templates.examples import EXAMPLES, FILES

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
HELP = sorted(ROOT.glob("web/docs/*.md"))
HISTORY = ROOT / "CHANGELOG.md"  # names what is no more
OF_OTHERS = {"pip", "venv"}
COMMAND = re.compile(r"python3? -m ([\w.]+)([^`;|&]*)")
FILE = re.compile(r"(?:\.github|(?<!/)\b(?:ddpm_core|demo|docs|nodes|tests|tools|web|workflows))/[\w./*-]+\.\w+")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(page: str) -> list[str]:
    """What a page sets as code, blocks and within lines; a command that goes on in the next line as one line."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    return lines + re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```", "", page, flags=re.DOTALL | re.MULTILINE))


def commands_of(path: Path) -> list[tuple[str, str]]:
    """Module and arguments of each `python -m` of a page."""
    code = [re.sub(r"\s+", " ", part).partition(" #")[0] for part in code_of(path.read_text(encoding="utf-8"))]
    return [command.groups() for part in code for command in COMMAND.finditer(part)]


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_its_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10_240


def test_the_readme_counts_templates_with_settings_that_are_a_start():
    notes = [note.text for example in EXAMPLES.values() for note in example().notes]
    start = sum("settings are a start" in text for text in notes)
    words = ("seven", "eight", "nine", "ten", "eleven")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{words[start - 7]} templates say that theirs are a start" in readme


def test_the_readme_counts_families_of_models_as_their_page_does():
    found = counts()
    sentence = "of {families} in ComfyUI {version}, {exact} are exact and {refused} are refused with a reason"
    assert sentence.format(**found) in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert found["wrong"] == "0"


@pytest.mark.parametrize("page", [*PAGES, *HELP], ids=name_of)
def test_every_command_is_there_with_its_options(page, capsys):
    for module, arguments in commands_of(page):
        if module in OF_OTHERS or page == HISTORY and not module.startswith("tools."):
            continue
        command = re.findall(r"^ (\w+)", arguments)
        if (ROOT.joinpath(*module.split(".")) / "__main__.py").is_file():
            with pytest.raises(SystemExit, match="^0$"):
                import_module(f"{module}.__main__").main([*command, "--help"])
            known = capsys.readouterr().out
        else:  # some have no arguments at all, and some need ComfyUI to be imported
            known = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        options = re.findall(r"(?<!\S)--[a-z][a-z-]*", arguments)
        assert not [option for option in options if option not in known], (module, arguments)


@pytest.mark.parametrize("page", sorted({*PAGES, *HELP} - {HISTORY}), ids=name_of)
def test_every_file_that_is_named_is_there(page):
    named = FILE.findall(" ".join(code_of(page.read_text(encoding="utf-8"))))
    assert not [name for name in named if not list(ROOT.glob(name))]


def test_the_list_of_nodes_has_each_by_its_name_and_id():
    page = (ROOT / "docs" / "nodes.md").read_text().partition("\n## Templates\n")[0]
    rows = re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|", page, re.MULTILINE)
    listed = [pair for names, ids in rows for pair in zip(re.findall(r"`(\w+)`", ids), names.split(", "), strict=True)]
    assert sorted(node_id for node_id, _ in listed) == sorted(NODE_IDS)
    for node_id, name in listed:
        assert (ROOT / "web" / "docs" / f"{node_id}.md").read_text().startswith(f"# {name}\n")


def test_the_ids_of_the_changes_are_those_of_the_nodes():
    new = re.findall(r"^\| `(\w+)` \| `(EditFriendly\w+)` \|$", HISTORY.read_text(), re.MULTILINE)
    added = re.findall(r"^- `(EditFriendly\w+)`, ", HISTORY.read_text(), re.MULTILINE)
    assert added == [*LATER]
    assert {node_id for _, node_id in new} | {"EditFriendlyEdit", "EditFriendlyInvert", *LATER} == {
        node_id for node_id in NODE_IDS if node_id.startswith("EditFriendly")
    }
    assert all(node_id == f"EditFriendly{old}" for old, node_id in new)


def test_the_list_of_templates_is_whole():
    page = (ROOT / "docs" / "nodes.md").read_text()
    rows = re.findall(r"^\| (\d\d .+?) \| `(\w+)` \|", page[page.index("\n## Templates\n") :], re.MULTILINE)
    assert rows == [(path.stem, name) for name, path in FILES.items()]
    assert sorted((ROOT / "workflows").glob("*.json")) == sorted(FILES.values())
    named = set(re.findall(r"`(\d\d .+?)`", (ROOT / "README.md").read_text()))
    assert named and named <= {path.stem for path in FILES.values()}
