"""A node that finds where two prompts differ about an image, and the sampler that finds it."""

from __future__ import annotations

from collections.abc import Callable

import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps, NoiseSchedule, masks, narrower, trajectories
from . import host, inputs, latents
from .conds import Conds
from .inspect import preview
from .pair import PairGuider
from .plan import Plan
from .samplers import CoreSampler, Run, sigmas_at
from .types import CATEGORY, Conditioning, ModelPatcher, search_aliases

LEVELS, START, END = 7, 0.1, 0.5  # as tuned on the demo model; DiffEdit looks at 0.5


class UnguidedPair(PairGuider):
    """Source and target prompt without guidance.

    No negative prompt is asked, so each half has its own prompt for one: the host gives a prompt the areas of the
    negative beside it.
    """

    @classmethod
    def of(cls, model: ModelPatcher, source: Conditioning, target: Conditioning) -> UnguidedPair:
        """A guider of these prompts."""
        guider = cls(model)
        guider.set_prompts(source, target, target)
        guider.set_scales(1.0, 1.0)
        return guider

    def prepare_source(self, prepare: Callable[[dict[str, Conds]], dict[str, Conds]]) -> None:
        self._source["negative"] = self._source["positive"]
        super().prepare_source(prepare)


class DifferenceSampler(CoreSampler):
    """Measures where the prompts of an `UnguidedPair` differ; `heat` tells it after the run.

    Args:
        rows: of the latent.
        schedule, levels: the levels to look at.
        state: (rows, *S) the latent, i -> (rows, *S) its state at level i.
    """

    def __init__(self, rows: int, schedule: NoiseSchedule, levels: list[int], state: Callable[[Tensor, int], Tensor]):
        self.rows = rows
        self.schedule = schedule
        self.levels = levels
        self.state = state
        self._difference: Tensor | None = None

    @property
    def sigmas(self) -> Tensor:
        """(levels + 1,) what the host is told of the run."""
        return sigmas_at(self.schedule, self.levels)

    def run(self, run: Run) -> Tensor:
        run.guider.prepare_source(run.prepare)
        image = run.image(self.rows)
        with run.progress(len(self.levels)) as progress:
            self._difference = masks.prediction_difference(
                run.denoiser,
                lambda i: self.state(image, i),
                self.schedule,
                self.levels,
                device=image.device,
                callback=progress,
            )
        return image

    def heat(self, images: int, allowed: Tensor | None) -> Tensor:
        """(B, 1, *S[1:]) in [0, 1], where the prompts differ about B images; for a video, one for all.

        Args:
            allowed: (rows or 1, 1, *S[1:]) what counts.
        """
        assert self._difference is not None
        return masks.heat(self._difference, 1 if self._difference.ndim == 5 else images, allowed)


def heat_of_maps(
    model: ModelPatcher,
    source: Conditioning,
    target: Conditioning,
    noise_maps: NoiseMaps,
    levels: int = LEVELS,
    start: float = START,
    end: float = END,
) -> Tensor:
    """(B, 1, *S[1:]) in [0, 1]: where two prompts differ about the B images of noise maps; for a video, one for all.

    Raises:
        ValueError: maps of another model, no level from start to end, prompts that predict the same.
    """
    host.check_same_model(noise_maps, model)
    chosen = masks.levels_between(noise_maps.full_steps, noise_maps.skipped, levels, start, end)
    sampler = DifferenceSampler(
        len(noise_maps.image), noise_maps.schedule, chosen, lambda _, i: noise_maps.states[i].clone()
    )
    host.run_on_maps(UnguidedPair.of(model, source, target), sampler, sampler.sigmas, noise_maps)
    return sampler.heat(host.images_of(noise_maps), noise_maps.mask)


def heat_of_plan(
    model: ModelPatcher, source: Conditioning, target: Conditioning, plan: Plan, seed: int, mask: Tensor | None
) -> Tensor:
    """The same for images that are still to be inverted by a plan, within a mask (rows or 1, 1, *S[1:]) or None.

    Where the plan skips past the levels that are looked at, the first that it runs are.
    """
    schedule = plan.schedule
    full_steps = schedule.steps + plan.skipped
    end = min(1.0, max(END, plan.skipped / full_steps + 0.1))
    chosen = masks.levels_between(full_steps, plan.skipped, LEVELS, START, end)
    sampler = DifferenceSampler(
        len(plan.seeds),
        schedule,
        chosen,
        lambda image, i: trajectories.edit_friendly_state(image, schedule, plan.seeds, i),
    )
    guider = UnguidedPair.of(model, source, target)
    host.run(guider, sampler, plan.latent, sampler.sigmas, seed, images=plan.images, mask=plan.mask)
    return sampler.heat(plan.images, narrower(plan.mask, mask))


