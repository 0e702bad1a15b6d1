"""Results in a store: their names, when an edit is finished, and which pictures are results.

NAME_KEY.png, or NAME_KEY_v0.png, ... for several, and the record NAME_KEY.json, which names them. NAME is the
picture's, KEY the first digits of the edit's digest. The record of a failed edit is in the folder `failed` until the
edit succeeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from .store import Place, Store, path_in

KEY_LENGTH = 12
RESULT = re.compile(rf"(?P<stem>.*_(?P<key>[0-9a-f]{{{KEY_LENGTH}}}))(_v\d+)?")  # stem of a result's name
FAILED_FOLDER = "failed"


def stem_of(picture: Place, digest: str) -> str:
    """NAME_KEY."""
    return f"{path_in(picture).stem}_{digest[:KEY_LENGTH]}"


def names_of(stem: str, suffixes: list[str]) -> list[str]:
    """The names of an edit's results."""
    return [f"{stem}{'' if len(suffixes) == 1 else f'_v{index}'}{suffix}" for index, suffix in enumerate(suffixes)]


def record_of(stem: str) -> str:
    """The name of an edit's record."""
    return f"{stem}.json"


def is_record(name: str) -> bool:
    """Whether a file is called as the record of an edit is."""
    path = PurePath(name)
    return path.suffix == ".json" and RESULT.fullmatch(path.stem) is not None


def failure_of(stem: str) -> str:
    """The name of a failed edit's record."""
    return f"{FAILED_FOLDER}/{record_of(stem)}"


def is_finished(store: Store, stem: str, digest: str) -> bool:
    """Whether an edit's record and all results that it names exist."""
    record = _parsed(store.read(record_of(stem)))
    names = record["outputs"]
    return record["digest"] == digest and names != [] and all(map(store.has, names))


def results_among(store: Store, pictures: Iterable[str]) -> set[str]:
    """The pictures that a record beside them names as results; a name alone proves nothing."""
    return {picture for picture in pictures if _is_result(store, picture)}


def _is_result(store: Store, picture: str) -> bool:
    match = RESULT.fullmatch(PurePath(picture).stem)
    if match is None:
        return False
    record = _parsed(store.read(record_of(match["stem"])))
    return record["digest"].startswith(match["key"]) and picture in record["outputs"]


def _parsed(record: bytes | None) -> dict[str, Any]:
    """Digest and outputs of a record; empty if it is missing or foreign."""
    try:
        content = json.loads(record or b"")
        digest, outputs = content["digest"], content["outputs"]
    except (ValueError, KeyError, TypeError):
        digest, outputs = "", []
    sound = isinstance(digest, str) and isinstance(outputs, list) and all(isinstance(name, str) for name in outputs)
    return {"digest": digest, "outputs": outputs} if sound else {"digest": "", "outputs": []}
