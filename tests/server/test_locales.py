"""The nodes and their help in other languages: none missing, none stale, and served as the front end asks for them."""

from pathlib import Path

import pytest
import requests

from support.node_ids import NODE_IDS
from tools.templates.help import PAGES, inputs_of
from tools.templates.locales import LANGUAGES, WITH_PAGES, files_of, translated

LOCALES = PAGES.parents[1] / "locales"
RUN = "mend the translations, then run `python -m tools.templates.locales`"


@pytest.fixture(scope="module")
def definitions(server):
    found = server.get("/object_info")
    return {node_id: found[node_id] for node_id in NODE_IDS}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_missing_or_stale_and_the_files_are_up_to_date(definitions, language):
    files, faults = files_of(language, definitions)
    assert faults == [], RUN
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, RUN
    kept: set[Path] = {*(LOCALES / language).iterdir(), *PAGES.glob(f"*/{language}.md")}
    assert kept == set(files)


def test_the_host_has_every_text_of_every_node_in_every_language(server, definitions):
    """By the keys that its front end looks up."""
    known = server.get("/i18n")
    for language in LANGUAGES:
        categories = known[language]["nodeCategories"]
        assert {part for node in definitions.values() for part in node["category"].split("/")} <= set(categories)
        for node_id, node in definitions.items():
            told = known[language]["nodeDefs"][node_id]
            assert told["display_name"] and told["description"]
            assert list(told["inputs"]) == list(inputs_of(node))
            assert list(told["outputs"]) == [str(k) for k in range(len(node["output"]))]
            for part in (*told["inputs"].values(), *told["outputs"].values()):
                assert part["name"] and part["tooltip"]


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_page_loses_nothing_on_its_way_into_a_language(definitions, node_id):
    page = (PAGES / f"{node_id}.md").read_text(encoding="ascii")
    assert translated(page, definitions[node_id], str).split() == page.split()


@pytest.mark.parametrize("language", WITH_PAGES)
def test_the_server_serves_the_pages(server, definitions, language):
    for node_id, node in definitions.items():
        pack = node["python_module"].split(".")[1]
        page = requests.get(f"{server.url}/extensions/{pack}/docs/{node_id}/{language}.md", timeout=60)
        assert page.ok
        assert page.content == (PAGES / node_id / f"{language}.md").read_bytes()
