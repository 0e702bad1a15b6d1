"""Pictures as they are measured: (H, W, 3) uint8, decoded in one place."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from . import EvaluationError

Fit = Literal["crop", "stretch"]
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_DEEP = ("I", "I;16", "I;16B", "I;16L")  # more than 8 bits of grey, which a plain conversion cuts off


def decoded(content: bytes, name: str) -> Tensor:
    """(H, W, 3) of a file, as ComfyUI's LoadImage sees it: turned upright, grey as RGB, without alpha.

    Raises:
        EvaluationError: it is no picture, or a broken one.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in _DEEP:
                upright = upright.convert("I").point(lambda value: value * (1 / 255))
            return of_image(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EvaluationError(f"{name} cannot be read as a picture: {error}") from error


def of_image(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


def to_image(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.cpu().numpy())


def as_saved(pixels: Tensor) -> Tensor:
    """uint8 of pixels in [0, 1], as ComfyUI's SaveImage writes them."""
    return (255.0 * pixels.float().cpu()).clamp(0, 255).to(torch.uint8)


def size_of(picture: Tensor) -> str:
    """In words, width first."""
    return f"{picture.shape[1]} x {picture.shape[0]}"


def fitted(picture: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """The picture in another size, by Lanczos: all of it, or its middle in the wanted proportion.

    `crop` is what the graph of `text_edit_sd15` does to a picture before it is edited.
    """
    image = to_image(picture)
    if fit == "stretch":
        return of_image(image.resize((width, height), Image.Resampling.LANCZOS))
    return of_image(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def mask_fitted(mask: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """(height, width) bool of a mask (H, W), cut or stretched as `fitted` does its picture."""
    image, nearest = Image.fromarray(mask.numpy().astype(np.uint8) * 255), Image.Resampling.NEAREST
    small = (
        image.resize((width, height), nearest) if fit == "stretch" else ImageOps.fit(image, (width, height), nearest)
    )
    return torch.from_numpy(np.array(small) > 127)


def recompressed(picture: Tensor, quality: int) -> Tensor:
    """After a round through JPEG, as the runners of PIE-Bench store what they make."""
    file = io.BytesIO()
    to_image(picture).save(file, "JPEG", quality=quality)
    return decoded(file.getvalue(), "a JPEG of our own")


def cropped_for_clip(picture: Tensor, size: int = 224) -> Tensor:
    """(size, size, 3) the middle square, as CLIP's own preprocessing: bicubic by Pillow, shorter side first."""
    height, width = picture.shape[:2]
    image = to_image(picture)
    if min(height, width) != size:
        shorter = min(height, width)
        longer = int(size * max(height, width) / shorter)
        image = image.resize((size, longer) if width <= height else (longer, size), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return of_image(image.crop((left, top, left + size, top + size)))
