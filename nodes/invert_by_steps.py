"""Nodes from an image to noise maps whose states are found step by step, by the network."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..ddpm_core import Method, NoiseMaps, trajectories
from ..ddpm_core.guidance import CFGSchedule
from . import inputs
from .host import (
    Conditioning,
    Latent,
    ModelPatcher,
    Plan,
    RunSettings,
    advise_on_guidance,
    cfg_guide,
    guider_for,
    loops,
    run_plan,
    with_lasting_weights,
    with_substeps,
)
from .presets import EditSettings
from .sockets import CATEGORY, MAX_STEPS, NOISE_MAPS


class DDIMInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyDDIMInvert",
            display_name="Invert Image (DDIM)",
            category=f"{CATEGORY}/invert",
            search_aliases=["unsampler", "direct inversion", "image to noise"],
            description="Runs the model's deterministic sampling backwards, from the image to noise. The textbook "
            "inversion only comes near the image, the less so the higher cfg is; with keep_residuals it is exact.",
            inputs=[
                *inputs.image_and_prompts(),
                inputs.steps("each one call of the model unless skipped, or two with keep_residuals"),
                inputs.cfg(
                    "cfg", 1.0, "Guidance towards the source prompt. 1 inverts best; more lets the replay drift away."
                ),
                inputs.scheduler(),
                inputs.seed(
                    "Of the noise of forward_noise_steps, and of regularization; without either it changes nothing."
                ),
                inputs.skip_steps_of_inversion(),
                inputs.variations(),
                io.Boolean.Input(
                    "keep_residuals",
                    default=True,
                    tooltip="Keep what each step misses and add it again when sampling: the image comes back exactly "
                    "(twice the calls). Off is textbook DDIM inversion, which shows its real error.",
                ),
                io.Int.Input(
                    "fixed_point_iterations",
                    advanced=True,
                    default=0,
                    min=0,
                    max=100,
                    tooltip="Refine each step so many times, each a further call of the model. 0 is the textbook's.",
                ),
                io.Int.Input(
                    "forward_noise_steps",
                    advanced=True,
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Noise the image in so many of the first (cleanest) steps in place of asking the model, so "
                    "that plain areas become noise of full size and can change (There and Back Again, from its third "
                    "version on). 1 to 4 of 100 may do; 0 is off.",
                ),
                inputs.sigmas(),
                NOISE_MAPS.Input(
                    "native_noise_maps",
                    optional=True,
                    tooltip="For true_prediction_steps: the maps of Generate Image with Noise Maps, eta 0, that made "
                    "this very image, with the same steps, scheduler, prompt and cfg.",
                ),
                io.Int.Input(
                    "true_prediction_steps",
                    advanced=True,
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    optional=True,
                    tooltip="Take so many of the first (cleanest) steps with the predictions that made the image in "
                    "place of approximations (There and Back Again, its second version): shows how much of the error "
                    "is theirs. Needs native_noise_maps; 0 is off.",
                ),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.settings(
                    "steps, scheduler, cfg, cfg_schedule, keep_residuals, substeps, regularization and replay_source"
                ),
                io.Boolean.Input(
                    "warm_start",
                    advanced=True,
                    default=False,
                    optional=True,
                    tooltip="Start each step from where the step before it leads on to, as Uni-Inv does. Without "
                    "residuals the image then comes back several times nearer, at no further call. Off is the "
                    "textbook's.",
                ),
                io.Int.Input(
                    "substeps",
                    advanced=True,
                    default=1,
                    min=1,
                    max=MAX_STEPS,
                    optional=True,
                    tooltip="Steps of the inversion from each level of the schedule to the next, each a call of the "
                    "model: 20 with 50 steps are Plug-and-Play's 1000. The sampler takes the steps of the schedule.",
                ),
                io.Float.Input(
                    "regularization",
                    advanced=True,
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    round=0.01,
                    optional=True,
                    tooltip="How much each predicted noise is drawn towards white noise, as in pix2pix-zero, which has "
                    "20. For pictures; 0 is off.",
                ),
                io.Boolean.Input(
                    "replay_source",
                    advanced=True,
                    default=False,
                    optional=True,
                    tooltip="Without residuals: keep the states that sampling back goes through in place of those of "
                    "the inversion, as Prompt-to-Prompt on DDIM reads its source; another call a step.",
                ),
            ],
            outputs=[inputs.noise_maps_output("The image as one starting noise, and what the steps miss.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        cfg: float,
        keep_residuals: bool,
        fixed_point_iterations: int,
        forward_noise_steps: int,
        native_noise_maps: NoiseMaps | None = None,
        true_prediction_steps: int = 0,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        settings: EditSettings | None = None,
        warm_start: bool = False,
        substeps: int = 1,
        regularization: float = 0.0,
        replay_source: bool = False,
        **chosen: Any,
    ) -> io.NodeOutput:
        if settings is not None:
            preset = settings.for_inversion(Method.DDIM)
            cfg, cfg_schedule, keep_residuals = preset.source_cfg, "constant", False
            substeps, regularization, replay_source = preset.substeps, preset.regularization, preset.replay_source
            chosen |= {"sigmas": settings.sigmas}
        method = Method.DDIM_WITH_RESIDUALS if keep_residuals else Method.DDIM
        notes: dict[str, object] = {"substeps": substeps} if substeps > 1 else {}
        notes |= {"regularization": regularization} if regularization else {}
        of_run = RunSettings(eta=0.0, **chosen)
        plan = Plan.of(model, latent_image, of_run, method=method, cfg=cfg, prompt=positive, notes=notes)
        finer = with_substeps(model, plan.schedule, substeps)
        climb = partial(
            trajectories.ddim,
            fixed_point_iterations=fixed_point_iterations,
            forward_noise_steps=forward_noise_steps,
            true_prediction_steps=true_prediction_steps,
            native=native_noise_maps,
            warm_start=warm_start,
            finer=finer,
            regularization=regularization,
        )
        calls = finer.steps - forward_noise_steps - true_prediction_steps
        kept = {"keep_residuals": keep_residuals, "replay_source": replay_source}
        loop = loops.ddim_inversion(plan, climb, calls, **kept)
        guider = guider_for(model, positive, negative, cfg, cfg_schedule, end_cfg)
        return io.NodeOutput(run_plan(guider, loop, plan))


class NullTextInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNullTextInvert",
            display_name="Invert Image (Null-Text)",
            category=f"{CATEGORY}/invert",
            search_aliases=["null text inversion", "pivotal tuning"],
            description="DDIM inversion, then a search for one negative embedding a step under which sampling with "
            "guidance comes back to the image. Slow (up to inner_steps trainings a step), needs memory for gradients, "
            "and comes near rather than exact; made for Prompt-to-Prompt.",
            inputs=[
                *inputs.image_and_prompts(),
                io.Int.Input(
                    "steps", default=50, min=1, max=MAX_STEPS, tooltip="Steps of the schedule. The paper uses 50."
                ),
                inputs.cfg("cfg", 7.5, "Guidance that the maps will be sampled with. The paper's is 7.5; above 1."),
                inputs.scheduler(),
                inputs.skip_steps_of_inversion(),
                io.Int.Input(
                    "inner_steps",
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="Steps of the search at most, for each sampling step. More comes nearer.",
                ),
                io.Float.Input(
                    "learning_rate",
                    advanced=True,
                    default=0.01,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=0.00001,
                    tooltip="How far each step of the search goes; it halves towards the end.",
                ),
                io.Float.Input(
                    "early_stop",
                    advanced=True,
                    default=1e-5,
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    tooltip="Error that is good enough at the first step (a hundred times that at the last). Smaller "
                    "comes nearer and takes longer; 0 never stops.",
                ),
                inputs.sigmas(),
                inputs.cfg_schedule("constant", optional=True),
                inputs.end_cfg(optional=True),
                inputs.settings("steps, scheduler, cfg and cfg_schedule"),
            ],
            outputs=[inputs.noise_maps_output("The starting noise with its embeddings; sample with the same cfg.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        cfg: float,
        inner_steps: int,
        learning_rate: float,
        early_stop: float,
        cfg_schedule: CFGSchedule = "constant",
        end_cfg: float = 1.0,
        settings: EditSettings | None = None,
        **chosen: Any,
    ) -> io.NodeOutput:
        if settings is not None:
            cfg, cfg_schedule = settings.for_inversion(Method.NULL_TEXT).source_cfg, "constant"
            chosen |= {"sigmas": settings.sigmas}
        if cfg == 1 and (cfg_schedule == "constant" or end_cfg == 1):
            raise ValueError(
                "null-text inversion with cfg 1 has nothing to search for: without guidance the negative prompt plays "
                "no part; set the cfg that you will sample with, or use Invert Image (DDIM)"
            )
        of_run, method = RunSettings(eta=0.0, **chosen), Method.NULL_TEXT
        plan = Plan.of(model, latent_image, of_run, method=method, cfg=cfg, prompt=positive)
        loop = loops.null_text_inversion(
            plan,
            cfg_guide(cfg, cfg_schedule, end_cfg),
            inner_steps=inner_steps,
            learning_rate=learning_rate,
            early_stop=early_stop,
        )
        advise_on_guidance(model, cfg)
        # without guidance: the search begins with the ODE of the prompt alone
        guider = guider_for(with_lasting_weights(model), positive, negative, 1.0)
        return io.NodeOutput(run_plan(guider, loop, plan))
