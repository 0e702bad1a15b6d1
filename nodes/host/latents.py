"""LATENTs and MASKs of the graph in the terms of noise maps: rows, latent cells, the model's own scaling."""

from __future__ import annotations

from contextlib import suppress

import comfy.sampler_helpers
import comfy.utils
import torch
from comfy.latent_formats import LatentFormat
from torch import Tensor

from ...ddpm_core import NoiseMaps
from . import compat
from .values import Latent, ModelPatcher


def check_one_part(shapes: list[tuple[int, ...]]) -> None:
    """Refuse a latent of several parts.

    Raises:
        ValueError: more than one shape.
    """
    if len(shapes) > 1:
        raise ValueError(
            f"the latent has {len(shapes)} parts, of shapes {' and '.join(map(str, shapes))}, and noise maps hold one: "
            "use a model that makes one thing, or give it one part where it takes that alone (of a video with sound, "
            "by LTXVSeparateAVLatent)"
        )


def _check_rows(samples: Tensor, latent_format: LatentFormat) -> None:
    """Refuse what is no batch of latents of a format, or of one that folds them.

    Raises:
        ValueError: an empty batch, other axes, a format whose latents have another shape in the model.
    """
    dimensions = latent_format.latent_dimensions
    image_for_video = samples.ndim == 4 and dimensions == 3
    if samples.ndim > dimensions + 2:
        raise ValueError(
            f"the latent has {samples.ndim - 2} axes beside batch and channels, this model's format {dimensions}: it "
            "is no picture, video or sound, but such as the structure of a body, of which there are no noise maps"
        )
    if samples.numel() and samples.ndim == dimensions + 2 and samples.shape[1] != latent_format.latent_channels:
        with suppress(RuntimeError):  # of a latent that is another model's
            folded = latent_format.process_in(torch.zeros_like(samples[:1])).shape
            if folded != samples[:1].shape:
                raise ValueError(
                    f"this model folds latents of shape {tuple(samples.shape[1:])} to {tuple(folded[1:])} "
                    f"({type(latent_format).__name__}), and noise maps have one shape: use another model, such as the "
                    "one that this refines"
                )
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
    latent_format = model.get_model_object("latent_format")
    _check_rows(_only_part(latent["samples"]), latent_format)
    samples = _only_part(compat.started(model, latent)).to(torch.float32)
    channels = latent_format.latent_channels
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


def noise_mask(latent: Latent, shape: torch.Size) -> Tensor | None:
    """(rows, 1, *S[1:]) in [0, 1], the noise mask of a LATENT as the host's own samplers read it; or None.

    Args:
        shape: (rows, *S) of what is run.

    Raises:
        ValueError: a mask of no size, of too few or too many axes, or with NaN or infinity.
    """
    if latent.get("noise_mask") is None:
        return None
    mask = _only_part(latent["noise_mask"]).float()
    pictures = shape if len(shape) < 5 or is_video(shape) else shape[:2] + shape[3:]
    if not mask.numel() or not 2 <= mask.ndim <= max(4, len(shape)) or not mask.isfinite().all():
        raise ValueError(
            f"the latent's noise mask has shape {tuple(mask.shape)}, its samples {tuple(shape)}, and it has to be "
            "finite: set it with Set Latent Noise Mask"
        )
    if len(pictures) == 4:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
        _check_count(len(mask), shape[0])
    elif len(pictures) == 3:
        if mask.ndim != 3:  # of a MASK, which the host itself does not take for such latents
            mask = _over_time(mask.reshape(-1, *mask.shape[-2:]), 1, shape[-1])
        _check_count(len(mask), shape[0])
    rows: Tensor = comfy.sampler_helpers.prepare_mask(mask, pictures, "cpu")
    return rows[:, :1].clamp(0, 1).reshape(shape[0], 1, *shape[2:])


def is_video(shape: torch.Size) -> bool:
    """Whether rows of latents (rows, *S) have several frames. Models of pictures and videos have one for a picture."""
    return len(shape) == 5 and shape[2] > 1


def _check_count(masks: int, images: int) -> None:
    """Refuse masks that are neither one for all nor one for each.

    Raises:
        ValueError: any other number.
    """
    if images % masks:
        raise ValueError(f"there are {masks} masks for {images} image{'s' * (images > 1)}: use one, or one for each")


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
    samples = samples.cpu().float()
    if not samples.isfinite().all():
        raise ValueError("the color latent holds NaN or infinity: encode the painted image again, with --fp32-vae")
    return comfy.utils.repeat_to_batch_size(noise_maps.space.of_model(samples), len(image))


