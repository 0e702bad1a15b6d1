"""The edits to do: one for each picture of a folder, or one for each row of a list."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .results import results_among
from .template import PROMPTS, Edit, UsageError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Broken:
    """A row of the list that is no edit."""

    name: str
    reason: str


def pictures_of(folder: Path) -> tuple[list[Path], int]:
    """The pictures in a folder, by name, and how many results of earlier edits among them are left out.

    Other files, and folders below, are none.

    Raises:
        UsageError: there is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
    results = results_among(found)
    pictures = [path for path in found if path not in results]
    if not pictures:
        reason = f"looked for {' '.join(sorted(PICTURES))}"
        if results:
            reason = f"its {len(results)} are results of edits; to edit these again, list them with --prompts"
        raise UsageError(f"there is no picture in {folder}: {reason}")
    return pictures, len(results)


class PromptList:
    """The rows of a CSV file with a header; row numbers are those of a spreadsheet, the header being row 1."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                self.rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(f"the list {path} cannot be read: {error}") from error
        self.columns = [name.strip() for name in self.rows[0]] if self.rows else []
        if "picture" not in self.columns or len(set(self.columns)) < len(self.columns):
            raise UsageError(f"{path} needs a header of different names, picture among them; it is: {self.columns}")
        self.settings = set(self.columns) - {"picture", *PROMPTS}

    def edits(
        self, folder: Path, source: str | None, target: str | None, settings: dict[str, str]
    ) -> Iterator[Edit | Broken]:
        """The edits of the rows; what a row lacks comes from the arguments."""
        for number, cells in enumerate(self.rows[1:], start=2):
            name = f"row {number} of {self.path.name}"
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
            yield Edit(f"{name} ({row['picture']})", folder / row["picture"], *prompts, settings | own)
