"""The files of this folder that an installed pack has: everything but what `.comfyignore` names, as in the registry."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

from ..comfyui import PACK

NEVER = (".*", "__pycache__/")  # git tracks no hidden folders and caches of ours, and the registry takes what it tracks
NEEDED_BY_WORKERS = ("__init__.py", "comfyui.py", "batch/*.py", "evaluation/*.py")  # of tools


def copy_pack(to: Path) -> None:
    """Copy the pack into a folder as an install would, over existing files."""
    _copy(installed_files(PACK), to)


def copy_for_workers(to: Path) -> None:
    """Copy the pack, and the tools that its workers run, into a folder from which a worker can copy the pack again."""
    copy_pack(to)
    tools = (path.relative_to(PACK) for pattern in NEEDED_BY_WORKERS for path in (PACK / "tools").glob(pattern))
    _copy([PurePath(".comfyignore"), *tools], to)


def installed_files(root: Path) -> Iterator[PurePath]:
    """The files below `root` that are installed, relative to it; without a .comfyignore all but the hidden ones."""
    from pathspec import GitIgnoreSpec

    file = root / ".comfyignore"
    ignored = GitIgnoreSpec.from_lines(
        [*NEVER, *(file.read_text(encoding="utf-8").splitlines() if file.exists() else [])]
    )
    for folder, folders, files in os.walk(root):
        here = PurePath(folder).relative_to(root)
        folders[:] = [name for name in folders if not ignored.match_file(f"{(here / name).as_posix()}/")]
        yield from (here / name for name in sorted(files) if not ignored.match_file((here / name).as_posix()))


def _copy(files: Iterator[PurePath] | list[PurePath], to: Path) -> None:
    for path in files:
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PACK / path, to / path)
