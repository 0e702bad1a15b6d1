"""The node help in `web/docs`, against the schemas of the nodes."""

import re
from pathlib import Path

import pytest
from PIL import Image

from support.node_ids import NODE_IDS
from tools.lab.graph_pictures import GRAPH_PICTURES
from tools.lab.pictures import PICTURES

DOCS = Path(__file__).parents[2] / "web" / "docs"


@pytest.fixture(params=NODE_IDS)
def documented(request, pack):
    """A node's schema and its page."""
    return getattr(pack, request.param).GET_SCHEMA(), (DOCS / f"{request.param}.md").read_text(encoding="ascii")


def names_in(page: str, section: str) -> list[str]:
    """The first cells of the table in a section."""
    _, _, rest = page.partition(f"\n## {section}\n")
    return re.findall(r"^\| `(\w+)` \|", rest.partition("\n## ")[0], re.MULTILINE)


def test_a_page_names_every_input_and_output_in_order(documented):
    schema, page = documented
    assert page.startswith(f"# {schema.display_name}\n")
    assert names_in(page, "Inputs") == [part.id for part in schema.inputs]
    assert names_in(page, "Outputs") == [part.display_name for part in schema.outputs]


def test_defaults_that_a_page_calls_the_papers_are_the_nodes(pack):
    """The numbers of the paper, in the words of the pages."""
    invert = {part.id: part for part in pack.EditFriendlyInvert.GET_SCHEMA().inputs}
    recolor = {part.id: part for part in pack.MaskColorEdit.GET_SCHEMA().inputs}
    for page, words, default in (
        ("EditFriendlyInvert", "The paper uses 100", invert["steps"].default),
        ("EditFriendlyInvert", "The paper's is 3.5", invert["cfg"].default),
        ("MaskColorEdit", "The paper's 0.05", recolor["strength"].default),
        ("MaskColorEdit", "The paper: 0.30", recolor["start_percent"].default),
        ("MaskColorEdit", "The paper: 0.80", recolor["end_percent"].default),
    ):
        assert words in (DOCS / f"{page}.md").read_text()
        assert float(re.search(r"\d+(\.\d+)?", words).group()) == default


def test_every_picture_is_there_shown_and_small():
    linked = set()
    for page in DOCS.glob("*.md"):
        for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text()):
            linked.add(DOCS / path)
    made = {DOCS / "images" / f"{name}.png" for name in [*PICTURES, *GRAPH_PICTURES]}
    assert linked == made == set((DOCS / "images").iterdir())
    for path in linked:
        assert path.stat().st_size < 200_000
        assert max(Image.open(path).size) < 1000


def test_the_host_serves_the_folder(comfy, pack):
    served = {Path(folder) for folder in comfy.nodes.EXTENSION_WEB_DIRS.values()}
    assert DOCS.parent in served


def test_the_menu_has_one_root_and_named_branches(pack):
    categories = {node_id: getattr(pack, node_id).GET_SCHEMA().category for node_id in NODE_IDS}
    assert {category.split("/")[0] for category in categories.values()} == {"edit-friendly DDPM"}
    assert all(category.count("/") == 1 for category in categories.values()), categories


def test_search_aliases_where_the_hosts_schema_has_them(pack):
    from comfy_api.latest import io

    aliases = [getattr(getattr(pack, node_id).GET_SCHEMA(), "search_aliases", None) for node_id in NODE_IDS]
    if "search_aliases" in io.Schema.__dataclass_fields__:
        assert all(aliases)
    else:
        assert aliases == [None] * len(NODE_IDS)
