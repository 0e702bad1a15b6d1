"""One edit of a data set, whatever format it came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import EvaluationError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """A picture of a data set, read on demand."""

    name: str  # path within the data set, with forward slashes
    content: Callable[[], bytes]
    path: Path | None = None  # None inside a parquet file

    def read(self) -> bytes:
        """The file's content; EvaluationError if it is missing."""
        try:
            return self.content()
        except OSError as error:
            raise EvaluationError(f"there is no picture {self.name}: {error.strerror or error}") from error

    @classmethod
    def of_file(cls, name: str, path: Path) -> Picture:
        return cls(name, path.read_bytes, path)


Mask = tuple[int, ...] | Picture  # runs (start, length, ...), or a picture that is white where the edit is wanted


@dataclass(frozen=True)
class Case:
    """One edit of a data set: a picture and its prompts.

    Args:
        id: unique in its data set.
        source, target: prompts, without PIE-Bench's brackets; a source may be "".
        edit_type: kind of edit, or "".
        mask: where the edit is wanted; None if the data set does not say.
        words: the words that change, as in the data set, or "".
    """

    id: str
    picture: Picture
    source: str
    target: str
    edit_type: str = ""
    mask: Mask | None = None
    words: str = ""


@dataclass(frozen=True)
class DataSet:
    """The cases of a file, in its order, and its format."""

    path: Path
    format: str
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        double = [case.id for case in self.cases if case.id in seen or seen.add(case.id)]  # type: ignore[func-returns-value]
        if double:
            raise EvaluationError(f"{self.path} has several cases of the id {double[0]!r}: each needs its own")
        if not self.cases:
            raise EvaluationError(f"{self.path} has no case")


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of_mask(mask: Mask | None) -> str:
    """A text of its own for each mask: that of a picture changes with its file, of runs with their numbers."""
    return digest_of(mask.read()) if isinstance(mask, Picture) else json.dumps(mask)
