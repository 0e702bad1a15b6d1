"""An example graph as short declarative Python.

A `Workflow` says which nodes there are, what they are connected to, which values differ from the defaults, and in which
column and group each is shown. `forms` makes of it what ComfyUI reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADING_SIZES = {1: 20, 2: 15}
NOTE_LETTER = 0.62  # mean width of a letter, in sizes of type, in a wide typeface (DejaVu Sans Bold)
NOTE_FRAME = 30


@dataclass(eq=False)
class Node:
    """A node of the graph.

    Args:
        inputs: by name, a widget's value or the output of another node; the host's defaults for all others.
        width: of the node; its column gives it where None.
        room: height for what the front end shows below the slots and one-line widgets: a text box or an image.
        space_below: left free in the layout, for a preview that grows the node while it runs.
        collapsed: shown as its title bar only.
        colors: color and bgcolor; the pack's own nodes have one by default.
        models: the files that it needs, as the front end offers them for download: name, url, directory.
    """

    class_type: str
    title: str
    inputs: dict[str, Any] = field(default_factory=dict)
    width: int | None = None
    room: int = 0
    space_below: int = 0
    collapsed: bool = False
    colors: Mapping[str, str] = field(default_factory=dict)
    models: Sequence[Mapping[str, str]] = ()

    def __getitem__(self, output: str) -> Output:
        return Output(self, output)


@dataclass(frozen=True)
class Output:
    """An output of a node, by its name in any case."""

    node: Node
    name: str


@dataclass(eq=False)
class Note:
    """Text for the reader of the graph, in Markdown that is all headings: the front end sets these large enough."""

    text: str
    width: int = 320
    title: str = "Read me"

    @property
    def height(self) -> int:
        """What the text needs, by the front end's sizes of type."""
        return NOTE_FRAME + sum(self._height_of(line) for line in self.text.splitlines() if line)

    def _height_of(self, line: str) -> int:
        size = HEADING_SIZES[len(line) - len(line.lstrip("#"))]
        rows = math.ceil(len(line.lstrip("# ")) * size * NOTE_LETTER / (self.width - NOTE_FRAME))
        return round(size * (1.2 * rows + 0.9))


@dataclass(eq=False)
class Group:
    """A titled, coloured frame around columns of nodes."""

    title: str
    color: str
    columns: Sequence[Sequence[Node]]


@dataclass(eq=False)
class Workflow:
    """A graph, as columns of groups and notes from left to right."""

    columns: Sequence[Sequence[Group | Note]]

    @property
    def groups(self) -> list[Group]:
        return [item for column in self.columns for item in column if isinstance(item, Group)]

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for column in group.columns for node in column]

    @property
    def notes(self) -> list[Note]:
        return [item for column in self.columns for item in column if isinstance(item, Note)]
