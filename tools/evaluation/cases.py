"""One edit of a data set, whatever format it came in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import EvaluationError


@dataclass(frozen=True)
class Picture:
    """A picture of a data set that is read when it is needed."""

    name: str  # its path within the data set, with forward slashes
    content: Callable[[], bytes]
    path: Path | None = None  # where it is a file of its own

    def read(self) -> bytes:
        """The file; EvaluationError where there is none."""
        try:
            return self.content()
        except OSError as error:
            raise EvaluationError(f"there is no picture {self.name}: {error.strerror or error}") from error

    @classmethod
    def of_file(cls, name: str, path: Path) -> Picture:
        return cls(name, path.read_bytes, path)


@dataclass(frozen=True)
class Case:
    """A picture and what is to become of it.

    Args:
        id: different for each case of a data set.
        source, target: prompts, without PIE-Bench's brackets; a source may be "".
        edit_type: a name for the kind of edit, or "".
        mask: where the edit is wanted: runs (start, length, ...) or a picture; None where the data set does not say.
        words: what changes, as the data set has it, or "".
    """

    id: str
    picture: Picture
    source: str
    target: str
    edit_type: str = ""
    mask: tuple[int, ...] | Picture | None = None
    words: str = ""


@dataclass(frozen=True)
class DataSet:
    """The cases of a file, in its order, and which format it is in."""

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
