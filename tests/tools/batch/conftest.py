"""The stand-in for a server, a graph for it, and pictures."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from support.stand_in import GRAPH, PNG, StandIn


@pytest.fixture(scope="session")
def listening():
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def stand_in(listening) -> StandIn:
    """A server of sound answers, until a test gives it odd ones."""
    listening.reset()
    return listening


@pytest.fixture
def graph_file(tmp_path) -> Path:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Two pictures, equal to the pixel, of other digests."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(PNG + name.encode())
    return folder
