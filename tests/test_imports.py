"""Without ComfyUI the suite still runs: nothing imports at its top what comes only with ComfyUI."""

import ast
import sys
from pathlib import Path

import pytest

import run

ROOT = Path(__file__).parents[1]
IMPORTED_AS = {"pillow": "PIL"}
WITH_REQUESTS = {"urllib3"}
OWN = {path.stem for folder in (ROOT, ROOT / "tests") for path in folder.iterdir()}
INSTALLED = {IMPORTED_AS.get(name, name) for name in (*run.CORE, *run.SERVER, *run.TEST)} | WITH_REQUESTS
ROOMS = ("tests", "ddpm_core", "demo", "pipeline", "workflows")


def imported_at_the_top(tree: ast.AST) -> set[str]:
    """The packages that are imported when a module is, not when one of its functions runs."""
    if isinstance(tree, ast.Import):
        return {name.name.partition(".")[0] for name in tree.names}
    if isinstance(tree, ast.ImportFrom):
        return {tree.module.partition(".")[0]} if tree.level == 0 else set()
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return set()
    return set().union(*map(imported_at_the_top, ast.iter_child_nodes(tree)))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_needs_only_what_is_installed_without_comfyui(room):
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        missing = imported_at_the_top(ast.parse(path.read_text())) - set(sys.stdlib_module_names) - OWN - INSTALLED
        assert not missing, f"{path.relative_to(ROOT)}: import {missing} within what needs it"
