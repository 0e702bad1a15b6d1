"""Nodes about noise levels: how many steps a run has, which of them a fraction skips, and which model takes which."""

from __future__ import annotations

from comfy_api.latest import io

from . import inputs
from .host import ModelPatcher, ModelsByLevel, levels
from .sockets import CATEGORY


class NoiseLevels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNoiseLevels",
            display_name="Noise Levels and Skip",
            category=f"{CATEGORY}/invert",
            search_aliases=["denoise", "skip fraction", "steps"],
            description="The noise levels of a schedule, the steps that they really are, and skip_steps as a fraction "
            "of them: connect all three, and another number of steps keeps the same strength of the edit.",
            inputs=[
                io.Model.Input("model", tooltip="The model to invert and to sample with."),
                inputs.steps(),
                inputs.scheduler(),
                inputs.fraction(
                    "skip_fraction",
                    0.36,
                    "T_skip as a fraction of the steps: 0.36 is the paper's 36 of 100. It is 1 less what KSampler "
                    "calls denoise. At least one step stays.",
                    step=0.01,
                ),
            ],
            outputs=[
                io.Sigmas.Output(display_name="sigmas", tooltip="All levels, for the sigmas input of an inversion."),
                io.Int.Output(display_name="steps", tooltip="The steps that these levels are."),
                io.Int.Output(display_name="skip_steps", tooltip="For skip_steps of the sampler, or of both."),
                io.String.Output(display_name="summary", tooltip="The same in words, for Preview Any."),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, steps: int, scheduler: str, skip_fraction: float) -> io.NodeOutput:
        sigmas = levels(model, scheduler, steps)
        steps = len(sigmas) - 1
        skip_steps = min(round(skip_fraction * steps), steps - 1)
        summary = (
            f"{steps} steps, {skip_steps} skipped: {steps - skip_steps} run, from sigma {sigmas[skip_steps]:.4g} of "
            f"{sigmas[0]:.4g}"
        )
        return io.NodeOutput(sigmas, steps, skip_steps, summary)


class SwitchModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySwitchModels",
            display_name="Switch Models by Noise Level",
            category=f"{CATEGORY}/invert",
            search_aliases=["Wan 2.2", "high noise", "low noise", "mixture of experts", "two models"],
            description="Two models as one MODEL: the first takes the noisy levels, the second the rest, as Wan 2.2 "
            "14B has it. For every node that takes a MODEL, also KSampler. What patches one alone goes before this "
            "node, what patches both goes after it.",
            inputs=[
                io.Model.Input("high_noise_model", tooltip="The model for the noisy levels, where a run begins."),
                io.Model.Input("low_noise_model", tooltip="The model for the levels below the boundary."),
                inputs.fraction(
                    "boundary",
                    0.875,
                    "Share of noise in a state at which the first model acts for the last time. Wan 2.2's is 0.875, "
                    "and 0.9 for video from an image.",
                    step=0.025,
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="Both as one, for inversion and sampling.")],
        )

    @classmethod
    def execute(cls, high_noise_model: ModelPatcher, low_noise_model: ModelPatcher, boundary: float) -> io.NodeOutput:
        return io.NodeOutput(ModelsByLevel.of_share(high_noise_model, low_noise_model, boundary).together())
