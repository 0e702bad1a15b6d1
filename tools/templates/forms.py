"""Both forms of a graph that ComfyUI knows: what a script posts to `/prompt`, and what the front end saves and opens.

What a `Workflow` leaves open (slots, the order of the widgets, defaults) comes from the host's own node definitions,
its `/object_info`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from .graph import Group, Node, Note, Output, Workflow
from .layout import Box, place, view_of
from .sizes import InputSlot, canvas_height, height, input_slots, is_own, note_height

Definitions = Mapping[str, Mapping[str, Any]]  # the host's /object_info

OPTIONAL_SHAPE = 7  # a hollow circle
LIST_SHAPE = 6  # a grid, for an output that gives a list
OWN_COLORS = {"color": "#323", "bgcolor": "#535"}
NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}
OWN_PACK, HOST_PACK = "edit-friendly-ddpm", "comfy-core"  # what ComfyUI-Manager calls them


def api_form(workflow: Workflow, definitions: Definitions) -> dict[str, Any]:
    """The graph as `/prompt` takes it."""
    ids = _ids(workflow)
    graph = {}
    for node in workflow.nodes:
        values: dict[str, Any] = {}
        for slot in _checked_slots(node, definitions):
            value = node.inputs.get(slot.name, slot.default if slot.is_widget else None)
            if isinstance(value, Output):
                values[slot.name] = [str(ids[value.node]), _output_index(value, definitions)]
            elif slot.is_widget:
                values[slot.name] = value
        graph[str(ids[node])] = {"class_type": node.class_type, "inputs": values, "_meta": {"title": node.title}}
    return graph


def browser_form(name: str, workflow: Workflow, definitions: Definitions) -> dict[str, Any]:
    """The graph as the front end saves it and opens it."""
    ids = _ids(workflow)
    links = _Links(ids, definitions)
    slots = {node: _serialized_slots(node, definitions, links) for node in workflow.nodes}
    heights: dict[Node | Note, int] = {node: height(node, definitions[node.class_type]) for node in workflow.nodes}
    boxes = place(workflow.columns, heights | {note: note_height(note) for note in workflow.notes})
    nodes = [
        _serialized_node(node, ids[node], boxes[node], slots[node], definitions[node.class_type], links)
        for node in workflow.nodes
    ]
    notes = [_serialized_note(note, len(ids) + 1 + i, boxes[note]) for i, note in enumerate(workflow.notes)]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{OWN_PACK}/{name}")),
        "revision": 0,
        "last_node_id": len(nodes) + len(notes),
        "last_link_id": len(links.rows),
        "nodes": nodes + notes,
        "links": links.rows,
        "groups": [_serialized_group(group, i + 1, boxes[group]) for i, group in enumerate(workflow.groups)],
        "config": {},
        "extra": {"ds": view_of(boxes)},
        "version": 0.4,
    }


class _Links:
    """The wires of a graph as the front end numbers and lists them."""

    def __init__(self, ids: Mapping[Node, int], definitions: Definitions):
        self._ids = ids
        self._definitions = definitions
        self.rows: list[list[Any]] = []

    def add(self, source: Output, target: Node, slot: int, type_: str) -> int:
        """The id of a new link into input number `slot` of `target`."""
        origin = [self._ids[source.node], _output_index(source, self._definitions)]
        self.rows.append([len(self.rows) + 1, *origin, self._ids[target], slot, type_])
        return len(self.rows)

    def from_output(self, node_id: int, index: int) -> list[int] | None:
        return [row[0] for row in self.rows if row[1:3] == [node_id, index]] or None


def _ids(workflow: Workflow) -> dict[Node, int]:
    return {node: i for i, node in enumerate(workflow.nodes, 1)}


def _checked_slots(node: Node, definitions: Definitions) -> list[InputSlot]:
    """The inputs of a node.

    Raises:
        ValueError: the graph names an input that the host's node lacks, or leaves a required one open.
    """
    slots = input_slots(definitions[node.class_type])
    if unknown := set(node.inputs) - {slot.name for slot in slots}:
        raise ValueError(f"{node.class_type} {node.title!r} has no input {', '.join(sorted(unknown))}")
    for slot in slots:
        if not (slot.optional or slot.is_widget or slot.name in node.inputs):
            raise ValueError(f"{node.class_type} {node.title!r}: connect the input {slot.name}")
    return slots


def _output_index(output: Output, definitions: Definitions) -> int:
    names = [name.lower() for name in definitions[output.node.class_type]["output_name"]]
    return names.index(output.name.lower())


def _serialized_slots(node: Node, definitions: Definitions, links: _Links) -> list[dict[str, Any]]:
    """The inputs that the front end saves: all sockets, then the widgets that have a wire."""
    all_slots = _checked_slots(node, definitions)
    wired = [slot for slot in all_slots if slot.is_widget and isinstance(node.inputs.get(slot.name), Output)]
    serialized = []
    for i, slot in enumerate([slot for slot in all_slots if not slot.is_widget] + wired):
        source = node.inputs.get(slot.name)
        entry: dict[str, Any] = {"name": slot.name, "type": slot.type}
        if slot.optional:
            entry["shape"] = OPTIONAL_SHAPE
        if slot.is_widget:
            entry["widget"] = {"name": slot.name}
        entry["link"] = links.add(source, node, i, slot.type) if isinstance(source, Output) else None
        serialized.append(entry)
    return serialized


def _serialized_node(
    node: Node, node_id: int, box: Box, slots: list[dict], definition: Mapping[str, Any], links: _Links
) -> dict[str, Any]:
    own = is_own(definition)
    outputs = zip(definition["output_name"], definition["output"], definition["output_is_list"], strict=True)
    properties: dict[str, Any] = {
        "Node name for S&R": node.class_type,
        "cnr_id": OWN_PACK if own else HOST_PACK,
    }
    if node.models:
        properties["models"] = list(node.models)
    return {
        "id": node_id,
        "type": node.class_type,
        "pos": [box.x, box.y],
        "size": [box.width, canvas_height(node, definition)],
        "flags": {"collapsed": True} if node.collapsed else {},
        "order": node_id - 1,
        "mode": 0,
        "inputs": slots,
        "outputs": [
            {"name": name, "type": type_, "links": links.from_output(node_id, i)}
            | ({"shape": LIST_SHAPE} if is_list else {})
            for i, (name, type_, is_list) in enumerate(outputs)
        ],
        "title": node.title,
        "properties": properties,
        "widgets_values": _widget_values(node, definition),
        **(node.colors or (OWN_COLORS if own else {})),
    }


def _widget_values(node: Node, definition: Mapping[str, Any]) -> list[Any]:
    values = []
    for slot in input_slots(definition):
        if slot.is_widget:
            value = node.inputs.get(slot.name, slot.default)
            values += [slot.default if isinstance(value, Output) else value, *slot.extra_values]
    return values


def _serialized_note(note: Note, node_id: int, box: Box) -> dict[str, Any]:
    return {
        "id": node_id,
        "type": "MarkdownNote",
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": node_id - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": note.title,
        "properties": {},
        "widgets_values": [note.text],
        **NOTE_COLORS,
    }


def _serialized_group(group: Group, group_id: int, box: Box) -> dict[str, Any]:
    return {
        "id": group_id,
        "title": group.title,
        "bounding": [box.x, box.y, box.width, box.height],
        "color": group.color,
        "font_size": 24,
        "flags": {},
    }
