"""Noise maps in a safetensors file, bit for bit.

The format: tensors `sigmas`, `signal`, `noise` (float64), `states`, `residuals`, after null-text inversion `uncond`,
after some edits `predictions`, of an image with a mask `mask`, and one metadata entry `noise_maps`, a JSON object with
`version`, `eta`, `skipped` and `info`. One entry with sorted keys, because safetensors does not keep the order of
several, and equal maps are to give equal files. Version 1 held the predictions always, as `denoised`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule

FORMAT_VERSION = 2
_SCHEDULE = ("sigmas", "signal", "noise")
_MAPS = ("states", "residuals")
_OPTIONAL = {
    "uncond": "uncond",
    "predictions": "predictions",
    "denoised": "predictions",
    "mask": "mask",
}  # field by tensor


def save(noise_maps: NoiseMaps, path: str | Path, extra: Mapping[str, str] | None = None) -> None:
    """Write the maps to `path`: beside it first, then renamed, so that no half-written file is ever at `path`.

    Args:
        extra: more provenance for the file, such as the graph that made it; joined to `info`.
    """
    path = Path(path)
    tensors = {name: getattr(noise_maps.schedule, name) for name in _SCHEDULE}
    tensors |= {name: getattr(noise_maps, name) for name in _MAPS}
    optional = {name: getattr(noise_maps, name) for name in ("uncond", "predictions", "mask")}
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    header = {
        "version": FORMAT_VERSION,
        "eta": noise_maps.schedule.eta,
        "skipped": noise_maps.skipped,
        "info": {**noise_maps.info, **(extra or {})},
    }
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        beside.touch()
        mode = beside.stat().st_mode  # what the user's umask gives; safetensors makes its files private
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            beside,
            {"noise_maps": json.dumps(header, sort_keys=True)},
        )
        beside.chmod(mode)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | Path) -> NoiseMaps:
    """Read maps that `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a safetensors file, truncated, not noise maps, of a newer format, or with tensors that
            contradict each other; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no noise maps file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata())
            missing = [name for name in (*_SCHEDULE, *_MAPS) if name not in file.keys()]
            if missing:
                raise ValueError(f"{path.name} lacks the tensors {', '.join(missing)}: save the noise maps again")
            tensors = {name: file.get_tensor(name) for name in (*_SCHEDULE, *_MAPS)}
            optional = {field: file.get_tensor(name) for name, field in _OPTIONAL.items() if name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is no readable safetensors file ({error}): it is damaged, cut short or of another kind; "
            "save the noise maps again"
        ) from error
    try:
        schedule = NoiseSchedule(**{name: tensors[name] for name in _SCHEDULE}, eta=header["eta"])
        maps = {name: tensors[name] for name in _MAPS}
        return NoiseMaps(schedule, **maps, skipped=header["skipped"], info=header["info"], **optional)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path.name} contradicts itself: {error}") from error


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict:
    foreign = f"{path.name} is a safetensors file, but not one of noise maps: choose a file that Save Noise Maps wrote"
    try:
        header = json.loads((metadata or {})["noise_maps"])
        version = header["version"]
        if not isinstance(version, int):
            raise ValueError(foreign)
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{path.name} has format version {version}, this pack reads up to {FORMAT_VERSION}: update the pack"
            )
        return {
            "eta": float(header["eta"]),
            "skipped": int(header["skipped"]),
            "info": {str(key): str(value) for key, value in header["info"].items()},
        }
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(foreign) from error
