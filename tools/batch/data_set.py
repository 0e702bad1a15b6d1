"""The edits that a data set asks for, as `evaluate` measures them."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..evaluation import EvaluationError, formats
from ..evaluation.cases import Picture
from .edits import Broken
from .store import Place, Store, below, store_at
from .template import Edit, UsageError

PICTURES = "pictures"  # the folder beside the results of those that lie within a parquet file


def add_format(parser: argparse.ArgumentParser) -> None:
    """The options that say how a data set is to be read."""
    parser.add_argument("--format", choices=formats.FORMATS, help="of the data set; default: found out by the content")
    parser.add_argument(
        "--columns",
        metavar="picture=NAME,...",
        help="what its table calls picture, source, target, id, type, mask, words",
    )


def columns_of(text: str | None) -> dict[str, str]:
    """Names of columns by our names of them."""
    parts = [part.partition("=") for part in (text or "").split(",") if part]
    return {ours.strip(): theirs.strip() for ours, _, theirs in parts}


def edits_of(options: argparse.Namespace, settings: dict[str, str]) -> Iterator[Edit | Broken]:
    """An edit for each case; UsageError where there is no such data set.

    Pictures that lie within a parquet file are put beside the results, where servers and further runs find them.
    """
    try:
        data = formats.read(options.dataset, options.format, columns_of(options.columns))
    except EvaluationError as error:
        raise UsageError(str(error)) from error
    store = _Taken(options.out)
    for case in data.cases:
        try:
            picture = case.picture.path or store.place_of(case.picture)
        except EvaluationError as error:
            yield Broken(case.id, str(error))
            continue
        yield Edit(case.id, picture, case.source, case.target, settings)


class _Taken:
    """Pictures that were taken out of a data set, in a folder of the results."""

    def __init__(self, out: Place):
        self.out = out
        self._store: Store | None = None
        self._there: set[str] = set()

    def place_of(self, picture: Picture) -> Place:
        """Where the picture lies now."""
        content = picture.read()
        path = PurePosixPath(picture.name)
        name = f"{PICTURES}/{path.stem}_{hashlib.sha256(content).hexdigest()[:8]}{path.suffix or '.png'}"
        if self._store is None:
            self._store = store_at(self.out)
            self._store.prepare()
            self._there = self._store.names(PICTURES)
        if name not in self._there:
            self._store.write({name: content})
            self._there.add(name)
        return below(self.out, name)