def mask_rows(shape: torch.Size, cell: int | None, mask: Tensor) -> Tensor:
    """(rows, 1, *S[1:]) a MASK of the image, averaged over each latent cell; for a video (1, 1, F, H, W).

    A MASK of sound has time along its width, of any number of columns.

    Args:
        shape: (rows, *S) of the latents that are edited.
        cell: image pixels along one side of a latent cell, 0 of sound; None to take it from the sizes of mask and
            latents.

    Raises:
        ValueError: a mask that is empty, of another size, or of another batch.
    """
    if mask.ndim < 2 or not mask.any():
        raise ValueError(
            "the mask is empty, so nothing would be edited: paint one (an image without transparency loads with an "
            "empty mask), or lower the threshold of the node that finds it"
        )
    mask = mask.reshape((-1, *mask.shape[-2:])).float().cpu()
    height = 1 if len(shape) == 3 else shape[-2]
    if len(shape) == 3 or (cell == 0 and len(mask[0]) == 1):
        cells = _over_time(mask, height, shape[-1])
    else:
        cells = _cells(mask, height, shape[-1], cell)
    if is_video(shape):
        return _over_frames(cells, shape[2])[None, None]
    _check_count(len(cells), shape[0])
    return comfy.utils.repeat_to_batch_size(cells, shape[0]).view(shape[0], 1, *shape[2:])


def _over_time(mask: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width) the mean of masks (N, H, W) of sound over each cell, time being along their width.

    Raises:
        ValueError: rows that say other things of the same time.
    """
    if not torch.equal(mask, mask[:, :1].expand_as(mask)):
        rows, columns = mask.shape[-2:]
        raise ValueError(
            f"the mask is {columns} x {rows}, with rows that differ, and this sound is {width} x 1 cells, which have "
            "time alone: use a mask from Mask by Seconds"
        )
    return torch.nn.functional.adaptive_avg_pool2d(mask[:, :1], (1, width)).expand(-1, height, -1)


def _over_frames(cells: Tensor, frames: int) -> Tensor:
    """(frames, H, W) of masks for all frames of a video, for each of its latent frames, or for each of its own.

    The VAEs of videos make a latent frame of the first frame alone, and one of each so many after it.

    Raises:
        ValueError: another number of masks.
    """
    count = len(cells)
    if count in (1, frames):
        return cells.expand(frames, -1, -1)
    together, left = divmod(count - 1, max(frames - 1, 1))
    if frames == 1 or not together or left:
        raise ValueError(
            f"there are {count} masks for a video of {frames} latent frames: use one, one for each frame of the video "
            "that was encoded, or one for each latent frame"
        )
    return torch.cat([cells[:1], cells[1:].unflatten(0, (frames - 1, together)).mean(dim=1)])


def mask_of_maps(noise_maps: NoiseMaps, mask: Tensor | None) -> Tensor | None:
    """`mask_rows` for what noise maps hold; None for no mask."""
    return None if mask is None else mask_rows(noise_maps.image.shape, noise_maps.space.cell, mask)


def is_sound(noise_maps: NoiseMaps) -> bool:
    """Whether maps have time along their width: rows (C, L), or (C, H, L) whose cells have no pixels."""
    return noise_maps.image.ndim == 3 or noise_maps.space.cell == 0


def resized(pixels: Tensor, height: int, width: int, method: str) -> Tensor:
    """(N, C, height, width) of pixels (N, C, H, W), cut to that proportion about their middle."""
    return comfy.utils.common_upscale(pixels, width, height, method, "center")


def to_mask(cells: Tensor, cell: int | None) -> Tensor:
    """A MASK (N, H, W) of the image's size of cells (B, 1, H, W) or (B, 1, 1, H, W), N = B, or (1, 1, F, H, W), N = F.

    Of sound (B, 1, L), or (B, 1, H, L) of one whose cells are bands as well, (B, 1, L) or (B, H, L).

    Args:
        cell: image pixels along one side of a latent cell; 0 and None leave them cells, which every `mask` input takes.
    """
    if cells.ndim == 3:
        return cells
    frames = cells[0, 0] if is_video(cells.shape) else cells.reshape(-1, *cells.shape[-2:])
    return frames.repeat_interleave(cell or 1, -2).repeat_interleave(cell or 1, -1)


def _only_part(samples: Tensor) -> Tensor:
    parts = compat.parts_of(samples)
    check_one_part([tuple(part.shape) for part in parts])
    return parts[0]


def _cells(mask: Tensor, height: int, width: int, cell: int | None) -> Tensor:
    """(N, H, W) the mean of the mask over each cell. The VAE crops an image to whole cells about its middle."""
    rows, columns = mask.shape[-2:]
    if (rows, columns) == (height, width):
        return mask
    cell = cell or max(1, min(rows // height, columns // width))
    if (rows // cell, columns // cell) != (height, width):
        raise ValueError(
            f"the mask is {columns} x {rows} pixels, the inverted image is {width * cell} x {height * cell}: "
            "use a mask of the image's size, or of sound one from Mask by Seconds"
        )
    top, left = rows % cell // 2, columns % cell // 2
    mask = mask[:, None, top : top + height * cell, left : left + width * cell]
    return torch.nn.functional.avg_pool2d(mask, cell)[:, 0]
