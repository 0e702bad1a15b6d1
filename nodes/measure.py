"""A node that measures an edit as `python -m tools.batch evaluate` does, to the last digit that is printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..ddpm_core import measures
from ..ddpm_core.measures import MaskedMeasure, Measure
from .host import ClipVisionModel
from .report import BLACK_UNDER_MASK, check_batch, cropped_to, is_black_under
from .sockets import CATEGORY


@dataclass(frozen=True)
class _Number:
    """One number: its output, its key in the JSON, and how it is printed and measured.

    Args:
        measure: of source, edited and background; None for the one that takes CLIP.
        on_background: whether it is NaN when nothing is outside the mask.
    """

    output: str
    key: str
    heading: str
    scale: float
    tooltip: str
    measure: MaskedMeasure | None
    on_background: bool = True

    @property
    def region(self) -> str:
        return self.key.partition(".")[0]

    def shown(self, value: float) -> str:
        """The value as `evaluate` prints it."""
        return f"{self.heading} {self.scale * value:.2f}"


_WHERE = {
    "pie-bench": "Outside the mask, by the published convention (mean over all pixels, the edited part black)",
    "masked": "Outside the mask (mean over its pixels alone)",
    "whole": "The whole image",
}
_PSNR = ("PSNR dB", 1, "Peak signal-to-noise ratio in dB, higher is nearer; infinite where nothing changed.")
_MSE = ("MSE x 1e4", 1e4, "Mean squared error of a range of 1, lower is nearer.")
_SSIM = ("SSIM x 1e2", 1e2, "Structural similarity, 1 where nothing changed.")
_CLIP = ("CLIP pictures x 1e2", 1e2, "Cosine of both images in CLIP, 1 where nothing changed; NaN without clip_vision.")


def _whole(measure: Measure) -> MaskedMeasure:
    return lambda source, edited, _: measure(source, edited)


# The outputs in the order of their sockets, which saved graphs refer to: never reorder, add at the end.
_NUMBERS = (
    _Number("psnr_pie_bench", "pie-bench.psnr", *_PSNR, measures.blackened(measures.psnr)),
    _Number("mse_pie_bench", "pie-bench.mse", *_MSE, measures.blackened(measures.mse)),
    _Number("ssim_pie_bench", "pie-bench.ssim", *_SSIM, measures.blackened(measures.ssim)),
    _Number("psnr_masked", "masked.psnr", *_PSNR, measures.psnr_within),
    _Number("mse_masked", "masked.mse", *_MSE, measures.mse_within),
    _Number("ssim_masked", "masked.ssim", *_SSIM, measures.ssim_within),
    _Number("psnr_whole", "whole.psnr", *_PSNR, _whole(measures.psnr), on_background=False),
    _Number("mse_whole", "whole.mse", *_MSE, _whole(measures.mse), on_background=False),
    _Number("ssim_whole", "whole.ssim", *_SSIM, _whole(measures.ssim), on_background=False),
    _Number("clip_pictures", "whole.clip_pictures", *_CLIP, None, on_background=False),
)


class MeasureEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyMeasureEdit",
            display_name="Measure an Edit",
            category=f"{CATEGORY}/inspect",
            search_aliases=["psnr", "ssim", "mse", "clip similarity", "compare images", "evaluate", "metrics"],
            description="PSNR, MSE and SSIM of an edited image and its source, over all of it and over what was not to "
            "change, by both conventions of masking; with a CLIP vision model, how alike both images are to it.",
            is_output_node=True,
            inputs=[
                io.Image.Input("source", tooltip="The image before the edit."),
                io.Image.Input("edited", tooltip="The edited image or images."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the edit was wanted, in the size of the image; outside is the background. Without "
                    "one, all of the image is background.",
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="From Load CLIP Vision: CLIP ViT-L/14 is usual."
                ),
            ],
            outputs=[
                io.String.Output(display_name="summary", tooltip="All numbers in words, for Preview Any."),
                io.String.Output(
                    display_name="json", tooltip="The same as JSON, with those of each image, all digits."
                ),
                *(io.Float.Output(display_name=number.output, tooltip=_tooltip(number)) for number in _NUMBERS),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        edited: Tensor,
        mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        clip = None if clip_vision is None else _HostClip(clip_vision)
        each = [_measured(*pair, clip) for pair in pairs_of(source, edited, mask)]
        means = {number.key: _mean(values[number.key] for values in each) for number in _NUMBERS}
        summary = _in_words(means, len(each), sum(not math.isnan(values["masked.mse"]) for values in each))
        if mask is not None and is_black_under(source, edited, mask):
            summary += f"\n{BLACK_UNDER_MASK}"
        content = {"mean": _plain(means), "images": [_plain(values) for values in each]}
        return io.NodeOutput(summary, json.dumps(content, indent=2), *means.values(), ui=ui.PreviewText(summary))


def _mean(values: Iterable[float]) -> float:
    """Over the images that have the number; NaN where none has."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _tooltip(number: _Number) -> str:
    return number.tooltip if number.measure is None else f"{_WHERE[number.region]}. {number.tooltip}"


