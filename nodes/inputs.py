"""Inputs that several nodes share, each with its range and its words in one place."""

from __future__ import annotations

from typing import Literal, get_args

from comfy_api.latest import io

from ..ddpm_core.guidance import CFGSchedule
from .host import SCHEDULERS
from .sockets import ATTENTION_EDIT, MAX_SEED, MAX_STEPS, NOISE_MAPS, SETTINGS

SourcePrediction = Literal["model", "image"]


def noise_maps() -> io.Input:
    return NOISE_MAPS.Input("noise_maps", tooltip="From Invert Image or Load Noise Maps, edited or not.")


def model_of_maps() -> io.Input:
    return io.Model.Input("model", tooltip="The model that the image was inverted with.")


def target(name: str = "target") -> io.Input:
    return io.Conditioning.Input(name, tooltip="The target prompt: what the image is to show.")


def negative() -> io.Input:
    return io.Conditioning.Input("negative", tooltip="The negative prompt, usually empty.")


def image_and_prompts() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model to invert with; edit with the same one."),
        io.Conditioning.Input("positive", tooltip="The source prompt: what the image shows. May be empty."),
        negative(),
        io.Latent.Input(
            "latent_image",
            tooltip="The image, from VAE Encode with the model's VAE. What its noise mask leaves out stays as it is.",
        ),
    ]


def skip_steps_of_inversion() -> io.Input:
    return io.Int.Input(
        "skip_steps",
        default=0,
        min=0,
        max=MAX_STEPS,
        tooltip="Leave out the first, noisiest steps: saves their time where the sampler skips at least as many. "
        "0 keeps every choice open.",
    )


def row() -> io.Input:
    return io.Int.Input(
        "row",
        default=0,
        min=0,
        max=4095,
        tooltip="Which image to show, from 0: variation v of image b is row v * (images) + b.",
    )


def steps(calls: str = "each one call of the model unless skipped") -> io.Input:
    return io.Int.Input(
        "steps",
        default=100,
        min=1,
        max=MAX_STEPS,
        tooltip=f"Steps of the schedule, {calls}. The paper uses 100; 50 may do. "
        "Noise Levels and Skip says how many there will be.",
    )


def cfg(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def cfg_schedule(default: str, optional: bool = False) -> io.Input:
    return io.Combo.Input(
        "cfg_schedule",
        options=list(get_args(CFGSchedule)),
        default=default,
        optional=optional,
        advanced=optional,
        tooltip="How guidance towards the target goes from cfg at the first step to end_cfg at the last: constant "
        "(end_cfg is not used), linear, or cosine (slowly at both ends).",
    )


def end_cfg(optional: bool = False) -> io.Input:
    return io.Float.Input(
        "end_cfg",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        round=0.01,
        optional=optional,
        advanced=optional,
        tooltip="Guidance at the last step, where cfg_schedule is not constant.",
    )


def eta(minimum: float, tooltip: str) -> io.Input:
    return slider("eta", 1.0, tooltip, minimum=minimum, advanced=True)


def eta_of_edit(minimum: float, at_minimum: str = "") -> io.Input:
    """The eta of an inversion whose image is then edited."""
    return eta(
        minimum,
        "Noise of each step: 1 is DDPM, the paper's. Lower edits less and later, so more of the image stays."
        f"{at_minimum}",
    )


def order() -> io.Input:
    return io.Int.Input(
        "order",
        default=1,
        min=1,
        max=2,
        optional=True,
        advanced=True,
        tooltip="1 is the paper's. 2 takes the prediction of the step before into account, as LEDITS++ does with "
        "DPM-Solver++, at no further cost. On the demo model the two edit alike.",
    )


def source_prediction(saves: str) -> io.Input:
    return io.Combo.Input(
        "source_prediction",
        options=list(get_args(SourcePrediction)),
        default="model",
        optional=True,
        advanced=True,
        tooltip="What is predicted of the image as it is. model: what the model predicts under the source prompt. "
        f"image: the image itself, for edit models, which see it in their prompt: {saves}.",
    )


def scheduler(
    default: str = "ddim_uniform",
    suits: str = "ddim_uniform spreads them evenly over the training's; flow models want simple or beta.",
) -> io.Input:
    return io.Combo.Input(
        "scheduler",
        options=SCHEDULERS,
        default=default,
        tooltip=f"Where the steps lie. {suits}",
    )


def seed(
    tooltip: str = "Of the noise laid over the image. Another seed gives another variation of an edit.",
) -> io.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip=tooltip,
    )


def skip_steps_of_edit() -> io.Input:
    return io.Int.Input(
        "skip_steps",
        default=36,
        min=0,
        max=MAX_STEPS,
        tooltip="T_skip: steps left out at the noisy end. More keeps more of the image, fewer lets the prompt change "
        "more. The paper's is 36 of 100; its code's README suggests 0 to 40, for edit-friendly maps. With fewer "
        "steps, scale it along: 18 of 50. 0 together with the inversion's prompt and cfg gives the image back.",
    )


def variations() -> io.Input:
    return io.Int.Input(
        "variations",
        default=1,
        min=1,
        max=64,
        tooltip="Run this many times, with seed, seed + 1, ...: the batch is repeated, as a whole, once for each.",
    )


def mask(
    outside: str = "the image comes back as it was. For sound, from Mask by Seconds.",
) -> io.Input:
    return io.Mask.Input("mask", optional=True, tooltip=f"Edit only here, in the size of the image. Outside, {outside}")


def attention(
    cost: str = "While it acts, a step takes the rows of the source too: 3 rows an image in place of 2, or 4 where the "
    "negative prompt shares as well.",
) -> io.Input:
    return ATTENTION_EDIT.Input(
        "attention",
        optional=True,
        tooltip="From Prompt-to-Prompt or Share Self-Attention: what to keep of the image's own attention. " + cost,
    )


def fraction(
    name: str, default: float, tooltip: str, *, optional: bool = False, advanced: bool = False, step: float = 0.05
) -> io.Input:
    """A fraction of the steps, of a side or of a largest value: 0 to 1."""
    return slider(name, default, tooltip, step=step, optional=optional, advanced=advanced)


def slider(
    name: str, default: float, tooltip: str, *, minimum: float = 0.0, maximum: float = 1.0, step: float = 0.01,
    optional: bool = False, advanced: bool = False,
) -> io.Input:  # fmt: skip
    """A number between two ends that mean something."""
    return io.Float.Input(
        name,
        default=default,
        min=minimum,
        max=maximum,
        step=step,
        round=step / 10,
        optional=optional,
        advanced=advanced,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


def settings(what: str) -> io.Input:
    """The preset's wire; `what` names the inputs that it overrides."""
    return SETTINGS.Input(
        "settings", optional=True, tooltip=f"From Edit Preset, for all nodes of an edit: used in place of {what} here."
    )


def sigmas() -> io.Input:
    return io.Sigmas.Input(
        "sigmas",
        optional=True,
        tooltip="Noise levels to use in place of steps and scheduler, from the noisiest down to 0.",
    )


def noise_maps_output(tooltip: str) -> io.Output:
    return NOISE_MAPS.Output(display_name="noise_maps", tooltip=tooltip)
