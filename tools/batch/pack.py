"""What an installed pack has of this folder: `.comfyignore` decides it, here as in the registry."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from ..comfyui import PACK

NEVER = (".*", "__pycache__")  # hidden folders and caches are not tracked by git, and the registry takes what is


def copy_pack(to: Path) -> None:
    """Put the pack, as an install would, into a folder, over what is there."""
    for path in installed_files(PACK):
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PACK / path, to / path)


def installed_files(root: Path) -> Iterator[PurePath]:
    """The files below `root` that are installed, relative to it.

    Raises:
        ValueError: a pattern of its .comfyignore is of a kind that is not understood here.
    """
    patterns = [*NEVER, *_patterns(root / ".comfyignore")]
    for folder, folders, files in os.walk(root):
        here = PurePath(folder).relative_to(root)
        folders[:] = [name for name in folders if not _matches(here / name, True, patterns)]
        yield from (here / name for name in sorted(files) if not _matches(here / name, False, patterns))


def _patterns(file: Path) -> list[str]:
    """The lines of an ignore file; none where there is no file, as in an installed pack."""
    if not file.exists():
        return []
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    for pattern in patterns:
        if re.search(r"[!\[\]\\]|\*\*", pattern):
            raise ValueError(f"{file.name} has {pattern!r}: write it with * and ? only, or teach tools/batch/pack.py")
    return patterns


def _matches(path: PurePath, is_folder: bool, patterns: list[str]) -> bool:
    """Whether one of the patterns means this very path, by git's rules: a slash within ties a pattern to the root."""
    for pattern in patterns:
        if pattern.endswith("/") and not is_folder:
            continue
        parts = pattern.strip("/").split("/")
        names = path.parts if "/" in pattern.rstrip("/") else path.parts[-1:]
        if len(parts) == len(names) and all(map(fnmatchcase, names, parts)):
            return True
    return False
