"""Which ComfyUI of this machine is meant. Imports nothing that has to be installed, for `run.py` asks it first."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
OWN_FOLDER = PACK / ".comfyui"  # where run.py installs one, a folder for each version
# Where comfy-cli installs one, as ComfyUI. expanduser, for Path.home fails where there is no home.
HOME_FOLDER = Path(os.path.expanduser("~"), *(["Documents"] if sys.platform in ("win32", "darwin") else []), "comfy")
VISIBLE = "[!.]*"  # what is being fetched has a name with a dot, until it is whole


def find_comfyui() -> Path | None:
    """The folder of ComfyUI: COMFYUI_PATH, two up from an installed pack, comfy-cli's default place, or our own.

    COMFYUI_PATH set to nothing means none.

    Raises:
        FileNotFoundError: COMFYUI_PATH names a folder without a ComfyUI.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named is None:
        return next(_places(), None)
    if named and not is_comfyui(Path(named)):
        raise FileNotFoundError(
            f"COMFYUI_PATH is {named}, but there is no main.py: set it to ComfyUI's folder, or to nothing for none"
        )
    return Path(named).resolve() if named else None


def in_ci() -> bool:
    """Whether this runs in CI, where what a test needs may not be missing."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def find_version(version: str) -> Path | None:
    """A ComfyUI of this very version, wherever one is known to be, or beside comfy-cli's default place."""
    named = os.environ.get("COMFYUI_PATH")
    places = [*([Path(named).resolve()] if named else []), *_places(), *sorted(HOME_FOLDER.glob(VISIBLE))]
    return next((place for place in places if is_comfyui(place) and version_of(place) == version), None)


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfyui_version.py").is_file()


def version_of(folder: Path) -> str:
    """Such as 0.3.64, as the ComfyUI in `folder` says it."""
    text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return found.group(1) if found else "unknown"


def _places() -> Iterator[Path]:
    """Every ComfyUI that needs no naming, the likeliest first."""
    around_the_pack = [PACK.parents[1]] if PACK.parent.name == "custom_nodes" else []
    for place in (*around_the_pack, HOME_FOLDER / "ComfyUI", *sorted(OWN_FOLDER.glob(VISIBLE))):
        if is_comfyui(place):
            yield place
