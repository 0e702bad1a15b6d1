"""Nodes for several edits at once (LEDITS++, arXiv 2311.16711), and the guider that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import comfy.model_management
import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps, several
from ..ddpm_core.several import Term
from . import host, inputs, latents, masks
from .conds import Conds
from .guide import ImagesGuider, LevelsOfRun
from .samplers import FixedNoise
from .types import CATEGORY, EDITS, MAX_STEPS, NOISE_MAPS, Conditioning, ModelPatcher, search_aliases

Direction = Literal["add", "remove"]


@dataclass(frozen=True, eq=False)
class OneEdit:
    """An edit of a chain.

    Args:
        prompt: what is added, or taken away.
        term: how; its mask is not set yet.
        mask: a MASK of the image, what was painted; or None.
    """

    prompt: Conditioning
    term: Term
    mask: Tensor | None


Edits = tuple[OneEdit, ...]
"""EDITS: a chain, in the order in which it was made."""


class SeveralEditsGuider(ImagesGuider):
    """Predictions of several prompts in one call, each added along its own difference to that of the base prompt.

    After a run `masks_of_run` tells where each has acted, as a mean over its steps.
    """

    def set_edits(self, base: Conditioning, edits: Edits, terms: list[Term], sigmas: Tensor, steps: int) -> None:
        """Of a run.

        Args:
            base: the prompt of the inversion.
            edits, terms: the same edits; the terms have their masks for the rows that run.
            sigmas: (T'+1,) the levels that run.
            steps: of the full schedule.
        """
        names = [f"edit {i}" for i in range(len(edits))]
        # the host gives the positive prompt's ControlNets to all others
        self.inner_set_conds({"positive": base, **{name: edit.prompt for name, edit in zip(names, edits, strict=True)}})
        self._names, self._terms = names, terms
        self._levels, self._steps = LevelsOfRun(sigmas), steps
        self._seen: dict[int, list[Tensor]] = {i: [] for i in range(len(edits))}

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        step = self._levels.index(timestep)
        acting = [i for i, term in enumerate(self._terms) if term.is_open(step, self._steps)]
        prompts: list[Conds] = [self.conds["positive"], *(self.conds[self._names[i]] for i in acting)]
        base, *predictions = comfy.samplers.calc_cond_batch(self.inner_model, prompts, x, timestep, model_options or {})
        result, found = several.combined(base, predictions, [self._terms[i] for i in acting])
        for i, mask in zip(acting, found, strict=True):
            self._seen[i].append(mask.float().cpu())
        return result

    def masks_of_run(self, like: Tensor) -> list[Tensor]:
        """For each edit (rows, 1, *S[1:]), 0 where it never acted; `like` (rows, C, *S[1:]) is the latent."""
        nowhere = torch.zeros_like(like[:, :1], device="cpu", dtype=torch.float32)
        return [torch.stack(seen).mean(dim=0) if seen else nowhere for seen in self._seen.values()]


class AddEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyAddEdit",
            display_name="Add an Edit",
            category=f"{CATEGORY}/several",
            **search_aliases("LEDITS++", "multiple edits", "semantic guidance"),
            description="One edit among several that are made at once: chain these nodes and give the last to Sample "
            "Several Edits. Each edit has its own prompt, strength, time and place.",
            inputs=[
                io.Conditioning.Input(
                    "prompt", tooltip="What to add or to remove, such as 'sunglasses'; or the image's caption, changed."
                ),
                io.Combo.Input(
                    "direction", options=list(get_args(Direction)), tooltip="Towards the prompt, or away from it."
                ),
                inputs.cfg("scale", 5.0, "How strongly. LEDITS++ has 5; with a changed caption 2 to 4."),
                inputs.share(
                    "quantile",
                    0.9,
                    "Where: only in the places where the prompt changes the prediction most. 0.9 is the tenth of the "
                    "image with the largest changes, as in LEDITS++; 0.5 half of it; 0 everywhere.",
                    step=0.01,
                ),
                inputs.share("start", 0.0, "From which share of the steps on it acts."),
                inputs.share("end", 1.0, "Until which share."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only here, in the size of the image: painted, or from Mask from Words or Mask from two "
                    "Prompts. The quantile is of what is left under it.",
                ),
                EDITS.Input("edits", optional=True, tooltip="The edits before this one."),
            ],
            outputs=[EDITS.Output(display_name="edits", tooltip="These and this one, in this order.")],
        )

    @classmethod
    def execute(
        cls,
        prompt: Conditioning,
        direction: Direction,
        scale: float,
        quantile: float,
        start: float,
        end: float,
        mask: Tensor | None = None,
        edits: Edits = (),
    ) -> io.NodeOutput:
        term = Term(scale if direction == "add" else -scale, (start, end), quantile)
        return io.NodeOutput((*edits, OneEdit(prompt, term, mask)))


class SampleEdits(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySampleEdits",
            display_name="Sample Several Edits",
            category=f"{CATEGORY}/several",
            **search_aliases("LEDITS++", "multiple edits"),
            description="Makes several edits of one image at once, each in its own place: one call of the model a "
            "step for all of them. For any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input(
                    "source", tooltip="The prompt of the inversion, empty in LEDITS++; the edits start from it."
                ),
                EDITS.Input("edits", tooltip="From Add an Edit."),
                NOISE_MAPS.Input(
                    "noise_maps", tooltip="From Invert Image with the source prompt and cfg 1, edited or not."
                ),
                io.Int.Input(
                    "skip_steps",
                    default=15,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="T_skip: steps left out at the noisy end. More keeps more of the image. LEDITS++ leaves "
                    "out 0.15 of them: 15 of 100.",
                ),
                inputs.mask(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited image, for VAE Decode."),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="Where each edit has acted, as a mean over its steps: all images for the first edit, then "
                    "for the next.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        edits: Edits,
        noise_maps: NoiseMaps,
        skip_steps: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        if not edits:
            raise ValueError("the chain holds no edit: connect the last Add an Edit")
        host.check_same_model(noise_maps, model)
        sampler = FixedNoise(noise_maps, skip_steps, latents.mask_of_maps(noise_maps, mask))
        guider = SeveralEditsGuider(model)
        terms = [_for_rows(edit, noise_maps) for edit in edits]
        guider.set_edits(source, edits, terms, sampler.sigmas, noise_maps.full_steps)
        samples = host.run_on_maps(guider, sampler, sampler.sigmas, noise_maps)
        cell = latents.pixels_per_cell(noise_maps)
        images = host.images_of(noise_maps)
        seen = [masks.to_mask(part[:images], cell) for part in guider.masks_of_run(noise_maps.image)]
        latent = {"samples": samples.to(comfy.model_management.intermediate_device())}
        return io.NodeOutput(latent, torch.cat(seen))


def _for_rows(edit: OneEdit, noise_maps: NoiseMaps) -> Term:
    """Its term, with the mask for the rows of the maps."""
    term = edit.term
    return Term(term.scale, term.window, term.quantile, latents.mask_of_maps(noise_maps, edit.mask))
