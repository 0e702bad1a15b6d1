"""The methods of editing that are measured, each a value: how it runs, in which rows of the tables it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_core import manipulation, masks, trajectories
from ddpm_core.anchor import anchored
from ddpm_core.denoiser import Denoiser
from ddpm_core.editing import PairDenoiser
from ddpm_core.guidance import Guidance, SourceGuidance, from_source
from ddpm_core.inversion import invert, without_residuals
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.null_text import null_text
from ddpm_core.sampling import generate, pure_noise, sample
from ddpm_core.schedule import NoiseSchedule
from demo.autoencoder import FACTOR
from demo.model import DemoModel
from demo.scenes import SIZE, instruction

from . import flow_edits
from .by_nodes import ByNodes, DemoNodes, nodes_of
from .edits import Edit, image_of
from .null_text import NullTextSearch, one_embedding, sampled_with_embeddings
from .settings import Keep, LabSettings

Way = Callable[[DemoModel, list[Edit], Tensor, LabSettings], Tensor]
"""(model, edits, source latents (B, C, H, W), settings) -> edited latents (B, C, H, W)."""

STRENGTHS = {"weak": (0.3, 1.5), "tuned": (LabSettings.skip, LabSettings.cfg_target), "strong": (0.0, 4.0)}
"""Fraction of the steps that is skipped, and guidance: as tuned on other edits, weaker, stronger."""

ALL = tuple(STRENGTHS)


@dataclass(frozen=True, eq=False)
class LabMethod:
    """A method of editing.

    Args:
        name: in the tables.
        by_core: by the core alone; None where it works inside a host's network.
        by_nodes: by the pack's nodes, in ComfyUI.
        rows: of the table of `evaluate`: its settings by what is added to the name.
        plotted: at which of `strengths` Fig. 15 shows it.
        strengths: skip and guidance by name.
        held: whether it reads `keep` of its settings.
        shares: whether it reads `shared`.
    """

    name: str
    by_core: Way | None = None
    by_nodes: ByNodes | None = None
    rows: Mapping[str, LabSettings] = field(default_factory=lambda: {"": LabSettings()})
    plotted: Sequence[str] = ALL
    strengths: Mapping[str, tuple[float, float]] = field(default_factory=lambda: STRENGTHS)
    held: bool = False
    shares: bool = False

    @property
    def needs_comfyui(self) -> bool:
        return self.by_core is None

    def run(self, model: DemoModel, edits: list[Edit], images: Tensor, settings: LabSettings) -> Tensor:
        """(B, 3, H, W) edited images of sources (B, 3, H, W), encoded and decoded around the way.

        Raises:
            NeedsComfyUI: the core does not have it, and there is no ComfyUI.
        """
        way = self.by_core or self.by_nodes
        assert way is not None
        return model.autoencoder.decode(way(model, edits, model.autoencoder.encode(images), settings))

    def network(self, model: DemoModel) -> nn.Module:
        """The network that `run` asks."""
        return nodes_of(model).network if self.needs_comfyui else model.network


# --- by the core ------------------------------------------------------------------------------------------------------


def ground_truth(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """The target scene itself, through the autoencoder: the best that any method can score."""
    return model.autoencoder.encode(torch.stack([image_of(edit.target) for edit in edits]))


def edit_friendly(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """The paper: independent noise for every step, Eq. 6."""
    lead = kept(target_denoiser(model, edits, settings), latents, settings)
    return sample(lead, edit_friendly_maps(model, edits, latents, settings))


def guided_by_source(
    model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings, kind: SourceGuidance
) -> Tensor:
    """Guidance from the source's caption: in place of the empty one (TurboEdit, arXiv 2408.00735), or h-Edit's explicit
    form (arXiv 2503.02187), with two thirds of the target's scale for the source, as 5 of 7.5.
    """
    return sample(_guided(model, edits, settings, kind), edit_friendly_maps(model, edits, latents, settings))


def few_steps(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """TurboEdit (arXiv 2408.00735): shifted states, the last residual clipped, guidance away from the source."""
    schedule = settings.few_levels_to_run()
    states = trajectories.few_steps(latents, schedule, seeds_of(edits), noise_shift=settings.noise_shift)
    noise_maps = invert(_source_denoiser(model, edits, settings), states, schedule, skipped=settings.skip_steps)
    if settings.clip_last:
        noise_maps = manipulation.clip_last(noise_maps, settings.clip_last)
    return sample(_guided(model, edits, settings, "source as negative"), noise_maps)


def edit_friendly_masked(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """The same within the mask of the difference of the two prompts (arXiv 2210.11427)."""
    mask = masks.cut(difference_heat(model, edits, latents, settings), settings.mask.threshold)
    noise_maps = edit_friendly_maps(model, edits, latents, settings)
    return sample(kept(target_denoiser(model, edits, settings), latents, settings), noise_maps, mask=mask)


def cycle_diffusion(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """One path of the forward process, as its posteriors draw it (arXiv 2210.05559)."""
    noise_maps = _maps(trajectories.cycle_diffusion, model, edits, latents, settings)
    return sample(target_denoiser(model, edits, settings), noise_maps)


def ddim(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """Textbook DDIM inversion (arXiv 2010.02502)."""
    return sample(target_denoiser(model, edits, settings), _ddim_maps(model, edits, latents, settings))


def null_text_edit(
    model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings, search: NullTextSearch = null_text
) -> Tensor:
    """The target under the embeddings with which guidance leads back to the source (arXiv 2211.09794)."""
    schedule, scale = settings.levels_to_run(), settings.cfg_target
    sources, targets = ([getattr(edit, which).caption for edit in edits] for which in ("source", "target"))
    pivots = trajectories.ddim(model.denoiser(sources), latents, schedule, seeds_of(edits))
    found = search(model.guided_denoiser(sources, scale), pivots, schedule, model.encode([""] * len(edits)))
    return sampled_with_embeddings(model.guided_denoiser(targets, scale), found)


def instructed(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """An edit model as the host's own sampler runs it: shown the image, from noise, or from the image noised so far."""
    schedule = settings.levels_to_run()
    start = trajectories.edit_friendly_state(latents, schedule, seeds_of(edits), 0)
    if not settings.skip_steps:
        start = pure_noise(latents, schedule, seeds_of(edits))
    return generate(_instructed_denoiser(model, edits, latents, settings), start, schedule, seeds_of(edits)).image


