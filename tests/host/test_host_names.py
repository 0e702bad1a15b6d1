"""The names of ComfyUI that the host's room uses: each is there, with its parameters, and the list has them all."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "nodes" / "host"
HOSTS = ("comfy", "folder_paths", "latent_preview")


def names_used() -> set[str]:
    """Dotted names of the host in the room's source, the longest of each."""
    used = set()
    for path in ROOM.glob("*.py"):
        tree, modules = ast.parse(path.read_text()), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names} & set(HOSTS)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in HOSTS and not node.level:
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(tree):
            parts, inner = [], node
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if parts and isinstance(inner, ast.Name) and inner.id in modules:
                used.add(".".join([inner.id, *reversed(parts)]))
    return {name for name in used if not any(other.startswith(f"{name}.") for other in used)}


def resolved(name: str):
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no module of {name}")


def test_the_list_is_whole(pack):
    assert names_used() == set(pack.host.compat.NAMES)
    assert set(pack.host.compat.MEMBERS) <= set(pack.host.compat.NAMES)


@pytest.mark.parametrize("name", sorted(names_used()))
def test_the_host_has_it(comfy, pack, name):
    found, given = resolved(name), pack.host.compat.NAMES[name]
    assert all(hasattr(found, member) for member in pack.host.compat.MEMBERS.get(name, ()))
    if given:
        taken = [part for part in inspect.signature(found).parameters if part in given]
        assert tuple(taken) == given
