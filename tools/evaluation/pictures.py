"""Pictures as they are measured: (H, W, 3) uint8."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from . import EvaluationError, masks
from .cases import Mask
from .decoder import decode

Fit = Literal["crop", "stretch"]


def decoded(content: bytes, name: str) -> Tensor:
    """(H, W, 3) of a file, as `edit` sends it to servers.

    Raises:
        EvaluationError: the content is not a sound picture.
    """
    try:
        return of_image(decode(content).image)
    except EvaluationError as error:
        raise EvaluationError(f"{name} cannot be read as a picture: {error}") from error


def mask_of_case(mask: Mask, picture: Tensor, name: str) -> Tensor:
    """(H, W) bool mask of a picture (H, W, 3), with the errors of `masks.of_case`."""
    return of_image(masks.of_case(mask, (picture.shape[1], picture.shape[0]), name)) > 0


def of_image(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


def to_image(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.cpu().numpy())


def size_of(picture: Tensor) -> str:
    """Width x height, for messages."""
    return f"{picture.shape[1]} x {picture.shape[0]}"


def fitted(picture: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """The picture resized by Lanczos: all of it (`stretch`), or its middle in the wanted proportion (`crop`).

    The rows of the papers' tables in `workflows/api` crop a picture that way before editing it.
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
