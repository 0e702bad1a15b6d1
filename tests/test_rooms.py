"""Which room of the pack may know which: read from the imports in the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import run

ROOT = Path(__file__).parents[1]
OWN = {path.stem for folder in (ROOT, ROOT / "tests") for path in folder.iterdir()}
IMPORTED_AS = {"pillow": "PIL", "comfy-cli": "comfy_cli", "pyyaml": "yaml", "scikit-image": "skimage"}
BROUGHT_ALONG = {"urllib3", "packaging", "tomlkit"}  # by requests, pytest and comfy-cli
INSTALLED = {IMPORTED_AS.get(name, name) for name in (*run.CORE, *run.SERVER, *run.TEST)} | BROUGHT_ALONG
HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "server",
}
# What each room may import of the pack, beside itself.
MAY_KNOW = {
    "ddpm_core": set(),
    "evaluation": set(),
    "pipeline": {"evaluation"},
    "demo": {"ddpm_core", "evaluation", "pipeline"},
    "nodes": {"ddpm_core", "demo", "evaluation"},
    "workflows": {"demo", "pipeline"},
    "benchmarks": {"ddpm_core", "evaluation", "nodes", "demo", "pipeline"},
}
ROOMS = {*MAY_KNOW, "tests"}
# ComfyUI loads these as part of the pack, where the core is no module of that name.
LOADED_BY_NODES = ("__init__", "model", "network", "scenes", "text")


def imports_of(path: Path, at_import: bool = False) -> set[str]:
    """The top-level names that a file imports; a relative import that leaves its room counts by the room it enters.

    Args:
        at_import: only what is imported when the file is, not within functions or for type checkers.
    """
    depth = len(path.relative_to(ROOT).parts) - 1
    found = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), at_import):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                found.add(node.module.split(".")[0])
            elif node.level > depth:  # of the pack's root
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def _statements(tree: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    yield tree
    if at_import and isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if at_import and isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    for part in ast.iter_child_nodes(tree):
        yield from _statements(part, at_import)


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_only_those_below_it(room):
    files = files_of(room)
    assert files
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports_of(path) & ROOMS - {room} - MAY_KNOW[room]
        if not (room == "benchmarks" and name == "nodes")  # the host's own module of that name
    }
    assert strangers == set()


@pytest.mark.parametrize("room", sorted(set(MAY_KNOW) - {"nodes", "benchmarks"}))
def test_only_the_nodes_know_comfyui(room):
    assert {path.name for path in files_of(room) if imports_of(path) & HOST} == set()


def test_the_nodes_come_into_the_demo_only_through_what_needs_no_core():
    loaded = {f"demo/{name}.py" for name in LOADED_BY_NODES}
    used = {
        f"demo/{node.module.split('.')[1]}.py"
        for path in files_of("nodes")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 2 and (node.module or "").startswith("demo.")
    }
    assert used and used <= loaded
    assert all("ddpm_core" not in imports_of(ROOT / name, at_import=True) for name in loaded)


def test_the_nodes_measure_with_what_every_comfyui_has():
    """What the nodes use of the evaluation imports nothing else, so nothing has to be installed for them."""
    used, waiting = set(), ["__init__", "pictures", "protocols"]
    while waiting:
        if (name := waiting.pop()) not in used:
            used.add(name)
            waiting += _modules_of("evaluation", ROOT / "evaluation" / f"{name}.py", level=1)
    asked = [name for path in files_of("nodes") for name in _modules_of("evaluation", path, level=2)]
    assert asked and set(asked) <= used
    allowed = {"torch", "numpy", "PIL", "evaluation", *sys.stdlib_module_names}
    assert all(imports_of(ROOT / "evaluation" / f"{name}.py") <= allowed for name in used)


def _modules_of(room: str, path: Path, level: int) -> list[str]:
    """The modules of a room that a file imports by a relative import of that level."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level != level:
            continue
        parts = (node.module or "").split(".")
        if level == 2 and parts[0] != room:
            continue
        inside = parts[1:] if level == 2 else [part for part in parts if part]
        modules = inside[:1] or [alias.name for alias in node.names]
        names += [name for name in modules if (ROOT / room / f"{name}.py").exists()]
    return names


def test_data_sets_are_read_without_what_measuring_needs():
    """So `pipeline edit` reads them on a machine that has no torch."""
    for name in ("__init__", "cases", "formats"):
        path = ROOT / "evaluation" / f"{name}.py"
        assert imports_of(path, at_import=True) <= {"evaluation", *sys.stdlib_module_names}


@pytest.mark.parametrize("room", ["tests", "ddpm_core", "evaluation", "demo", "pipeline", "workflows"])
def test_without_comfyui_a_room_imports_only_what_is_installed(room):
    """So the suite can be collected, and says of itself what needs ComfyUI."""
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files_of(room)
        for name in imports_of(path, at_import=True) - set(sys.stdlib_module_names) - OWN - INSTALLED
    }
    assert missing == set()


@pytest.mark.parametrize("path", ["run.py", "pipeline/__init__.py", "pipeline/comfyui.py"])
def test_setting_up_needs_nothing_installed(path):
    assert imports_of(ROOT / path) - {"pipeline"} <= set(sys.stdlib_module_names)


def test_the_front_door_is_small():
    assert len((ROOT / "__init__.py").read_text().splitlines()) < 20
