"""A node with the settings that go together, of a paper or for a kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core.attention import METHODS
from . import host
from .types import CATEGORY, ModelPatcher, search_aliases

_PAPER, _FLOWEDIT, _TURBOEDIT = "arXiv 2304.06140", "arXiv 2412.08629", "arXiv 2408.00735"
_FEW_STEPS = "Invert Image (Few Steps), Guide from Source to Target with the source as negative"


@dataclass(frozen=True)
class Preset:
    """Settings of one edit.

    Args:
        source_cfg, target_cfg: classifier-free guidance; 1 is none. Of null-text maps the first is that of the search.
        eta: 0 means an inversion by DDIM's steps, or Edit Image.
        source: where the numbers are from.
        source_guidance, target_guidance: what a guidance-distilled model is told, by FluxGuidance on each prompt.
        cross_steps: the share of the steps, from the first, in which the source's cross-attention is taken over.
        self_start, self_steps: the same of self-attention, from one share to another.
        feature_steps: the same of the features of a residual block, which Plug-and-Play takes over.
        guidance_weight: of the gradient that holds on to the cross-attention of the source, lambda of zero-shot edits.
        timesteps: of 1000, what the model is told at each step, in place of a scheduler.
        noise_timesteps: those of the noise that is there (TurboEdit), where it is other than what is told.
        how: the inversion, and what else the numbers do not say.
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
    cross_steps: float = 0.0
    self_start: float = 0.0
    self_steps: float = 0.0
    feature_steps: float = 0.0
    guidance_weight: float = 0.0
    timesteps: tuple[int, ...] = ()
    noise_timesteps: tuple[int, ...] = ()
    how: str = "Invert Image"

    def levels(self, model: ModelPatcher) -> tuple[Tensor, Tensor]:
        """(T+1,) the levels that the model is told, and those of the noise that is there, down to 0."""
        if not self.timesteps:
            sigmas = host.levels(model, self.scheduler, self.steps)
            return sigmas, sigmas
        sigmas = host.levels_at(model, self.timesteps)
        return sigmas, host.levels_at(model, self.noise_timesteps) if self.noise_timesteps else sigmas

    def summary(self, steps: int) -> str:
        """The settings in words, for a schedule that really has `steps` steps."""
        attention = {
            f"cross-attention until {self.cross_steps:g} of the steps": self.cross_steps,
            f"self-attention from {self.self_start:g} to {self.self_steps:g}": self.self_steps,
            f"features until {self.feature_steps:g}": self.feature_steps,
            f"lambda {self.guidance_weight:g}": self.guidance_weight,
        }
        return (
            f"{steps} steps ({self.scheduler or f'timesteps {self._told}'}), {self.skip_steps} skipped, cfg "
            f"{self.source_cfg:g} and {self.target_cfg:g}, eta {self.eta:g}; "
            + "".join(f"{words}; " for words, number in attention.items() if number)
            + f"guidance of distilled models {self.source_guidance:g} and {self.target_guidance:g}; {self.how} "
            f"({self.source})"
        )

    @property
    def _told(self) -> str:
        there = f" with the noise of {', '.join(map(str, self.noise_timesteps))}" if self.noise_timesteps else ""
        return f"{', '.join(map(str, self.timesteps))}{there}"


