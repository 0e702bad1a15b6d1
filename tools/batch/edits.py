"""The edits to do: one for each picture of a folder, each row of a list, or each case of a data set."""

from __future__ import annotations

import csv
import hashlib
import itertools
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ..evaluation import EvaluationError, formats
from ..evaluation.cases import PICTURE_ENDINGS, Case, Picture
from ..evaluation.decoder import FIRST_BYTES, kind_of
from ..evaluation.tabular import csv_rows, parquet_rows
from .results import is_record, results_among
from .store import Place, Store, below, open_file, path_in, store_at
from .template import CHANGED_WORDS, PROMPTS, PictureEdit, UsageError

EXTRACTED = "pictures"  # folder, beside the results, of pictures taken out of a parquet file
MOST_NAMES = 20  # in a list of names that is shown
_BY_ENDING = mimetypes.MimeTypes()  # without the system's own, which differ
Row = tuple[int, list[str]]  # number and cells


@dataclass(frozen=True)
class InvalidEdit:
    """A row or a case that cannot be an edit."""

    name: str
    reason: str


def pictures_of(folder: Place) -> tuple[list[Place], list[str]]:
    """The pictures in a folder, by name, and what is left out of it, in words: results of earlier edits, other files.

    A file is a picture by its first bytes, unless the ending of its name is that of a common one, or of no picture.
    One that then cannot be decoded fails by itself. Subfolders are skipped.

    Raises:
        UsageError: the folder is missing or has no picture.
    """
    if isinstance(folder, Path) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    store = store_at(folder)
    names = sorted(store.names())
    found = {name for name in names if _is_picture(folder, name)}
    results = results_among(store, found)
    others = [name for name in names if name not in found and not is_record(name)]
    notes = [f"Left out {len(results)} results of earlier edits in {folder}"] if results else []
    if others:
        notes.append(f"Left out of {folder} as no pictures: {listed(others, len(others))}; {len(others)} in all")
    pictures = [below(folder, name) for name in names if name in found and name not in results]
    if not pictures:
        reason = f"its {len(results)} are results of edits; to edit these again, list them with --prompts"
        raise UsageError(f"there is no picture in {folder}: {reason if results else '; '.join(notes) or 'it is empty'}")
    return pictures, notes


def listed(names: Sequence[str], count: int) -> str:
    """The first of `count` names, and how many more there are."""
    shown = names[:MOST_NAMES]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")


def _is_picture(folder: Place, name: str) -> bool:
    if PurePath(name).suffix.lower() in PICTURE_ENDINGS and not name.startswith("."):
        return True
    kind, _ = _BY_ENDING.guess_type(name)
    if kind is not None and not kind.startswith("image/"):
        return False
    try:
        with open_file(below(folder, name)) as file:
            return kind_of(file.read(FIRST_BYTES)) is not None
    except OSError:
        return False


def by_picture(edits: Iterable[PictureEdit | InvalidEdit]) -> Iterator[list[PictureEdit | InvalidEdit]]:
    """Consecutive edits of the same picture as groups: a server remembers its inversion."""
    return (list(group) for _, group in itertools.groupby(edits, picture_of))


def picture_of(edit: PictureEdit | InvalidEdit) -> str:
    """The edit's picture, as it was named."""
    return edit.name if isinstance(edit, InvalidEdit) else PurePath(edit.picture).as_posix()


