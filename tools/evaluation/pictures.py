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
_DEEP = ("I", "I;16", "I;16B", "I;16L")  # more than 8 bits of grey, which a plain conversion cuts off


def decoded(content: bytes, name: str) -> Tensor:
    """(H, W, 3) of a file, as ComfyUI's LoadImage reads it: turned upright, grey as RGB, without alpha.

    Raises:
        EvaluationError: the content is not a sound picture.
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


def size_of(picture: Tensor) -> str:
    """Width x height, for messages."""
    return f"{picture.shape[1]} x {picture.shape[0]}"


def fitted(picture: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """The picture resized by Lanczos: all of it (`stretch`), or its middle in the wanted proportion (`crop`).

    The graph `text_edit_sd15` crops a picture that way before editing it.
    """
    image = to_image(picture)
    if fit == "stretch":
        return of_image(image.resize((width, height), Image.Resampling.LANCZOS))
    return of_image(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def mask_fitted(mask: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """(height, width) bool of a mask (H, W), cropped or stretched as `fitted` does the picture."""
    image, nearest = Image.fromarray(mask.numpy().astype(np.uint8) * 255), Image.Resampling.NEAREST
    small = (
        image.resize((width, height), nearest) if fit == "stretch" else ImageOps.fit(image, (width, height), nearest)
    )
    return torch.from_numpy(np.array(small) > 127)


def recompressed(picture: Tensor, quality: int) -> Tensor:
    """The picture after JPEG compression, as the runners of PIE-Bench store their results."""
    file = io.BytesIO()
    to_image(picture).save(file, "JPEG", quality=quality)
    return decoded(file.getvalue(), "the recompressed picture")
