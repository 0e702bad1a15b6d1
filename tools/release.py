"""What has to be right before a version goes to the registry. Needs Python and git, nothing else."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from .comfyui import PACK
from .schemas import Schemas, changes

# What only the publisher knows: all of it is in pyproject.toml, and nowhere else.
FIELDS = {
    "Repository": "the address of the repository",
    "Bug Tracker": "the address of its issues",
    "Documentation": "the address of its README",
    "PublisherId": "the publisher's id in the registry",
    "Icon": "the address of a square picture of at most 400 x 400 pixels",
}
SCHEMAS = "tests/host/schemas.json"
# Where README's install lines have the address of the repository; ADDRESS until it is known.
ADDRESS = re.compile(r"(?<=git clone --depth 1 )[^\s`]+|(?<=comfy node install )(?:ADDRESS|https://[^\s`]+)")


def problems(root: Path, tag: str | None = None) -> list[str]:
    """What is not right for a release, in sentences that name the file.

    Args:
        root: the folder of the pack.
        tag: of the release, `v` and the version; None where there is none yet.
    """
    metadata = (root / "pyproject.toml").read_text(encoding="utf-8")
    version = _value(metadata, "version")
    found = [f"pyproject.toml: {name} is empty, fill in {what}." for name, what in FIELDS.items()
             if not _value(metadata, name)]  # fmt: skip
    core = _value((root / "ddpm_core" / "__init__.py").read_text(encoding="utf-8"), "__version__")
    if core != version:
        found.append(f"ddpm_core/__init__.py: the version is {core}, in pyproject.toml it is {version}.")
    if tag is not None and tag != f"v{version}":
        found.append(f"The tag is {tag}, but the version in pyproject.toml is {version}: the tag has to be v{version}.")
    found += _wrong_address(root, _value(metadata, "Repository"))
    heading, _ = _newest_changes(root)
    if not re.fullmatch(rf"{re.escape(version)}, \d{{4}}-\d\d-\d\d", heading):
        found.append(f"CHANGELOG.md: the first heading is {heading!r}, write {version!r} and the day, as 2026-01-31.")
    return found


def _wrong_address(root: Path, repository: str) -> list[str]:
    """Install lines that lead elsewhere than to the repository; its own field is empty where it is not known."""
    wrong = {*ADDRESS.findall((root / "README.md").read_text(encoding="utf-8"))} - {repository}
    if not wrong or not repository and "ADDRESS" not in wrong:
        return []
    return [
        f"README.md: the install lines have {', '.join(sorted(wrong))} for the address of the repository: fill in "
        "Repository in pyproject.toml, then run `python -m tools.release address`."
    ]


def write_address(root: Path) -> None:
    """Put the address of the repository into README's install lines."""
    path = root / "README.md"
    repository = _value((root / "pyproject.toml").read_text(encoding="utf-8"), "Repository") or "ADDRESS"
    path.write_text(ADDRESS.sub(repository, path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def broken_graphs(root: Path, before: Schemas, released: str) -> list[str]:
    """Changes since a release that saved graphs do not survive; none where the version says so.

    Args:
        before: the schemas of that release.
        released: its version.
    """
    version = _value((root / "pyproject.toml").read_text(encoding="utf-8"), "version")
    if _line(version) > _line(released):
        return []
    now = json.loads((root / SCHEMAS).read_text(encoding="utf-8"))
    return [line for line in changes(before, now) if line.startswith("BREAKS")]


def _line(version: str) -> list[int]:
    """What stays in a version that breaks no graph: the first number, or 0 and the second."""
    first, second, *_ = (int(part) for part in version.split("."))
    return [first] if first else [first, second]


def _value(text: str, name: str) -> str:
    """What a line of a TOML or Python file sets a name to, a string; empty where no line does."""
    found = re.search(rf'^"?{re.escape(name)}"? = "(.*)"', text, re.MULTILINE)
    return found.group(1) if found else ""


def _newest_changes(root: Path) -> tuple[str, str]:
    """The first heading of CHANGELOG.md, and what stands below it."""
    _, heading, text, *_ = re.split(r"^## (.+)\n", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    return heading, text.strip()


def _last_release(root: Path, but: str | None) -> str | None:
    """The tag of the newest version among the ancestors of this one; None where there is none."""
    tags = _git(root, "tag", "--merged", "HEAD", "--sort=-version:refname", "--list", "v*").split()
    return next((tag for tag in tags if tag != but), None)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, encoding="utf-8").stdout


def main(arguments: list[str] | None = None, root: Path = PACK) -> str | int:
    """Do what a command line says; what is wrong, or the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="refuse a release while something is missing")
    check.add_argument("tag", nargs="?", help="of the release, as v0.2.0")
    commands.add_parser("nodes", help="refuse nodes with which graphs of the last release break")
    commands.add_parser("address", help="write the address of the repository into README's install lines")
    commands.add_parser("changes", help="print what CHANGELOG.md says of the newest version")
    args = parser.parse_args(arguments)
    if args.command == "changes":
        print(_newest_changes(root)[1])
        return 0
    if args.command == "address":
        write_address(root)
        return 0
    tag = getattr(args, "tag", None)
    wrong = problems(root, tag) if args.command == "check" else []
    last = _last_release(root, but=tag)
    if last is not None:
        wrong += broken_graphs(root, json.loads(_git(root, "show", f"{last}:{SCHEMAS}")), last.removeprefix("v"))
    return "\n".join(wrong) or 0


if __name__ == "__main__":
    sys.exit(main())
