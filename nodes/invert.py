"""Nodes from an image to noise maps."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import Method, NoiseMaps, manipulation, trajectories
from ..ddpm_core.guidance import CFGSchedule
from . import advice, inputs
from .host import (
    Conditioning,
    Latent,
    ModelPatcher,
    Plan,
    RunSettings,
    advise_on_guidance,
    cfg_guide,
    gain_of_network,
    guider_for,
    loops,
    run_plan,
    schedule_for,
    tell,
    told_guidance,
    with_lasting_weights,
    with_substeps,
)
from .presets import EditSettings
from .sockets import CATEGORY, MAX_STEPS, NOISE_MAPS


def _image_and_prompts() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model to invert with; edit with the same one."),
        io.Conditioning.Input("positive", tooltip="The source prompt: what the image shows. May be empty."),
        inputs.negative(),
        io.Latent.Input(
            "latent_image",
            tooltip="The image, from VAE Encode with the model's VAE. What its noise mask leaves out stays as it is.",
        ),
    ]


def _skip_steps_of_inversion() -> io.Input:
    return io.Int.Input(
        "skip_steps",
        default=0,
        min=0,
        max=MAX_STEPS,
        tooltip="Leave out the first, noisiest steps: saves their time where the sampler skips at least as many. "
        "0 keeps every choice open.",
    )


def _inputs_of_stochastic_inversion() -> list[io.Input]:
    return [
        *_image_and_prompts(),
        inputs.steps(),
        inputs.cfg(
            "cfg",
            3.5,
            "Guidance towards the source prompt. The paper's is 3.5. To get the image back, sample with it.",
        ),
        inputs.eta_of_edit(0.01),  # Eq. 5 divides by sigma_t: at 0 there is no z
        inputs.scheduler(),
        inputs.seed(),
        _skip_steps_of_inversion(),
        inputs.variations(),
        io.Int.Input(
            "timesteps_per_call",
            advanced=True,
            default=1,
            min=0,
            max=MAX_STEPS,
            tooltip="1 is exact. More timesteps in one call of the model are faster on a GPU, and exact to the "
            "rounding that the model leaves; 0 takes as many as fit the free memory.",
        ),
        inputs.sigmas(),
        inputs.order(),
        inputs.settings("steps, scheduler, cfg and eta"),
        inputs.source_prediction("exact, and without a call of the model"),
    ]


def _noise_maps_output(tooltip: str) -> io.Output:
    return NOISE_MAPS.Output(display_name="noise_maps", tooltip=tooltip)


class _StochasticInversion(io.ComfyNode):
    """An inversion whose trajectory does not depend on the network."""

    trajectory: trajectories.Trajectory
    method: Method

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        cfg: float,
        timesteps_per_call: int = 1,
        settings: EditSettings | None = None,
        source_prediction: inputs.SourcePrediction = "model",
        **chosen: Any,
    ) -> io.NodeOutput:
        if settings is not None:
            preset = settings.for_inversion(cls.method)
            cfg, chosen = preset.source_cfg, chosen | {"sigmas": settings.sigmas, "eta": preset.eta}
            positive = told_guidance(model, positive, preset.source_guidance)
        plan = Plan.of(model, latent_image, RunSettings(**chosen), method=cls.method, cfg=cfg, prompt=positive)
        said = advice.on_first_step(gain_of_network(model, plan.schedule.sigmas[0]))
        tell(cls.hidden and cls.hidden.unique_id, said)
        if source_prediction == "image":
            return io.NodeOutput(loops.inversion_by_image(model, plan, cls.trajectory))
        loop = loops.inversion(plan, cls.trajectory, timesteps_per_call)
        return io.NodeOutput(run_plan(guider_for(model, positive, negative, cfg), loop, plan))


class EditFriendlyInvert(_StochasticInversion):
    trajectory = staticmethod(trajectories.edit_friendly)
    method = Method.EDIT_FRIENDLY

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyInvert",
            display_name="Invert Image (Edit-Friendly DDPM)",
            category=f"{CATEGORY}/invert",
            search_aliases=["DDPM inversion", "image to noise", "unsampler"],
            description="Turns a real image into the noise maps of a DDPM sampler. Sampled again with the same prompt "
            "they give the image back exactly; with another prompt, the image keeps its structure.",
            inputs=_inputs_of_stochastic_inversion(),
            outputs=[_noise_maps_output("The image as fixed noise.")],
            hidden=[io.Hidden.unique_id],
        )


class CycleDiffusionInvert(_StochasticInversion):
    trajectory = staticmethod(trajectories.cycle_diffusion)
    method = Method.CYCLE_DIFFUSION

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyCycleDiffusionInvert",
            display_name="Invert Image (CycleDiffusion)",
            category=f"{CATEGORY}/invert",
            search_aliases=["DPM-Encoder", "image to noise"],
            description="Turns a real image into noise maps along one path of the forward process. They are nearly as "
            "random as native noise: edits follow the prompt more freely and keep less of the image's structure than "
            "edit-friendly ones. Exact, too.",
            inputs=_inputs_of_stochastic_inversion(),
            outputs=[_noise_maps_output("The image as fixed noise, nearly white.")],
            hidden=[io.Hidden.unique_id],
        )


def _named(sigmas: Tensor) -> str:
    return f"to sigmas {', '.join(f'{sigma:.4g}' for sigma in sigmas.tolist())}"


class TurboInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyTurboInvert",
            display_name="Invert Image (Few Steps)",
            category=f"{CATEGORY}/invert",
            search_aliases=["TurboEdit", "turbo", "lightning", "LCM", "DDPM inversion"],
            description="The edit-friendly inversion for turbo, lightning and LCM models, in 3 or 4 steps, as "
            "TurboEdit has it: the model is told more noise than there is, and the last step's noise is clipped. Edit "
            "with Guide from Source to Target, source as negative, cfg 1.5.",
            inputs=[
                *_image_and_prompts(),
                io.Int.Input(
                    "steps",
                    default=5,
                    min=1,
                    max=MAX_STEPS,
                    tooltip="Steps of the schedule, skip_steps of which are left out. TurboEdit runs 4, or 3.",
                ),
                inputs.cfg(
                    "cfg",
                    1.0,
                    "Guidance towards the source prompt; 1 is none, as these models want it. Guidance is for the edit.",
                ),
                inputs.eta_of_edit(0.01),
                inputs.scheduler(
                    "sgm_uniform",
                    "sgm_uniform with 5 steps and skip_steps 1 tells a model about the timesteps 799, 599, 399 and "
                    "199: TurboEdit's.",
                ),
                inputs.seed(),
                io.Int.Input(
                    "skip_steps",
                    default=1,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Leave out the first, noisiest steps; the sampler has to skip as many at least. 1 of 5 is "
                    "TurboEdit's.",
                ),
                inputs.variations(),
                io.Int.Input(
                    "noise_shift",
                    advanced=True,
                    default=1,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="By how many levels the model is told more noise than there is, against artifacts in "
                    "an edit. 1 is TurboEdit's; 0 is off, as in Invert Image (Edit-Friendly DDPM).",
                ),
                io.Float.Input(
                    "clip_last",
                    advanced=True,
                    default=0.121,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Largest size (root mean square, of a latent of about 1) of the last step's noise, against "
                    "artifacts in an edit. 0.121 is TurboEdit's. The image comes back exactly with 0 only, which is "
                    "off.",
                ),
                inputs.sigmas(),
                inputs.order(),
                io.Sigmas.Input(
                    "noise_sigmas",
                    optional=True,
                    tooltip="In place of noise_shift: the level of the noise that is there at each step, then 0. Edit "
                    "Preset has TurboEdit's.",
                ),
                inputs.settings("steps, scheduler, skip_steps, noise_shift, cfg and eta"),
            ],
            outputs=[_noise_maps_output("The image as fixed noise for few steps.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        cfg: float,
        noise_shift: int,
        clip_last: float,
        noise_sigmas: Tensor | None = None,
        settings: EditSettings | None = None,
        **chosen: Any,
    ) -> io.NodeOutput:
        if settings is not None:
            preset = settings.for_inversion(Method.FEW_STEPS)
            noise_sigmas, cfg = settings.noise_sigmas, preset.source_cfg
            chosen |= {"sigmas": settings.sigmas, "skip_steps": preset.skip_steps, "eta": preset.eta}
        of_run = RunSettings(**chosen)
        noise_levels = None
        if noise_sigmas is not None:
            noise_levels = schedule_for(model, noise_sigmas, of_run.eta).after(of_run.skip_steps)
        plan = Plan.of(
            model,
            latent_image,
            of_run,
            method=Method.FEW_STEPS,
            cfg=cfg,
            prompt=positive,
            notes={
                "noise_shift": noise_shift if noise_levels is None else _named(noise_levels.sigmas),
                "clip_last": clip_last,
            },
        )
        tell(cls.hidden and cls.hidden.unique_id, advice.on_steps_of_few(plan.schedule.steps))
        trajectory = partial(trajectories.few_steps, noise_shift=noise_shift, noise_levels=noise_levels)
        noising = trajectories.noising_of_few_steps(plan.schedule, noise_shift=noise_shift, noise_levels=noise_levels)
        loop = loops.inversion(plan, trajectory, noising=noising)
        noise_maps = run_plan(guider_for(model, positive, negative, cfg), loop, plan)
        return io.NodeOutput(manipulation.clip_last(noise_maps, clip_last) if clip_last else noise_maps)


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
                *_image_and_prompts(),
                inputs.steps(),
                inputs.cfg(
                    "cfg", 1.0, "Guidance towards the source prompt. 1 inverts best; more lets the replay drift away."
                ),
                inputs.scheduler(),
                inputs.seed("Of the noise of forward_noise_steps; without those it changes nothing."),
                _skip_steps_of_inversion(),
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
                inputs.settings("steps, scheduler, cfg, keep_residuals, substeps, regularization and replay_source"),
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
            outputs=[_noise_maps_output("The image as one starting noise, and what the steps miss.")],
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
            cfg, keep_residuals = preset.source_cfg, False
            substeps, regularization, replay_source = preset.substeps, preset.regularization, preset.replay_source
            chosen |= {"sigmas": settings.sigmas}
        method = Method.DDIM_WITH_RESIDUALS if keep_residuals else Method.DDIM
        notes: dict[str, object] = {"substeps": substeps} if substeps > 1 else {}
        notes |= {"regularization": regularization} if regularization else {}
        of_run = RunSettings(eta=0.0, **chosen)
        plan = Plan.of(model, latent_image, of_run, method=method, cfg=cfg, prompt=positive, notes=notes)
        loop = loops.ddim_inversion(
            plan,
            with_substeps(model, plan.schedule, substeps),
            keep_residuals=keep_residuals,
            fixed_point_iterations=fixed_point_iterations,
            forward_noise_steps=forward_noise_steps,
            true_prediction_steps=true_prediction_steps,
            native=native_noise_maps,
            warm_start=warm_start,
            regularization=regularization,
            replay_source=replay_source,
        )
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
                *_image_and_prompts(),
                io.Int.Input(
                    "steps", default=50, min=1, max=MAX_STEPS, tooltip="Steps of the schedule. The paper uses 50."
                ),
                inputs.cfg("cfg", 7.5, "Guidance that the maps will be sampled with. The paper's is 7.5; above 1."),
                inputs.scheduler(),
                _skip_steps_of_inversion(),
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
                inputs.settings("steps, scheduler and cfg"),
            ],
            outputs=[_noise_maps_output("The starting noise with its embeddings; sample with the same cfg.")],
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
