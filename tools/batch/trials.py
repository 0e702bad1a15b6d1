"""Graphs that try a checkpoint: the picture back from its noise, and its edit by each preset that fits the graph."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .template import PROMPTS, UsageError, leading_to

Graph = dict[str, Any]
MAPS, SAMPLER, ONE_PASS = "EditFriendlyInvert", "FixedNoiseSampler", "EditFriendlyEdit"
WORDS = "P2P with these maps (paper)"
OF_MAPS = {
    "edit friendly (paper)": MAPS,
    "CycleDiffusion (paper)": "EditFriendlyCycleDiffusionInvert",
    "DDIM (paper)": "EditFriendlyDDIMInvert",
    WORDS: MAPS,
}
"""The presets of graphs from noise maps, and the inversion of each."""
THROUGH_VAE, SAID = "through the VAE", "settings"  # ids of nodes that a trial adds
FRAMES = 5  # of a still picture for a model of videos
_TEXTBOOK = {"keep_residuals": False, "fixed_point_iterations": 0, "forward_noise_steps": 0}
_CONSTANT = {"cfg_schedule": "constant"}
_SETTINGS = re.compile(r"(\d+) steps \(.*?\), (\d+) skipped, cfg ([\d.]+) and ([\d.]+)")


@dataclass(frozen=True)
class Trial:
    """A graph and what it shows.

    Args:
        output: the node of the result.
        is_return: whether the result is to be the picture itself.
    """

    name: str
    graph: Graph
    output: str
    is_return: bool = False


def still(graph: Graph) -> Graph:
    """A graph for videos with a few frames of one picture in, and pictures out; any other as it is."""
    loaders = _of(graph, "LoadVideo")
    if not loaders:
        return graph
    graph = copy.deepcopy(graph)
    (parts,) = _of(graph, "GetVideoComponents")
    (output,) = _of(graph, "SaveVideo")
    (decode,) = _of(graph, "VAEDecode")
    graph[loaders[0]] = _node("LoadImage", "Image", image="")
    graph[parts] = _node("RepeatImageBatch", "Frames", image=[loaders[0], 0], amount=FRAMES)
    for node in _of(graph, "ImageFromBatch"):
        graph[node]["inputs"]["length"] = FRAMES
    for node in _of(graph, "CreateVideo"):
        del graph[node]
    graph[output] = _node("SaveImage", "Edited", images=[decode, 0], filename_prefix="edit_friendly/check")
    return graph


def trials(graph: Graph, output: str, presets: Sequence[str] | None = None) -> list[Trial]:
    """The way back, the edit as the graph has it, and an edit by each preset.

    Args:
        graph: filled in, with one inversion and one sampler, or with Edit Image.
        output: its SaveImage.
        presets: names; None for all that fit, and none for no further edits.

    Raises:
        UsageError: another graph, or a preset that does not fit it.
    """
    one_pass = _of(graph, ONE_PASS)
    maps = (_of(graph, MAPS), _of(graph, SAMPLER))
    if len(one_pass) != 1 and not all(len(nodes) == 1 for nodes in maps):
        raise UsageError(f"the graph has to edit by {ONE_PASS}, or by {MAPS} and {SAMPLER}, by one of each")
    fitting = () if one_pass else tuple(name for name in OF_MAPS if name != WORDS or _encoders(graph))
    (inversion,) = one_pass or maps[0]
    inputs = graph[inversion]["inputs"]
    if isinstance(inputs.get("seed"), list) or inputs.get("variations", 1) != 1:
        raise UsageError("check takes a graph of one variation with a seed of its own, not a wired one")
    if strange := [name for name in presets or () if name not in fitting]:
        raise UsageError(f"the preset {strange[0]} does not fit this graph; that fit: {', '.join(fitting) or 'none'}")
    back = _return_in_one_pass(graph) if one_pass else _return_from_maps(graph)
    chosen = fitting if presets is None else presets
    return [
        Trial("the picture back", _shown(_with_picture_through_vae(back, output)), output, is_return=True),
        Trial("as the graph has it", _shown(graph), output),
        *(Trial(name, _shown(_by_preset(graph, name)), output) for name in chosen),
    ]


def rows_of_network(graph: Graph, said: str | None = None) -> int | None:
    """Predictions of the network for one picture; None where attention or a mask asks for more, or wires for others.

    Args:
        said: the settings in the words of Edit Preset, which then count.
    """
    one_pass = _of(graph, ONE_PASS)
    (sampler,) = one_pass or _of(graph, SAMPLER)
    of_sampler = graph[sampler]["inputs"]
    if "attention" in of_sampler:
        return None
    inversions = [node for name in {*OF_MAPS.values()} for node in _of(graph, name)]
    of_inversion = of_sampler if one_pass else graph[inversions[0]]["inputs"]
    keys = ("source_cfg", "target_cfg") if one_pass else ("cfg", "cfg")
    numbers = (of_inversion["steps"], of_sampler["skip_steps"], of_inversion[keys[0]], of_sampler[keys[1]])
    if said and (found := _SETTINGS.search(said)):
        numbers = (int(found[1]), int(found[2]), float(found[3]), float(found[4]))
    skipped = numbers[1] if one_pass else of_inversion["skip_steps"]
    instead = isinstance(of_inversion.get("sigmas"), list) or of_inversion.get("source_prediction") == "image"
    if instead or of_sampler.get("auto_mask") or any(isinstance(number, list) for number in (*numbers, skipped)):
        return None
    steps, skip, source_cfg, target_cfg = numbers
    there = steps - skipped
    return there * (1 + (source_cfg != 1)) + (steps - skip) * (1 + (target_cfg != 1))


def _shown(graph: Graph) -> Graph:
    """The graph with its results among the server's temporary files."""
    kept = {node: {**graph[node], "class_type": "PreviewImage"} for node in _of(graph, "SaveImage")}
    return graph | kept


