"""The translations against their English texts; tests/server compares them with the nodes of a server."""

import json
import re
from pathlib import Path

import pytest

from tools.templates.help import NAME
from tools.templates.locales import LANGUAGES, TRANSLATIONS, Translation, translated

ROOT = Path(__file__).parents[3]
TITLES = [re.match("# (.+)", page.read_text())[1] for page in sorted((ROOT / "web" / "docs").glob("*.md"))]


@pytest.fixture(params=LANGUAGES)
def texts(request):
    """Of a language, each text by the English one."""
    return json.loads((TRANSLATIONS / f"{request.param}.json").read_text(encoding="utf-8"))


@pytest.fixture(params=LANGUAGES)
def nodes(request):
    """What the front end gets of a language, by node id."""
    return json.loads((ROOT / "locales" / request.param / "nodeDefs.json").read_text(encoding="utf-8"))


def test_a_translation_has_the_numbers_links_and_examples_of_its_text(texts):
    for english, text in texts.items():
        for kept in (r"\d+(?:\.\d+)?", r"\]\(([^)]+)\)", r"(?<!\w)'([^']+)'(?!\w)"):
            assert set(re.findall(kept, english)) <= set(re.findall(kept, text)), (english, text)


def test_a_translation_names_inputs_and_values_as_the_screen_does(texts):
    """As the language calls an input; what it has no name for, such as an option or a command, is as it was."""
    for english, text in texts.items():
        for name in {*re.findall("`([^`]+)`", english), *NAME.findall(english)}:
            shown = texts.get(name, name)
            assert shown.lower() in text.lower() or name in text, (name, shown, text)


def test_a_translation_calls_a_node_by_its_name_in_the_language(texts):
    """Long or short: Invert Image is any of those with something in brackets behind it."""
    for title in TITLES:
        short, shown = title.split(" (")[0], re.split(r" ?[(（]", texts[title])[0]
        for english, text in texts.items():
            if re.search(rf"\b{short}\b", english):
                assert shown in text, (short, shown, text)


def test_no_text_of_a_node_has_what_a_front_end_reads_as_syntax(nodes):
    """That of 0.17.0 takes a tooltip for a message of vue-i18n: braces hold a value, @ links, and | parts plurals."""
    for node in nodes.values():
        parts = [*node["inputs"].values(), *node["outputs"].values()]
        for text in (node["display_name"], node["description"], *(text for part in parts for text in part.values())):
            assert not set("{}@|") & set(text), text


def test_what_stands_side_by_side_has_different_names(nodes):
    sides = [[node["display_name"] for node in nodes.values()]]
    for node in nodes.values():
        sides += [[part["name"] for part in node[kind].values()] for kind in ("inputs", "outputs")]
    for names in sides:
        assert len(set(names)) == len(names), names


def test_a_page_keeps_its_form_and_gets_the_words():
    page = """# Paint

Draws over *two* lines
of text.

![A picture](images/Paint.png)

## Inputs

<!-- inputs -->
<!-- end -->

- `size`: of the brush,
  in pixels.
- Small is slow.

| message | remedy |
|---|---|
| *too large* | Less. |
| `0` | 1 |
"""
    definition = {
        "input": {"required": {"size": ["INT", {"tooltip": "How wide.", "default": 3}]}},
        "output_name": [],
        "output_tooltips": [],
    }
    words = {
        "Paint": "Malen",
        "Draws over *two* lines of text.": "Malt.",
        "![A picture](images/Paint.png)": "![Ein Bild](images/Paint.png)",
        "Inputs": "Eingänge",
        "`size`: of the brush, in pixels.": "`Breite`: in Pixeln.",
        "Small is slow.": "Klein ist langsam.",
        "message": "Meldung",
        "remedy": "Abhilfe",
        "Less.": "Weniger.",
        "input": "Eingang",
        "what it does": "was er tut",
        "size": "Breite",
        "How wide.": "Wie breit.",
        "*Default: {}.*": "*Vorgabe: {}.*",
        "output": "Ausgang",
        "what it holds": "was er hat",
    }
    say = Translation(words | {"Old.": "Alt."})
    assert (
        translated(page, definition, say)
        == """# Malen

Malt.

![Ein Bild](images/Paint.png)

## Eingänge

<!-- inputs -->

| Eingang | was er tut |
|---|---|
| Breite<br>`size` | Wie breit. *Vorgabe: 3.* |

<!-- end -->

- `Breite`: in Pixeln.
- Klein ist langsam.

| Meldung | Abhilfe |
|---|---|
| *too large* | Weniger. |
| `0` | 1 |
"""
    )
    assert (say.missing, say.stale) == ([], ["Old."])
    assert translated(page, definition, Translation({})).split() == translated(page, definition, str).split()
