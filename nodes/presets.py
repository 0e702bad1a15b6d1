"""A node with the settings that go together, of a paper or for a kind of model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import Method
from ..ddpm_core.attention import METHODS
from .host import ModelPatcher, levels, levels_at
from .sockets import CATEGORY, SETTINGS

_PAPER, _FLOWEDIT, _TURBOEDIT = "arXiv 2304.06140", "arXiv 2412.08629", "arXiv 2408.00735"
_INVERSIONS = {
    Method.EDIT_FRIENDLY: "Invert Image or Edit Image",
    Method.CYCLE_DIFFUSION: "Invert Image (CycleDiffusion)",
    Method.FEW_STEPS: "Invert Image (Few Steps), Guide from Source to Target with the source as negative",
    Method.DDIM: "Invert Image (DDIM), without residuals",
    Method.NULL_TEXT: "Invert Image (Null-Text)",
}


@dataclass(frozen=True)
class Preset:
    """Settings of one edit.

    Args:
        source: where the numbers are from.
        method: of the inversion.
        source_cfg, target_cfg: classifier-free guidance; 1 is none. Of null-text maps the first is that of the search.
        eta: 0 takes DDIM's steps.
        source_guidance, target_guidance: guidance that a distilled model is told with each prompt.
        cross_steps: the fraction of the steps, from the first, in which the source's cross-attention is taken over.
        self_start, self_steps: the same of self-attention, from one fraction to another.
        feature_steps: the same of the features of a residual block, which Plug-and-Play takes over.
        guidance_weight: of the gradient that holds on to the cross-attention of the source, lambda of zero-shot edits.
        timesteps: of 1000, what the model is told at each step, in place of a scheduler.
        noise_timesteps: those of the noise that is there (TurboEdit), where it is other than what is told.
        empty_source: that the inversion has an empty prompt.
        source_as_negative: that the edit has the source prompt as its negative.
        substeps: of an inversion by DDIM, for each step.
        regularization: of the noise that such an inversion predicts.
        replay_source: that it keeps the states of sampling back.
    """

    source: str
    method: Method = Method.EDIT_FRIENDLY
    steps: int = 100
    scheduler: str = "ddim_uniform"
    skip_steps: int = 0
    source_cfg: float = 3.5
    target_cfg: float = 9.0
    eta: float = 1.0
    source_guidance: float = 3.5
    target_guidance: float = 3.5
    cross_steps: float = 0.0
    self_start: float = 0.0
    self_steps: float = 0.0
    feature_steps: float = 0.0
    guidance_weight: float = 0.0
    timesteps: tuple[int, ...] = ()
    noise_timesteps: tuple[int, ...] = ()
    empty_source: bool = False
    source_as_negative: bool = False
    substeps: int = 1
    regularization: float = 0.0
    replay_source: bool = False

    @property
    def how(self) -> str:
        """The inversion, in words."""
        if self.method is Method.EDIT_FRIENDLY and self.eta == 0:
            return "Edit Image"
        parts = {
            "with an empty prompt": self.empty_source,
            f"{self.substeps} substeps": self.substeps > 1,
            f"regularization {self.regularization:g}": self.regularization,
            "the source replayed": self.replay_source,
            "the source prompt as negative of the edit": self.source_as_negative,
        }
        return ", ".join([_INVERSIONS[self.method], *(words for words, there in parts.items() if there)])

    def summary(self, steps: int) -> str:
        """The settings in words, for a schedule that really has `steps` steps."""
        attention = {
            f"cross-attention until {self.cross_steps:g} of the steps": self.cross_steps,
            f"self-attention from {self.self_start:g} to {self.self_steps:g}": self.self_steps,
            f"features until {self.feature_steps:g}": self.feature_steps,
            f"lambda {self.guidance_weight:g}": self.guidance_weight,
        }
        there = f" with the noise of {', '.join(map(str, self.noise_timesteps))}" if self.noise_timesteps else ""
        told = f"timesteps {', '.join(map(str, self.timesteps))}{there}" if self.timesteps else self.scheduler
        return (
            f"{steps} steps ({told}), {self.skip_steps} skipped, cfg {self.source_cfg:g} and {self.target_cfg:g}, "
            f"eta {self.eta:g}; "
            + "".join(f"{words}; " for words, number in attention.items() if number)
            + f"guidance of distilled models {self.source_guidance:g} and {self.target_guidance:g}; {self.how} "
            f"({self.source})"
        )


@dataclass(frozen=True, eq=False)
class EditSettings:
    """EDIT_FRIENDLY_SETTINGS: a preset at the levels of a model.

    Args:
        name: of the preset.
        sigmas: (T+1,) the levels that the model is told.
        noise_sigmas: those of the noise that is there, where it is other.
    """

    name: str
    preset: Preset
    sigmas: Tensor
    noise_sigmas: Tensor | None

    def for_inversion(self, method: Method, one_pass: bool = False) -> Preset:
        """The preset, for a node that inverts by a method, or edits by it in one pass.

        Raises:
            ValueError: a preset for another inversion.
        """
        without_noise = method is Method.EDIT_FRIENDLY and self.preset.eta == 0  # has no maps
        if self.preset.method is not method or (without_noise and not one_pass):
            raise ValueError(
                f"the preset '{self.name}' is for {self.preset.how}, and this node inverts by {method.value}: use that "
                "node, or another preset"
            )
        return self.preset

    def check_has(self, what: str, *numbers: float) -> None:
        """Refuse a preset whose numbers for what a node does are all 0.

        Raises:
            ValueError: it is such a preset.
        """
        if not any(numbers):
            raise ValueError(
                f"the preset '{self.name}' is without {what}, so this node would do nothing: take it out, or use a "
                "preset with it"
            )


_MASACTRL, _PLUG_AND_PLAY = METHODS["MasaCtrl"], METHODS["Plug-and-Play"]
_OF_50 = Preset(source="", steps=50, source_cfg=1.0, target_cfg=7.5)
_PLUGGED = replace(
    _OF_50,
    source="arXiv 2211.12572",
    target_cfg=10.0,
    self_steps=_PLUG_AND_PLAY.end,
    feature_steps=_PLUG_AND_PLAY.features_end or 0.0,
)
PRESETS = {
    "edit friendly (paper)": Preset(f"{_PAPER}, Tab. 3", skip_steps=36, target_cfg=15.0),
    "FlowEdit, SD3 (paper)": Preset(_FLOWEDIT, steps=50, scheduler="simple", skip_steps=17, target_cfg=13.5, eta=0.0),
    "FlowEdit, Flux (paper)": Preset(
        _FLOWEDIT,
        steps=28,
        scheduler="simple",
        skip_steps=4,
        source_cfg=1.0,
        target_cfg=1.0,
        eta=0.0,
        source_guidance=1.5,
        target_guidance=5.5,
    ),
    "P2P with these maps (paper)": Preset(f"{_PAPER}, Tab. 3", skip_steps=12, cross_steps=0.6, self_steps=0.2),
    "P2P on DDIM (paper)": Preset(
        f"{_PAPER}, Tab. 3", Method.DDIM, eta=0.0, cross_steps=0.8, self_steps=0.4, replay_source=True
    ),
    "DDIM (paper)": Preset(f"{_PAPER}, Tab. 3", Method.DDIM, eta=0.0),
    # Fig. 15 has (strength, T_skip) of (3, 30), (4, 25) and (4, 15); D.1 has 3.5 for the inversion of all methods.
    "CycleDiffusion (paper)": Preset(f"{_PAPER}, Fig. 15", Method.CYCLE_DIFFUSION, skip_steps=25, target_cfg=4.0),
    "null-text (paper)": replace(_OF_50, source="arXiv 2211.09794", method=Method.NULL_TEXT, source_cfg=7.5, eta=0.0),
    "zero-shot with these maps (paper)": replace(
        _OF_50, source=f"{_PAPER}, Tab. 4", source_cfg=3.5, guidance_weight=0.03, empty_source=True
    ),
    "zero-shot (paper)": replace(
        _OF_50,
        source=f"{_PAPER}, Tab. 4",
        method=Method.DDIM,
        eta=0.0,
        guidance_weight=0.1,
        source_as_negative=True,
        regularization=20.0,
    ),
    # Tab. 3 has 1000 steps of inversion for 50 of the edit, strength 10 and tau 40/25.
    "Plug-and-Play (paper)": replace(
        _PLUGGED, source=f"{_PAPER}, Tab. 3", method=Method.DDIM, eta=0.0, substeps=1000 // _PLUGGED.steps
    ),
    "Plug-and-Play with these maps": _PLUGGED,
    "MasaCtrl with these maps": replace(
        _OF_50,
        source="arXiv 2304.08465",
        self_start=_MASACTRL.start,
        self_steps=_MASACTRL.end,
        empty_source=True,
    ),
    **{
        f"TurboEdit, {len(told)} steps (paper)": Preset(
            _TURBOEDIT,
            Method.FEW_STEPS,
            steps=len(told),
            source_cfg=1.0,
            target_cfg=1.5,
            timesteps=told,
            noise_timesteps=there,
        )
        for told, there in (((799, 599, 399, 199), (599, 399, 199)), ((799, 499, 199), (599, 299)))
    },
}


class EditPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyEditPreset",
            display_name="Edit Preset",
            category=f"{CATEGORY}/sample",
            search_aliases=["settings", "FlowEdit", "Flux"],
            description="A method with the settings of its paper: connect it to the settings input of Edit Image, or "
            "of an inversion and its sampler, and all of them use its numbers in place of their own.",
            inputs=[
                io.Model.Input("model", tooltip="The model to edit with."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    tooltip="edit friendly is for Stable Diffusion 1.5, SDXL and the like. FlowEdit's have eta 0, "
                    "which Edit Image takes; Flux and other guidance-distilled models go without cfg and are told "
                    "their guidance with each prompt. The others are for comparison; the summary names the inversion "
                    "of each.",
                ),
            ],
            outputs=[
                SETTINGS.Output(display_name="settings", tooltip="For every settings input of the edit."),
                io.String.Output(display_name="summary", tooltip="The same in words, for Preview Any."),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str) -> io.NodeOutput:
        chosen = PRESETS[preset]
        if chosen.timesteps:
            sigmas = levels_at(model, chosen.timesteps)
        else:
            sigmas = levels(model, chosen.scheduler, chosen.steps)
        noise_sigmas = levels_at(model, chosen.noise_timesteps) if chosen.noise_timesteps else None
        return io.NodeOutput(EditSettings(preset, chosen, sigmas, noise_sigmas), chosen.summary(len(sigmas) - 1))
