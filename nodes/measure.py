"""A node that measures an edit as `python -m tools.batch evaluate` does, to the last digit that is printed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from comfy.clip_vision import ClipVisionModel
from comfy_api.latest import io, ui
from torch import Tensor

from ..evaluation import pictures
from ..evaluation.protocols import METRICS, Metric, Pair
from .report import check_batch, cropped_to
from .sockets import CATEGORY

_SHOWN = [metric for metric in METRICS if metric.name.partition(".")[2] in ("psnr", "mse", "ssim", "clip_pictures")]
_WHERE = {
    "pie-bench": "Outside the mask, by the published convention (mean over all pixels, the edited part black)",
    "masked": "Outside the mask (mean over its pixels alone)",
    "whole": "The whole image",
}
_TOOLTIPS = {
    "psnr": "Peak signal-to-noise ratio in dB, higher is nearer; infinite where nothing changed.",
    "mse": "Mean squared error of a range of 1, lower is nearer.",
    "ssim": "Structural similarity, 1 where nothing changed.",
    "clip_pictures": "Cosine of both images in CLIP, 1 where nothing changed; NaN without clip_vision.",
}


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
                    tooltip="Where the edit was wanted, in the size of the image. Without it: nowhere.",
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
                *(io.Float.Output(display_name=_output(metric), tooltip=_tooltip(metric)) for metric in _SHOWN),
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
        networks = {} if clip_vision is None else {"clip_l14": _HostClip(clip_vision)}
        pairs = pairs_of(source, edited, mask)
        each = [{metric.name: metric.value(pair, networks) for metric in _SHOWN} for pair in pairs]
        means = {metric.name: sum(values[metric.name] for values in each) / len(each) for metric in _SHOWN}
        summary = _in_words(means, len(each))
        content = {"mean": _plain(means), "images": [_plain(values) for values in each]}
        return io.NodeOutput(summary, json.dumps(content, indent=2), *means.values(), ui=ui.PreviewText(summary))


def _output(metric: Metric) -> str:
    """psnr_pie_bench and the like."""
    protocol, _, short = metric.name.partition(".")
    return short if short == "clip_pictures" else f"{short}_{protocol.replace('-', '_')}"


def _tooltip(metric: Metric) -> str:
    protocol, _, short = metric.name.partition(".")
    return _TOOLTIPS[short] if short == "clip_pictures" else f"{_WHERE[protocol]}. {_TOOLTIPS[short]}"


def pairs_of(source: Tensor, edited: Tensor, mask: Tensor | None) -> list[Pair]:
    """What is measured of each edited image, as files would hold it: 8 bits, as SaveImage rounds.

    Args:
        source, edited: IMAGEs (N, H, W, C) and (M, H, W, C); image k of the edited ones is of source k % N.
        mask: MASK (K, H, W) or None; mask k % K is of image k, and a half counts as edited.

    Raises:
        ValueError: sizes that differ by more than a VAE crops, batches that do not go together.
    """
    height, width = edited.shape[1:3]
    sources = pictures.as_saved(cropped_to(source[..., :3], height, width, "source"))
    check_batch(len(sources), len(edited), "source images")
    if mask is None:
        mask = torch.zeros((1, height, width))
    mask = mask.reshape(-1, *mask.shape[-2:])
    check_batch(len(mask), len(edited), "masks")
    wanted = cropped_to(mask[..., None], height, width, "mask")[..., 0].cpu() >= 0.5
    results = pictures.as_saved(edited[..., :3])
    return [Pair(sources[k % len(sources)], result, wanted[k % len(wanted)]) for k, result in enumerate(results)]


class _HostClip:
    """A CLIP_VISION as metrics ask for it; images are prepared as CLIP itself does, not as the host."""

    def __init__(self, model: ClipVisionModel):
        self.model = model

    def pictures(self, first: Tensor, second: Tensor) -> float:
        """Cosine of two pictures (H, W, 3) uint8."""
        size = getattr(self.model, "image_size", 224)
        small = torch.stack([pictures.cropped_for_clip(picture, size) for picture in (first, second)]).float() / 255
        embeddings = self.model.encode_image(small)["image_embeds"]
        if embeddings is None or embeddings.ndim != 2:
            raise ValueError("this CLIP vision model gives no embedding of an image: load a CLIP, such as ViT-L/14")
        a, b = torch.nn.functional.normalize(embeddings.cpu().double(), dim=-1)
        return float(a @ b)


def _in_words(means: Mapping[str, float], count: int) -> str:
    """A line for each region, with the numbers as `evaluate` prints them."""
    lines = [f"Mean of {count} images."] if count > 1 else []
    for protocol, where in _WHERE.items():
        metrics = [metric for metric in _SHOWN if metric.name.startswith(f"{protocol}.")]
        numbers = [f"{metric.heading} {metric.shown(means[metric.name])}" for metric in metrics]
        lines.append(f"{where}: {', '.join(number for number in numbers if not number.endswith('-'))}.")
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
