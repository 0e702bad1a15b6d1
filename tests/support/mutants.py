"""Formulas of the core with a sign, a root, an index or a level changed, to try what checks them."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import pytest


def mutate(monkeypatch: pytest.MonkeyPatch, of: Any, right: str, wrong: str) -> None:
    """A function with one text of its source in place of another, until the end of the test."""
    function = inspect.unwrap(of)
    source = textwrap.dedent(inspect.getsource(function))
    assert right in source
    made: dict[str, Any] = {}
    undecorated = source[source.index("def ") :].replace(right, wrong)
    exec(compile("from __future__ import annotations\n" + undecorated, wrong, "exec"), function.__globals__, made)  # noqa: S102
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)
