"""Files of noise maps of earlier versions, read as those of version 4.

Versions 1 to 3 had `info`, an object of texts, in place of typed facts. Version 1 held the predictions always, as
`denoised`, and version 2 where an edit kept them, as `predictions`; version 3 is version 2 with an `order`.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .schedule import NoiseSchedule
from .trajectories import noising_of_few_steps, seeds_of_rows

_TYPED = (
    *("seed", "variations", "method", "cfg", "prompt_signature", "noise_shift", "model_family", "latent_format"),
    *("latent_scale", "latent_shift", "pixels_per_cell", "latent_rgb_factors", "latent_rgb_bias"),
)


def upgraded(header: dict[str, Any]) -> dict[str, Any]:
    """A header of version 1 to 3 in the fields of version 4, to be `completed` by what the tensors tell.

    Raises:
        KeyError: a field that a header of noise maps has is missing.
        ValueError: a text in `info` that is not what it stands for.
    """
    info = header["info"]
    if type(info) is not dict or not all(type(text) is str for text in info.values()):
        raise ValueError(f"has info {reprlib.repr(info)}, which has to be an object of texts")
    told = {key: _value(info, key) for key in _TYPED if key in info}
    scaled = "latent_format" not in info or "latent_scale" in info
    space = {
        "family": info.get("model_family", ""),
        "format": info.get("latent_format", ""),
        "cell": told.get("pixels_per_cell"),
        "scale": told.get("latent_scale", [1.0] if scaled else None),
        "shift": told.get("latent_shift", [0.0] if scaled else None),
        "colors": _per_cell(told.get("latent_rgb_factors")),
        "color_bias": told.get("latent_rgb_bias", [0.0, 0.0, 0.0]),
    }
    origin = {
        "method": info.get("method"),
        "cfg": told.get("cfg"),
        "prompt": told.get("prompt_signature", []),
    }
    return {
        "version": header["version"],
        "eta": header["eta"],
        "order": header.get("order", 1),
        "skipped": header["skipped"],
        "seeds": [told.get("seed", 0)],
        "images": told.get("variations", 1),
        "origin": origin if "method" in info else None,
        "space": space,
        "notes": {key: text for key, text in info.items() if key not in _TYPED or key == "noise_shift"},
        "noise_shift": told.get("noise_shift"),
    }


def completed(
    header: dict[str, Any], tensors: dict[str, Tensor], schedule: NoiseSchedule
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An upgraded header with a seed for each row, and the tensors by their names today."""
    (seed,), variations = header["seeds"], header["images"]
    rows = tensors["states"].shape[1] if tensors["states"].ndim > 1 else 0
    images = rows // variations if rows % variations == 0 else rows
    native = header["origin"] is not None and header["origin"]["method"] == "native"
    former = ("denoised", "predictions")  # the first of version 1
    named = {"kept_denoised" if name in former else name: tensor for name, tensor in tensors.items()}
    if header["noise_shift"] is not None:
        named["noising"] = _noising(header["noise_shift"], schedule)
    # generated images had a seed each
    seeds = seeds_of_rows(seed, range(rows), 1) if native else seeds_of_rows(seed, [0] * images, rows // max(images, 1))
    return {**header, "seeds": seeds, "images": images or None}, named


def _value(info: dict[str, str], key: str) -> Any:
    """What a text of `info` stands for.

    Raises:
        ValueError: nothing that it could stand for.
    """
    text = info[key]
    if key in ("method", "model_family", "latent_format"):
        return text
    fits: dict[str, Callable[[Any], bool]] = {
        "seed": lambda value: type(value) is int and 0 <= value < 2**64,
        "variations": lambda value: type(value) is int and value > 0,
        "noise_shift": lambda value: type(value) is int,
        "cfg": lambda value: type(value) in (int, float),
        "pixels_per_cell": lambda value: type(value) is int and 1 <= value <= 1024,
    }
    try:
        if key == "noise_shift" and (found := re.fullmatch(r"to sigmas (.+)", text)):
            return [float(sigma) for sigma in found[1].split(",")]
        value = json.loads(text)
        fine = fits[key](value) if key in fits else _are_floats(value)
    except (ValueError, TypeError, RuntimeError):  # RecursionError is one of the last
        fine = False
    if not fine:
        raise ValueError(f"says {key} is {reprlib.repr(text)}, which noise maps cannot have")
    return value


def _are_floats(value: Any) -> bool:
    numbers = torch.tensor(value)
    return numbers.is_floating_point() and bool(numbers.isfinite().all())


def _per_cell(colors: Any) -> Any:
    """(C, 3) as (C, 1, 1, 3) nested lists."""
    if colors is None or torch.tensor(colors).ndim != 2:
        return colors
    return [[[color]] for color in colors]


def _noising(shift: int | list[float], schedule: NoiseSchedule) -> Tensor:
    """The weights of the states of few steps, of which earlier files told a shift, or the sigmas of the noise."""
    if isinstance(shift, int):
        return noising_of_few_steps(schedule, noise_shift=shift)
    sigmas = torch.tensor(shift, dtype=torch.float64)
    is_flow = torch.allclose(schedule.signal + schedule.noise, torch.ones_like(schedule.signal))
    levels = NoiseSchedule.flow(sigmas) if is_flow else NoiseSchedule.variance_exploding(sigmas)
    return noising_of_few_steps(schedule, noise_levels=levels)
