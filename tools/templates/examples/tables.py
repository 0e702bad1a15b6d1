"""The other rows of Tables 1 and 2 of arXiv 2304.06140 as graphs for a data set, each with its preset, and those of
PIE-Bench with Prompt-to-Prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...batch.template import CHANGED_WORDS
from ..blocks import IMAGE, INVERT, RESULT, SAMPLE, WORDS, save
from ..graph import Group, Node, Workflow
from .checkpoints import GIRL, GIRL_IN_SNOW, SD15_MODEL, loaded

DDIM = "EditFriendlyDDIMInvert"


class _Row:
    """A picture, Stable Diffusion, and a preset that all nodes of the edit have their numbers from, or none.

    Nodes by the names of prompts are filled in with those of the data set.
    """

    def __init__(self, name: str | None):
        self.loader, self.pipeline = loaded(SD15_MODEL)
        image = Node("LoadImage", "Image", {"image": "example.png"})
        size = {"upscale_method": "lanczos", "width": 512, "height": 512, "crop": "center"}
        scale = Node("ImageScale", "Crop to 512", {"image": image["IMAGE"]} | size)
        encoded = self.pipeline.encode(scale["IMAGE"])
        self.latent = encoded["LATENT"]
        self.empty = self.pipeline.empty()
        self.image: list[Node] = [self.loader, image, scale, encoded]
        self.settings: dict[str, Any] = {}
        if name is not None:
            preset = Node("EditFriendlyEditPreset", "Preset", {"model": self.loader["MODEL"], "preset": name})
            self.settings = {"settings": preset["settings"]}
            self.image.append(preset)

    def workflow(self, name: str, words: list[Node], invert: Node, edit: Node) -> Workflow:
        decoded = self.pipeline.decode(edit["latent"])
        return Workflow(
            [
                [Group("Image and model", IMAGE, [self.image])],
                [Group("Words", WORDS, [[*words, self.empty]])],
                [Group("Invert", INVERT, [[invert]])],
                [Group("Edit", SAMPLE, [[edit]])],
                [Group("Result", RESULT, [[decoded, save("Edited", decoded["IMAGE"], name)]])],
            ]
        )


def table1_ddim() -> Workflow:
    row = _Row("DDIM (paper)")
    pipeline, latent = row.pipeline, row.latent
    source, target = pipeline.source(GIRL), pipeline.target(GIRL_IN_SNOW)
    invert = pipeline.invert("Invert", latent, source, row.empty, DDIM, **row.settings)
    edit = pipeline.sample("Edit", invert, target, row.empty, **row.settings)
    return row.workflow("table1_ddim", [source, target], invert, edit)


def table1_p2p_ddim() -> Workflow:
    row = _Row("P2P on DDIM (paper)")
    return _prompt_to_prompt("table1_p2p_ddim", row, "Words", DDIM, row.settings, row.settings, row.settings)


def pie_p2p_ddim() -> Workflow:
    """The source is sampled again beside the target, and drifts as it does."""
    return _pie_p2p("pie_p2p_ddim", DDIM, cfg=1.0, keep_residuals=False, replay_source=True)


def pie_p2p_pnp_inversion() -> Workflow:
    """The source is held to the states of its inversion, which is PnP inversion's correction (arXiv 2310.01506)."""
    return _pie_p2p("pie_p2p_pnp_inversion", DDIM, cfg=1.0, keep_residuals=False)


def pie_p2p_null_text() -> Workflow:
    return _pie_p2p("pie_p2p_null_text", "EditFriendlyNullTextInvert", cfg=7.5)


def _pie_p2p(name: str, inversion: str, **of_inversion: Any) -> Workflow:
    """The settings of PnPInversion's runner: 50 steps, cfg 7.5, 32 x 32 of 64 x 64 cells, changed words blended."""
    held = {"cross_steps": 0.4, "self_steps": 0.6, "self_size": 0.5}
    inverted = {"steps": 50, "scheduler": "ddim_uniform", **of_inversion}
    return _prompt_to_prompt(name, _Row(None), CHANGED_WORDS, inversion, held, inverted, {"cfg": 7.5, "skip_steps": 0})


def _prompt_to_prompt(
    name: str,
    row: _Row,
    title: str,
    inversion: str,
    of_words: Mapping[str, Any],
    of_inversion: Mapping[str, Any],
    of_edit: Mapping[str, Any],
) -> Workflow:
    pipeline = row.pipeline
    source, target = (
        Node("PrimitiveStringMultiline", prompt, {"value": text})
        for prompt, text in (("Source prompt", GIRL), ("Target prompt", GIRL_IN_SNOW))
    )
    words = pipeline.prompt_to_prompt(title, source["STRING"], target["STRING"], **of_words)
    invert = pipeline.invert("Invert", row.latent, words["source"], row.empty, inversion, **of_inversion)
    edit = pipeline.sample("Edit", invert, words["target"], row.empty, attention=words["attention"], **of_edit)
    return row.workflow(name, [source, target, words], invert, edit)


def table1_plug_and_play() -> Workflow:
    """The source is read under no prompt, as the published code does."""
    row = _Row("Plug-and-Play (paper)")
    pipeline, latent = row.pipeline, row.latent
    target = pipeline.target(GIRL_IN_SNOW)
    shared = {"source": row.empty["CONDITIONING"], "method": "Plug-and-Play", **row.settings}
    attention = Node("EditFriendlyShareAttention", "Share", shared)
    invert = pipeline.invert("Invert", latent, row.empty, row.empty, DDIM, **row.settings)
    held = {"attention": attention["attention"], **row.settings}
    edit = pipeline.sample("Edit", invert, target, row.empty, **held)
    return row.workflow("table1_plug_and_play", [target, attention], invert, edit)


def table2_zero_shot() -> Workflow:
    """The caption is the prompt of the inversion, what the direction moves, and the negative of the edit."""
    row = _Row("zero-shot (paper)")
    source = row.pipeline.source(GIRL)
    return _zero_shot("table2_zero_shot", row, source, source, DDIM, [source])


def table2_zero_shot_maps() -> Workflow:
    """The prompt of the inversion is empty, and so is what the direction moves."""
    row = _Row("zero-shot with these maps (paper)")
    return _zero_shot("table2_zero_shot_maps", row, row.empty, row.empty, "EditFriendlyInvert", [])


def _zero_shot(name: str, row: _Row, source: Node, negative: Node, node_id: str, words: list[Node]) -> Workflow:
    """Along the direction from the source prompts to the target prompts."""
    pipeline = row.pipeline
    shows, to_show = (
        Node("EditFriendlyEncodeSentences", title, {"clip": pipeline.clip, "text": text})
        for title, text in (("Source prompt", GIRL), ("Target prompt", GIRL_IN_SNOW))
    )
    moved = {"source": shows["sentences"], "target": to_show["sentences"], "conditioning": source["CONDITIONING"]}
    direction = Node("EditFriendlyEditDirection", "Direction", moved)
    invert = pipeline.invert("Invert", row.latent, source, row.empty, node_id, **row.settings)
    links = {
        "model": pipeline.model,
        "source": source["CONDITIONING"],
        "target": direction["conditioning"],
        "negative": negative["CONDITIONING"],
        "noise_maps": invert["noise_maps"],
    }
    edit = Node("EditFriendlyZeroShotImageToImage", "Edit", links | row.settings)
    return row.workflow(name, [*words, shows, to_show, direction], invert, edit)
