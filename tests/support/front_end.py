"""ComfyUI's own front end in a headless Chromium: open a graph, look at it, press Run.

All that differs between the front ends of the supported versions is in `FrontEnd`, which asks the page what it has.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

from tools.templates.page import CANVAS, NODES_2, load, open_front_end, settle, use

PACK = "edit-friendly-ddpm"
PACK_URL = f"/extensions/{PACK}"
# What the host itself asks for and a new user has not got.
NOT_THERE_YET = ("/user.css", "/favicon.ico", "/api/userdata")
# The nodes as the page shows them: a node is an HTML element in the one renderer, and drawn in the other.
NODES = """() => {
    const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect()
    return app.canvas.graph.nodes.map(node => {
        node.updateArea?.(app.canvas.ctx)
        const element = document.querySelector(`[data-node-id="${node.id}"]`)
        const shown = LiteGraph.vueNodesMode && element?.getBoundingClientRect()
        const box = !shown ? [...node.boundingRect] : [
            (shown.x - canvas.x) / scale - offset[0], (shown.y - canvas.y) / scale - offset[1],
            shown.width / scale, shown.height / scale,
        ]
        return {
            title: node.title,
            type: node.type,
            known: node.type in LiteGraph.registered_node_types && !node.has_errors,
            box: box.map(Math.round),
            drawn_by: shown ? 'Nodes 2.0' : 'canvas',
            widgets: (node.widgets ?? []).map(widget => ({
                name: widget.name,
                value: widget.value,
                options: typeof widget.options?.values === 'function'
                    ? widget.options.values() : widget.options?.values ?? null,
                min: widget.options?.min ?? null,
                max: widget.options?.max ?? null,
            })),
        }
    })
}"""
# Each open graph makes every question to the page slower.
CLOSE_OTHERS = """async () => {
    const {openWorkflows, activeWorkflow, closeWorkflow} = app.extensionManager.workflow
    for (const each of [...openWorkflows]) if (each !== activeWorkflow) await closeWorkflow(each)
}"""
# Points of the page at which something else than the graph is on top.
COVERED = """step => {
    const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas, frame = canvas.getBoundingClientRect()
    const graph = '[data-node-id], .dom-widget, .comfy-multiline-input, .comfy-markdown'
    const shows = (x, y) => {
        const top = document.elementFromPoint(x, y)
        return top === canvas || Boolean(top?.closest(graph)) || Boolean(top?.contains(canvas))
    }
    const within = (from, to) => {
        const points = []
        for (let at = from + 1; at < to - 1; at += step) points.push(at)
        return [...points, to - 1]
    }
    const covered = ({name, box: [x, y, width, height]}) => {
        const left = frame.x + (x + offset[0]) * scale, top = frame.y + (y + offset[1]) * scale
        return within(left, left + width * scale).some(
            px => within(top, top + height * scale).some(py => !shows(px, py)))
    }
    const groups = app.graph.groups.map(group => ({
        name: group.title, box: [group.pos[0], group.pos[1], group.size[0], 34]}))
    const nodes = app.graph.nodes.map(node => {
        node.updateArea?.(app.canvas.ctx)
        return {name: node.title, box: [...node.boundingRect]}
    })
    return [...groups, ...nodes].filter(covered).map(item => item.name)
}"""
# Where nodes are, they hide the wires.
CROSSED = """() => {
    const context = app.canvas.ctx, boxes = app.graph.nodes.map(node => {
        node.updateArea?.(context)
        return node.boundingRect
    })
    const hidden = (px, py) => boxes.some(([x, y, width, height]) =>
        px > x && px < x + width && py > y && py < y + height)
    const wires = [...app.graph.links.values()].map(link => link.path)
    if (!wires.every(Boolean)) throw Error('a wire is not drawn')
    context.save()
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.lineWidth = 3
    const crossed = app.graph.groups.filter(({pos: [left, top], title, font_size}) => {
        context.font = `${font_size || 24}px ${LiteGraph.GROUP_FONT}`
        const right = left + 8 + context.measureText(title).width
        for (let x = left + 8; x < right; x += 3)
            for (let y = top + 6; y < top + 32; y += 3)
                if (!hidden(x, y) && wires.some(wire => context.isPointInStroke(wire, x, y))) return true
        return false
    })
    context.restore()
    return crossed.map(group => group.title)
}"""
GROUPS = """() => app.graph.groups.map(group => {
    const context = app.canvas.ctx
    context.save()
    const size = group.font_size || 24
    context.font = `${size}px ${LiteGraph.GROUP_FONT}`
    const width = context.measureText(group.title).width
    context.restore()
    return {title: group.title, width, room: group.size[0] - size}
})"""
NOTES = """() => [...document.querySelectorAll('.comfy-markdown .tiptap, [data-node-id] .widget-markdown')]
    .filter(note => note.offsetParent).map(note => ({needs: note.scrollHeight, has: note.clientHeight}))"""


def images_of_last_run(server: Any) -> list[Path]:
    """The files of the pictures that the graph which a server ran last has shown or saved."""
    (run,) = server.get("/history?max_items=1").values()
    return [server.path_of(image) for output in run["outputs"].values() for image in output.get("images", [])]


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
        self._close_side_panel()
        settle(self.page)

    def renderer(self) -> str:
        """The one in use."""
        return NODES_2 if self.page.evaluate("Boolean(LiteGraph.vueNodesMode)") else CANVAS

    def use(self, renderer: str) -> None:
        """Switch to a renderer; the server remembers it."""
        use(self.page, renderer)

    def open(self, workflow: Path, **options: Any) -> None:
        """Open a file as the menu would; `errors` starts anew.

        Args:
            options: to the front end; it shows what has openSource "template" otherwise than a file.
        """
        self._forget_errors()
        graph = json.loads(workflow.read_text(encoding="utf-8"))
        graph["id"] = str(uuid.uuid4())  # newer front ends remember the view of a graph that they know
        load(self.page, graph, workflow.stem, **options)
        self.page.evaluate(CLOSE_OTHERS)

    def _forget_errors(self) -> None:
        """Forget those that are not of the pack."""
        self.errors[:] = [error for error in self.errors if PACK_URL in error]

    def clear(self) -> None:
        """Empty the graph that is open; `errors` starts anew."""
        self._forget_errors()
        self.page.evaluate("app.graph.clear()")

    def open_template(self, name: str) -> None:
        """Open a template of the pack as a user does: Templates, the pack, the template."""
        nothing = {"status": 200, "content_type": "image/svg+xml", "body": "<svg xmlns='http://www.w3.org/2000/svg'/>"}
        moving = re.compile(r"/templates/.*\.webp")  # the host's own thumbnails, hundreds, which take minutes to draw
        self.page.route(moving, lambda route: route.fulfill(**nothing))
        self.page.get_by_role("button", name=re.compile("^Templates")).first.click()
        dialog = self.page.get_by_role("dialog").filter(has=self.page.get_by_text(PACK))
        dialog.get_by_text(PACK, exact=True).first.click()
        entry = dialog.get_by_text(name, exact=True)
        for _ in range(50):  # some front ends show no more than a few, and the next as one scrolls
            if entry.count():
                break
            box = dialog.first.bounding_box()
            assert box is not None
            self.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"])
            self.page.mouse.wheel(0, 1000)
            self.page.wait_for_timeout(100)
        entry.first.click()
        # "color_edit (2)" the next time
        opened = "name => app.extensionManager.workflow.activeWorkflow.filename.startsWith(name)"
        self.page.wait_for_function(opened, arg=name)
        dialog.first.wait_for(state="hidden")
        self.page.unroute(moving)
        settle(self.page)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the page shows them: box with title bar, renderer, widgets, whether the type is known."""
        return self.page.evaluate(NODES)

    def covered(self) -> list[str]:
        """Nodes and titles of groups that are partly outside the canvas, or under a bar or the minimap."""
        return self.page.evaluate(COVERED, 24)  # the smallest button over a graph is wider

    def crossed(self) -> list[str]:
        """Titles of groups over which a wire runs; of a graph on the canvas."""
        return self.page.evaluate(CROSSED)

    def view(self) -> dict[str, Any]:
        """Scale and offset of the canvas, and whether it is so small that titles and values are left out."""
        return self.page.evaluate(
            """({scale: app.canvas.ds.scale, offset: [...app.canvas.ds.offset],
                blank: app.canvas.low_quality && !LiteGraph.vueNodesMode})"""
        )

    def groups(self) -> list[dict[str, Any]]:
        """Of each group the width of its title and of the room for it."""
        return self.page.evaluate(GROUPS)

    def notes(self) -> list[dict[str, Any]]:
        """Of each note the height of its text and of its box."""
        return self.page.evaluate(NOTES)

    def saved(self) -> dict[str, Any]:
        """The graph as Save would write it."""
        return json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).workflow)"))

    def exported(self) -> dict[str, Any]:
        """The graph as Export (API) would write it, but for what newer front ends say of the pack of a node."""
        graph = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        for node in graph.values():
            node["_meta"].pop("cnr_id", None)
        return graph

    def press_run(self) -> None:
        """In one front end the element of that name is the button, in another it holds the button."""
        named = self.page.get_by_test_id("queue-button")
        named.and_(self.page.get_by_role("button")).or_(named.get_by_role("button")).first.click()

    def run(self, timeout: float = 300) -> None:
        """Press Run and wait until the server has nothing left to do."""
        with self.page.expect_response("**/prompt") as reply:
            self.press_run()
        if not reply.value.ok:
            self.errors.append(f"the server refused the graph: {reply.value.text()}")
            return
        prompt_id = reply.value.json()["prompt_id"]
        deadline = time.monotonic() + timeout
        while prompt_id not in self.page.request.get(f"{self.url}/history/{prompt_id}").json():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the graph did not finish within {timeout:g} s")
            self.page.wait_for_timeout(200)  # lets the page handle what the server tells it meanwhile
        settle(self.page)

    def wait_for_error(self, message: str) -> None:
        """Wait until the page says it; newer front ends keep the words behind a button."""
        words = self.page.get_by_text(message)
        details = self.page.get_by_role("button", name="View details")
        words.or_(details).first.wait_for()
        if details.count():
            details.first.click()
        words.first.wait_for()

    def search_nodes(self, words: str) -> None:
        """Open the node library and search there."""
        self.page.keyboard.press("n")
        fields = self.page.get_by_placeholder(re.compile("^Search", re.IGNORECASE))
        fields.locator("visible=true").first.fill(words)

    def wait_for_images(self, timeout: float = 60) -> dict[str, int]:
        """Wait until every open node that shows images has loaded its own; how many each has, by its title.

        The canvas loads an image when it first draws it, and the page draws slowly without a GPU.
        """
        shows = "['PreviewImage', 'SaveImage'].includes(node.type) && !node.flags.collapsed"
        loaded = "image => image.complete && image.naturalWidth > 0"
        images = """node => LiteGraph.vueNodesMode
            ? [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)] : node.imgs ?? []"""
        counts = f"""() => Object.fromEntries(app.graph.nodes.filter(node => {shows})
            .map(node => [node.title, ({images})(node).filter({loaded}).length]))"""
        complete = f"() => {{ app.canvas.setDirty(true, true); return Object.values(({counts})()).every(Boolean) }}"
        self.page.wait_for_function(complete, timeout=1000 * timeout)
        return self.page.evaluate(counts)

    def wait_for_image_on(self, node_id: int, wider_than: int) -> None:
        """Bring a node into view and wait until it shows an image of more pixels than that from side to side."""
        self.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", node_id)
        shown = """([id, width]) => {
            app.canvas.setDirty(true, true)
            return app.graph.getNodeById(id).imgs?.[0]?.naturalWidth > width
        }"""
        self.page.wait_for_function(shown, arg=[node_id, wider_than])

    def screenshot(self, path: Path) -> None:
        self.page.screenshot(path=path)

    def _close_side_panel(self) -> None:
        """Help and errors open it over the canvas of newer front ends, and the server remembers it for other pages."""
        panel = "Comfy.RightSidePanel.IsOpen"
        known = f"'{panel}' in app.ui.settings.settingsLookup"
        self.page.evaluate(f"{known} && app.ui.settings.setSettingValueAsync('{panel}', false)")

    def _note_error(self, message: Any) -> None:
        if message.type == "error" and not any(part in message.location.get("url", "") for part in NOT_THERE_YET):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")