def instructed_maps(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """An edit model through noise maps without a call: one that sees the image predicts it, D_src = x_0."""
    schedule = settings.levels_to_run()
    states = trajectories.edit_friendly(latents, schedule, seeds_of(edits))
    noise_maps = invert(lambda x, sigma: latents, states, schedule, skipped=settings.skip_steps)
    return sample(_instructed_denoiser(model, edits, latents, settings), noise_maps)


def _instructed_denoiser(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Denoiser:
    if not model.is_shown_pictures:
        raise ValueError("this method is of edit models, and these weights are of none: give others by --weights")
    asked = [instruction(edit.source, edit.kind, getattr(edit.target, edit.kind)) for edit in edits]
    return kept(model.denoiser(asked, settings.cfg_target, latents), latents, settings)


def kept(denoiser: Denoiser, latents: Tensor, settings: LabSettings) -> Denoiser:
    """The predictor with `settings.keep`, for the first part of the run."""
    keep = settings.keep
    if keep is None:
        return denoiser
    holding = anchored(denoiser, keep.anchor(), latents)
    levels = settings.schedule()
    until = float("-inf") if keep.end == 1 else levels.step(round(keep.end * levels.steps)).sigma
    return lambda x, sigma: (holding if sigma.max() > until else denoiser)(x, sigma)


def sdedit(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """Noise the source to the level after the skip, then sample with fresh noise (arXiv 2108.01073)."""
    schedule = settings.levels_to_run()
    start = trajectories.edit_friendly_state(latents, schedule, seeds_of(edits), 0)
    return generate(target_denoiser(model, edits, settings), start, schedule, seeds_of(edits)).image


def flow_edit(
    model: DemoModel,
    edits: list[Edit],
    latents: Tensor,
    settings: LabSettings,
    lead: Callable[[flow_edits.Predictors, LabSettings], flow_edits.Lead],
    trajectory: trajectories.Trajectory = trajectories.edit_friendly,
) -> Tensor:
    """The pack's equation with another prediction under the target's caption."""
    predictors, schedule = _predictors(model, edits), settings.levels_to_run()
    states = trajectory(latents, schedule, seeds_of(edits))
    return flow_edits.edited(_source_denoiser(model, edits, settings), lead(predictors, settings), states, schedule)


def uni_edit(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings, omega: float = 5.0) -> Tensor:
    """Both captions at the states that Uni-Inv leads to (arXiv 2504.13109)."""
    maps = _ddim_maps(model, edits, latents, replace(settings, warm_start=True))
    return sample(flow_edits.fused(_predictors(model, edits), omega), maps)


def chord_edit(
    model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings, t: float = 0.9, delta: float = 0.15
) -> Tensor:
    """One step (arXiv 2602.19083), without the last, which samples under the target alone."""
    eps = trajectories.standard_normal(latents, seeds_of(edits), 1)
    return flow_edits.chord(_predictors(model, edits), latents, eps, t, delta)


def _predictors(model: DemoModel, edits: list[Edit]) -> flow_edits.Predictors:
    if not model.is_flow:
        raise ValueError("this method is of flow models, and these weights are of none: give others by --weights")
    sources, targets = ([getattr(edit, which).caption for edit in edits] for which in ("source", "target"))
    return flow_edits.Predictors(model.denoiser(sources), model.denoiser(targets), model.denoiser(""))


def difference_heat(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
    """(B, 1, H, W) in [0, 1], by cells: how far the captions differ, from the states where the edit starts."""
    schedule, chosen = settings.levels_to_run(), settings.mask
    return masks.heat(
        masks.prediction_difference(
            _pair_denoiser(model, edits),
            lambda i: trajectories.edit_friendly_state(latents, schedule, seeds_of(edits), i),
            schedule,
            masks.levels_between(settings.steps, settings.skip_steps, chosen.levels, chosen.start, chosen.end),
        )
    )


def edit_friendly_maps(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> NoiseMaps:
    return _maps(trajectories.edit_friendly, model, edits, latents, settings)


def _maps(
    trajectory: trajectories.Trajectory, model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings
) -> NoiseMaps:
    schedule = settings.levels_to_run()
    states = trajectory(latents, schedule, seeds_of(edits))
    return invert(_source_denoiser(model, edits, settings), states, schedule, skipped=settings.skip_steps)


def _ddim_maps(model: DemoModel, edits: list[Edit], latents: Tensor, settings: LabSettings) -> NoiseMaps:
    schedule = settings.levels_to_run()
    denoiser, warm = _source_denoiser(model, edits, settings), settings.warm_start
    states = trajectories.ddim(denoiser, latents, schedule, seeds_of(edits), warm_start=warm)
    return without_residuals(schedule, states, settings.skip_steps)


def _pair_denoiser(model: DemoModel, edits: list[Edit]) -> PairDenoiser:
    """Both captions without guidance, for the rows of the sources, then those of the targets."""
    return model.denoiser([edit.source.caption for edit in edits] + [edit.target.caption for edit in edits])


def _source_denoiser(model: DemoModel, edits: list[Edit], settings: LabSettings) -> Denoiser:
    return model.denoiser([edit.source.caption for edit in edits], settings.cfg_source)


def target_denoiser(model: DemoModel, edits: list[Edit], settings: LabSettings) -> Denoiser:
    return model.denoiser([edit.target.caption for edit in edits], settings.cfg_target)


def _guided(model: DemoModel, edits: list[Edit], settings: LabSettings, kind: SourceGuidance) -> Denoiser:
    """Guidance by source, target and empty caption, as the node Guide from Source to Target has it."""
    scale = settings.cfg_target
    (guidance,) = from_source(kind, [scale], scale * 2 / 3)
    sources, targets = ([getattr(edit, which).caption for edit in edits] for which in ("source", "target"))
    prompts: dict[str, str | list[str]] = {"source": sources, "positive": targets, "negative": ""}
    return guided_denoiser({name: model.denoiser(prompts[name]) for name in guidance.prompts}, guidance)


def guided_denoiser(denoisers: Mapping[str, Denoiser], guidance: Guidance) -> Denoiser:
    """The predictor by a guidance of the core, from those of its prompts by name."""
    return lambda x, sigma: guidance.combined({name: each(x, sigma) for name, each in denoisers.items()})[0]


def cells_of(mask: Tensor) -> Tensor:
    """The covered share of each cell (B, 1, H / 8, W / 8) by a mask (B, H, W) of pixels."""
    return F.avg_pool2d(mask[:, None].float(), FACTOR)


def empty_latents(model: DemoModel, count: int) -> Tensor:
    """(count, C, 16, 16) of zeros, for 128 x 128 pixels."""
    return torch.zeros(count, model.network.config.in_channels, SIZE // FACTOR, SIZE // FACTOR)


def generated(
    model: DemoModel, captions: list[str], seeds: list[int], schedule: NoiseSchedule, cfg: float = 1.0
) -> NoiseMaps:
    """The native maps of pictures made from noise under captions."""
    start = pure_noise(empty_latents(model, len(seeds)), schedule, seeds)
    return generate(model.denoiser(captions, cfg), start, schedule, seeds)


def sharing(name: str) -> LabMethod:
    """A method of the node Share Self-Attention, on the edit-friendly maps."""
    sampled = partial(DemoNodes.share, method=name)
    return LabMethod(
        f"{name} + edit friendly",
        by_nodes=ByNodes("EditFriendlyInvert", sampled),
        plotted=("tuned",),
        shares=True,
    )


def seeds_of(edits: Sequence[Edit]) -> list[int]:
    return [edit.seed for edit in edits]


# --- all of them ------------------------------------------------------------------------------------------------------

# Guidance and skip were tuned on the edits of TUNE_SEED. SDEdit has no source to hold on to, so it is shown at the same
# skip and at a larger one, where it keeps more.
GROUND_TRUTH = LabMethod("ground truth", ground_truth, plotted=())
EDIT_FRIENDLY = LabMethod("edit friendly", edit_friendly, ByNodes("EditFriendlyInvert", DemoNodes.sample), held=True)
CYCLE_DIFFUSION = LabMethod("CycleDiffusion", cycle_diffusion)
DDIM = LabMethod("DDIM", ddim, ByNodes("EditFriendlyDDIMInvert", DemoNodes.sample))
P2P = LabMethod("P2P + edit friendly", by_nodes=ByNodes("EditFriendlyInvert", DemoNodes.prompt_to_prompt))
P2P_DDIM = LabMethod(
    "P2P + DDIM",
    by_nodes=ByNodes("EditFriendlyDDIMInvert", DemoNodes.prompt_to_prompt, {"replay_source": True}),
)
PLUG_AND_PLAY = replace(sharing("Plug-and-Play"), plotted=ALL)
# as published, where 1000 steps of inversion are for 50 of the edit: 20 for each
PLUG_AND_PLAY_DDIM = LabMethod(
    "Plug-and-Play + DDIM",
    by_nodes=ByNodes("EditFriendlyDDIMInvert", partial(DemoNodes.share, method="Plug-and-Play"), {"substeps": 20}),
    plotted=("tuned",),
    shares=True,
)
ZERO_SHOT = LabMethod(
    "zero-shot + edit friendly",
    by_nodes=ByNodes("EditFriendlyInvert", DemoNodes.zero_shot),
    plotted=("tuned", "strong"),
)
# as published: the noise drawn towards white noise, the edit away from the caption
ZERO_SHOT_DDIM = LabMethod(
    "zero-shot + DDIM",
    by_nodes=ByNodes(
        "EditFriendlyDDIMInvert", partial(DemoNodes.zero_shot, source_as_negative=True), {"regularization": 20.0}
    ),
    plotted=("tuned",),
)
NULL_TEXT = LabMethod("null-text", null_text_edit, plotted=())
ONE_EMBEDDING = LabMethod("null-text, one embedding", partial(null_text_edit, search=one_embedding), plotted=())
SHARING = (
    sharing("MasaCtrl"),
    sharing("values only"),
    replace(sharing("keys and values"), plotted=()),
)
KV_EDIT = LabMethod(
    "KV-Edit + edit friendly",
    by_nodes=ByNodes("EditFriendlyInvert", DemoNodes.keep_background),
    plotted=(),
    shares=True,
)
METHODS = (
    GROUND_TRUTH,
    EDIT_FRIENDLY,
    LabMethod("edit friendly + mask", edit_friendly_masked, held=True),
    LabMethod("edit friendly, source as negative", partial(guided_by_source, kind="source as negative")),
    LabMethod("edit friendly, h-Edit", partial(guided_by_source, kind="h-Edit")),
    # as in TurboEdit, and without what it adds for models that are distilled to few steps, which this one is not
    LabMethod(
        "few steps",
        few_steps,
        rows={
            "": LabSettings(steps=5, skip=0.2, cfg_target=1.5),
            ", plain": LabSettings(steps=5, skip=0.2, cfg_target=1.5, noise_shift=0, clip_last=0.0),
        },
        strengths={"weak": (0.4, 1.25), "tuned": (0.2, 1.5), "strong": (0.0, 2.5)},
    ),
    CYCLE_DIFFUSION,
    DDIM,
    LabMethod("DDIM, warm start", ddim, rows={"": LabSettings(warm_start=True)}, plotted=()),
    LabMethod("SDEdit", sdedit, rows={"": LabSettings(), ", skip 0.28": LabSettings(skip=0.28)}),
    P2P,
    P2P_DDIM,
    PLUG_AND_PLAY,
    PLUG_AND_PLAY_DDIM,
    *SHARING,
    KV_EDIT,
    ZERO_SHOT,
    ZERO_SHOT_DDIM,
    NULL_TEXT,
    ONE_EMBEDDING,
)
_RF = LabSettings(eta=0.0)
FLOW_METHODS = (
    LabMethod("FlowEdit", edit_friendly, rows={"": _RF}, held=True),
    LabMethod(
        "rising strength",
        partial(flow_edit, lead=lambda m, s: flow_edits.rising(m, s.cfg_target, 1 - s.skip)),
        rows={"": _RF},
    ),
    LabMethod(
        "FlowAlign",
        partial(flow_edit, lead=lambda m, s: flow_edits.pulled(flow_edits.by_strength(m, s.cfg_target), 0.01)),
        rows={"": _RF},
    ),
    LabMethod(
        "FlowAlign, one noise",
        partial(
            flow_edit,
            lead=lambda m, s: flow_edits.pulled(flow_edits.by_strength(m, s.cfg_target), 0.01),
            trajectory=flow_edits.one_noise,
        ),
        rows={"": _RF},
    ),
    LabMethod(
        "soft field", partial(flow_edit, lead=lambda m, s: flow_edits.alone(flow_edits.fused(m))), rows={"": _RF}
    ),
    LabMethod("VAGS", partial(flow_edit, lead=lambda m, s: flow_edits.adapted(m, s.cfg_target, 0.9)), rows={"": _RF}),
    LabMethod("Uni-Edit", uni_edit, rows={"": LabSettings(skip=0.4)}),
    LabMethod("ChordEdit", chord_edit),
)
# An edit model decides by itself what it keeps, so a run is from noise; users lower denoise where it keeps too little.
_EDIT_MODEL = LabSettings(skip=0.0, eta=0.0)
_LESS = replace(_EDIT_MODEL, skip=0.4)
EDIT_MODEL_METHODS = (
    GROUND_TRUTH,
    LabMethod(
        "edit model",
        instructed,
        rows={"": _EDIT_MODEL, ", denoise 0.6": _LESS, ", kept": replace(_EDIT_MODEL, keep=Keep())},
        held=True,
    ),
    LabMethod(
        "edit model + maps",
        instructed_maps,
        rows={"": LabSettings(), ", kept": LabSettings(keep=Keep())},
        held=True,
    ),
)


def methods_of(model: DemoModel) -> list[LabMethod]:
    """Those that make sense of a model."""
    if model.is_shown_pictures:
        return [*EDIT_MODEL_METHODS]
    return [*METHODS, *(FLOW_METHODS if model.is_flow else ())]


BY_NAME = {method.name: method for method in (*METHODS, *FLOW_METHODS, *EDIT_MODEL_METHODS)}
