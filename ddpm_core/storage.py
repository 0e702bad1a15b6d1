"""Noise maps in a safetensors file, bit for bit.

The format: tensors `sigmas`, `signal`, `noise` (float64), `states`, `residuals`; where the maps have them, `uncond`,
`kept_denoised`, `mask` and `noising` (float64); and one metadata entry `noise_maps`, a JSON object with the fields of
`_FIELDS`. One entry with sorted keys, because safetensors does not keep the order of several, and equal maps are to
give equal files. Version 4 keeps facts in fields; versions 1 to 3, which kept them as texts in `info`, are read by
`earlier`.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from . import earlier
from .facts import Facts, LatentSpace, Method, Network, Origin
from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule

FORMAT_VERSION = 4
_SCHEDULE = ("sigmas", "signal", "noise")
_MAPS = ("states", "residuals")
_OPTIONAL = ("uncond", "kept_denoised", "mask", "noising")
_LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_numbers(value: Any) -> bool:
    return type(value) is list and all(map(_is_number, value))


# By the very type, for a boolean is an int to isinstance.
_Fields = Mapping[str, tuple[Callable[[Any], bool], str]]
_FIELDS: _Fields = {
    "version": (lambda value: type(value) is int and value > 0, "a whole number from 1"),
    "eta": (_is_number, "a number"),
    "order": (lambda value: type(value) is int, "a whole number"),
    "skipped": (lambda value: type(value) is int, "a whole number"),
    "seeds": (
        lambda value: type(value) is list and all(type(seed) is int for seed in value),
        "a list of whole numbers",
    ),
    "images": (lambda value: value is None or type(value) is int, "a whole number or null"),
    "origin": (lambda value: value is None or type(value) is dict, "an object or null"),
    "space": (lambda value: type(value) is dict, "an object"),
    "notes": (
        lambda value: type(value) is dict and all(type(part) is str for part in value.values()),
        "an object of texts",
    ),
}
_ORIGIN: _Fields = {
    "method": (lambda value: type(value) is str, "a text"),
    "cfg": (lambda value: value is None or _is_number(value), "a number or null"),
    "prompt": (_is_numbers, "a list of numbers"),
    "networks": (
        lambda value: type(value) is list and all(type(part) is dict for part in value),
        "a list of objects",
    ),
}
_NETWORK: _Fields = {
    "numbers": (_is_numbers, "a list of numbers"),
    "down_to": (_is_number, "a number"),
}
_SPACE: _Fields = {
    "family": (lambda value: type(value) is str, "a text"),
    "format": (lambda value: type(value) is str, "a text"),
    "scale": (lambda value: value is None or _is_numbers(value), "a list of numbers or null"),
    "shift": (lambda value: value is None or _is_numbers(value), "a list of numbers or null"),
    "cell": (lambda value: value is None or type(value) is int, "a whole number or null"),
    "colors": (lambda value: value is None or type(value) is list, "nested lists of numbers or null"),
    "color_bias": (_is_numbers, "a list of numbers"),
}


def save(noise_maps: NoiseMaps, path: str | Path, notes: Mapping[str, str] | None = None) -> None:
    """Write the maps to `path`: beside it first, then renamed, so that no half-written file is ever at `path`.

    A process that is killed meanwhile leaves a folder named like the file, ending in `.part`, which can be deleted.

    Args:
        notes: more notes for the file, such as the graph that made it; joined to those of the maps.
    """
    path = Path(path)
    tensors = {name: getattr(noise_maps.schedule, name) for name in _SCHEDULE}
    tensors |= {name: getattr(noise_maps, name) for name in (*_MAPS, *_OPTIONAL)}
    header = _header_of(noise_maps, notes or {})
    # A folder, because safetensors writes to a name of its own first: what a killed process leaves is all in there.
    beside = Path(mkdtemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent))
    try:
        written = beside / "maps.part"
        written.touch()
        mode = written.stat().st_mode  # what the user's umask gives; safetensors makes its files private
        safetensors.torch.save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None},
            written,
            {"noise_maps": json.dumps(header, sort_keys=True)},
        )
        with suppress(OSError):  # a share that knows no rights of its own
            written.chmod(mode)
        os.replace(written, path)
    finally:
        rmtree(beside, ignore_errors=True)  # a share may keep it busy, and the maps are saved


def load(path: str | Path) -> NoiseMaps:
    """Read maps that `save` wrote, into memory of their own: what becomes of the file afterwards does not matter.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a safetensors file, truncated, not noise maps, of a newer format, of an unknown method, larger
            than the memory, or with a header or tensors that contradict each other; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no noise maps file {path}")
    header, tensors = _read(path)
    missing = [name for name in (*_SCHEDULE, *_MAPS) if name not in tensors]
    if missing:
        raise ValueError(f"{path.name} lacks the tensors {', '.join(missing)}: save the noise maps again")
    levels = {name: tensors[name] for name in _SCHEDULE}
    try:
        if any(part.dtype != torch.float64 for part in levels.values()):
            raise ValueError(", ".join(f"{name} is {part.dtype}" for name, part in levels.items()) + ", not float64")
        schedule = NoiseSchedule(**levels, eta=header["eta"], order=header["order"])
        if header["version"] < FORMAT_VERSION:
            header, tensors = earlier.completed(header, tensors, schedule)
        maps = {name: tensors[name] for name in (*_MAPS, *_OPTIONAL) if name in tensors}
        return NoiseMaps(schedule, **maps, skipped=header["skipped"], facts=_facts_of(header))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path.name} contradicts itself: {error}") from error


