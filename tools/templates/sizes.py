"""How high nodes and notes are in each of the front end's two renderers: the canvas, and Nodes 2.0 (HTML elements).

Both compute it from slots and widgets, by numbers of their own. These were read off the front ends of ComfyUI
0.3.64 and 0.33.0; tests/browser holds that what stands by them does not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .graph import Node, Note

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
EMPTY_VALUES = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}

SLOT = 20  # a row of an input and an output, in both
CANVAS_WIDGET, CANVAS_WIDGETS_MARGIN, CANVAS_FRAME, CANVAS_PREVIEW = 24, 8, 6, 222
CANVAS_BADGE = 16  # stands on the title bar of the node below
HTML_WIDGET, HTML_TEXT, HTML_FRAME, HTML_PREVIEW = 28, 36, 14, 248
HTML_BADGE = 24  # a row of its own

CANVAS_LETTER = 0.62  # mean width of a letter, in sizes of type, in a wide typeface (DejaVu Sans Bold)
HTML_LETTER = 0.58  # in the front end's own (Inter Bold)
NOTE_MARGIN = 30  # left and right of the text together
CANVAS_HEADINGS = {1: 20, 2: 15}  # sizes of type
HTML_HEADINGS, HTML_LINE, HTML_PARAGRAPH = {1: 15.8, 2: 12.9}, 1.6, 32


@dataclass(frozen=True)
class InputSlot:
    """An input of a node as the host defines it."""

    name: str
    type: str
    options: Mapping[str, Any]
    optional: bool

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        first_option = next(iter(self.options.get("options", ())), EMPTY_VALUES.get(self.type))
        return self.options.get("default", first_option)

    @property
    def extra_values(self) -> list[str]:
        """Values of the further widgets that the front end adds behind this one and saves with the graph."""
        if self.options.get("control_after_generate") or self.name in ("seed", "noise_seed"):
            return ["fixed"]  # the same seed at each Run, so that what changes is what the reader changed
        return ["image"] if any(self.options.get(f"{kind}_upload") for kind in ("image", "video")) else []


def input_slots(definition: Mapping[str, Any]) -> list[InputSlot]:
    """The inputs of a node in the host's order."""
    slots = []
    for kind in ("required", "optional"):
        for name in definition["input_order"].get(kind, ()):
            type_, options = (*definition["input"][kind][name], {})[:2]
            if isinstance(type_, list):  # how the host's older nodes write a choice
                type_, options = "COMBO", {"options": type_, **options}
            slots.append(InputSlot(name, type_, options, kind == "optional"))
    return slots


def is_own(definition: Mapping[str, Any]) -> bool:
    """Whether it is a node of this pack, which both renderers mark with a badge."""
    return definition["python_module"].startswith("custom_nodes.")


def canvas_height(node: Node, definition: Mapping[str, Any]) -> int:
    """Of a node below its title bar before a run, on the canvas: the size that the file says."""
    widgets = sum(1 + len(slot.extra_values) for slot in _one_line_widgets(definition))
    rows = CANVAS_WIDGET * widgets + CANVAS_WIDGETS_MARGIN if widgets else 0
    return SLOT * _slot_rows(definition) + rows + CANVAS_FRAME + node.room


def height(node: Node, definition: Mapping[str, Any]) -> int:
    """Of the room that a node needs below its title bar, in either renderer, before and after a run."""
    if node.collapsed:
        return node.space_below
    canvas = canvas_height(node, definition) + CANVAS_BADGE + CANVAS_PREVIEW * node.live_preview
    html = _html_height(node, definition) + HTML_PREVIEW * node.live_preview
    return max(canvas, html) + node.space_below


def note_height(note: Note) -> int:
    """Of a note below its title bar, with all its text in either renderer."""
    headings = [(len(line) - len(line.lstrip("#")), line.lstrip("# ")) for line in note.text.splitlines() if line]
    width = note.width - NOTE_MARGIN
    canvas = NOTE_MARGIN + sum(
        round(CANVAS_HEADINGS[level] * (1.2 * _lines(text, CANVAS_HEADINGS[level] * CANVAS_LETTER, width) + 0.9))
        for level, text in headings
    )
    html = sum(
        HTML_PARAGRAPH + HTML_LINE * HTML_HEADINGS[level] * _lines(text, HTML_HEADINGS[level] * HTML_LETTER, width)
        for level, text in headings
    )
    return max(canvas, math.ceil(html))


def _html_height(node: Node, definition: Mapping[str, Any]) -> int:
    widgets = sum(HTML_TEXT if slot.type == "STRING" else HTML_WIDGET for slot in _one_line_widgets(definition))
    badge = HTML_BADGE if is_own(definition) else 0
    return SLOT * _slot_rows(definition) + widgets + HTML_FRAME + badge + node.room


def _slot_rows(definition: Mapping[str, Any]) -> int:
    sockets = sum(not slot.is_widget for slot in input_slots(definition))
    return max(sockets, len(definition["output"]))


def _one_line_widgets(definition: Mapping[str, Any]) -> list[InputSlot]:
    return [slot for slot in input_slots(definition) if slot.is_widget and not slot.options.get("multiline")]


def _lines(text: str, letter: float, width: int) -> int:
    return math.ceil(len(text) * letter / width)
