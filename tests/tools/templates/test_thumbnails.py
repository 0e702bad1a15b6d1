"""The pictures of the templates, as the dialog shows them: there, of what there is now, and each its own."""

import json
import shutil

import pytest
from PIL import Image

from tools.templates import thumbnails
from tools.templates.examples import EXAMPLES, WORKFLOWS, models_of
from tools.templates.thumbnails import KINDS, card_of, origin, origin_of, picture_of

LARGEST = 48 * 1024  # bytes


def test_each_template_has_a_picture_of_what_it_is_now():
    assert thumbnails.stale() == [], "run `python -m tools.templates.thumbnails`"
    assert {*WORKFLOWS.glob("*.jpg")} == {picture_of(name) for name in EXAMPLES}


def test_pictures_are_small_and_no_two_are_the_same():
    files = [picture_of(name) for name in EXAMPLES]
    assert max(path.stat().st_size for path in files) <= LARGEST
    assert len({Image.open(path).tobytes() for path in files}) == len(files)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_card_names_the_model_and_stands_for_what_cannot_be_run_here(name):
    card = card_of(name)
    assert (card is not None) == bool(models_of(name))
    if card:
        assert picture_of(name).stem.endswith(f" ({card.model})")
        assert (card.edit is None) == (KINDS[card.kind] == ())


@pytest.mark.parametrize(
    ("changed", "found"), [("quick_start", ["quick_start", "text_edit_sd15"]), ("local_edit", ["local_edit"])]
)
def test_a_changed_graph_makes_its_picture_stale(tmp_path, monkeypatch, changed, found):
    """And the cards too, whose edits are made by the quick start."""
    shutil.copytree(WORKFLOWS / "api", tmp_path / "api")
    monkeypatch.setattr(thumbnails, "WORKFLOWS", tmp_path)
    assert thumbnails.stale() == []
    path = tmp_path / "api" / f"{changed}.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    (invert,) = (node for node in graph.values() if node["class_type"] == "EditFriendlyInvert")
    invert["inputs"]["steps"] += 1
    path.write_text(json.dumps(graph), encoding="utf-8")
    stale = thumbnails.stale()
    assert {*found} <= {*stale} and "settings_grid" not in stale


def test_other_words_on_a_card_make_it_stale(monkeypatch):
    name = "keep_image_qwen_edit"
    before = origin(name)
    assert origin_of(picture_of(name)) == before
    edits = [thumbnails.DemoEdit(edit.scene, edit.words, said="Other words.") for edit in KINDS["instruction"]]
    monkeypatch.setattr(thumbnails, "KINDS", {**KINDS, "instruction": edits})
    assert origin(name) != before
