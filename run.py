"""Sets up and runs the pack: `python run.py demo` or `python run.py test`. Needs Python 3.10 or newer, nothing else."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from pipeline.comfyui import OWN_FOLDER, find_comfyui, find_version, is_comfyui, version_of

ROOT = Path(__file__).resolve().parent
PINS = ROOT / "requirements-dev.txt"
OLDEST, NEWEST = "0.3.64", "0.33.0"  # the versions of ComfyUI that the suite is held to; each has pins of its own
WITHOUT = "none"

CORE = ["torch", "numpy", "safetensors", "pillow", "matplotlib"]
SERVER = ["requests", "tqdm"]
TEST = ["pytest", "hypothesis", "playwright", "mypy", "ruff"]

EPILOG = f"""Which ComfyUI: the one in the environment variable COMFYUI_PATH (set to nothing: none), else the one that
this pack is installed in, else ~/comfy/ComfyUI, else one that comfy-cli installs into .comfyui, where it can.
--comfyui names another: a folder, a version (looked for beside these, else installed), or '{WITHOUT}'."""


def main() -> int:
    command, which, rest = _arguments()
    comfyui = choose_comfyui(which)
    python = Environment(comfyui).prepared([*CORE, *SERVER, *(TEST if command == "test" else [])])
    os.environ["COMFYUI_PATH"] = str(comfyui or "")
    os.environ |= threads()
    status = test(python, rest) if command == "test" else run(python, "-m", "demo", "sheet")
    if comfyui is None and which != WITHOUT:
        print("Left out: all that needs ComfyUI. To include it, set COMFYUI_PATH to its folder or run `comfy install`.")
    return status


def test(python: Path, arguments: list[str]) -> int:
    """Lint, types, then the suite, whose closing line comes last."""
    checks = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", *arguments]]
    return next((status for check in checks if (status := run(python, "-m", *check))), 0)


def run(python: Path, *arguments: str) -> int:
    return subprocess.run([python, *arguments], cwd=ROOT).returncode


def threads() -> dict[str, str]:
    """Half of the processors for each process of ours, where the user has not said it.

    By default torch takes all of them and its threads wait for each other without sleeping: with two busy neighbours on
    two processors a network of 20 small convolutions takes 7 times as long, with one thread no longer than before.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, available // 2))}


def choose_comfyui(which: str | None) -> Path | None:
    """The ComfyUI to run with; None for none. Ends with a sentence where the one that is asked for cannot be had."""
    if which == WITHOUT:
        return None
    if which is None:
        try:
            found = find_comfyui()
        except FileNotFoundError as error:
            sys.exit(str(error))
        if found is None and "COMFYUI_PATH" not in os.environ:
            found = install_comfyui(OLDEST)
            if found is None:
                print("There is no ComfyUI on this machine, and comfy-cli could not install one: going on without it.")
        return found
    if is_comfyui(Path(which)):
        return Path(which).resolve()
    if not which[:1].isdigit():
        sys.exit(f"There is no ComfyUI in {which}: name its folder, the one with main.py, a version, or '{WITHOUT}'.")
    return (
        find_version(which)
        or install_comfyui(which)
        or sys.exit(f"There is no ComfyUI {which} on this machine, and comfy-cli could not install it.")
    )


def install_comfyui(version: str) -> Path | None:
    """A ComfyUI by comfy-cli; None where the network does not give it."""
    folder = OWN_FOLDER / version
    python = Environment(None).prepared(["comfy-cli"])
    options = ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement", "--version", version]
    command = [str(python), "-m", "comfy_cli", "--skip-prompt", "--workspace", str(folder), "install", *options]
    print(f"Installing ComfyUI {version} into {folder}", flush=True)
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode or not is_comfyui(folder):
        shutil.rmtree(folder, ignore_errors=True)  # half of one would be taken for a ComfyUI next time
        return None
    return folder


class Environment:
    """A virtual environment beside this file: `.venv`, or one for a version of ComfyUI, whose needs differ."""

    def __init__(self, comfyui: Path | None):
        self.comfyui = comfyui
        self.folder = ROOT / (".venv" if comfyui is None else f".venv-comfyui-{version_of(comfyui)}")
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def prepared(self, packages: list[str]) -> Path:
        """Its Python, with these packages and what ComfyUI requires under the exact pins."""
        needed = [*packages, *([] if self.comfyui is None else ["-r", str(self.comfyui / "requirements.txt")])]
        pins = [PINS, *([] if self.comfyui is None else [_pins_of(version_of(self.comfyui))])]
        contents = [path.read_text() for path in pins] + [Path(name).read_text() for name in needed if "/" in name]
        stamp = self.folder / f"installed-{hashlib.sha256(repr((needed, contents)).encode()).hexdigest()[:16]}"
        if stamp.exists() and self.python.exists():
            return self.python
        self._create()
        print(f"Installing into {self.folder.name}: {' '.join(needed)}", flush=True)
        constraints = [part for path in pins for part in ("-c", str(path))]
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        if subprocess.run([*pip, *constraints, *needed]).returncode:
            sys.exit(f"pip could not install what is needed into {self.folder.name}; the same command tries again.")
        stamp.touch()
        return self.python

    def _create(self) -> None:
        """Make it, unless it is there and whole: `created` is written last, and what lacks it is made anew."""
        created = self.folder / "created"
        if created.exists() and self.python.exists():
            return
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit("This Python cannot make virtual environments: install its venv module (Debian: python3-venv).")
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(self.folder)
        created.touch()


def _pins_of(version: str) -> Path:
    """The pins of the newest tested ComfyUI that is not newer than this one."""
    return ROOT / f"requirements-comfyui-{NEWEST if _parts(version) >= _parts(NEWEST) else OLDEST}.txt"


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _arguments() -> tuple[str, str | None, list[str]]:
    """The command, which ComfyUI, and what goes to pytest."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("demo", "run the main job and write a picture of it"),
        ("test", "run the whole suite; further arguments go to pytest"),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
        command.add_argument("--comfyui", metavar="WHICH")
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments.command, arguments.comfyui, rest


if __name__ == "__main__":
    sys.exit(main())
