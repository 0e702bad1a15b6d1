"""A ComfyUI graph in the API format as a template for many edits: where the picture, the prompts and settings go."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPTS = {"source": "Source prompt", "target": "Target prompt"}
CHANGED_WORDS = "Changed words"  # the title of a Prompt-to-Prompt that takes those of a data set
MASK_LOADERS = ("LoadImageMask", "LoadImage")
TEXT_INPUTS = {"text", "text_g", "text_l", "clip_g", "clip_l", "t5xxl", "value"}  # of its text encoders and strings


def whole(text: str) -> int:
    """An integer, also as a table has it whose column lacks some and so is of floats: "36.0".

    Raises:
        ValueError: another text, or a float so large that it may stand for several integers.
    """
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number.is_integer() and abs(number) <= 2**53:
            return int(number)
        raise


@dataclass(frozen=True)
class Parameter:
    kind: Callable[[str], Any]
    places: tuple[tuple[str, str], ...]  # class_type and input; all such nodes of the graph are filled in

    @property
    def help(self) -> str:
        return " or ".join(f"{class_type}.{name}" for class_type, name in self.places)


INVERSIONS = (
    "EditFriendlyInvert",
    "EditFriendlyCycleDiffusionInvert",
)  # with the same inputs: each can stand for the other


def _of_inversion(name: str) -> tuple[tuple[str, str], ...]:
    return (*((class_type, name) for class_type in INVERSIONS), ("EditFriendlyEdit", name))


PARAMETERS = {
    "checkpoint": Parameter(str, (("CheckpointLoaderSimple", "ckpt_name"),)),
    "steps": Parameter(whole, _of_inversion("steps")),
    "cfg": Parameter(float, (("FixedNoiseSampler", "cfg"), ("EditFriendlyEdit", "target_cfg"), ("CFGGuider", "cfg"))),
    "source_cfg": Parameter(
        float, (*((class_type, "cfg") for class_type in INVERSIONS), ("EditFriendlyEdit", "source_cfg"))
    ),
    "skip_steps": Parameter(
        whole,
        (
            ("FixedNoiseSampler", "skip_steps"),
            ("EditFriendlyEdit", "skip_steps"),
            ("EditFriendlySamplerFixedNoise", "skip_steps"),
        ),
    ),
    "seed": Parameter(whole, _of_inversion("seed")),
    "variations": Parameter(whole, _of_inversion("variations")),
    "eta": Parameter(float, _of_inversion("eta")),
    "scheduler": Parameter(str, _of_inversion("scheduler")),
    "timesteps_per_call": Parameter(whole, tuple((class_type, "timesteps_per_call") for class_type in INVERSIONS)),
}


_PRESET = "the preset ('Title.preset'), or take the wire of settings off in the graph"
_LEVELS = "the node that makes them ('Title.steps'), or take the wire of sigmas off in the graph"
_STRENGTH = "that ('Title.strength'), or -1 there for none"
INSTEAD: dict[str, tuple[str, str, set[str]]] = {
    "settings": (
        "Edit Preset",
        _PRESET,
        {"steps", "cfg", "source_cfg", "target_cfg", "skip_steps", "eta", "scheduler", "cfg_schedule"},
    ),
    "sigmas": ("the levels that are connected", _LEVELS, {"steps", "scheduler"}),
    "strength": ("strength", _STRENGTH, {"source_cfg", "target_cfg", "cfg_schedule"}),
}
"""By an input of the pack's nodes that stands in place of others, where it is set: what it is, what to set in place of
the others, and those."""


class UsageError(ValueError):
    """An error in the command, the graph or the list; nothing has been run."""


class EditError(ValueError):
    """An error of one edit; the others can be done."""


@dataclass(frozen=True)
class PictureEdit:
    """One edit to do; `settings` are texts by names of PARAMETERS or "Title.input"."""

    name: str  # for messages
    picture: Path | str  # a local file, or the address of one in an object store
    source: str | None
    target: str | None
    settings: dict[str, str]
    mask: tuple[int, ...] | Path | str | None = None  # where to edit: runs or a picture; None for what the graph has


class Template:
    """A graph in the API format and the places to fill in.

    Raises:
        UsageError: such a place is missing or ambiguous.
    """

    def __init__(self, graph: dict[str, Any]):
        self.output = _the_one(graph, "SaveImage", "Edited")
        self.graph = leading_to(graph, self.output)
        self.picture = _the_one(self.graph, "LoadImage", "Image")
        self.mask = self._place_of_mask()

    @property
    def prompts(self) -> tuple[bool, bool]:
        """Whether the graph takes a source prompt and a target prompt."""
        source, target = (bool(self._titled(title)) for title in PROMPTS.values())
        return source, target

    @property
    def takes_words(self) -> bool:
        """Whether the graph has a place for the changed words of a data set."""
        return bool(self._titled(CHANGED_WORDS))

    def check(self, names: set[str], source: bool, target: bool) -> None:
        """Raise UsageError for settings without a place in the graph, and for missing or unwanted prompts.

        Args:
            source, target: whether such a prompt is given.
        """
        for name in sorted(names):
            self._places(name)
        for prompt, given in (("source", source), ("target", target)):
            title = PROMPTS[prompt]
            if given != bool(self._titled(title)):
                reason = "has no node of that title" if given else f"takes one in its node '{title}'"
                raise UsageError(
                    f"--{prompt} (or the column) is {'' if given else 'not '}given, but the graph {reason}"
                )

    def filled(self, edit: PictureEdit, picture: str, mask: str | None = None) -> dict[str, Any]:
        """The graph for an edit of the picture, and with the mask, of these names; EditError names a wrong value."""
        graph = copy.deepcopy(self.graph)
        graph[self.picture]["inputs"]["image"] = picture
        if mask is not None and self.mask is not None:
            graph[self.mask]["inputs"]["image"] = mask
        for title, text in ((PROMPTS["source"], edit.source), (PROMPTS["target"], edit.target)):
            for inputs in (graph[node]["inputs"] for node in self._titled(title)):
                inputs |= {name: text for name in TEXT_INPUTS & inputs.keys()}
        for setting, text in edit.settings.items():
            for node, name in self._places(setting):
                inputs = graph[node]["inputs"]
                kind = PARAMETERS[setting].kind if setting in PARAMETERS else _kind_of(inputs[name])
                inputs[name] = _converted(setting, text, kind)
        return graph

    @property
    def method_digest(self) -> str:
        """SHA-256 of the graph without what is filled in: equal for edits by the same nodes at other settings."""
        graph = copy.deepcopy(self.graph)
        places = [place for name in PARAMETERS for place in self._find(name)]
        places += [(node, name) for title in PROMPTS.values() for node in self._titled(title) for name in TEXT_INPUTS]
        places += [(node, "image") for node in (self.picture, self.mask) if node] + [(self.output, "filename_prefix")]
        for node, name in places:
            graph[node]["inputs"].pop(name, None)
        return digest_of_graph(graph)

    def settings_of(self, graph: dict[str, Any]) -> dict[str, Any]:
        """The values of PARAMETERS in a filled graph."""
        values = {}
        for name in PARAMETERS:
            for node, key in self._find(name):
                if self._instead(graph, node, key) is None and not _is_link(value := graph[node]["inputs"][key], graph):
                    values[name] = value
        return values

    def _places(self, setting: str) -> list[tuple[str, str]]:
        """Nodes and inputs of a setting, at least one."""
        if places := self._find(setting):
            for node, name in places:
                if by := self._instead(self.graph, node, name):
                    what, remedy, _ = INSTEAD[by]
                    raise UsageError(
                        f"the graph's {self.graph[node]['class_type']} takes '{setting}' from {what}: set {remedy}"
                    )
            return places
        if setting not in PARAMETERS and "." not in setting:
            raise UsageError(f"there is no parameter '{setting}': use {', '.join(PARAMETERS)} or 'Title.input'")
        raise UsageError(f"the graph has no place for '{setting}'")

    def _find(self, setting: str) -> list[tuple[str, str]]:
        if setting in PARAMETERS:
            wanted = PARAMETERS[setting].places
            found = [(node, name) for class_type, name in wanted for node in _of_class(self.graph, class_type)]
        else:
            title, _, name = setting.rpartition(".")
            found = [(node, name) for node in self._titled(title)]
        return [(node, name) for node, name in found if name in self.graph[node]["inputs"]]

    def _instead(self, graph: dict[str, Any], node: str, name: str) -> str | None:
        """The input that a node reads in place of another, if it is set."""
        inputs = graph[node]["inputs"]
        for by, (_, _, others) in INSTEAD.items():
            value = inputs.get(by)
            is_set = _is_link(value, graph) or (isinstance(value, int | float) and value >= 0)
            if name in others and is_set:
                return by
        return None

    def _place_of_mask(self) -> str | None:
        """The loader of a mask: of the title "Mask", or the only LoadImageMask; None for none or several."""
        named = [node for node in self._titled("Mask") if self.graph[node]["class_type"] in MASK_LOADERS]
        found = [node for node in named or _of_class(self.graph, "LoadImageMask") if node != self.picture]
        return found[0] if len(found) == 1 else None

    def _titled(self, title: str) -> list[str]:
        return [node for node in self.graph if _title(self.graph, node) == title]


def with_inversion(graph: dict[str, Any], inversion: str) -> dict[str, Any]:
    """The graph with its inversion nodes replaced by another of INVERSIONS; UsageError if it has none."""
    if not any(_of_class(graph, class_type) for class_type in INVERSIONS):
        raise UsageError(f"--inversion {inversion}: the graph has no {' or '.join(INVERSIONS)} to replace")
    return {
        node: {**entry, "class_type": inversion} if entry["class_type"] in INVERSIONS else entry
        for node, entry in graph.items()
    }


def with_inputs(graph: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with some inputs changed: "Title.input" to a value, or to None to disconnect it.

    Raises:
        UsageError: no node has the title.
    """
    graph = copy.deepcopy(graph)
    for place, value in changes.items():
        title, _, name = place.rpartition(".")
        found = [node["inputs"] for key, node in graph.items() if _title(graph, key) == title]
        if not found:
            raise UsageError(f"the graph has no node titled '{title}'")
        for inputs in found:
            if value is None:
                del inputs[name]
            else:
                inputs[name] = value
    return graph