def pairs_of(source: Tensor, edited: Tensor, mask: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(source, edited, background) of each edited image, in 8 bits as SaveImage rounds: uint8, uint8 and bool.

    Args:
        source, edited: IMAGEs (N, H, W, C) and (M, H, W, C); image k of the edited ones is of source k % N.
        mask: MASK (K, H, W) or None; mask k % K is of image k, and a half counts as edited.

    Raises:
        ValueError: sizes that differ by more than a VAE crops, batches that do not go together.
    """
    height, width = edited.shape[1:3]
    sources = measures.as_saved(cropped_to(source[..., :3], height, width, "source"))
    check_batch(len(sources), len(edited), "source images")
    if mask is None:
        mask = torch.zeros((1, height, width))
    mask = mask.reshape(-1, *mask.shape[-2:])
    check_batch(len(mask), len(edited), "masks")
    background = ~(cropped_to(mask[..., None], height, width, "mask")[..., 0].cpu() >= 0.5)
    results = measures.as_saved(edited[..., :3])
    return [(sources[k % len(sources)], result, background[k % len(mask)]) for k, result in enumerate(results)]


def _measured(source: Tensor, edited: Tensor, background: Tensor, clip: _HostClip | None) -> dict[str, float]:
    """All numbers of one image by their keys; NaN for one that it does not have."""
    values = {}
    for number in _NUMBERS:
        if number.measure is None:
            values[number.key] = math.nan if clip is None else clip.similarity(source, edited)
        elif number.on_background and not background.any():
            values[number.key] = math.nan
        else:
            values[number.key] = number.measure(source, edited, background)
    return values


class _HostClip:
    """A CLIP_VISION whose images are prepared as CLIP itself does, not as the host."""

    def __init__(self, model: ClipVisionModel):
        self.model = model

    def similarity(self, first: Tensor, second: Tensor) -> float:
        """Cosine of the embeddings of two pictures (H, W, 3) uint8."""
        size = getattr(self.model, "image_size", 224)
        small = torch.stack([measures.cropped_for_clip(picture, size) for picture in (first, second)]).float() / 255
        embeddings = self.model.encode_image(small)["image_embeds"]
        if embeddings is None or embeddings.ndim != 2:
            raise ValueError("this CLIP vision model gives no embedding of an image: load a CLIP, such as ViT-L/14")
        a, b = torch.nn.functional.normalize(embeddings.cpu().double(), dim=-1)
        return float(a @ b)


def _in_words(means: Mapping[str, float], count: int, outside: int) -> str:
    """A line for each region, with the numbers as `evaluate` prints them; so many images have an outside."""
    lines = [f"Mean of {count} images."] if count > 1 else []
    if 0 < outside < count:
        lines.append(f"The mask covers {count - outside} of them whole; outside it is the mean of the others.")
    for region, where in _WHERE.items():
        known = [number for number in _NUMBERS if number.region == region and not math.isnan(means[number.key])]
        lines.append(f"{where}: {', '.join(number.shown(means[number.key]) for number in known)}.")
    if math.isnan(means["masked.mse"]):
        lines = [line for line in lines if not line.startswith("Outside")]
        lines.append("The mask covers everything, so nothing is outside.")
    return "\n".join(lines)


def _plain(values: Mapping[str, float]) -> dict[str, float | str | None]:
    """As JSON can hold them: NaN is null, infinity the text "inf"."""
    return {
        name: None if math.isnan(value) else value if math.isfinite(value) else repr(value)
        for name, value in values.items()
    }
