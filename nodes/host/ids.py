"""The ids of the pack's nodes among those of other packs: old ones lead to the new, ones that others have are told."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from comfy_api.latest import ComfyAPI, io

from .notices import running_server

RENAMED = {
    "AddEdit": "EditFriendlyAddEdit",
    "CFGScheduleGuider": "EditFriendlyCFGScheduleGuider",
    "CycleDiffusionInvert": "EditFriendlyCycleDiffusionInvert",
    "DDIMInvert": "EditFriendlyDDIMInvert",
    "DifferenceMask": "EditFriendlyDifferenceMask",
    "EditDirection": "EditFriendlyEditDirection",
    "EditGrid": "EditFriendlyEditGrid",
    "EditGuider": "EditFriendlyEditGuider",
    "EditReport": "EditFriendlyEditReport",
    "EncodeSentences": "EditFriendlyEncodeSentences",
    "LoadDemoImage": "EditFriendlyLoadDemoImage",
    "LoadDemoModel": "EditFriendlyLoadDemoModel",
    "LoadNoiseMaps": "EditFriendlyLoadNoiseMaps",
    "MeasureEdit": "EditFriendlyMeasureEdit",
    "NoiseLevels": "EditFriendlyNoiseLevels",
    "NoiseMapsFlip": "EditFriendlyNoiseMapsFlip",
    "NoiseMapsInterpolate": "EditFriendlyNoiseMapsInterpolate",
    "NoiseMapsPreview": "EditFriendlyNoiseMapsPreview",
    "NoiseMapsStatistics": "EditFriendlyNoiseMapsStatistics",
    "NullTextInvert": "EditFriendlyNullTextInvert",
    "PromptToPrompt": "EditFriendlyPromptToPrompt",
    "SampleEdits": "EditFriendlySampleEdits",
    "SampleWithNoiseMaps": "EditFriendlySampleWithNoiseMaps",
    "SamplerFixedNoise": "EditFriendlySamplerFixedNoise",
    "SaveNoiseMaps": "EditFriendlySaveNoiseMaps",
    "ShareAttention": "EditFriendlyShareAttention",
    "TurboInvert": "EditFriendlyTurboInvert",
    "WordMask": "EditFriendlyWordMask",
    "ZeroShotImageToImage": "EditFriendlyZeroShotImageToImage",
}
"""Ids before the first release, by which graphs were saved, and what they are now.

Not EditPreset's: its outputs are others now, and links to the old ones would lead nowhere.
"""

Nodes = Iterable[type[io.ComfyNode]]


async def settle(ours: Nodes) -> None:
    """Tell of ids that others have, and open graphs that have old ones; for ComfyUI while it loads these nodes."""
    for other, ids in _held_by_others(ours).items():
        logging.warning(
            "%s has nodes with ids of the edit-friendly DDPM pack: %s. ComfyUI keeps those of the pack that it loads "
            "last: to choose, disable one of the two",
            *(other, ", ".join(ids)),
        )
    server = running_server()
    if server is None:
        return
    for old, new in RENAMED.items():
        if old not in _known():
            # Without mappings, by which the front end takes inputs, widgets and outputs over by their names.
            await ComfyAPI().node_replacement.register(io.NodeReplace(new, old))
    # The server replaces by mappings alone, each input of which a graph has to have, and the optional ones it may lack.
    server.add_on_prompt_handler(with_new_ids)

    async def tell_of_taken(_: object) -> None:
        for other, ids in _held_by_others(ours).items():
            logging.warning(
                "%s has taken ids of the edit-friendly DDPM pack: %s. Graphs with them run its nodes: to run those of "
                "this pack, disable it",
                *(other, ", ".join(ids)),
            )

    server.app.on_startup.append(tell_of_taken)  # when all packs are loaded


def with_new_ids(posted: dict[str, Any]) -> dict[str, Any]:
    """A prompt posted to ComfyUI's queue, its old ids replaced where no other node has them."""
    for node in posted.get("prompt", {}).values():
        old = node.get("class_type")
        if old in RENAMED and old not in _known():
            node["class_type"] = RENAMED[old]
    return posted


def _known() -> dict[str, type]:
    """ComfyUI's nodes by id. Not imported by name, for this pack has a folder of that name."""
    return sys.modules["nodes"].NODE_CLASS_MAPPINGS


def _held_by_others(ours: Nodes) -> dict[str, list[str]]:
    """The ids of ours under which ComfyUI has another's node, by the other's module."""
    others: dict[str, list[str]] = {}
    for node in ours:
        node_id = node.GET_SCHEMA().node_id
        held = _known().get(node_id, node)
        if held.__module__ != node.__module__:  # not the class itself: ComfyUI may load a pack anew
            others.setdefault(getattr(held, "RELATIVE_PYTHON_MODULE", held.__module__), []).append(node_id)
    return others
