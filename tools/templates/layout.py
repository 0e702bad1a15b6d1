"""Where things stand: columns from left to right, groups and notes in a column and nodes in a group from top to bottom.

Boxes are in the front end's units. A node's box is the room for its body in either renderer, after a run too; its title
bar lies above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from .graph import Group, Node, Note, Workflow

TITLE = 30  # the title bar of a node
GROUP_TITLE = 50
PADDING = 8  # inside a group
NODE_GAP = 8
SIDE_GAP = 16  # between columns of a group
COLLAPSED_GAP = 6
GROUP_GAP = 8
COLUMN_GAP = 24
NODE_WIDTH = 250


@dataclass(frozen=True)
class Box:
    x: int
    y: int
    width: int
    height: int


Item = Node | Note | Group


def column_widths(workflow: Workflow) -> dict[Node, int]:
    """The width of each node: of the widest that is open in its column of a group."""
    return {
        node: max((other.width or NODE_WIDTH for other in column if not other.collapsed), default=NODE_WIDTH)
        for group in workflow.groups
        for column in group.columns
        for node in column
    }


def place(workflow: Workflow, heights: Mapping[Node | Note, int]) -> dict[Item, Box]:
    """The box of every node, note and group.

    Args:
        heights: of the room that each node and note needs below its title bar.
    """
    boxes: dict[Item, Box] = {}
    widths = column_widths(workflow)
    x = 0
    for column in workflow.columns:
        y = 0
        for item in column:
            if isinstance(item, Group):
                box = _place_group(item, x, y, widths, heights, boxes)
            else:
                box = Box(x, y + TITLE, item.width, heights[item])
            boxes[item] = box
            y = box.y + box.height + GROUP_GAP
        x = max(boxes[item].x + boxes[item].width for item in column) + COLUMN_GAP
    return boxes


def _place_group(
    group: Group,
    x: int,
    y: int,
    widths: Mapping[Node, int],
    heights: Mapping[Node | Note, int],
    boxes: dict[Item, Box],
) -> Box:
    left, bottom = x + PADDING, y
    lead = max(_lead(column) for column in group.columns)
    for column in group.columns:
        top = y + GROUP_TITLE + lead - _lead(column)
        for node in column:
            height = 0 if node.collapsed else heights[node]
            boxes[node] = Box(left, top + TITLE, widths[node], height)
            end = top + TITLE + height
            top = end + (COLLAPSED_GAP if node.collapsed else NODE_GAP)
        left += widths[node] + SIDE_GAP
        bottom = max(bottom, end)
    return Box(x, y, left - SIDE_GAP + PADDING - x, bottom + PADDING - y)


def _lead(column: Sequence[Node]) -> int:
    """The height of the collapsed nodes on top of a column: the first large ones of a group stand in line."""
    return sum(TITLE + COLLAPSED_GAP for _ in takewhile(lambda node: node.collapsed, column))
