"""Nodes from an image to noise maps whose states are drawn, without the network."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import Method, manipulation, trajectories
from . import advice, inputs
from .host import (
    Conditioning,
    Latent,
    ModelPatcher,
    Plan,
    RunSettings,
    gain_of_network,
    guider_for,
    loops,
    run_plan,
    schedule_for,
    tell,
    told_guidance,
)
from .presets import EditSettings
from .sockets import CATEGORY, MAX_STEPS


def _inputs_of_stochastic_inversion() -> list[io.Input]:
    return [
        *inputs.image_and_prompts(),
        inputs.steps(),
        inputs.cfg(
            "cfg",
            3.5,
            "Guidance towards the source prompt. The paper's is 3.5. To get the image back, sample with it.",
        ),
        inputs.eta_of_edit(0.01),  # Eq. 5 divides by sigma_t: at 0 there is no z
        inputs.scheduler(),
        inputs.seed(),
        inputs.skip_steps_of_inversion(),
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
            outputs=[inputs.noise_maps_output("The image as fixed noise.")],
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
            outputs=[inputs.noise_maps_output("The image as fixed noise, nearly white.")],
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
                *inputs.image_and_prompts(),
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
            outputs=[inputs.noise_maps_output("The image as fixed noise for few steps.")],
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
