"""Where things stand: columns from left to right, groups and notes in a column and nodes in a group from top to bottom.

Boxes are in the front end's units. A node's box is the room for its body in either renderer, after a run too; its title
bar lies above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from .graph import Group, Node, Note

TITLE = 30  # the title bar of a node
GROUP_TITLE = 56
PADDING = 12  # inside a group
NODE_GAP = 8
SIDE_GAP = 16  # between columns of a group
COLLAPSED_GAP = 10
COLLAPSED_WIDTH = 190  # on the canvas; 225 in Nodes 2.0, whose front ends have the minimap that much farther right
GROUP_GAP = 24
COLUMN_GAP = 24
NODE_WIDTH = 250

# What shows of the canvas at 1600 x 900 in every front end, in pixels of the canvas: newer ones lay their bars over its
# left and its top, older ones stand beside it and leave it smaller. The minimap lies over its lower right corner.
VIEW_LEFT, VIEW_TOP, VIEW_RIGHT, VIEW_BOTTOM = 75, 100, 1524, 812
MINIMAP_LEFT, MINIMAP_TOP = 1238, 552


@dataclass(frozen=True)
class Box:
    x: int
    y: int
    width: int
    height: int


Item = Node | Note | Group


def place(columns: Sequence[Sequence[Group | Note]], heights: Mapping[Node | Note, int]) -> dict[Item, Box]:
    """The box of every node, note and group.

    Args:
        heights: of the room that each node and note needs below its title bar.
    """
    boxes: dict[Item, Box] = {}
    x = 0
    for column in columns:
        y = 0
        for item in column:
            if isinstance(item, Group):
                box = _place_group(item, x, y, heights, boxes)
            else:
                box = Box(x, y + TITLE, item.width, heights[item])
            boxes[item] = box
            y = box.y + box.height + GROUP_GAP
        x = max(boxes[item].x + boxes[item].width for item in column) + COLUMN_GAP
    return boxes


def view_of(boxes: Mapping[Item, Box]) -> dict[str, Any]:
    """Scale and offset that show all at 1600 x 900, from the upper left corner, with no node under the minimap."""
    left, top = min(box.x for box in boxes.values()), min(box.y for box in boxes.values())
    right = max(box.x + box.width for box in boxes.values()) - left
    bottom = max(box.y + box.height for box in boxes.values()) - top
    scales = [1.0, (VIEW_RIGHT - VIEW_LEFT) / right, (VIEW_BOTTOM - VIEW_TOP) / bottom]
    for item, box in boxes.items():
        if isinstance(item, Node):
            width = COLLAPSED_WIDTH if item.collapsed else box.width
            beside = (MINIMAP_LEFT - VIEW_LEFT) / (box.x + width - left)
            above = (MINIMAP_TOP - VIEW_TOP) / (box.y + box.height - top)
            scales.append(max(beside, above))
    scale = min(scales)
    offset = [VIEW_LEFT / scale - left, VIEW_TOP / scale - top]
    return {"scale": round(scale, 4), "offset": [round(part, 1) for part in offset]}


def _place_group(group: Group, x: int, y: int, heights: Mapping[Node | Note, int], boxes: dict[Item, Box]) -> Box:
    left, bottom = x + PADDING, y
    lead = max(_lead(column) for column in group.columns)
    for column in group.columns:
        width = max((node.width or NODE_WIDTH for node in column if not node.collapsed), default=NODE_WIDTH)
        top = y + GROUP_TITLE + lead - _lead(column)
        for node in column:
            boxes[node] = Box(left, top + TITLE, width, heights[node])
            end = top + TITLE + heights[node]
            top = end + (COLLAPSED_GAP if node.collapsed else NODE_GAP)
        left += width + SIDE_GAP
        bottom = max(bottom, end)
    return Box(x, y, left - SIDE_GAP + PADDING - x, bottom + PADDING - y)


def _lead(column: Sequence[Node]) -> int:
    """The height of the collapsed nodes on top of a column: the first large ones of a group stand in line."""
    return sum(TITLE + COLLAPSED_GAP for _ in takewhile(lambda node: node.collapsed, column))
