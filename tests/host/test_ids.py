"""Ids of nodes that other packs have too, and ids that the pack's nodes had before."""

import asyncio
import logging
import sys
from pathlib import Path

import pytest

from support.node_ids import LATER, NODE_IDS
from support.other_pack import make_other_pack

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(comfy, pack, monkeypatch, caplog):
    """load(folder): what the log says while the host loads that pack, and the host's nodes by id."""
    others = {node_id: cls for node_id, cls in comfy.nodes.NODE_CLASS_MAPPINGS.items() if node_id not in NODE_IDS}
    monkeypatch.setattr(comfy.nodes, "NODE_CLASS_MAPPINGS", others)

    def run(folder: Path) -> tuple[list[str], dict[str, type]]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert asyncio.run(comfy.nodes.load_custom_node(str(folder)))
        said = [record.getMessage() for record in caplog.records if "ids of the edit-friendly" in record.getMessage()]
        return said, comfy.nodes.NODE_CLASS_MAPPINGS

    return run


def test_a_pack_that_has_our_ids_is_named(load, pack, tmp_path):
    other = make_other_pack(tmp_path, "LatentShift", "MaskColorEdit", "SomethingElse")
    load(other)
    (said,), known = load(ROOT)
    assert said.startswith("custom_nodes.other_pack has nodes with ids of the edit-friendly DDPM pack: ")
    assert "pack: LatentShift, MaskColorEdit. ComfyUI" in said
    assert known["LatentShift"] is pack.LatentShift


def test_nothing_is_said_where_the_ids_are_free_or_ours(load):
    for _ in range(2):
        said, known = load(ROOT)
        assert said == []
        assert set(NODE_IDS) <= known.keys()


def test_every_old_id_leads_to_a_node_of_ours(pack):
    ids = pack.host.ids
    assert set(ids.RENAMED.values()) == set(NODE_IDS) - {
        *("EditFriendlyInvert", "FixedNoiseSampler", "LatentShift", "MaskColorEdit", "EditFriendlyEdit"),
        *("EditFriendlyEditPreset", *LATER),
    }
    posted = {"prompt": {str(k): {"class_type": old} for k, old in enumerate(ids.RENAMED)}, "client_id": "a"}
    renamed = ids.with_new_ids(posted)
    assert [node["class_type"] for node in renamed["prompt"].values()] == list(ids.RENAMED.values())
    assert renamed["client_id"] == "a"


def test_an_old_id_that_another_pack_has_stays_its_own(load, pack, tmp_path):
    load(make_other_pack(tmp_path, "DDIMInvert"))
    nodes = {"1": {"class_type": "DDIMInvert"}, "2": {"class_type": "WordMask"}, "3": {}}
    renamed = pack.host.ids.with_new_ids({"prompt": nodes})["prompt"]
    assert renamed == {"1": {"class_type": "DDIMInvert"}, "2": {"class_type": "EditFriendlyWordMask"}, "3": {}}


def test_loading_starts_no_server(pack):
    assert "server" not in sys.modules or not hasattr(sys.modules["server"].PromptServer, "instance")


def test_users_are_told_of_every_old_id(pack):
    told = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for old, new in [*pack.host.ids.RENAMED.items(), ("EditPreset", "EditFriendlyEditPreset")]:
        assert f"`{old}`" in told and f"`{new}`" in told