def _header_of(noise_maps: NoiseMaps, notes: Mapping[str, str]) -> dict[str, Any]:
    facts, space = noise_maps.facts, noise_maps.space
    origin = facts.origin
    return {
        "version": FORMAT_VERSION,
        "eta": noise_maps.schedule.eta,
        "order": noise_maps.schedule.order,
        "skipped": noise_maps.skipped,
        "seeds": list(facts.seeds),
        "images": facts.images,
        "origin": origin
        and {
            "method": origin.method.value,
            "cfg": origin.cfg,
            "prompt": list(origin.prompt),
            "networks": [{"numbers": list(part.numbers), "down_to": part.down_to} for part in origin.networks],
        },
        "space": {
            **{name: getattr(space, name) for name in ("family", "format", "cell")},
            **{name: _listed(getattr(space, name)) for name in ("scale", "shift", "colors", "color_bias")},
        },
        "notes": {str(key): str(value) for key, value in {**facts.notes, **notes}.items()},
    }


def _listed(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.tolist()


def _facts_of(header: dict[str, Any]) -> Facts:
    """The facts in a checked header.

    Raises:
        ValueError: numbers that cannot be, an unknown method.
    """
    origin, space = header["origin"], header["space"]
    if origin is not None:
        known = [method.value for method in Method]
        if origin["method"] not in known:
            raise ValueError(
                f"its maps were made by {reprlib.repr(origin['method'])}, which this pack does not know "
                f"({', '.join(known)}): update the pack"
            )
        networks = [Network(tuple(map(float, part["numbers"])), part["down_to"]) for part in origin["networks"]]
        prompt = tuple(map(float, origin["prompt"]))
        origin = Origin(Method(origin["method"]), origin["cfg"], prompt, tuple(networks))
    latent_space = LatentSpace(
        space["family"],
        space["format"],
        scale=_optional_tensor(space["scale"], "scale"),
        shift=_optional_tensor(space["shift"], "shift"),
        cell=space["cell"],
        colors=_optional_tensor(space["colors"], "colors"),
        color_bias=_tensor(space["color_bias"], "color_bias"),
    )
    return Facts(tuple(header["seeds"]), header["images"], origin, latent_space, header["notes"])


def _optional_tensor(numbers: Any, name: str) -> Tensor | None:
    return None if numbers is None else _tensor(numbers, name)


def _tensor(numbers: Any, name: str) -> Tensor:
    try:
        return torch.tensor(numbers, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError) as error:  # RecursionError is one of the last
        raise ValueError(f"{name} is {reprlib.repr(numbers)}, which are no numbers") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The checked header of a file, and its tensors.

    The file is read, not mapped: overwriting a mapped file in place would crash the process with SIGBUS. The header
    comes first, so that no large file of another kind is read to its end.
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
    """The header of noise maps in the safetensors file `name`: all of `_FIELDS`, of their types."""
    try:
        metadata = json.loads(text, object_pairs_hook=_without_repeats).get("__metadata__")
    except (ValueError, AttributeError, RecursionError) as error:
        raise _unreadable(name, error) from error
    try:
        header = json.loads(metadata["noise_maps"], object_pairs_hook=_without_repeats)
        version = header["version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _foreign(name, error) from error
    _check(name, {"version": version}, {"version": _FIELDS["version"]})
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{name} has format version {version}, this pack reads up to {FORMAT_VERSION}: update the pack"
        )
    if version < FORMAT_VERSION:
        try:
            header = earlier.upgraded(header)
        except KeyError as error:
            raise _foreign(name, error) from error
        except ValueError as error:
            raise ValueError(f"{name} {error}: save the noise maps again, or invert the image again") from error
    try:
        _check(name, header, _FIELDS)
        if header["origin"] is not None:
            header["origin"].setdefault("networks", [])  # of files from before it was there
        for part, fields in (("origin", _ORIGIN), ("space", _SPACE)):
            if header[part] is not None:
                header[part] = {field: header[part][field] for field in fields}
                _check(f"{name}, {part},", header[part], fields)
        for network in header["origin"]["networks"] if header["origin"] else []:
            _check(f"{name}, networks,", network, _NETWORK)
    except KeyError as error:
        raise _foreign(name, error) from error
    return header


def _check(name: str, header: Mapping[str, Any], fields: _Fields) -> None:
    for field, (fits, needed) in fields.items():
        if not fits(header[field]):
            raise ValueError(
                f"{name} has {field} {reprlib.repr(header[field])}, which has to be {needed}: save the noise maps again"
            )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a ValueError where a key is there twice, of which Python would take the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _foreign(name: str, why: Exception) -> ValueError:
    return ValueError(
        f"{name} is a safetensors file, but not one of noise maps ({why!r}): choose a file that Save Noise Maps wrote"
    )


def _unreadable(name: str, why: Exception) -> ValueError:
    return ValueError(
        f"{name} is no readable safetensors file ({why}): it is damaged, cut short or of another kind; "
        "save the noise maps again"
    )
