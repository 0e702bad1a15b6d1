"""Sets up and runs the pack: `python run.py demo` or `python run.py test`. Needs Python 3.10 or newer, nothing else."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.comfyui import OWN_FOLDER, find_comfyui, find_version, in_ci, is_comfyui, version_of

ROOT = Path(__file__).resolve().parent
PINS = tuple(ROOT / f"requirements-{what}.txt" for what in ("dev", "cluster", "evaluation"))
OLDEST, NEWEST = "0.17.0", "0.33.0"  # the versions of ComfyUI that the suite is held to; each has pins of its own
PROCESSES = 2  # of the suite: each may start a server and a browser
WITHOUT = "none"
SOURCE = "https://github.com/comfyanonymous/ComfyUI"

CORE = ["torch", "numpy", "safetensors", "pillow", "matplotlib"]
SERVER = ["requests", "tqdm"]
CLUSTER = ["ray", "pyarrow", "pandas", "fsspec", "pathspec"]
EVALUATION = ["scipy", "torchmetrics", "torchvision", "timm", "transformers", "pyyaml", "scikit-image"]
OBJECT_STORE = ["moto", "boto3", "flask", "flask-cors"]  # a server of S3 for tests
OTHERS = ["psutil", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "playwright", "mypy", "ruff"]
CHECKERS = ["comfy-cli", "comfy-import-guard", "comfy-lint", "comfy-test"]  # of ComfyUI's packs and graphs
TEST = [*CLUSTER, *EVALUATION, *OBJECT_STORE, *OTHERS, *CHECKERS]

EPILOG = f"""Which ComfyUI: the one in the environment variable COMFYUI_PATH (set to nothing: none), else the one that
this pack is installed in, else comfy-cli's, else {OLDEST} by git into .comfyui, where the network gives it.
--comfyui names another: a folder, a version (looked for beside these, else by git), or '{WITHOUT}'."""


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036, for those who have an older one learn it here
        raise SetupError(f"This needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}.")
    command, which, rest = _arguments()
    comfyui = choose_comfyui(which)
    python = Environment(comfyui).prepared([*CORE, *SERVER, *(TEST if command == "test" else [])])
    os.environ["COMFYUI_PATH"] = str(comfyui or "")
    os.environ |= threads(PROCESSES if command == "test" else 1)
    return test(python, rest) if command == "test" else run(python, "-m", "tools.lab", "sheet")


class SetupError(Exception):
    """What the user has to do before a command can run, in a sentence."""


def test(python: Path, arguments: list[str]) -> int:
    """Lint, types, then the suite, whose closing line comes last."""
    # `-n 0` among the arguments for one process; files in the order of tests/conftest.py
    suite = ["pytest", "-n", str(PROCESSES), "--dist", "loadfile", "--no-loadscope-reorder", *arguments]
    checks = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], suite]
    return next((status for check in checks if (status := run(python, "-m", *check))), 0)


def run(python: Path, *arguments: str) -> int:
    return subprocess.run([python, *arguments], cwd=ROOT).returncode


def threads(processes: int) -> dict[str, str]:
    """The processors shared out among our processes that compute at once, for what the user has not set.

    PyTorch takes all processors, and by GNU's default its threads wait for each other for milliseconds without
    sleeping, which among busy neighbours makes a call many times as slow. A 15th of that wait costs nothing on a quiet
    machine.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ours = {"OMP_NUM_THREADS": str(max(1, available // processes)), "GOMP_SPINCOUNT": "20000"}
    return {name: value for name, value in ours.items() if name not in os.environ}


def choose_comfyui(which: str | None) -> Path | None:
    """The ComfyUI to run with; None for none.

    Args:
        which: a folder, a version, `none`, or None for the one that is found or can be had.

    Raises:
        SetupError: the one that is asked for cannot be had, is too old, or, in CI, there is none at all.
    """
    if which == WITHOUT:
        return None
    if which is None:
        try:
            comfyui = find_comfyui()
        except FileNotFoundError as error:
            raise SetupError(str(error)) from None
        if comfyui is None and "COMFYUI_PATH" not in os.environ:
            comfyui = _install_or_go_without()
    elif is_comfyui(Path(which)):
        comfyui = Path(which).resolve()
    elif which[:1].isdigit():
        comfyui = find_version(which) or install_comfyui(which)
    else:
        raise SetupError(f"There is no ComfyUI in {which}: name its folder, the one with main.py, a version, or none.")
    version = OLDEST if comfyui is None else version_of(comfyui)
    if _parts(version) and _parts(version) < _parts(OLDEST):
        raise SetupError(f"The ComfyUI in {comfyui} is {version}, and the pack needs {OLDEST} or newer: update it.")
    return comfyui


def _install_or_go_without() -> Path | None:
    remedy = "set COMFYUI_PATH to a folder of ComfyUI, or to nothing to go without"
    try:
        return install_comfyui(OLDEST)
    except SetupError as error:
        if in_ci():
            raise SetupError(f"{error} In CI that is a failure: {remedy}.") from None
        print(f"{error} Going on without it, and without all that needs it; to include that, {remedy}.", flush=True)
        return None


def install_comfyui(version: str) -> Path:
    """ComfyUI's own files, in `.comfyui`; what it requires goes into an environment, as for one that is found.

    By git, not by `comfy install`: that fetches the whole history, makes an environment of its own, and leaves this
    folder as the recent one in the user's settings.

    Raises:
        SetupError: there is no git, no network, or no such version.
    """
    folder = OWN_FOLDER / version
    partial = OWN_FOLDER / f".{version}"  # renamed when it is whole: half of one would be taken for a ComfyUI next time
    shutil.rmtree(partial, ignore_errors=True)
    print(f"Installing ComfyUI {version} into {folder}", flush=True)
    options = ["-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1", "--branch", f"v{version}"]
    try:
        done = subprocess.run(["git", *options, SOURCE, str(partial)], env=os.environ | {"GIT_TERMINAL_PROMPT": "0"})
    except FileNotFoundError:
        raise SetupError(f"There is no ComfyUI {version} on this machine, and no git to fetch it.") from None
    if done.returncode or not is_comfyui(partial):
        shutil.rmtree(partial, ignore_errors=True)
        raise SetupError(f"There is no ComfyUI {version} on this machine, and git could not fetch it from {SOURCE}.")
    partial.rename(folder)
    return folder


class Environment:
    """A virtual environment beside this file: `.venv`, or one for a version of ComfyUI, whose needs differ."""

    def __init__(self, comfyui: Path | None):
        self.comfyui = comfyui
        self.folder = ROOT / (".venv" if comfyui is None else f".venv-comfyui-{version_of(comfyui)}")
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def prepared(self, packages: list[str]) -> Path:
        """Its Python, with these packages and what ComfyUI requires under the exact pins.

        Raises:
            SetupError: there is no way to make it, or pip failed.
        """
        files = [] if self.comfyui is None else [self.comfyui / "requirements.txt"]
        pins = [*PINS, _pins_of(NEWEST if self.comfyui is None else version_of(self.comfyui))]
        wanted = repr((packages, [path.read_text(encoding="utf-8") for path in [*files, *pins]]))
        stamp = self.folder / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
        if stamp.exists() and self.python.exists():
            return self.python
        self._create()
        print(f"Installing into {self.folder.name}: {' '.join([*packages, *map(str, files)])}", flush=True)
        needs = [*packages, *(part for path in files for part in ("-r", str(path)))]
        constraints = [part for path in pins for part in ("-c", str(path))]
        if not (self._install(*needs, *constraints) or self._untested() and self._install(*needs)):
            raise SetupError(f"pip could not install what is needed into {self.folder}; the same command tries again.")
        stamp.touch()
        return self.python

    def _install(self, *arguments: str) -> bool:
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
        # Some machines are set to install for the user, which pip refuses to do in a virtual environment.
        return subprocess.run(pip, env=os.environ | {"PIP_USER": "0"}).returncode == 0

    def _untested(self) -> bool:
        """Whether the pins were tried with other versions of ComfyUI only, so that they need not suit this one."""
        untested = self.comfyui is not None and version_of(self.comfyui) not in (OLDEST, NEWEST)
        if untested:
            print(f"The pins are those of ComfyUI {OLDEST} and {NEWEST}: trying without them.", flush=True)
        return untested

    def _create(self) -> None:
        """Make it, unless it is there and whole: `created` is written last, and what lacks it is made anew."""
        created, started = self.folder / "created", self.folder / "started"
        if created.exists() and self.python.exists():
            return
        if self.folder.exists():
            if not (created.exists() or started.exists() or any(self.folder.glob("installed-*"))):
                raise SetupError(f"{self.folder} is in the way: this command did not make it. Move it or delete it.")
            shutil.rmtree(self.folder)
        if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
            name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
            raise SetupError(f"This Python cannot make virtual environments: install its venv module (Debian: {name}).")
        import venv

        self.folder.mkdir()
        started.touch()
        try:
            venv.create(self.folder, with_pip=True, symlinks=os.name != "nt")
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SetupError(f"{sys.executable} could not make an environment in {self.folder}: {error}") from None
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
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
