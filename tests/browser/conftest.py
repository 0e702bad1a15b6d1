"""The host's own front end in Debian's Chromium, on a real server with the pack."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from support.front_end import FrontEnd
from support.needs import missing
from support.offline import attempts_of, forbid_network
from tools.batch.server import ComfyServer
from tools.templates.page import CANVAS, LAPTOP, NODES_2, find_chromium, furnish, launch, new_page

SAVES_MAPS = Path(__file__).parents[2] / "workflows" / "api" / "save_and_reuse.json"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; the test is skipped where it or playwright is missing, and fails there in CI."""
    if importlib.util.find_spec("playwright") is None:
        missing("playwright: pip install -c requirements-dev.txt playwright")
    return find_chromium() or missing(
        "Chromium: apt-get install chromium, or put a chromium or google-chrome on the PATH"
    )


@pytest.fixture(scope="session")
def server(chromium, comfyui_path, tmp_path_factory, request):
    """A server that lists every file which the graphs name; tests/server and tests/host execute those with weights."""
    base = tmp_path_factory.mktemp("comfyui")
    furnish(base, comfyui_path)
    forbid_network(base)
    # One thread: PyTorch's others wait for each other in a loop where the browser takes a core, and runs take minutes.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        other = request.config.getoption("--front-end-root")
        with ComfyServer(comfyui_path, base, log=base / "server.log", front_end=other) as running:
            running.run(json.loads(SAVES_MAPS.read_text()))
            yield running
    assert attempts_of(base / "server.log") == []


# Not for the session: as long as playwright is open its event loop runs in this thread, and other tests run their own.
@pytest.fixture(scope="module")
def browser(chromium):
    """Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="module")
def front_end(browser, server):
    return FrontEnd(new_page(browser), server.url)


@pytest.fixture(scope="module", params=[CANVAS, NODES_2])
def rendered(request, front_end):
    """The front end with each of its renderers of nodes."""
    front_end.use(request.param)
    yield front_end
    front_end.use(CANVAS)


@pytest.fixture(scope="module")
def laptop(browser, server, rendered):
    """The same in a window of a laptop, as one starts it there."""
    page = new_page(browser, LAPTOP)
    front_end = FrontEnd(page, server.url)
    front_end.use(rendered.renderer())
    yield front_end
    page.close()


@pytest.fixture
def empty_page(front_end):
    """The front end with an empty graph and nothing open over it."""
    front_end.page.keyboard.press("Escape")
    front_end.clear()
    return front_end
