"""A sentence and what holds it, with what the conditions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy.stats import binomtest

from tools.lab.figures.results import Table

Tables = Callable[..., Table]


@dataclass(frozen=True)
class Sentence:
    """What a page says, and the numbers with which it is true.

    Args:
        page: the path of the file.
        says: a piece of its text that stands there once.
        holds: of the tables of a figure, by its name; "exact" before those of docs/exact.
    """

    page: str
    says: str
    holds: Callable[[Tables], bool]


def column(table: Table, name: str) -> dict[str, float]:
    """The numbers of a column by the name of the row; the column's name may be cut."""
    (k,) = [k for k, title in enumerate(table.columns) if title.startswith(name)]
    return {row: values[k] for row, values in table.rows.items()}


def falls(values: list[float]) -> bool:
    return all(b <= a for a, b in zip(values, values[1:], strict=False))


def grid(table: Table, name: str) -> list[list[float]]:
    """A column of Fig. 14: a row for each skip, a number for each strength."""
    values = [*column(table, name).values()]
    return [values[i : i + 4] for i in range(0, len(values), 4)]


def ranges(success: float, of_all: int) -> tuple[str, str]:
    """The 95% interval of a fraction, as the pages show it."""
    found = binomtest(round(success * of_all), of_all).proportion_ci(method="wilson")
    return f"{found.low:.2f}", f"{found.high:.2f}"