def read_graph(path: Path) -> dict[str, Any]:
    """A graph in the API format, from a file."""
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the graph {path} cannot be read: {error}") from error
    nodes = graph.values() if isinstance(graph, dict) else [None]
    if not all(
        isinstance(node, dict) and isinstance(node.get("inputs"), dict) and "class_type" in node for node in nodes
    ):
        raise UsageError(f"{path} is no graph in the API format: in ComfyUI's menu, use Export (API)")
    return graph


def digest_of_graph(graph: dict[str, Any]) -> str:
    """SHA-256 of everything the result depends on, so without titles."""
    content = {node: (entry["class_type"], entry["inputs"]) for node, entry in graph.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _title(graph: dict[str, Any], node: str) -> str | None:
    meta = graph[node].get("_meta")
    return meta.get("title") if isinstance(meta, dict) else None


def _of_class(graph: dict[str, Any], class_type: str) -> list[str]:
    return [node for node in graph if graph[node]["class_type"] == class_type]


def _the_one(graph: dict[str, Any], class_type: str, title: str) -> str:
    """The node of a class with that title, or the only one of that class."""
    nodes = _of_class(graph, class_type)
    for found in ([node for node in nodes if _title(graph, node) == title], nodes):
        if len(found) == 1:
            return found[0]
    if not nodes:
        raise UsageError(f"the graph has no {class_type} node, to be titled '{title}'")
    raise UsageError(f"the graph has {len(nodes)} {class_type} nodes: title the one that is meant '{title}'")


def _is_link(value: Any, graph: dict[str, Any]) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in graph


def leading_to(graph: dict[str, Any], node: str) -> dict[str, Any]:
    """The part of a graph that a node needs, in the graph's order."""
    needed, waiting = set(), [node]
    while waiting:
        if (current := waiting.pop()) not in needed:
            needed.add(current)
            waiting += [value[0] for value in graph[current]["inputs"].values() if _is_link(value, graph)]
    return {key: graph[key] for key in graph if key in needed}


def _kind_of(value: Any) -> Callable[[str], Any]:
    """The reader of texts for an input with this value; a number may have lost its '.0' in the export."""
    if isinstance(value, bool):
        return {"true": True, "false": False}.__getitem__
    return _number if isinstance(value, (int, float)) else str


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _converted(setting: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        value = kind(text)
    except (ValueError, KeyError) as error:
        remedy = ": give it a whole number" if kind is whole else ""
        raise EditError(f"{setting} cannot be {text!r}{remedy}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise EditError(f"{setting} cannot be {text!r}")
    return value
