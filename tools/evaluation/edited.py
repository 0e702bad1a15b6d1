"""The edited pictures of a case, found by the records of `python -m tools.batch edit` or by file name.

A folder with such records is matched by the picture's SHA-256 and both prompts. Records of different settings are
different methods: a sweep in one folder becomes a row for each setting, and so do other graphs. Records that differ in
their seed alone are variations of one edit, as are several outputs of one record; each seed counts once.

Any other folder is searched for a picture called as the case's id, or in the place of its picture (`image_path` of
PIE-Bench), with any ending, and with _v0, _v1, ... for variations. A strip of several pictures side by side, as
PnPInversion's runners write, is cut to its last.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from . import EvaluationError
from .cases import PICTURE_ENDINGS, Case, Picture, digest_of

UNEDITED = "source"  # the name of the method that does nothing
OF_NO_METHOD = ("seed", "variations", "timesteps_per_call")  # settings that make a variation, or the same picture


@dataclass(frozen=True)
class Edited:
    """The edits of one case by one method.

    Args:
        pictures: one for each variation.
        seconds: run time of one picture; NaN if not recorded.
    """

    pictures: tuple[Picture, ...]
    seconds: float = math.nan


def _edited(files: Sequence[Path], seconds: float = math.nan) -> Edited:
    return Edited(tuple(Picture.of_file(file.name, file) for file in files), seconds)


@dataclass(frozen=True)
class Method:
    """A method of editing, its settings, and how to find its edit of a case."""

    name: str
    settings: Mapping[str, Any]
    find: Callable[[Case], Edited | None]


def unedited() -> Method:
    """The sources themselves as edits, with all errors 0."""
    return Method(UNEDITED, {}, lambda case: Edited((case.picture,)))


def methods_in(name: str, folder: Path, settings: Collection[str], cases: Collection[Case]) -> list[Method]:
    """The methods in a folder; several are told apart by the settings that differ.

    Args:
        settings: names of the settings in records, beside those in `set`.
        cases: the cases to find pictures for.

    Raises:
        EvaluationError: the folder is missing.
    """
    if not folder.is_dir():
        raise EvaluationError(f"--edited {name}: there is no folder {folder}")
    groups: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    for path, record in _records(folder):
        text = json.dumps(_settings_of(record, settings), sort_keys=True)
        groups[text, str(record.get("method", ""))].append((path, record))
    if not groups:
        shared = _shared_pictures(cases)
        return [Method(name, {}, lambda case: _by_name(folder, case, case.picture.name in shared))]
    chosen = {key: json.loads(key[0]) for key in sorted(groups)}
    of_settings = Counter(text for text, _ in groups)
    common = {item for item in _items(next(iter(chosen.values()))) if all(item in _items(s) for s in chosen.values())}
    methods = []
    for key, found in groups.items():
        told = {k: v for k, v in chosen[key].items() if (k, json.dumps(v)) not in common}
        if of_settings[key[0]] > 1:
            told["graph"] = key[1][:8] or "of before"
        label = ", ".join([name, *(f"{k} {v}" for k, v in told.items())])
        methods.append(Method(label, chosen[key], _ByRecord(found)))
    return sorted(methods, key=lambda method: method.name)


def _items(settings: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(name, json.dumps(value)) for name, value in settings.items()}


class _ByRecord:
    """Look-up of a case in records."""

    def __init__(self, found: list[tuple[Path, dict[str, Any]]]):
        self.records: dict[tuple[str, str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
        for path, record in found:
            self.records[record["picture_sha256"], record["source"] or "", record["target"] or ""].append(
                (path, record)
            )

    def __call__(self, case: Case) -> Edited | None:
        try:
            digest = digest_of(case.picture.read())
        except EvaluationError:
            return None
        found = _each_once(self.records.get((digest, case.source, case.target), []))
        if not found or not all(file.is_file() for file, _ in found):
            return None
        made_by = {record["outputs"][0]: record for _, record in found}.values()
        timed = [record for record in made_by if isinstance(record.get("seconds"), int | float)]
        pictures = sum(len(record["outputs"]) for record in timed)
        seconds = sum(record["seconds"] for record in timed) / pictures if pictures else math.nan
        return _edited([file for file, _ in found], seconds)


def _each_once(entries: list[tuple[Path, dict[str, Any]]]) -> list[tuple[Path, dict[str, Any]]]:
    """The pictures of records, each with one that has it; variation v of a seed is the picture of seed + v."""
    found: dict[tuple[int, str, int], tuple[Path, dict[str, Any]]] = {}
    for path, record in sorted(entries, key=lambda entry: len(entry[1]["outputs"])):
        seed, outputs = record.get("seed"), record["outputs"]
        for k, name in enumerate(outputs):
            if seed is None:
                key = (0, path.name, k)
            elif record.get("variations") == len(outputs):
                key = (seed + k, "", 0)
            else:  # pictures of another kind, such as frames
                key = (seed, "", k)
            found[key] = path.parent / name, record
    return [found[key] for key in sorted(found)]


def _records(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records in a folder; other JSON files are skipped."""
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and {"picture_sha256", "source", "target", "outputs"} <= record.keys():
            yield path, record


def _settings_of(record: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The settings of a record that define its method, by name or by "Title.input"."""
    named = {name: record[name] for name in names if name in record}
    further = record.get("set")
    named |= further if isinstance(further, dict) else {}
    return {name: value for name, value in named.items() if name not in OF_NO_METHOD}


def _shared_pictures(cases: Collection[Case]) -> set[str]:
    """Pictures of several cases, whose path does not tell which edit a file is."""
    seen: set[str] = set()
    shared: set[str] = set()
    for case in cases:
        (shared if case.picture.name in seen else seen).add(case.picture.name)
    return shared


def _by_name(folder: Path, case: Case, shared: bool) -> Edited | None:
    place = str(PurePosixPath(case.picture.name).with_suffix(""))
    for stem in [case.id] if shared else [case.id, place, f"annotation_images/{place}"]:
        if file := _picture(folder, stem):
            return _edited([file])
        variations: list[Path] = []
        while file := _picture(folder, f"{stem}_v{len(variations)}"):
            variations.append(file)
        if variations:
            return _edited(variations)
    return None


def _picture(folder: Path, stem: str) -> Path | None:
    """The picture of that name inside the folder, with any ending."""
    if PurePosixPath(stem).is_absolute() or ".." in PurePosixPath(stem).parts:
        return None
    candidates = (folder / f"{stem}{ending}" for ending in PICTURE_ENDINGS)
    return next((path for path in candidates if path.is_file()), None)
