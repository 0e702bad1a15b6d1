"""Every example graph opened, exported and run in the host's own front end."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from run import NEWEST, OLDEST
from support.front_end import images_of_last_run
from support.needs import needs_nodes_of
from tools.comfyui import version_of
from tools.templates import build
from tools.templates.examples import EXAMPLES, FILES, NEWER, SCRIPTS, WORKFLOWS, models_of
from tools.templates.graph import NOTES
from tools.templates.page import CANVAS, NODES_2

NAMES = [*EXAMPLES]
BLUEPRINTS = sorted((WORKFLOWS.parent / "subgraphs").glob("*.json"))
# What stands side by side in these leaves no room: on a laptop, the canvas draws no titles until one zooms in.
WIDE = {"find_the_mask", "sdedit_comparison", "compare_inversions", "compare_attention"}
OUTSIDE_WEIGHTS = {name for name in NAMES if models_of(name)}  # tests/server and tests/host execute these


def overlapping(nodes: list[dict]) -> list[tuple[str, str]]:
    """The pairs of nodes whose boxes, title bars included, share an area."""
    pairs = itertools.combinations(nodes, 2)
    return [(a["title"], b["title"]) for a, b in pairs if share_area(a["box"], b["box"])]


def share_area(a: list[float], b: list[float]) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def is_valid(widget: dict) -> bool:
    value = widget["value"]
    if widget["options"] is not None:
        return value in widget["options"]
    if isinstance(value, int | float) and widget["min"] is not None:
        return widget["min"] <= value <= widget["max"]
    return value is not None


def graph_file(name: str) -> dict:
    return json.loads(FILES[name].read_text())


def api_form(name: str) -> dict:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())


def as_defined(graph: dict, definitions: dict, file: dict) -> dict:
    """A graph in the API format with what the host's nodes take: the page also posts widgets of its own, and of what
    newer nodes of the host take beyond those of the file, their defaults."""
    return {
        node_id: node
        | {
            "inputs": {
                name: value
                for name, value in node["inputs"].items()
                if name in taken and (name in file[node_id]["inputs"] or not is_default(value, taken[name]))
            }
        }
        for node_id, node in graph.items()
        for taken in [
            {name: spec for kind in definitions[node["class_type"]]["input"].values() for name, spec in kind.items()}
        ]
    }


def is_default(value: object, spec: list) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    return value == options.get("default", object())


def assert_kept(saved: dict, file: dict) -> None:
    """A node that was saved again says what its file says, and newer front ends add only what they can do without."""
    file = {"widgets_values": []} | file  # left out where there are none
    assert saved.keys() - file.keys() <= {"widgets_values_named"}  # the values once more
    for key, value in file.items():
        more = saved.get(key, [])[len(value) :] if isinstance(value, list) else []  # newer nodes have more of these
        if key == "outputs":
            assert saved.get(key, [])[: len(value)] == value
            assert [output for output in more if output["links"]] == []
        elif key == "widgets_values" and file["properties"].get("cnr_id") == "comfy-core":
            assert saved.get(key, [])[: len(value)] == value
        elif key == "size" and len(saved["outputs"]) > len(file["outputs"]):
            assert saved[key][0] == value[0]  # the height follows the outputs
        elif key != "order":  # the front end sorts anew
            assert saved.get(key, []) == value, (file["title"], key)


def assert_saved_as_it_was(saved: dict, file: dict) -> None:
    """A graph that nobody has changed."""
    kept = {node["id"]: node for node in saved["nodes"]}
    assert kept.keys() == {node["id"] for node in file["nodes"]}
    for node in file["nodes"]:
        assert_kept(kept[node["id"]], node)
    assert sorted(saved["links"]) == sorted(file["links"])
    for group, groups_file in zip(saved["groups"], file["groups"], strict=True):
        assert {"font_size": 24, **group} == groups_file  # the default, which some front ends leave out


def assert_legible(front_end, name: str, smallest: float = 0.57, titles: bool = True) -> None:
    """All of the graph shows, and no smaller than that; with its titles and values, which the canvas leaves out at
    small scales."""
    view = front_end.view()
    file = next(node for node in graph_file(name)["nodes"] if not node["flags"])
    shown = next(node for node in front_end.nodes() if node["title"] == file["title"])
    enlarged = shown["box"][2] / file["size"][0]  # 1.2 in Nodes 2.0 of ComfyUI 0.17.0, else 1
    assert view["scale"] * enlarged >= smallest, view
    assert not (view["blank"] and titles)
    assert front_end.covered() == []


@pytest.fixture(scope="module")
def definitions(server):
    return server.get("/object_info")


def test_the_files_are_what_their_source_generates(front_end, server):
    """By the front ends that write them: newer ones have nodes with more outputs and inputs."""
    version = version_of(server.comfyui)
    if version not in (OLDEST, NEWEST) or server.front_end:
        pytest.skip(f"the files are generated with ComfyUI {OLDEST}: python run.py test --comfyui {OLDEST}")
    newer = version == NEWEST
    texts = build.files(front_end.page, newer)
    names = [name for name in NAMES if (name in NEWER) == newer]
    scripts = [*names] if newer else [*names, *SCRIPTS]
    expected = {FILES[name] for name in names} | {WORKFLOWS / "api" / f"{name}.json" for name in scripts}
    assert texts.keys() == (expected if newer else {*expected, *BLUEPRINTS})
    for path, text in texts.items():
        assert path.read_text() == text, f"{path.name} differs: run `python -m tools.templates.build`"


def test_every_text_for_readers_is_in_a_graph():
    """A graph that names one which is not there cannot be made."""
    shown = {note.name for example in EXAMPLES.values() for note in example().notes}
    assert {path.stem for path in NOTES.iterdir()} == shown


@pytest.mark.parametrize("name", NAMES)
def test_opens_as_it_is_meant(rendered, laptop, definitions, comfyui_path, name):
    needs_nodes_of(name, comfyui_path)
    rendered.open(FILES[name])
    nodes = rendered.nodes()
    assert [node["type"] for node in nodes if not node["known"]] == []
    assert [(node["title"], widget) for node in nodes for widget in node["widgets"] if not is_valid(widget)] == []
    assert overlapping(nodes) == []
    assert_legible(rendered, name)
    assert [group["title"] for group in rendered.groups() if group["width"] > group["room"]] == []
    notes = rendered.notes()
    assert len(notes) == sum(node["type"] == "MarkdownNote" for node in nodes)
    assert [note for note in notes if note["needs"] > note["has"] + 1] == []
    if rendered.renderer() == NODES_2:  # which draws larger; newer front ends fit what comes from the dialog
        rendered.open(FILES[name], openSource="template")
        assert_legible(rendered, name)
    laptop.open(FILES[name])
    assert_legible(laptop, name, *((0.5, False) if name in WIDE else (0.54, True)))
    assert rendered.exported().keys() == api_form(name).keys()
    assert as_defined(rendered.exported(), definitions, api_form(name)) == api_form(name)
    if rendered.renderer() == CANVAS:  # Nodes 2.0 gives nodes sizes of its own
        assert rendered.crossed() == []
        assert_saved_as_it_was(rendered.saved(), graph_file(name))
    assert rendered.errors == laptop.errors == []


@pytest.mark.parametrize("rendered", [CANVAS], indirect=True)
def test_opens_from_the_templates_dialog(rendered):
    rendered.clear()
    rendered.open(FILES["color_edit"], openSource="template")
    view = rendered.view()
    rendered.clear()
    rendered.open_template(FILES["color_edit"].stem)
    assert {node["title"] for node in rendered.nodes()} >= {"Read me", "Recolor", "Mask"}
    assert rendered.view() == view  # so opening with openSource shows what the dialog gives
    assert rendered.errors == []


@pytest.mark.once
@pytest.mark.parametrize("rendered", [NODES_2], indirect=True)
@pytest.mark.parametrize("name", sorted(set(NAMES) - OUTSIDE_WEIGHTS))
def test_runs_and_shows_its_images(rendered, server, name):
    """Run is pressed as a user would; load_and_edit finds the file that the fixture had save_and_reuse write."""
    assert_runs_and_shows_its_images(rendered, server, name)


@pytest.mark.parametrize("rendered", [CANVAS], indirect=True)
@pytest.mark.parametrize("name", ["quick_start", "several_edits", "strength_strip"])
def test_runs_and_shows_its_images_on_the_canvas(rendered, server, name):
    """A view of both, masks beside an edit, and a node that shows a sheet of its own."""
    assert_runs_and_shows_its_images(rendered, server, name)


def assert_runs_and_shows_its_images(rendered, server, name: str) -> None:
    rendered.open(FILES[name])
    rendered.run()
    assert rendered.errors == []
    shown = rendered.wait_for_images()
    assert shown
    assert [title for title, images in shown.items() if not images] == []
    assert all(np.asarray(Image.open(path)).std() > 0.01 * 255 for path in images_of_last_run(server))
    nodes = rendered.nodes()
    assert overlapping(nodes) == []  # live previews have grown the nodes that sample
    assert rendered.covered() == []
    assert rendered.errors == []


def test_every_workflow_is_among_the_templates(server):
    """With a thumbnail, which the front end asks for as a .jpg of the same name."""
    import requests

    names = sorted(path.stem for path in FILES.values())
    assert sorted(server.get("/workflow_templates")["edit-friendly-ddpm"]) == names
    for name in names:
        assert server.get(f"/api/workflow_templates/edit-friendly-ddpm/{name}.json")["version"] == 0.4
        thumbnail = requests.get(f"{server.url}/api/workflow_templates/edit-friendly-ddpm/{name}.jpg", timeout=60)
        assert thumbnail.headers["content-type"] == "image/jpeg"
