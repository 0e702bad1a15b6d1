"""The edits to do: one for each picture of a folder, or one for each row of a list."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from .results import results_among
from .store import Place, below, path_in, store_at
from .tables import read_table
from .template import PROMPTS, Edit, UsageError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Broken:
    """A row of the list that is no edit."""

    name: str
    reason: str


def pictures_of(folder: Place) -> tuple[list[Place], int]:
    """The pictures in a folder, by name, and how many results of earlier edits among them are left out.

    Other files, and folders below, are none.

    Raises:
        UsageError: there is no folder, or no picture in it.
    """
    if isinstance(folder, Path) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    store = store_at(folder)
    found = sorted(name for name in store.names() if PurePath(name).suffix.lower() in PICTURES)
    results = results_among(store, found)
    pictures = [below(folder, name) for name in found if name not in results]
    if not pictures:
        reason = f"looked for {' '.join(sorted(PICTURES))}"
        if results:
            reason = f"its {len(results)} are results of edits; to edit these again, list them with --prompts"
        raise UsageError(f"there is no picture in {folder}: {reason}")
    return pictures, len(results)


def by_picture(edits: Iterable[Edit | Broken]) -> Iterator[list[Edit | Broken]]:
    """Edits that follow each other and are of the same picture, together: a server remembers its inversion."""
    return (list(group) for _, group in itertools.groupby(edits, picture_of))


@dataclass(frozen=True)
class Shard:
    """Part `index`, from 0, of `count`: the same pictures in every run, all edits of a picture in the same part."""

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Shard:
        """From I/N; UsageError where that is no part."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise UsageError(f"--shard {text}: write it as I/N, with I from 0 to N - 1")
        return cls(int(index), int(count))

    def has(self, edit: Edit | Broken) -> bool:
        """Whether an edit belongs to this part."""
        digest = hashlib.sha256(picture_of(edit).encode("utf-8", "surrogatepass")).hexdigest()
        return int(digest, 16) % self.count == self.index


class PromptList:
    """The rows of a table with a column for pictures, CSV or parquet."""

    def __init__(self, path: Place):
        self.path = path
        self.columns, self._rows = read_table(path)
        if "picture" not in self.columns or len(set(self.columns)) < len(self.columns):
            raise UsageError(f"{path} needs a header of different names, picture among them; it is: {self.columns}")
        self.settings = set(self.columns) - {"picture", *PROMPTS}

    def edits(
        self, folder: Place, source: str | None, target: str | None, settings: dict[str, str]
    ) -> Iterator[Edit | Broken]:
        """The edits of the rows, once; what a row lacks comes from the arguments."""
        for number, cells in self._rows:
            name = f"row {number} of {path_in(self.path).name}"
            if not any(cells):
                continue
            if len(cells) != len(self.columns):
                hint = "a text with a comma needs quotes around it"
                counts = f"{len(cells)} columns, the header has {len(self.columns)}: {', '.join(self.columns)}"
                yield Broken(name, f"the row has {counts} ({hint})")
                continue
            row = dict(zip(self.columns, (cell.strip() for cell in cells), strict=True))
            own = {key: row[key] for key in self.settings if row[key]}
            if not row["picture"] or row.get("target") == "":
                yield Broken(name, f"the {'target' if row['picture'] else 'picture'} is empty")
                continue
            prompts = row.get("source", source), row.get("target", target)
            yield Edit(f"{name} ({row['picture']})", below(folder, row["picture"]), *prompts, settings | own)


def picture_of(edit: Edit | Broken) -> str:
    """The picture that an edit is of, as it was named."""
    return edit.name if isinstance(edit, Broken) else PurePath(edit.picture).as_posix()
