"""Which room of the pack may know which: read from the imports in the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
    "demo": {"ddpm_core"},
    "nodes": {"ddpm_core", "demo"},
    "tools": {"ddpm_core", "demo", "nodes"},
}
ROOMS = {*MAY_KNOW, "tests"}
# What a pack that sends nothing and fetches nothing has no use for.
NETWORK = {
    *("aiohttp", "asyncore", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "socket", "ssl"),
    *("socketserver", "subprocess", "urllib", "urllib3", "webbrowser", "websocket", "websockets", "xmlrpc"),
}
# The same within the tools: a room beside its own.
TOOLS_MAY_KNOW = {
    "evaluation": set(),
    "batch": {"evaluation"},
    "lab": {"batch", "evaluation"},
    "exact": {"evaluation", "lab"},
    "templates": {"batch", "lab"},
    "benchmarks": {"batch", "evaluation"},
}
# ComfyUI loads these as part of the pack, where the core is no module of that name.
LOADED_BY_NODES = (
    "__init__", "landscape", "painting", "place", "portrait", "rendering", "scenes", "still_life", "text", "weights",
)  # fmt: skip


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
    }
    assert strangers == set()


@pytest.mark.parametrize("room", TOOLS_MAY_KNOW)
def test_a_room_of_the_tools_knows_only_those_below_it(room):
    files = files_of(f"tools/{room}")
    assert files
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in modules_of(path)
        if name[:1] == ("tools",) and name[1:2] and name[1] in set(TOOLS_MAY_KNOW) - {room} - TOOLS_MAY_KNOW[room]
    }
    assert strangers == set()


def test_nobody_knows_the_tools():
    """They are not in the package that users get."""
    knowing = {path for room in set(MAY_KNOW) - {"tools"} for path in files_of(room) if "tools" in imports_of(path)}
    assert knowing == set()


@pytest.mark.parametrize("room", ["ddpm_core", "demo", "nodes"])
def test_what_users_get_imports_nothing_that_reaches_a_network(room):
    reaching = {f"{path.name}: {name}" for path in files_of(room) for name in imports_of(path) & NETWORK}
    assert reaching == set()


@pytest.mark.parametrize("room", ["ddpm_core", "demo"])
def test_the_core_and_the_demo_know_no_comfyui(room):
    assert {path.name for path in files_of(room) if imports_of(path) & HOST} == set()


def test_comfyui_is_imported_in_one_room():
    """Beside its API of nodes, which the files of the nodes are written in."""
    outside = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files_of("nodes")
        if path.parent.name != "host"
        for name in imports_of(path) & HOST - {"comfy_api"}
    }
    assert outside == set()


def arrows_of(rooms: list[str], at_import: bool = False) -> dict[Path, set[Path]]:
    """The files of rooms that each of them imports."""
    files = {path: path.relative_to(ROOT).with_suffix("").parts for room in rooms for path in files_of(room)}
    names = {module: path for path, module in files.items()} | {
        module[:-1]: path for path, module in files.items() if module[-1] == "__init__"
    }
    return {path: {names[name] for name in modules_of(path, at_import) if name in names} for path in files}


def test_no_file_is_imported_by_one_that_it_imports():
    """By any way, within functions and for type checkers too; faces of packages hand on names alone."""
    arrows = arrows_of([*MAY_KNOW])
    faces = {path for path in arrows if path.name == "__init__.py"}
    floors = TopologicalSorter({path: others - faces - {path} for path, others in arrows.items()})
    assert len([*floors.static_order()]) == len(arrows)


def test_the_rooms_of_the_nodes_have_floors():
    """The host's room knows no node, and its face is the one way into it."""
    arrows = arrows_of(["nodes"], at_import=True)
    assert not {
        f"{path.name}: {other.name}"
        for path, others in arrows.items()
        for other in others
        if path.parent.name == "host" and other.parent.name != "host"
    }
    packages = {path for path in arrows if path.name == "__init__.py"}
    outside = {path: others for path, others in arrows.items() if path.parent.name != "host" and path not in packages}
    doors = {
        (path.name, node.module)
        for path in outside
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level and (node.module or "").startswith("host")
    }
    assert {module for _, module in doors} == {"host"}, "what nodes use of the host's room is named in its __init__.py"
    among = sum(
        len({other for other in others - packages if other.parent.name != "host"}) for others in outside.values()
    )
    assert among + len(doors) < 90


def modules_of(path: Path, at_import: bool = False) -> set[tuple[str, ...]]:
    """The modules of the pack that a file may import, by their parts; of `from x import y`, both x and x.y."""
    package, found = path.relative_to(ROOT).parent.parts, set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), at_import):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            found |= {module, *((*module, alias.name) for alias in node.names)}
    return found


def test_the_nodes_come_into_the_demo_only_through_what_needs_no_core():
    loaded = {f"demo/{name}.py" for name in LOADED_BY_NODES}
    used = {
        "/".join(name[:2]) + ".py"
        for path in files_of("nodes")
        for name in modules_of(path)
        if name[0] == "demo" and (ROOT / f"{'/'.join(name[:2])}.py").exists()
    }
    assert used and used <= loaded
    assert all("ddpm_core" not in imports_of(ROOT / name, at_import=True) for name in loaded)


def test_data_sets_are_read_without_what_measuring_needs():
    """So `python -m tools.batch edit` reads them on a machine that has no torch."""
    for name in ("__init__", "cases", "formats"):
        path = ROOT / "tools" / "evaluation" / f"{name}.py"
        assert imports_of(path, at_import=True) <= {"tools", *sys.stdlib_module_names}


@pytest.mark.parametrize("room", ["tests", "ddpm_core", "demo", "tools"])
def test_without_comfyui_a_room_imports_only_what_is_installed(room):
    """So the suite can be collected, and says of itself what needs ComfyUI."""
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files_of(room)
        for name in imports_of(path, at_import=True) - set(sys.stdlib_module_names) - OWN - INSTALLED
    }
    assert missing == set()


@pytest.mark.parametrize(
    "path", ["run.py", *(f"tools/{name}.py" for name in ("__init__", "comfyui", "release", "schemas"))]
)
def test_setting_up_needs_nothing_installed(path):
    assert imports_of(ROOT / path) - {"tools"} <= set(sys.stdlib_module_names)


def test_the_front_door_is_small():
    assert len((ROOT / "__init__.py").read_text().splitlines()) < 20