@dataclass(frozen=True)
class Shard:
    """Part `index`, from 0, of `count`: the same pictures each time, all edits of a picture in the same part."""

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Shard:
        """The part I/N; UsageError for any other text."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise UsageError(f"--shard {text}: write it as I/N, with I from 0 to N - 1")
        return cls(int(index), int(count))

    def has(self, edit: PictureEdit | InvalidEdit) -> bool:
        """Whether an edit belongs to this part."""
        digest = hashlib.sha256(picture_of(edit).encode("utf-8", "surrogatepass")).hexdigest()
        return int(digest, 16) % self.count == self.index


class PromptList:
    """The rows of a table with a column `picture`, CSV or parquet.

    Row numbers of a CSV are a spreadsheet's, with the header as row 1; those of parquet begin with 1.

    Raises:
        UsageError: the table cannot be read; for anything behind the header, when that is reached.
    """

    def __init__(self, path: Place):
        self.path = path
        self._rows = _parquet_rows(path) if path_in(path).suffix.lower() == ".parquet" else _csv_rows(path)
        self.columns = [name.strip() for name in next(self._rows)[1]]
        if "picture" not in self.columns or len(set(self.columns)) < len(self.columns):
            raise UsageError(f"{path} needs a header of different names, picture among them; it is: {self.columns}")
        self.settings = set(self.columns) - {"picture", *PROMPTS}

    def edits(
        self, folder: Place, source: str | None, target: str | None, settings: Mapping[str, str]
    ) -> Iterator[PictureEdit | InvalidEdit]:
        """The edits of the rows, once; what a row lacks comes from the arguments."""
        for number, cells in self._rows:
            name = f"row {number} of {path_in(self.path).name}"
            if not any(cells):
                continue
            if len(cells) != len(self.columns):
                hint = "a text with a comma needs quotes around it"
                counts = f"{len(cells)} columns, the header has {len(self.columns)}: {', '.join(self.columns)}"
                yield InvalidEdit(name, f"the row has {counts} ({hint})")
                continue
            row = dict(zip(self.columns, (cell.strip() for cell in cells), strict=True))
            own = {key: row[key] for key in self.settings if row[key]}
            if not row["picture"] or row.get("target") == "":
                yield InvalidEdit(name, f"the {'target' if row['picture'] else 'picture'} is empty")
                continue
            prompts = row.get("source", source), row.get("target", target)
            yield PictureEdit(
                f"{name} ({row['picture']})", below(folder, row["picture"]), *prompts, {**settings, **own}
            )


WORD = re.compile(r"[\w'-]+")


def edits_of_data_set(
    path: Path,
    format: str | None,
    columns: Mapping[str, str],
    out: Place,
    settings: Mapping[str, str],
    takes_masks: bool,
    takes_words: bool,
) -> tuple[Iterator[PictureEdit | InvalidEdit], list[str]]:
    """An edit for each case of a data set, as `evaluate` measures them, and what is left out of it, in words.

    Pictures inside a parquet file are written beside the results, where servers and later batches find them.

    Args:
        takes_masks: whether the graph has a place for the masks of cases.
        takes_words: whether it has one for their changed words.

    Raises:
        UsageError: the data set cannot be read.
    """
    try:
        data = formats.read(path, format, columns)
    except EvaluationError as error:
        raise UsageError(str(error)) from error
    with_masks = sum(case.mask is not None for case in data.cases)
    masked = takes_masks and with_masks > 0
    notes = []
    if with_masks and not masked:
        notes.append(
            f"Left out the masks of {with_masks} cases: the graph has no place for them, a Load Image (as Mask) titled "
            "'Mask'"
        )
    extracted = _ExtractedPictures(out)
    return (
        _edit_of(case, extracted, {**settings, **(_words_of(case) if takes_words else {})}, masked)
        for case in data.cases
    ), notes


def _words_of(case: Case) -> dict[str, str]:
    """The changed words of a case, as PIE-Bench's runners use them: both for the local blend, the target's twice.

    Their code, too, goes on without a word that the prompts do not have.
    """
    source, target = (set(WORD.findall(prompt.lower())) for prompt in (case.source, case.target))
    pair = WORD.findall(case.words.lower())[:2]
    return {
        f"{CHANGED_WORDS}.blend_words": ", ".join(word for word in pair if word in source | target),
        f"{CHANGED_WORDS}.reweight": ", ".join(f"{word}: 2" for word in pair[1:] if word in target),
    }


def _edit_of(
    case: Case, extracted: _ExtractedPictures, settings: Mapping[str, str], masked: bool
) -> PictureEdit | InvalidEdit:
    if masked and case.mask is None:
        return InvalidEdit(case.id, "the graph takes a mask, and the case has none")
    try:
        mask = case.mask if masked else None
        return PictureEdit(
            case.id,
            extracted.place_of(case.picture),
            case.source,
            case.target,
            dict(settings),
            extracted.place_of(mask) if isinstance(mask, Picture) else mask,
        )
    except EvaluationError as error:
        return InvalidEdit(case.id, str(error))


class _ExtractedPictures:
    """Pictures taken out of a data set, in a folder beside the results."""

    def __init__(self, out: Place):
        self.out = out
        self._store: Store | None = None
        self._there: set[str] = set()

    def place_of(self, picture: Picture) -> Place:
        """The picture's file, written if it is missing; its own, if it has one."""
        if picture.path is not None:
            return picture.path
        content = picture.read()
        path = PurePosixPath(picture.name)
        name = f"{EXTRACTED}/{path.stem}_{hashlib.sha256(content).hexdigest()[:8]}{path.suffix or '.png'}"
        if self._store is None:
            self._store = store_at(self.out)
            self._store.prepare()
            self._there = self._store.names(EXTRACTED)
        if name not in self._there:
            self._store.write({name: content})
            self._there.add(name)
        return below(self.out, name)


def _csv_rows(place: Place) -> Iterator[Row]:
    number = 0
    try:
        with open_file(place) as file:
            for number, cells in csv_rows(file):
                yield number, cells
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"the list {place} cannot be read: {error}") from error
    if not number:
        yield 1, []


def _parquet_rows(place: Place) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise UsageError(f"{place} needs pyarrow. Run: python -m pip install pyarrow") from None
    try:
        with open_file(place) as file, ParquetFile(file) as table:
            yield 0, table.schema_arrow.names
            for number, (_, _, values) in enumerate(parquet_rows(table), start=1):
                yield number, list(map(_as_text, values.values()))
    except (OSError, ValueError, ArrowException) as error:
        raise UsageError(f"the list {place} cannot be read: {error}") from error


def _as_text(value: Any) -> str:
    """A value as in a CSV; "" for a missing one."""
    return "" if value is None or value != value else str(value)