def to_mask(cells: Tensor, cell: int | None) -> Tensor:
    """A MASK (N, H, W) of the image's size of cells (B, 1, H, W), N = B, or (1, 1, F, H, W), N = F.

    Args:
        cell: image pixels along one side of a latent cell; None leaves them cells, which every `mask` input takes.
    """
    if cells.ndim == 3:  # of no image, such as sound
        return cells
    frames = cells[0, 0] if cells.ndim == 5 else cells[:, 0]
    return frames.repeat_interleave(cell or 1, -2).repeat_interleave(cell or 1, -1)


def mask_of_edit(mask: Tensor | None, plan: Plan, cell: int | None) -> Tensor:
    """The MASK, one for each image, of where an edit of a plan may change something: everywhere for None."""
    cells = torch.ones((1, 1, *plan.latent.shape[2:])) if mask is None else mask[: plan.images]
    return to_mask(cells, cell)


def search_inputs(threshold: float, above: str, cost: str, start: float, end: float) -> list[io.Input]:
    """What every node is asked that finds a mask in noise maps.

    Args:
        threshold, start, end: defaults.
        above: what the mask takes in.
        cost: of a level.
    """
    return [
        io.Float.Input(
            "threshold",
            default=threshold,
            min=0.0,
            max=0.99,
            step=0.01,
            tooltip=f"Takes in {above}: lower for a larger mask.",
        ),
        io.Int.Input(
            "levels",
            default=LEVELS,
            min=1,
            max=100,
            tooltip=f"Noise levels to look at, {cost}. More make the mask smoother.",
        ),
        inputs.share(
            "start",
            start,
            "The noisiest of these levels, as a share of all steps: 0 is the noisiest of all. Noisy levels "
            "know where things will go.",
            step=0.01,
        ),
        inputs.share(
            "end", end, "The cleanest of these levels. Clean levels know the outlines of what is there.", step=0.01
        ),
        io.Int.Input(
            "grow", default=0, min=0, max=64, tooltip="Widens the mask by so many latent cells (mostly 8 pixels)."
        ),
        io.Image.Input("image", optional=True, tooltip="The image, to show the mask on in the preview."),
    ]


def search_outputs(beside: str) -> list[io.Output]:
    """What such a node gives; `beside` names the heat map."""
    return [
        io.Mask.Output(display_name="mask", tooltip="One for each image, in its size, for any mask input."),
        io.Image.Output(display_name="preview", tooltip=f"The image, dimmed outside the mask, and beside it {beside}."),
    ]


def found(noise_maps: NoiseMaps, heat: Tensor, threshold: float, grow: int, image: Tensor | None) -> io.NodeOutput:
    """The outputs of such a node, from a map in [0, 1], (B, 1, H, W) or (1, 1, F, H, W)."""
    cell = latents.pixels_per_cell(noise_maps)
    mask = to_mask(masks.cut(heat, threshold, grow), cell)
    return io.NodeOutput(mask, pictures(noise_maps, image, mask, to_mask(heat, cell)))


class DifferenceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyDifferenceMask",
            display_name="Mask from two Prompts",
            category=f"{CATEGORY}/inspect",
            **search_aliases("automatic mask", "DiffEdit", "find the edit", "segment"),
            description="Finds where an edit will be, before it is made: where the model, shown the noised image, "
            "predicts something else under the target prompt than under the source prompt. For any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Conditioning.Input("source", tooltip="The source prompt: what the image shows."),
                inputs.target(),
                inputs.noise_maps(),
                *search_inputs(
                    threshold=0.15,
                    above="what differs more than this share of the largest difference",
                    cost="two predictions each",
                    start=START,
                    end=END,
                ),
            ],
            outputs=search_outputs("the difference: bright is large"),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        target: Conditioning,
        noise_maps: NoiseMaps,
        threshold: float,
        levels: int,
        start: float,
        end: float,
        grow: int,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        heat = heat_of_maps(model, source, target, noise_maps, levels, start, end)
        return found(noise_maps, heat, threshold, grow, image)


def pictures(noise_maps: NoiseMaps, image: Tensor | None, mask: Tensor, heat: Tensor) -> Tensor:
    """(N, H, 2 * W, 3) for masks (N, H, W): the image that each is of under it, and the heat map."""
    from ..ddpm_core import plots  # matplotlib takes a second to import

    count, (height, width) = len(mask), mask.shape[-2:]
    if image is None:
        rows = noise_maps.image
        shown = rows[0].movedim(1, 0) if rows.ndim == 5 else rows[:count]
        pixels = torch.stack([preview(noise_maps, x) for x in shown]).clamp(-1, 1) / 2 + 0.5
    else:
        pixels = image[torch.linspace(0, len(image) - 1, count).round().long(), ..., :3].movedim(-1, 1).float().cpu()
    method = "nearest-exact" if pixels.shape[-1] < width else "bilinear"
    pixels = comfy.utils.common_upscale(pixels, width, height, method, "center").movedim(1, -1)
    parts = zip(pixels.numpy(), mask.numpy(), heat.numpy(), strict=True)
    return torch.stack([torch.from_numpy(plots.mask_on(*part)) for part in parts])
