"""Masks of data sets, from PIE-Bench's run-length lists or from pictures: of mode L, white where an edit was wanted."""

from __future__ import annotations

from PIL import Image, ImageChops

from . import EvaluationError
from .cases import Mask, Picture
from .decoder import decode

_WHITE = 255


def of_case(mask: Mask, size: tuple[int, int], name: str) -> Image.Image:
    """The mask of a picture of `size`, width and height.

    Raises:
        EvaluationError: the mask has another size, or its run-length list is invalid.
    """
    return of_picture(mask, size) if isinstance(mask, Picture) else of_runs(mask, *size, name)


def for_loaders(mask: Image.Image) -> Image.Image:
    """The mask as a picture from which a loader takes it by any channel: white and transparent where it is white."""
    return Image.merge("RGBA", (mask, mask, mask, ImageChops.invert(mask)))


def of_picture(mask: Picture, size: tuple[int, int]) -> Image.Image:
    """The mask that a picture of that size is: white where one of its colors is above the middle.

    Raises:
        EvaluationError: it cannot be read, or has another size.
    """
    try:
        image = decode(mask.read()).image
    except EvaluationError as error:
        raise EvaluationError(f"the mask {mask.name} cannot be read: {error}") from error
    if image.size != size:
        sizes = [f"{width} x {height}" for width, height in (image.size, size)]
        raise EvaluationError(f"the mask {mask.name} is {sizes[0]} pixels, its picture {sizes[1]}")
    red, green, blue = image.split()
    brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return brightest.point([0] * (_WHITE // 2 + 1) + [_WHITE] * (_WHITE // 2 + 1))


def of_runs(runs: tuple[int, ...], width: int, height: int, name: str) -> Image.Image:
    """The mask of a flat list of starts and lengths, row by row.

    As in the official evaluator, a run that is too long is cut at the end, and the outermost rows and columns count as
    edited (it calls them errors of the annotation).

    Raises:
        EvaluationError: an odd list, a negative number, or a start outside the picture.
    """
    total = height * width
    starts, lengths = runs[0::2], runs[1::2]
    if len(starts) != len(lengths) or min(runs, default=0) < 0:
        raise EvaluationError(f"the mask of {name} is no list of starts and lengths")
    if (last := max(starts, default=0)) >= total:
        raise EvaluationError(
            f"the mask of {name} starts a run at pixel {last}, and its picture is {width} x {height}: it is of "
            "another size"
        )
    flat, white = bytearray(total), bytes([_WHITE])
    for start, length in zip(starts, lengths, strict=True):
        end = min(start + length, total)
        flat[start:end] = white * (end - start)
    flat[:width] = flat[-width:] = white * width
    flat[0::width] = flat[width - 1 :: width] = white * height
    return Image.frombytes("L", (width, height), bytes(flat))