_PLUG_AND_PLAY, _MASACTRL = METHODS["Plug-and-Play"], METHODS["MasaCtrl"]
PRESETS = {
    "edit friendly (paper)": Preset(
        100, "ddim_uniform", 36, 3.5, 15.0, 1.0, f"{_PAPER}, Tab. 3", how="Invert Image or Edit Image"
    ),
    "FlowEdit, SD3 (paper)": Preset(50, "simple", 17, 3.5, 13.5, 0.0, _FLOWEDIT, how="Edit Image"),
    "FlowEdit, Flux (paper)": Preset(28, "simple", 4, 1.0, 1.0, 0.0, _FLOWEDIT, 1.5, 5.5, how="Edit Image"),
    "P2P with these maps (paper)": Preset(
        100, "ddim_uniform", 12, 3.5, 9.0, 1.0, f"{_PAPER}, Tab. 3", cross_steps=0.6, self_steps=0.2
    ),
    "P2P on DDIM (paper)": Preset(
        100,
        "ddim_uniform",
        0,
        3.5,
        9.0,
        0.0,
        f"{_PAPER}, Tab. 3",
        cross_steps=0.8,
        self_steps=0.4,
        how="Invert Image (DDIM) without residuals",
    ),
    "DDIM (paper)": Preset(
        100, "ddim_uniform", 0, 3.5, 9.0, 0.0, f"{_PAPER}, Tab. 3", how="Invert Image (DDIM) without residuals"
    ),
    # Fig. 15 has (strength, T_skip) of (3, 30), (4, 25) and (4, 15); D.1 has 3.5 for the inversion of all methods.
    "CycleDiffusion (paper)": Preset(
        100, "ddim_uniform", 25, 3.5, 4.0, 1.0, f"{_PAPER}, Fig. 15", how="Invert Image (CycleDiffusion)"
    ),
    "null-text (paper)": Preset(
        50, "ddim_uniform", 0, 7.5, 7.5, 0.0, "arXiv 2211.09794", how="Invert Image (Null-Text)"
    ),
    "zero-shot with these maps (paper)": Preset(
        50,
        "ddim_uniform",
        0,
        3.5,
        7.5,
        1.0,
        f"{_PAPER}, Tab. 4",
        guidance_weight=0.03,
        how="Invert Image with an empty prompt",
    ),
    "zero-shot (paper)": Preset(
        50,
        "ddim_uniform",
        0,
        1.0,
        7.5,
        0.0,
        f"{_PAPER}, Tab. 4",
        guidance_weight=0.1,
        how="Invert Image (DDIM) without residuals",
    ),
    # Tab. 3 has strength 10 and tau 40/25 of 50 steps, on an inversion by DDIM with strength 1.
    "Plug-and-Play with these maps": Preset(
        50,
        "ddim_uniform",
        0,
        1.0,
        10.0,
        1.0,
        "arXiv 2211.12572",
        self_steps=_PLUG_AND_PLAY.end,
        feature_steps=_PLUG_AND_PLAY.features_end or 0.0,
    ),
    "MasaCtrl with these maps": Preset(
        50,
        "ddim_uniform",
        0,
        1.0,
        7.5,
        1.0,
        "arXiv 2304.08465",
        self_start=_MASACTRL.start,
        self_steps=_MASACTRL.end,
        how="Invert Image with an empty prompt",
    ),
    "TurboEdit, 4 steps (paper)": Preset(
        4,
        "",
        0,
        1.0,
        1.5,
        1.0,
        _TURBOEDIT,
        timesteps=(799, 599, 399, 199),
        noise_timesteps=(599, 399, 199),
        how=_FEW_STEPS,
    ),
    "TurboEdit, 3 steps (paper)": Preset(
        3, "", 0, 1.0, 1.5, 1.0, _TURBOEDIT, timesteps=(799, 499, 199), noise_timesteps=(599, 299), how=_FEW_STEPS
    ),
}


class EditPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditPreset",
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
                    "FluxGuidance on each prompt instead. The others are for comparison; the summary names the "
                    "inversion of each.",
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
                io.Float.Output(
                    display_name="cross_steps",
                    tooltip="Until which share of the steps the source's cross-attention is taken over; 0 is never.",
                ),
                io.Float.Output(
                    display_name="self_start", tooltip="From which share of the steps its self-attention is."
                ),
                io.Float.Output(display_name="self_steps", tooltip="Until which share; 0 is never."),
                io.Float.Output(
                    display_name="feature_steps", tooltip="Until which share its features are, by Plug-and-Play."
                ),
                io.Float.Output(
                    display_name="guidance_weight", tooltip="lambda of zero-shot image-to-image; 0 for all others."
                ),
                io.Sigmas.Output(
                    display_name="noise_sigmas",
                    tooltip="For Invert Image (Few Steps): the noise that is there, cleaner than the model is told by "
                    "TurboEdit; the same as sigmas for all others.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str) -> io.NodeOutput:
        chosen = PRESETS[preset]
        sigmas, noise_sigmas = chosen.levels(model)
        return io.NodeOutput(
            sigmas,
            chosen.skip_steps,
            chosen.source_cfg,
            chosen.target_cfg,
            chosen.eta,
            chosen.source_guidance,
            chosen.target_guidance,
            chosen.summary(len(sigmas) - 1),
            chosen.cross_steps,
            chosen.self_start,
            chosen.self_steps,
            chosen.feature_steps,
            chosen.guidance_weight,
            noise_sigmas,
        )
