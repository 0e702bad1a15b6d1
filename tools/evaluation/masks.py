"""Masks of data sets, from PIE-Bench's run-length lists or from pictures; true where an edit was wanted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import EvaluationError
from .cases import Picture
from .pictures import decoded, size_of


def of_case(mask: tuple[int, ...] | Picture, picture: Tensor, name: str) -> Tensor:
    """(H, W) bool mask of a picture (H, W, 3).

    Raises:
        EvaluationError: the mask has another size, or its run-length list is invalid.
    """
    height, width = picture.shape[:2]
    if isinstance(mask, tuple):
        return of_runs(mask, height, width, name)
    pixels = decoded(mask.read(), mask.name)
    if pixels.shape != picture.shape:
        raise EvaluationError(f"the mask {mask.name} is {size_of(pixels)} pixels, its picture {size_of(picture)}")
    return pixels.amax(dim=-1) > 127


def of_runs(runs: tuple[int, ...], height: int, width: int, name: str) -> Tensor:
    """(H, W) bool from a flat list of starts and lengths, row by row.

    As in the official evaluator, a run that is too long is cut at the end, and the outermost rows and columns count as
    edited (it calls them errors of the annotation).

    Raises:
        EvaluationError: an odd list, a negative number, or a start outside the picture.
    """
    total = height * width
    starts, lengths = np.array(runs[0::2], dtype=np.int64), np.array(runs[1::2], dtype=np.int64)
    if len(starts) != len(lengths) or (starts < 0).any() or (lengths < 0).any():
        raise EvaluationError(f"the mask of {name} is no list of starts and lengths")
    if len(starts) and starts.max() >= total:
        raise EvaluationError(
            f"the mask of {name} starts a run at pixel {starts.max()}, and its picture is {width} x {height}: it is of "
            "another size"
        )
    changes = np.zeros(total + 1, dtype=np.int64)
    np.add.at(changes, starts, 1)
    np.add.at(changes, np.minimum(starts + lengths, total), -1)
    mask = torch.from_numpy(changes[:-1].cumsum() > 0).reshape(height, width)
    mask[[0, -1]] = True
    mask[:, [0, -1]] = True
    return mask
