"""A node that holds an image in any sampler."""

from __future__ import annotations

from typing import Literal, get_args

from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core.anchor import Anchor
from . import inputs
from .host import KeepImage as Kept
from .host import Latent, ModelPatcher
from .sockets import CATEGORY

Where = Literal["where it agrees", "everywhere"]


class KeepImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyKeepImage",
            display_name="Keep Image",
            category=f"{CATEGORY}/sample",
            search_aliases=["anchor", "preserve image", "VeloEdit", "pixel shift", "color shift", "edit model"],
            description="Holds an image while a model edits it: every prediction of a run is pulled towards the image "
            "where the two agree, so that what was not asked for stays. For any model and sampler, at no further call.",
            inputs=[
                io.Model.Input("model", tooltip="The model to edit with; connect the output to the sampler."),
                io.Latent.Input("latent_image", tooltip="The image to keep, from VAE Encode, in the size of the run."),
                io.Combo.Input(
                    "where",
                    options=list(get_args(Where)),
                    tooltip="where it agrees: the pull fades where the model is far from the image, as where it edits. "
                    "everywhere: one pull for all, which weakens the edit too.",
                ),
                inputs.fraction("amount", 1.0, "The largest pull: 1 holds the image itself where it agrees, 0 is off."),
                io.Float.Input(
                    "tolerance",
                    default=0.15,
                    min=0.01,
                    max=10.0,
                    step=0.01,
                    round=0.001,
                    tooltip="How far from the image still counts as agreeing, in a latent of about 1: more holds more, "
                    "and too much takes the edit back. Not used with everywhere.",
                ),
                inputs.fraction(
                    "start_percent", 0.0, "Part of the run after which it acts; 0 is the noisiest.", advanced=True
                ),
                inputs.fraction(
                    "end_percent", 1.0, "Part of the run until which it acts; 1 is to the end.", advanced=True
                ),
                inputs.mask("the pull is the whole amount, which at 1 gives the image itself."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model that keeps the image, for a sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        latent_image: Latent,
        where: Where,
        amount: float,
        tolerance: float,
        start_percent: float,
        end_percent: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        anchor = Anchor(amount, None if where == "everywhere" else tolerance)
        return io.NodeOutput(Kept.of(model, latent_image, anchor, start_percent, end_percent, mask).into(model))
