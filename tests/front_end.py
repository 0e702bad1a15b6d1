"""ComfyUI's own front end in a headless Chromium: open a graph, look at it, press Run."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

PACK_URL = "/extensions/edit-friendly-ddpm"
WINDOW = {"width": 1600, "height": 900}
START = 120_000  # milliseconds, on a busy machine
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
# window.app is there before the front end has restored the last graph or loaded its default one over what is open.
READY = """'FixedNoiseSampler' in (window.LiteGraph?.registered_node_types ?? {})
    && Boolean(window.app?.extensionManager?.workflow?.activeWorkflow)"""
# What the host itself asks for and a new user has not got.
NOT_THERE_YET = ("/user.css", "/favicon.ico", "/api/userdata")
# A user who has been here before: no tutorial in the way, and no dialog about a newer version.
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Notification.ShowVersionUpdates": False}


def find_chromium() -> str | None:
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


def open_front_end(page: Any, url: str) -> None:
    """Open the front end of the server at `url` in a page of playwright's; returns when it has a graph open."""
    page.set_default_timeout(START)
    page.goto(url)
    page.wait_for_function(READY)


class FrontEnd:
    """A page with the front end of a running server. `errors` grows with what goes wrong in it; those of the host's
    own start are forgotten when a graph is opened.

    Args:
        page: a page of playwright's.
        url: the server's.
    """

    def __init__(self, page: Any, url: str):
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        page.on("console", self._note_error)
        open_front_end(page, url)
        self._settle()

    def open(self, workflow: Path) -> None:
        """Open a file as the menu would; `errors` starts anew."""
        self.errors[:] = [error for error in self.errors if PACK_URL in error]
        graph = json.loads(workflow.read_text())
        self.page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, workflow.stem])
        self._settle()

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the page shows them: the box with its title bar, widgets, images, whether the type is known."""
        return self.page.evaluate(
            """() => app.graph.nodes.map(node => {
                node.updateArea?.(app.canvas.ctx)
                return {
                    title: node.title,
                    type: node.type,
                    known: node.type in LiteGraph.registered_node_types && !node.has_errors,
                    box: [...node.boundingRect],
                    size: [...node.size],
                    widgets: (node.widgets ?? []).map(widget => ({
                        name: widget.name,
                        value: widget.value,
                        options: typeof widget.options?.values === 'function'
                            ? widget.options.values() : widget.options?.values ?? null,
                        min: widget.options?.min ?? null,
                        max: widget.options?.max ?? null,
                    })),
                    images: (node.imgs ?? []).filter(image => image.complete && image.naturalWidth > 0).length,
                }
            })"""
        )

    def cut_off_notes(self) -> int:
        """How many notes have text that their box does not show."""
        notes = "[...document.querySelectorAll('.comfy-markdown .tiptap')]"
        return self.page.evaluate(f"{notes}.filter(note => note.scrollHeight > note.clientHeight + 1).length")

    def saved(self) -> dict[str, Any]:
        """The graph as Save would write it."""
        return json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).workflow)"))

    def exported(self) -> dict[str, Any]:
        """The graph as Export (API) would write it."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def run(self, timeout: float = 300) -> None:
        """Press Run and wait until the server has nothing left to do."""
        with self.page.expect_response("**/prompt") as reply:
            self.page.get_by_test_id("queue-button").get_by_role("button").first.click()
        if not reply.value.ok:
            self.errors.append(f"the server refused the graph: {reply.value.text()}")
            return
        prompt_id = reply.value.json()["prompt_id"]
        deadline = time.monotonic() + timeout
        while prompt_id not in self.page.request.get(f"{self.url}/history/{prompt_id}").json():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the graph did not finish within {timeout:g} s")
            self.page.wait_for_timeout(200)  # lets the page handle what the server tells it meanwhile
        self._settle()

    def wait_for_images(self, timeout: float = 60) -> None:
        """Wait until every node that shows images has loaded its own: the page draws slowly without a GPU."""
        shown = "app.graph.nodes.filter(node => ['PreviewImage', 'SaveImage'].includes(node.type))"
        loaded = "node => node.imgs?.length && node.imgs.every(image => image.complete && image.naturalWidth > 0)"
        self.page.wait_for_function(f"{shown}.every({loaded})", timeout=1000 * timeout)

    def screenshot(self, path: Path) -> None:
        self.page.screenshot(path=path)

    def _settle(self) -> None:
        """Wait until the page has drawn, and loaded its images."""
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(1000)

    def _note_error(self, message: Any) -> None:
        if message.type == "error" and not any(part in message.location.get("url", "") for part in NOT_THERE_YET):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")
