"""A node with the settings that go together, of a paper or for a kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from . import host
from .types import CATEGORY, ModelPatcher, search_aliases


@dataclass(frozen=True)
class Preset:
    """Settings of one edit.

    Args:
        source_cfg, target_cfg: classifier-free guidance; 1 is none.
        source_guidance, target_guidance: what a guidance-distilled model is told, by FluxGuidance on each prompt.
        source: where the numbers are from.
    """

    steps: int
    scheduler: str
    skip_steps: int
    source_cfg: float
    target_cfg: float
    eta: float
    source: str
    source_guidance: float = 3.5
    target_guidance: float = 3.5


PRESETS = {
    "edit friendly (paper)": Preset(100, "ddim_uniform", 36, 3.5, 15.0, 1.0, "arXiv 2304.06140, Tab. 3"),
    "FlowEdit, SD3 (paper)": Preset(50, "simple", 17, 3.5, 13.5, 0.0, "arXiv 2412.08629"),
    "FlowEdit, Flux (paper)": Preset(28, "simple", 4, 1.0, 1.0, 0.0, "arXiv 2412.08629", 1.5, 5.5),
}


class EditPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditPreset",
            display_name="Edit Preset",
            category=f"{CATEGORY}/sample",
            **search_aliases("settings", "FlowEdit", "Flux"),
            description="Settings that go together, for Edit Image, or for an inversion and its sampler: connect the "
            "outputs to the inputs of the same names.",
            inputs=[
                io.Model.Input("model", tooltip="The model to edit with."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    tooltip="edit friendly is for Stable Diffusion 1.5, SDXL and the like. FlowEdit's have eta 0, "
                    "which Edit Image takes; Flux and other guidance-distilled models go without cfg, with "
                    "FluxGuidance on each prompt instead.",
                ),
            ],
            outputs=[
                io.Sigmas.Output(display_name="sigmas", tooltip="The levels: steps and scheduler."),
                io.Int.Output(display_name="skip_steps", tooltip="Steps left out at the noisy end."),
                io.Float.Output(display_name="source_cfg", tooltip="Of the inversion."),
                io.Float.Output(display_name="target_cfg", tooltip="Of the sampler."),
                io.Float.Output(display_name="eta", tooltip="1 is DDPM, 0 is DDIM, or FlowEdit on flow models."),
                io.Float.Output(
                    display_name="source_guidance", tooltip="For FluxGuidance on the source prompt, where there is one."
                ),
                io.Float.Output(
                    display_name="target_guidance", tooltip="For FluxGuidance on the target prompt, where there is one."
                ),
                io.String.Output(display_name="summary", tooltip="The same in words, for Preview Any."),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str) -> io.NodeOutput:
        chosen = PRESETS[preset]
        sigmas = host.levels(model, chosen.scheduler, chosen.steps)
        summary = (
            f"{len(sigmas) - 1} steps ({chosen.scheduler}), {chosen.skip_steps} skipped, cfg {chosen.source_cfg:g} and "
            f"{chosen.target_cfg:g}, eta {chosen.eta:g}; guidance of distilled models {chosen.source_guidance:g} and "
            f"{chosen.target_guidance:g} ({chosen.source})"
        )
        return io.NodeOutput(
            sigmas,
            chosen.skip_steps,
            chosen.source_cfg,
            chosen.target_cfg,
            chosen.eta,
            chosen.source_guidance,
            chosen.target_guidance,
            summary,
        )
