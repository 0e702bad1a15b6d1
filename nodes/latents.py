"""LATENTs and MASKs of the graph in the terms of noise maps: rows, latent cells, the model's own scaling."""

from __future__ import annotations

import json

import comfy.utils
import torch
from comfy.latent_formats import LatentFormat
from torch import Tensor

from ..ddpm_core import NoiseMaps
from . import newest
from .types import Latent, ModelPatcher


def cell_of(latent_format: LatentFormat) -> int:
    """Image pixels along one side of a latent cell."""
    # Newer hosts say it; before, every image format but pixel space (three channels) had cells of 8.
    known = getattr(latent_format, "spacial_downscale_ratio", None)
    return known or (1 if latent_format.latent_channels == 3 else 8)


def pixels_per_cell(noise_maps: NoiseMaps) -> int:
    """Image pixels along one side of a cell of these maps."""
    return int(noise_maps.info.get("pixels_per_cell", 8))


def check_one_part(shapes: list[tuple[int, ...]]) -> None:
    """Refuse a latent of several parts.

    Raises:
        ValueError: more than one shape.
    """
    if len(shapes) > 1:
        raise ValueError(
            f"the latent has {len(shapes)} parts, of shapes {' and '.join(map(str, shapes))}, such as a video and its "
            "sound, and noise maps hold one: use a model of images or of video alone (a node like LTXVSeparateAVLatent "
            "takes such a latent apart)"
        )


def check_rows(samples: Tensor, dimensions: int) -> None:
    """Refuse what is no batch of latents of so many dimensions.

    Raises:
        ValueError: an empty batch, other axes.
    """
    image_for_video = samples.ndim == 4 and dimensions == 3
    if not samples.numel() or (samples.ndim != dimensions + 2 and not image_for_video):
        raise ValueError(
            f"the latent has shape {tuple(samples.shape)}, this model takes a batch of at least one, of channels and "
            f"{dimensions} further axes: encode the image with the VAE that belongs to the model"
        )


def rows_to_invert(model: ModelPatcher, latent: Latent, variations: int) -> Tensor:
    """(variations * B, *S) the rows to invert, in the LATENT's own scaling; row v * B + b is image b.

    Raises:
        ValueError: several parts, axes or channels that the model does not take, no rows, NaN or infinity.
    """
    check_rows(_only_part(latent["samples"]), model.get_model_object("latent_format").latent_dimensions)
    samples = _only_part(newest.started(model, latent)).to(torch.float32)
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise ValueError(
            f"the latent has {samples.shape[1]} channels, this model takes {channels}: "
            "encode the image with the VAE that belongs to the model"
        )
    if not samples.isfinite().all():
        raise ValueError(
            "the latent holds NaN or infinity: the VAE that encoded it overflowed; "
            "start ComfyUI with --fp32-vae or use another VAE"
        )
    return comfy.utils.repeat_to_batch_size(samples, variations * len(samples))


def color_rows(noise_maps: NoiseMaps, latent: Latent) -> Tensor:
    """(rows, *S) a LATENT in the scaling of the maps, which is the model's own.

    Raises:
        ValueError: several parts, other channels, another size, NaN or infinity, a batch that does not divide the rows.
    """
    samples, image = _only_part(latent["samples"]), noise_maps.image
    if samples.ndim == image.ndim - 1:
        samples = samples.unsqueeze(2)  # an image for maps of a video model
    if samples.shape[1:] != image.shape[1:] or len(image) % max(len(samples), 1) or len(samples) == 0:
        raise ValueError(
            f"the color latent has shape {tuple(samples.shape)}, the noise maps have rows of shape "
            f"{tuple(image.shape)}: paint over the image that was inverted and encode it with the same VAE"
        )
    if not samples.isfinite().all():
        raise ValueError("the color latent holds NaN or infinity: encode the painted image again, with --fp32-vae")
    scale, shift = _scaling(noise_maps, samples.ndim)
    return comfy.utils.repeat_to_batch_size(samples.cpu().float() * scale + shift, len(image))


def unscaled(noise_maps: NoiseMaps, x: Tensor) -> Tensor:
    """x (N, *S) from the scaling of the maps to that of a LATENT, which a VAE decodes."""
    scale, shift = _scaling(noise_maps, x.ndim)
    return (x - shift) / scale


def mask_rows(shape: torch.Size, cell: int, mask: Tensor) -> Tensor:
    """(rows, 1, H, W) a MASK of the image, averaged over each latent cell; for a video (1, 1, F, H, W), one a frame.

    Args:
        shape: (rows, *S) of the latents that are edited.
        cell: image pixels along one side of a latent cell.

    Raises:
        ValueError: latents without height and width, a mask that is empty, of another size, or of another batch.
    """
    if len(shape) < 4:
        raise ValueError(f"a mask needs latents of images, these have rows of shape {tuple(shape[1:])}")
    if mask.ndim < 2 or not mask.any():
        raise ValueError(
            "the mask is empty, so nothing would be edited: paint one (an image without transparency loads with an "
            "empty mask)"
        )
    mask = mask.reshape((-1, *mask.shape[-2:])).float().cpu()
    cells = _cells(mask, shape[-2], shape[-1], cell)
    count = shape[2] if len(shape) == 5 else shape[0]
    if count % len(cells):
        raise ValueError(f"there are {len(cells)} masks for {count} images: use one, or one for each")
    cells = comfy.utils.repeat_to_batch_size(cells, count)
    return cells[None, None] if len(shape) == 5 else cells[:, None]


def _only_part(samples: Tensor) -> Tensor:
    parts = newest.parts_of(samples)
    check_one_part([tuple(part.shape) for part in parts])
    return parts[0]


def _scaling(noise_maps: NoiseMaps, ndim: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel: what the maps hold is LATENT * scale + shift."""
    per_channel = (1, -1) + (1,) * (ndim - 2)
    scale = torch.tensor(json.loads(noise_maps.info.get("latent_scale", "[1.0]"))).view(per_channel)
    shift = torch.tensor(json.loads(noise_maps.info.get("latent_shift", "[0.0]"))).view(per_channel)
    return scale, shift


def _cells(mask: Tensor, height: int, width: int, cell: int) -> Tensor:
    """(N, H, W) the mean of the mask over each cell. The VAE crops an image to whole cells about its middle."""
    rows, columns = mask.shape[-2:]
    if (rows, columns) == (height, width):
        return mask
    if (rows // cell, columns // cell) != (height, width):
        raise ValueError(
            f"the mask is {columns} x {rows} pixels, the inverted image is {width * cell} x {height * cell}: "
            "use a mask of the image's size"
        )
    top, left = rows % cell // 2, columns % cell // 2
    mask = mask[:, None, top : top + height * cell, left : left + width * cell]
    return torch.nn.functional.avg_pool2d(mask, cell)[:, 0]
