"""ComfyUI's own front end, open in a headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from run import threads

from ..batch.server import ComfyServer
from ..comfyui import find_comfyui
from .examples import EXAMPLES, SOUND, VIDEO, models_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, ViewportSize

START = 120_000  # milliseconds, on a busy machine
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
# It opens the server under test and nothing else. Without a GPU, drawing on the processor itself is the fastest.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# A user who has been here before: no tutorial in the way, no dialog about a newer version, and old ids replaced, which
# newer front ends do by themselves.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.NodeReplacement.Enabled": True,
}
SCREEN: ViewportSize = {"width": 1600, "height": 900}
LAPTOP: ViewportSize = {"width": 1366, "height": 768}
CANVAS, NODES_2 = "canvas", "Nodes 2.0"  # the renderers of nodes: drawn on a canvas, or HTML elements over it
# window.app is there before the front end has restored the last graph or loaded its default one over what is open.
READY = """'FixedNoiseSampler' in (window.LiteGraph?.registered_node_types ?? {})
    && Boolean(window.app?.extensionManager?.workflow?.activeWorkflow)"""
# Asked at every frame that the page draws: a second where these are few, as without a GPU, less where they are many.
STILL = """() => {
    const {scale, offset} = app.canvas.ds
    const boxes = [...document.querySelectorAll('[data-node-id], .dom-widget')].map(element => {
        const {x, y, width, height} = element.getBoundingClientRect()
        return [x, y, width, height].map(Math.round)
    })
    const sizes = app.graph.nodes.map(node => [...node.pos, ...node.size])
    const now = JSON.stringify([scale, [...offset], sizes, boxes]), time = performance.now()
    const seen = window.stillness
    window.stillness = seen?.now === now ? {...seen, frames: seen.frames + 1} : {now, frames: 0, since: time}
    return window.stillness.frames >= 10 && time - window.stillness.since > 200
}"""


@contextmanager
def temporary_server() -> Iterator[ComfyServer]:
    """A ComfyUI server with nothing but the pack, for the commands of this folder; they end where there is none."""
    comfyui = find_comfyui()
    if comfyui is None:
        sys.exit("This needs ComfyUI: set COMFYUI_PATH to its folder.")
    os.environ |= threads(2)  # beside a browser, PyTorch's threads wait for each other, and a run takes minutes
    with tempfile.TemporaryDirectory() as base:
        furnish(Path(base), comfyui)
        with ComfyServer(comfyui, Path(base), log=Path(base) / "server.log") as server:
            yield server


@contextmanager
def temporary_page(server: ComfyServer) -> Iterator[Page]:
    """The front end of a server; the commands of this folder end where there is no browser."""
    from playwright.sync_api import sync_playwright

    if find_chromium() is None:
        sys.exit("This needs Chromium: apt-get install chromium, or put a chromium or google-chrome on the PATH.")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = new_page(browser)
        open_front_end(page, server.url)
        yield page
        browser.close()


def furnish(base: Path, comfyui: Path) -> None:
    """Write SETTINGS, and each file that graphs name, those of models empty, where a server with that base looks."""
    for model in (model for name in EXAMPLES for model in models_of(name)):
        path = base / "models" / model["directory"] / model["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in ("input", "user/default"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(SETTINGS))
    shutil.copy(comfyui / "input" / "example.png", base / "input")
    _write_video(base / "input" / VIDEO)
    _write_sound(base / "input" / SOUND)


def _write_video(path: Path) -> None:
    """Write five frames, which a front end can show."""
    import av  # ComfyUI's own

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=16)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * k, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_sound(path: Path) -> None:
    """Write four plucked notes in two seconds, stereo."""
    import av  # ComfyUI's own

    rate = 44100
    seconds = np.arange(rate // 2) / rate
    notes = [
        sum(np.sin(2 * np.pi * hertz * k * seconds) / k for k in (1, 2, 3, 4)) * np.exp(-6 * seconds)
        for hertz in (220.0, 277.2, 329.6, 440.0)
    ]
    samples = (12000 * np.concatenate(notes)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.repeat(2)[None], format="s16", layout="stereo")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def find_chromium() -> str | None:
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)


def new_page(browser: Browser, screen: ViewportSize = SCREEN) -> Page:
    return browser.new_page(viewport=screen)


def open_front_end(page: Page, url: str) -> None:
    """Open the front end of the server at `url`; returns when it has a graph open."""
    page.set_default_timeout(START)
    page.goto(url)
    page.wait_for_function(READY)


def use(page: Page, renderer: str) -> None:
    """Switch to a renderer of nodes; the server remembers it."""
    on = renderer == NODES_2
    page.evaluate("on => app.ui.settings.setSettingValueAsync('Comfy.VueNodes.Enabled', on)", on)
    page.wait_for_function("on => Boolean(LiteGraph.vueNodesMode) === on", arg=on)
    settle(page)


def load(page: Page, graph: dict[str, Any], name: str, **options: Any) -> None:
    """Open a graph as the menu would open its file.

    Args:
        options: to the front end; it shows what has openSource "template" otherwise than a file.
    """
    call = "([graph, name, options]) => app.loadGraphData(graph, true, true, name, options)"
    page.evaluate(call, [graph, name, options])
    settle(page)


def settle(page: Page) -> None:
    """Wait until the page has loaded what it shows, and nothing of the graph has moved for some frames."""
    page.wait_for_load_state("networkidle")
    page.evaluate("delete window.stillness")
    page.wait_for_function(STILL)