def _return_from_maps(graph: Graph) -> Graph:
    graph = copy.deepcopy(graph)
    (inversion,), (sampler,) = _of(graph, MAPS), _of(graph, SAMPLER)
    of_inversion, of_sampler = graph[inversion]["inputs"], graph[sampler]["inputs"]
    of_sampler |= {name: of_inversion[name] for name in ("positive", "negative", "cfg", "skip_steps")}
    of_sampler |= _CONSTANT if "cfg_schedule" in of_sampler else {}
    of_inversion["seed"] += 1  # else the edit would find this inversion done
    for inputs in (of_inversion, of_sampler):
        inputs.pop("settings", None)
    of_sampler.pop("attention", None)
    return graph


def _return_in_one_pass(graph: Graph) -> Graph:
    graph = copy.deepcopy(graph)
    (edit,) = _of(graph, ONE_PASS)
    inputs = graph[edit]["inputs"]
    inputs |= {"target": inputs["source"], "target_cfg": inputs["source_cfg"]}
    inputs |= _CONSTANT if "cfg_schedule" in inputs else {}
    inputs.pop("settings", None)
    return graph


def _with_picture_through_vae(graph: Graph, output: str) -> Graph:
    """The graph with a second result: the picture encoded and decoded, which the way back is compared with.

    All that follows the sampler is there twice, the second time for the latent that the picture was encoded to.
    """
    one_pass = _of(graph, ONE_PASS)
    (sampler,) = one_pass or _of(graph, SAMPLER)
    (inversion,) = one_pass or _of(graph, MAPS)
    after = [node for node in graph if node != sampler and sampler in leading_to(graph, node)]
    names = {node: THROUGH_VAE if node == output else f"{THROUGH_VAE}, {node}" for node in after}

    def linked(value: Any) -> Any:
        if isinstance(value, list) and value[:1] == [sampler]:
            return graph[inversion]["inputs"]["latent_image"]
        return [names[value[0]], *value[1:]] if isinstance(value, list) and value[0] in names else value

    copies = {
        names[node]: {**graph[node], "inputs": {name: linked(value) for name, value in graph[node]["inputs"].items()}}
        for node in after
    }
    return graph | copies


def _by_preset(graph: Graph, preset: str) -> Graph:
    graph = copy.deepcopy(graph)
    (inversion,), (sampler,) = _of(graph, MAPS), _of(graph, SAMPLER)
    of_inversion, of_sampler = graph[inversion]["inputs"], graph[sampler]["inputs"]
    graph["preset"] = _node("EditFriendlyEditPreset", preset, model=of_inversion["model"], preset=preset)
    graph[SAID] = _node("PreviewAny", SAID, source=["preset", 1])
    graph[inversion]["class_type"] = OF_MAPS[preset]
    if OF_MAPS[preset] == "EditFriendlyDDIMInvert":
        for name in ("eta", "timesteps_per_call", "order", "source_prediction"):
            of_inversion.pop(name, None)
        of_inversion |= _TEXTBOOK
    for inputs in (of_inversion, of_sampler):
        inputs["settings"] = ["preset", 0]
    if preset == WORDS:
        source, target = (encoder["inputs"] for encoder in _encoders(graph))
        words = {"mode": "auto", "cross_steps": 0.6, "self_steps": 0.2, "settings": ["preset", 0]}
        texts = {"source_text": source["text"], "target_text": target["text"]}
        graph["words"] = _node("EditFriendlyPromptToPrompt", "Words", clip=source["clip"], **texts, **words)
        of_inversion["positive"] = ["words", 1]
        of_sampler |= {"positive": ["words", 2], "attention": ["words", 0]}
    return graph


def _encoders(graph: Graph) -> list[Mapping[str, Any]]:
    """The CLIPTextEncode of source and target prompt, which Prompt-to-Prompt needs; none where one is missing."""
    found = [
        [graph[node] for node in _of(graph, "CLIPTextEncode") if graph[node]["_meta"]["title"] == title]
        for title in PROMPTS.values()
    ]
    return [node for (node,) in found] if all(len(nodes) == 1 for nodes in found) else []


def _of(graph: Graph, class_type: str) -> list[str]:
    return [node for node in graph if graph[node]["class_type"] == class_type]


def _node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
