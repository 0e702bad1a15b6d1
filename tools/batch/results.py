"""The results in a store: how a result is called, when an edit is finished, and which pictures are results.

NAME_KEY.png, or NAME_KEY_v0.png, ... for several, and NAME_KEY.json, the record, which names them. NAME is that of the
picture, KEY the beginning of the edit's digest. An edit that failed has its record in the folder `failed` until it
succeeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from .store import Place, Store, path_in

KEY_LENGTH = 12
RESULT = re.compile(rf"(?P<stem>.*_(?P<key>[0-9a-f]{{{KEY_LENGTH}}}))(_v\d+)?")  # the stem of a result's name
FAILED = "failed"  # the folder of those that did not succeed


def stem_of(picture: Place, digest: str) -> str:
    """NAME_KEY."""
    return f"{path_in(picture).stem}_{digest[:KEY_LENGTH]}"


def names_of(stem: str, suffixes: list[str]) -> list[str]:
    """What the results of an edit are called."""
    return [f"{stem}{'' if len(suffixes) == 1 else f'_v{index}'}{suffix}" for index, suffix in enumerate(suffixes)]


def record_of(stem: str) -> str:
    """What its record is called."""
    return f"{stem}.json"


def failure_of(stem: str) -> str:
    """What the record of a failure is called."""
    return f"{FAILED}/{record_of(stem)}"


def is_finished(store: Store, stem: str, digest: str) -> bool:
    """Whether an edit's record is there and all results that it names."""
    record = _parsed(store.read(record_of(stem)))
    names = record["outputs"]
    return record["digest"] == digest and names != [] and all(map(store.has, names))


def results_among(store: Store, pictures: Iterable[str]) -> set[str]:
    """Those that are results: a record beside them names them. A name alone proves nothing."""
    return {picture for picture in pictures if _is_result(store, picture)}


def _is_result(store: Store, picture: str) -> bool:
    match = RESULT.fullmatch(PurePath(picture).stem)
    if match is None:
        return False
    record = _parsed(store.read(record_of(match["stem"])))
    return record["digest"].startswith(match["key"]) and picture in record["outputs"]


def _parsed(record: bytes | None) -> dict[str, Any]:
    """The digest and the outputs of a record; empty ones where there is none, or it is not one of ours."""
    try:
        content = json.loads(record or b"")
        digest, outputs = content["digest"], content["outputs"]
    except (ValueError, KeyError, TypeError):
        digest, outputs = "", []
    sound = isinstance(digest, str) and isinstance(outputs, list) and all(isinstance(name, str) for name in outputs)
    return {"digest": digest, "outputs": outputs} if sound else {"digest": "", "outputs": []}
