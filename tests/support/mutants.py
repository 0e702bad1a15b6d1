"""Formulas of the core with a sign, a root, an index or a level changed, to try what checks them."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any, NamedTuple

import pytest


class Mutant(NamedTuple):
    of: Any
    right: str
    wrong: str
    seen_by: Any


def mutate(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    """A function with one text of its source in place of another, until the end of the test."""
    function = inspect.unwrap(mutant.of)
    source = textwrap.dedent(inspect.getsource(function))
    assert mutant.right in source
    made: dict[str, Any] = {}
    undecorated = source[source.index("def ") :].replace(mutant.right, mutant.wrong)
    code = compile("from __future__ import annotations\n" + undecorated, mutant.wrong, "exec")
    exec(code, function.__globals__, made)  # noqa: S102
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)
