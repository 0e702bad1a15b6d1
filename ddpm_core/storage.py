"""Noise maps in a safetensors file, bit for bit.

The format: tensors `sigmas`, `signal`, `noise` (float64), `states`, `residuals`, after null-text inversion `uncond`,
after some edits `predictions`, of an image with a mask `mask`, and one metadata entry `noise_maps`, a JSON object with
`version`, `eta`, `skipped` and `info`, and `order` if it is not 1. One entry with sorted keys, because safetensors does
not keep the order of several, and equal maps are to give equal files. Version 1 held the predictions always, as
`denoised`; version 3 is for maps of second order alone, which those that know no order would read wrong.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule

FORMAT_VERSION = 3
_SCHEDULE = ("sigmas", "signal", "noise")
_MAPS = ("states", "residuals")
_OPTIONAL = {
    "uncond": "uncond",
    "predictions": "predictions",
    "denoised": "predictions",
    "mask": "mask",
}  # field by tensor
_LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it
# By the very type, for a boolean is an int to isinstance.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (lambda value: type(value) is int and value > 0, "a whole number from 1"),
    "eta": (lambda value: type(value) in (int, float), "a number"),
    "order": (lambda value: type(value) is int, "a whole number"),
    "skipped": (lambda value: type(value) is int, "a whole number"),
    "info": (
        lambda value: type(value) is dict and all(type(part) is str for part in value.values()),
        "an object of texts",
    ),
}


def save(noise_maps: NoiseMaps, path: str | Path, extra: Mapping[str, str] | None = None) -> None:
    """Write the maps to `path`: beside it first, then renamed, so that no half-written file is ever at `path`.

    A process that is killed meanwhile leaves a folder named like the file, ending in `.part`, which can be deleted.

    Args:
        extra: more provenance for the file, such as the graph that made it; joined to `info`.
    """
    path = Path(path)
    tensors = {name: getattr(noise_maps.schedule, name) for name in _SCHEDULE}
    tensors |= {name: getattr(noise_maps, name) for name in _MAPS}
    optional = {name: getattr(noise_maps, name) for name in ("uncond", "predictions", "mask")}
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    header = {
        "version": 2,
        "eta": noise_maps.schedule.eta,
        "skipped": noise_maps.skipped,
        "info": {str(key): str(value) for key, value in {**noise_maps.info, **(extra or {})}.items()},
    }
    if noise_maps.schedule.order > 1:
        header |= {"version": FORMAT_VERSION, "order": noise_maps.schedule.order}
    # A folder, because safetensors writes to a name of its own first: what a killed process leaves is all in there.
    with TemporaryDirectory(prefix=f"{path.name}.", suffix=".part", dir=path.parent) as beside:
        written = Path(beside) / "maps.part"
        written.touch()
        mode = written.stat().st_mode  # what the user's umask gives; safetensors makes its files private
        safetensors.torch.save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            written,
            {"noise_maps": json.dumps(header, sort_keys=True)},
        )
        written.chmod(mode)
        os.replace(written, path)


def load(path: str | Path) -> NoiseMaps:
    """Read maps that `save` wrote, into memory of their own: what becomes of the file afterwards does not matter.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a safetensors file, truncated, not noise maps, of a newer format, larger than the memory, or
            with a header or tensors that contradict each other; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no noise maps file {path}")
    header, tensors = _read(path)
    missing = [name for name in (*_SCHEDULE, *_MAPS) if name not in tensors]
    if missing:
        raise ValueError(f"{path.name} lacks the tensors {', '.join(missing)}: save the noise maps again")
    levels = {name: tensors[name] for name in _SCHEDULE}
    maps = {name: tensors[name] for name in _MAPS}
    maps |= {field: tensors[name] for name, field in _OPTIONAL.items() if name in tensors}
    try:
        if any(part.dtype != torch.float64 for part in levels.values()):
            raise ValueError(", ".join(f"{name} is {part.dtype}" for name, part in levels.items()) + ", not float64")
        schedule = NoiseSchedule(**levels, eta=header["eta"], order=header["order"])
        return NoiseMaps(schedule, **maps, skipped=header["skipped"], info=header["info"])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path.name} contradicts itself: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The checked header of a file, and its tensors.

    The file is read, not mapped: who overwrites a mapped file in place takes the tensors away, and the process ends by
    SIGBUS. The header comes first, so that no large file of another kind is read to its end.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = _header(path.name, file.read(min(length, _LARGEST_HEADER)))
        file.seek(0)
        try:
            return header, safetensors.torch.load(file.read())
        except (SafetensorError, KeyError, TypeError, RuntimeError) as error:  # all but the first: dtypes, sizes
            raise _unreadable(path.name, error) from error
        except MemoryError as error:
            raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, more than fit the memory") from error


def _header(name: str, text: bytes) -> dict[str, Any]:
    """What the header of the safetensors file `name` says of noise maps: all of `_FIELDS`, of their types."""
    try:
        metadata = json.loads(text, object_pairs_hook=_without_repeats).get("__metadata__")
    except (ValueError, AttributeError, RecursionError) as error:
        raise _unreadable(name, error) from error
    try:
        header = json.loads(metadata["noise_maps"], object_pairs_hook=_without_repeats)
        header = {field: ({"order": 1} | header)[field] for field in _FIELDS}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} is a safetensors file, but not one of noise maps ({error!r}): "
            "choose a file that Save Noise Maps wrote"
        ) from error
    for field, (fits, needed) in _FIELDS.items():
        if not fits(header[field]):
            raise ValueError(
                f"{name} has {field} {reprlib.repr(header[field])}, which has to be {needed}: save the noise maps again"
            )
    if header["version"] > FORMAT_VERSION:
        raise ValueError(
            f"{name} has format version {header['version']}, this pack reads up to {FORMAT_VERSION}: update the pack"
        )
    return header


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a ValueError where a key is there twice, of which Python would take the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _unreadable(name: str, why: Exception) -> ValueError:
    return ValueError(
        f"{name} is no readable safetensors file ({why}): it is damaged, cut short or of another kind; "
        "save the noise maps again"
    )
