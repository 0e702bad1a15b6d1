"""Graphs with ids that nodes had before, and another pack with our ids, on a real server."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.other_pack import make_other_pack
from tools.batch.server import ComfyServer

QUICK_START = Path(__file__).parents[2] / "workflows" / "api" / "quick_start.json"


@pytest.fixture(scope="module")
def replacements(server) -> dict[str, list]:
    return server.get("/node_replacements")


@pytest.fixture(scope="module")
def old_ids(replacements) -> dict[str, str]:
    """The old ids of our nodes, by the new ones."""
    return {
        entry["new_node_id"]: old
        for old, (entry, *_) in replacements.items()
        if entry["new_node_id"] == f"EditFriendly{old}"
    }


def test_the_front_end_is_told_of_old_ids(replacements, old_ids):
    assert len(old_ids) == 29
    assert replacements["DDIMInvert"] == [
        {"new_node_id": "EditFriendlyDDIMInvert", "old_node_id": "DDIMInvert"}
        | dict.fromkeys(("old_widget_ids", "input_mapping", "output_mapping"))
    ]


def test_a_graph_with_old_ids_gives_the_same_picture(server, old_ids):
    graph = json.loads(QUICK_START.read_text())
    old = {
        key: {"class_type": old_ids.get(node["class_type"], node["class_type"]), "inputs": node["inputs"]}
        for key, node in graph.items()
    }
    assert {node["class_type"] for node in old.values()} >= {"LoadDemoModel", "LoadDemoImage"}
    (edited,) = (key for key, node in graph.items() if node["_meta"]["title"] == "Edited")
    pictures = []
    for nodes in (old, graph):  # the old one first: what both have in common is kept
        pictures.append(np.asarray(Image.open(server.path_of(server.run(nodes)[edited]["images"][0]))))
    assert pictures[0].std() > 10
    assert np.array_equal(*pictures)


def test_an_optional_input_is_kept_and_may_be_missing(server, old_ids):
    def graph(**more) -> dict:
        levels = {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "scheduler": "simple", "steps": 2}}
        levels["inputs"]["denoise"] = 1.0
        encode = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red house"}}
        settings = {"steps": 3, "cfg": 1.0, "scheduler": "simple", "seed": 0, "skip_steps": 0, "variations": 1}
        links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
        own = {"keep_residuals": True, "fixed_point_iterations": 0, "forward_noise_steps": 0}
        return {
            "1": {"class_type": "LoadDemoModel", "inputs": {}},
            "2": encode,
            "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
            "4": levels,
            "5": {"class_type": "DDIMInvert", "inputs": links | settings | own | more},
            "6": {"class_type": "NoiseMapsStatistics", "inputs": {"noise_maps": ["5", 0]}},
            "7": {"class_type": "PreviewAny", "inputs": {"source": ["6", 1]}},
        }

    three, two = (server.run(g)["7"]["text"][0] for g in (graph(), graph(sigmas=["4", 0])))
    assert three != two


@pytest.fixture(scope="module")
def beside_another(comfyui_path, tmp_path_factory):
    """A server with another pack, loaded after ours, that has ids of ours and of an old one."""
    base = tmp_path_factory.mktemp("beside")
    make_other_pack(base / "more" / "custom_nodes", "LatentShift", "DDIMInvert")
    with ComfyServer(comfyui_path, base, log=base / "server.log", models=base / "more") as running:
        yield running


def test_a_pack_that_takes_our_ids_afterwards_is_named(beside_another):
    said = [line for line in beside_another.log.read_text().splitlines() if "ids of the edit-friendly" in line]
    assert len(said) == 1
    assert "custom_nodes.other_pack has taken ids of the edit-friendly DDPM pack: LatentShift. Graphs" in said[0]
    assert beside_another.get("/object_info/LatentShift")["LatentShift"]["python_module"] == "custom_nodes.other_pack"


def test_an_old_id_that_another_pack_has_runs_its_node(beside_another):
    outputs = beside_another.run({"1": {"class_type": "DDIMInvert", "inputs": {}, "_meta": {"title": "a"}}})
    assert outputs["1"]["text"] == ["of the other pack"]
