"""Sets up and runs the pack: `python run.py test` or `python run.py demo`. Needs Python 3.10 or newer, nothing else."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PINS = ROOT / "requirements-dev.txt"
OWN_COMFYUI = ROOT / ".comfyui"
COMFYUI_VERSION = "0.3.64"

CORE = ["torch", "numpy", "safetensors", "pillow", "matplotlib"]
SERVER = ["requests", "tqdm"]
TEST = ["pytest", "hypothesis", "playwright", "mypy", "ruff"]


def find_comfyui() -> Path | None:
    """The folder of ComfyUI: COMFYUI_PATH, two up from an installed pack, comfy-cli's default place, or our own."""
    if named := os.environ.get("COMFYUI_PATH"):
        if not (Path(named) / "main.py").is_file():
            sys.exit(f"COMFYUI_PATH is {named}, but there is no main.py: set it to ComfyUI's folder, or unset it")
        return Path(named)
    places = [Path.home() / "comfy" / "ComfyUI", OWN_COMFYUI]
    if ROOT.parent.name == "custom_nodes":
        places.insert(0, ROOT.parents[1])
    return next((place for place in places if (place / "main.py").is_file()), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("test", help="run the whole suite; further arguments go to pytest")
    commands.add_parser("demo", help="run the main job and write a picture of it")
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")

    install([*CORE, *SERVER, *(TEST if arguments.command == "test" else [])])
    comfyui = find_comfyui() or install_comfyui()
    if comfyui is not None:
        install(["-r", str(comfyui / "requirements.txt")])
        os.environ["COMFYUI_PATH"] = str(comfyui)
    status = test(rest) if arguments.command == "test" else demo()
    if comfyui is None:
        print("Left out: all that needs ComfyUI. To include it, set COMFYUI_PATH to its folder or run `comfy install`.")
    return status


def test(arguments: list[str]) -> int:
    """Lint, types, then the suite, whose closing line comes last."""
    checks = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", *arguments]]
    return next((status for check in checks if (status := run("-m", *check))), 0)


def demo() -> int:
    return run("demo.py")


def install(packages: list[str]) -> None:
    """pip install into .venv under the exact pins, unless the same was done there before."""
    if not python().is_file():
        venv.create(VENV, with_pip=True)
    named = "".join(Path(name).read_text() for name in packages if name.endswith(".txt"))
    stamp = VENV / f"installed-{hashlib.sha256((PINS.read_text() + named + str(packages)).encode()).hexdigest()[:16]}"
    if stamp.exists():
        return
    print(f"Installing into {VENV.name}: {' '.join(packages)}", flush=True)
    subprocess.run(
        [python(), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", PINS, *packages], check=True
    )
    stamp.touch()


def install_comfyui() -> Path | None:
    """ComfyUI by comfy-cli into .comfyui; None where the network does not give it."""
    try:
        install(["comfy-cli"])
        cli = python().with_name("comfy.exe" if os.name == "nt" else "comfy")
        options = ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement", "--version", COMFYUI_VERSION]
        where = ["--skip-prompt", "--workspace", str(OWN_COMFYUI)]
        subprocess.run([cli, *where, "install", *options], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, OSError):
        print("There is no ComfyUI on this machine, and comfy-cli could not install one: going on without it.")
    return find_comfyui()


def run(*arguments: str) -> int:
    return subprocess.run([python(), *arguments], cwd=ROOT).returncode


def python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


if __name__ == "__main__":
    sys.exit(main())
