"""The folder of results: how a result is called, when an edit is finished, and how its files come to be whole.

NAME_KEY.png, or NAME_KEY_v0.png, ... for several, and NAME_KEY.json, the record, which names them. NAME is that of the
picture, KEY the beginning of the edit's digest.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KEY_LENGTH = 12
RESULT = re.compile(rf"(?P<stem>.*_(?P<key>[0-9a-f]{{{KEY_LENGTH}}}))(_v\d+)?")  # the stem of a result's name


def stem_of(picture: Path, digest: str) -> str:
    """NAME_KEY."""
    return f"{picture.stem}_{digest[:KEY_LENGTH]}"


def names_of(stem: str, suffixes: list[str]) -> list[str]:
    """What the results of an edit are called."""
    return [f"{stem}{'' if len(suffixes) == 1 else f'_v{index}'}{suffix}" for index, suffix in enumerate(suffixes)]


def record_of(stem: str) -> str:
    """What its record is called."""
    return f"{stem}.json"


def is_finished(folder: Path, stem: str, digest: str) -> bool:
    """Whether an edit's record is there and all results that it names."""
    record = _read(folder / record_of(stem))
    names = record["outputs"]
    return record["digest"] == digest and names != [] and all((folder / name).is_file() for name in names)


def results_among(pictures: Iterable[Path]) -> set[Path]:
    """Those that are results: a record beside them names them. A name alone proves nothing."""
    return {picture for picture in pictures if _is_result(picture)}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name, of which the last is there only if all are, and none is ever there in part.

    They are written beside, under names that no other process takes, then renamed.
    """
    parts: dict[Path, Path] = {}
    try:
        for name, content in files.items():
            part = folder / f"{uuid.uuid4().hex}.part"
            parts[part] = folder / name
            part.write_bytes(content)
        for part, path in parts.items():
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _is_result(picture: Path) -> bool:
    match = RESULT.fullmatch(picture.stem)
    if match is None:
        return False
    record = _read(picture.with_name(record_of(match["stem"])))
    return record["digest"].startswith(match["key"]) and picture.name in record["outputs"]


def _read(record: Path) -> dict[str, Any]:
    """The digest and the outputs of a record; empty ones where there is none, or it is not one of ours."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        digest, outputs = content["digest"], content["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        digest, outputs = "", []
    sound = isinstance(digest, str) and isinstance(outputs, list) and all(isinstance(name, str) for name in outputs)
    return {"digest": digest, "outputs": outputs} if sound else {"digest": "", "outputs": []}
