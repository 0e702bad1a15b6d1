"""A copy of what sets the pack up, in a folder with a space, where its commands can be run for real.

Real are run.py, git, the virtual environments and pip. Stand-ins are what would take minutes to install: the packages,
which are empty wheels of the pinned names and versions, and what the commands then run, which tells how it was called.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACK = Path(__file__).parents[2]
TELL = """import os, sys
print('ran', {name!r}, *sys.argv[1:], 'with', repr(os.environ['COMFYUI_PATH']))
print('threads', os.environ['OMP_NUM_THREADS'], os.environ['GOMP_SPINCOUNT'], file=sys.stderr)
"""
# Each ends with the status that the environment variable of its name gives.
END = "sys.exit(int(os.environ.get({name!r} + '_STATUS', 0)))\n"
RUN = ("pytest", "ruff", "mypy")  # stand-ins that the test command runs


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with an empty wheel of each pinned package, and of one that only a stand-in for ComfyUI requires."""
    folder = tmp_path_factory.mktemp("wheels")
    lines = [line for path in PACK.glob("requirements-*.txt") for line in path.read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in [*pins, Requirement("only-for-comfyui==1.0"), Requirement("pillow==99.0")]:
        if pin.marker is None or pin.marker.evaluate():
            (exact,) = pin.specifier
            _wheel(folder, pin.name.replace("-", "_"), exact.version)
    return folder


def _wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    main = (TELL + END).format(name=name)
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **({f"{name}/__init__.py": "", f"{name}/__main__.py": main} if name in RUN else {}),
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


class Machine:
    """A machine with nothing but a Python, git, the pack and these wheels."""

    def __init__(self, folder: Path, wheels: Path | None):
        self.home = folder / "home"
        self.pack = folder / "my projects" / "pack"
        self.home.mkdir(parents=True)
        (self.pack / "tools" / "lab").mkdir(parents=True)
        for name in ("__init__.py", "comfyui.py"):
            shutil.copy(PACK / "tools" / name, self.pack / "tools")
        for path in [PACK / "run.py", *PACK.glob("requirements*.txt")]:
            shutil.copy(path, self.pack)
        (self.pack / "tools" / "lab" / "__main__.py").write_text((TELL + END).format(name="lab"))
        taken = {"COMFYUI_PATH", "CI", "PYTHONPATH", "PYTHONHOME", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in taken and not name.startswith("PIP_")},
            **{"HOME": str(self.home), "USERPROFILE": str(self.home)},
            **{"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels or "")},
            # Git reaches no repository but those below its own folder.
            **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{(folder / 'remote').as_uri()}.insteadOf"},
            **{"GIT_CONFIG_VALUE_0": "https://github.com/comfyanonymous/ComfyUI", "GIT_ALLOW_PROTOCOL": "file"},
        }

    def run(self, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """run.py with these arguments, in a folder that is not the pack's; a variable that is None is not set."""
        merged = {name: value for name, value in (self.environment | environment).items() if value is not None}
        command = [sys.executable, str(self.pack / "run.py"), *arguments]
        return subprocess.run(command, cwd=self.home, env=merged, capture_output=True, text=True)

    def environments(self) -> set[str]:
        return {path.name for path in self.pack.glob(".venv*")}

    def give_comfyui(self, folder: Path, version: str = "0.17.0", requires: str = "only-for-comfyui") -> Path:
        """A stand-in for ComfyUI in `folder`: what run.py reads of it."""
        folder.mkdir(parents=True)
        (folder / "main.py").touch()
        (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
        (folder / "requirements.txt").write_text(f"{requires}\n")
        return folder

    def give_remote(self, version: str) -> None:
        """A stand-in for ComfyUI's repository, with that version."""
        folder = self.give_comfyui(self.home.parent / "remote", version)
        name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        for arguments in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", version], ["tag", f"v{version}"]):
            subprocess.run(["git", *arguments], cwd=folder, check=True)


@pytest.fixture
def bare(tmp_path, wheels) -> Machine:
    """One where nothing is set up."""
    return Machine(tmp_path, wheels)


@pytest.fixture
def offline(tmp_path) -> Machine:
    """One where nothing is set up, and nothing can be installed."""
    return Machine(tmp_path, None)


@pytest.fixture(scope="session")
def settled(tmp_path_factory, wheels) -> Machine:
    """One where the test command ran with ComfyUI and the demo without, and which then lost its network."""
    made = Machine(tmp_path_factory.mktemp("settled"), wheels)
    made.give_comfyui(made.home / "comfy" / "ComfyUI")
    for done in (made.run("test"), made.run("demo"), made.run("demo", COMFYUI_PATH="")):
        assert done.returncode == 0, done.stdout + done.stderr
    made.environment["PIP_FIND_LINKS"] = ""
    return made


@pytest.fixture
def machine(offline, settled) -> Machine:
    """One that lost its network when all was set up, but ComfyUI is not there any more."""
    for environment in settled.pack.glob(".venv*"):
        shutil.copytree(environment, offline.pack / environment.name, symlinks=True)
    return offline


@pytest.fixture(scope="session")
def installed():
    """installed(environment folder): the names and versions of what pip installed there."""

    def names(folder: Path) -> set[str]:
        found = (re.fullmatch(r"(.+)\.dist-info", path.name) for path in folder.glob("[lL]ib/**/*.dist-info"))
        return {match[1] for match in found if match}

    return names
