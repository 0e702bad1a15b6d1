"""What a figure gives, the file that keeps it, and the tables of the pages that are filled from this file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_core import __version__
from ddpm_core.contact_sheet import grid
from demo.weights import WEIGHTS

from ..sizes import Sizes
from .subjects import Subjects

RESULTS = "results.json"
COMMAND = "python -m tools.lab figures --out docs/figures"
BLOCK = re.compile(r"(<!-- figure (?P<name>\w+)(?: table (?P<number>\d))? -->\n).*?(<!-- end -->)", re.DOTALL)
TIMES = re.compile(r"(<!-- times -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """Numbers with a name for each row and column.

    Args:
        title: what the numbers are.
        columns: their names.
        rows: by name, one number a column; NaN is shown as nothing.
        forms: how each column is shown, as the format after a colon; one stands for all.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Sequence[float]]
    forms: tuple[str, ...] = (".3f",)

    def cells(self) -> list[list[str]]:
        """The heading and each row as they are shown."""
        forms = self.forms if len(self.forms) > 1 else self.forms * len(self.columns)
        shown = [
            [name, *(_shown(value, form) for value, form in zip(row, forms, strict=True))]
            for name, row in self.rows.items()
        ]
        return [["", *self.columns], *shown]

    def markdown(self) -> str:
        """A table of a page."""
        heading, *rows = ("| " + " | ".join(row) + " |" for row in self.cells())
        return "\n".join([heading, "|" + "---|" * (len(self.columns) + 1), *rows])

    def __str__(self) -> str:
        """Columns of a terminal."""
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(c.ljust(w) if not k else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join([self.title, *lines])

    def to_dict(self) -> dict[str, Any]:
        """For JSON, where NaN is null."""
        rows = {name: [None if math.isnan(value) else value for value in row] for name, row in self.rows.items()}
        return {"title": self.title, "columns": self.columns, "forms": self.forms, "rows": rows}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Table:
        """The table of to_dict."""
        rows = {name: [math.nan if value is None else value for value in row] for name, row in kept["rows"].items()}
        return cls(kept["title"], tuple(kept["columns"]), rows, tuple(kept["forms"]))


def _shown(value: float, form: str) -> str:
    """A number; nothing for NaN, and no sign of a zero."""
    shown = "" if math.isnan(value) else f"{value:{form}}"
    return shown if any(digit in shown for digit in "123456789") else shown.removeprefix("-")


@dataclass(frozen=True)
class Result:
    """What a figure gives: its numbers, and its picture where it has one."""

    tables: tuple[Table, ...]
    picture: Figure | Image.Image | None = None

    def save(self, path: Path) -> None:
        """The picture, where there is one."""
        if isinstance(self.picture, Figure):
            self.picture.savefig(path)
        elif self.picture is not None:
            self.picture.save(path, optimize=True)


@dataclass(frozen=True)
class Made:
    """A figure whose picture is written: its tables, and what it took.

    Args:
        threads: of the process that made it.
    """

    tables: tuple[Table, ...]
    seconds: float
    threads: int


def mosaic(rows: Mapping[str, Sequence[Tensor]], columns: Sequence[str] = (), title: str = "") -> Image.Image:
    """Pictures (3, H, W) in [-1, 1], by row."""
    return grid(list(rows.values()), list(rows), columns, title=title, size=(96, 96), margin=6).quantize(256)


Make = Callable[[Subjects], Result]


def written(name: str, make: Callable[[], Result], out: Path) -> Made:
    """A figure, made now, with its picture below `out`."""
    start = time.perf_counter()
    result = make()
    seconds = time.perf_counter() - start
    result.save(out / f"{name}.png")
    return Made(result.tables, seconds, torch.get_num_threads())


def made_with(sizes: Sizes) -> dict[str, Any]:
    """What the numbers depend on, beside the code."""
    return {
        "command": COMMAND,
        "sizes": json.loads(json.dumps(asdict(sizes))),
        "weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "versions": {"pack": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
    }


def opened(path: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The results file, or a new one without figures.

    Raises:
        ValueError: the file holds figures that were made with something else.
    """
    results = read(path) if path.is_file() else {"made with": made, "figures": {}}
    differing = [key for key, value in made.items() if results["made with"].get(key) != value]
    if differing:
        raise ValueError(
            f"{path.name} holds figures that were made with other {' and '.join(differing)}: remove it, or write to "
            "another folder"
        )
    return results


def keep(name: str, made: Made, path: Path, made_with: Mapping[str, Any]) -> None:
    """Put a figure among those of the results file, which another command may have filled meanwhile.

    Raises:
        ValueError: as `opened` does.
    """
    results = opened(path, made_with)
    results["figures"][name] = {
        "seconds": round(made.seconds, 1),
        "threads": made.threads,
        "tables": [table.to_dict() for table in made.tables],
    }
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def read(path: Path) -> dict[str, Any]:
    """The results file."""
    return json.loads(path.read_text(encoding="utf-8"))


def tables_of(results: Mapping[str, Any], name: str) -> list[Table]:
    """The tables of a figure in the results file."""
    return [Table.from_dict(table) for table in results["figures"][name]["tables"]]


def filled(page: str, results: Mapping[str, Any]) -> str:
    """A page of Markdown with the tables of the results between its comments.

    `<!-- figure NAME -->` is followed by all tables of a figure, each under its title, `<!-- figure NAME table K -->`
    by the one alone, up to `<!-- end -->`. `<!-- times -->` is followed by the seconds of all.

    Raises:
        ValueError: a figure that the results lack.
    """

    def fill(block: re.Match[str]) -> str:
        name, number = block["name"], block["number"]
        if name not in results["figures"]:
            raise ValueError(f"the page shows figure {name}, which the results lack: make it first")
        tables = tables_of(results, name)
        if number is not None:
            shown = tables[int(number) - 1].markdown()
        else:
            shown = "\n\n".join(f"{table.title}\n\n{table.markdown()}" for table in tables)
        return f"{block[1]}\n{shown}\n\n{block[4]}"

    def times(block: re.Match[str]) -> str:
        return f"{block[1]}\n{_times(results).markdown()}\n\n{block[2]}"

    return TIMES.sub(times, BLOCK.sub(fill, page))


def _times(results: Mapping[str, Any]) -> Table:
    seconds = {name: (figure["seconds"],) for name, figure in results["figures"].items()}
    total = (sum(value for (value,) in seconds.values()),)
    return Table("What each figure took", ("seconds",), seconds | {"all": total}, (".0f",))


def blocks(page: str) -> set[str]:
    """The figures whose numbers a page shows."""
    return {block["name"] for block in BLOCK.finditer(page)}
