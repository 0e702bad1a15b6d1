"""An example graph as short declarative Python.

A `Workflow` says which nodes there are, what they are connected to, which values differ from the defaults, and in which
column and group each is shown. `build` makes of it what ComfyUI reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTES = Path(__file__).parent / "notes"


@dataclass(eq=False)
class Node:
    """A node of the graph.

    Args:
        inputs: by name, a widget's value, the output of another node, or an input of the blueprint that the node is in;
            the host's defaults for all others.
        width: of the node; its column gives it where None.
        room: height beyond the least that the front end gives a node, for an image or a longer text.
        live_preview: it samples, and the front end grows it by a picture of each step where previews are on.
        collapsed: shown as its title bar only.
        colors: color and bgcolor; the pack's own nodes have one by default.
        models: the files that it needs, as the front end offers them for download: name, url, directory.
    """

    class_type: str
    title: str
    inputs: dict[str, Any] = field(default_factory=dict)
    width: int | None = None
    room: int = 0
    live_preview: bool = False
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


@dataclass(frozen=True)
class Entry:
    """An input of a blueprint by its name: a socket, or a widget with a value."""

    name: str
    value: Any = None


Wire = Output | Entry


@dataclass(eq=False)
class Note:
    """A text of the folder `notes` for the reader of the graph, in Markdown that is all headings: the front end sets
    running text very small."""

    name: str
    width: int = 300
    title: str = "Read me"

    @property
    def text(self) -> str:
        return (NOTES / f"{self.name}.md").read_text(encoding="utf-8")


@dataclass(eq=False)
class Group:
    """A titled, colored frame around columns of nodes."""

    title: str
    color: str
    columns: Sequence[Sequence[Node]]


@dataclass(eq=False)
class Workflow:
    """A graph, as columns of groups and notes from left to right."""

    columns: Sequence[Sequence[Group | Note]]

    @property
    def ids(self) -> dict[Node | Note, int]:
        items: list[Node | Note] = [*self.nodes, *self.notes]
        return {item: number for number, item in enumerate(items, 1)}

    @property
    def groups(self) -> list[Group]:
        return [item for column in self.columns for item in column if isinstance(item, Group)]

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for column in group.columns for node in column]

    @property
    def notes(self) -> list[Note]:
        return [item for column in self.columns for item in column if isinstance(item, Note)]


@dataclass(eq=False)
class Blueprint:
    """A graph as one node, a subgraph.

    Args:
        name: in the host's library of nodes, and of the file.
        description: what the library says of it.
        workflow: the nodes inside.
        entries: its inputs, in their order.
        outputs: by name.
        width, room: of the node.
    """

    name: str
    description: str
    workflow: Workflow
    entries: Sequence[Entry]
    outputs: Mapping[str, Output]
    width: int = 400
    room: int = 0
