"""What an installed pack has of this folder."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.batch.pack import copy_pack, installed_files
from tools.comfyui import PACK


def make(root: Path, ignored: str, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / ".comfyignore").write_text(ignored)
    return root


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        ("# nothing\n\n", {"a.py", "b/a.py", "b/c/a.py", "b/c/d.txt"}),
        ("b/\n", {"a.py"}),
        ("c/\n", {"a.py", "b/a.py"}),
        ("b/c/\n", {"a.py", "b/a.py"}),
        ("/c/\nd/\n", {"a.py", "b/a.py", "b/c/a.py", "b/c/d.txt"}),
        ("a.py\n", {"b/c/d.txt"}),
        ("/a.py\n", {"b/a.py", "b/c/a.py", "b/c/d.txt"}),
        ("a.py/\n", {"a.py", "b/a.py", "b/c/a.py", "b/c/d.txt"}),
        ("*.txt\nb/*.py\n", {"a.py", "b/c/a.py"}),
    ],
)
def test_the_patterns_mean_what_they_mean_to_git(tmp_path, ignored, left):
    files = ["a.py", "b/a.py", "b/c/a.py", "b/c/d.txt"]
    root = make(tmp_path, ignored, *files, ".git/config", "b/__pycache__/a.pyc")
    assert {path.as_posix() for path in installed_files(root)} == left
    if shutil.which("git") is None:
        pytest.skip("compared with the expected files only: git is not on the PATH")
    shutil.rmtree(root / ".git")
    subprocess.run(["git", "init", "-q", root], check=True)
    assert left == set(files) - git_ignored(root, files)


@pytest.mark.parametrize("pattern", ["!a.py", "**/a.py", "[ab].py", "a\\ "])
def test_a_pattern_of_another_kind_is_refused(tmp_path, pattern):
    with pytest.raises(ValueError, match="write it with . and . only"):
        list(installed_files(make(tmp_path, f"{pattern}\n", "a.py")))


def test_of_this_pack_it_is_what_the_registry_takes():
    """Which is what git tracks, less what .comfyignore names."""
    if not (PACK / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a checkout of git, and git on the PATH")
    listed = subprocess.run(["git", "ls-files"], cwd=PACK, capture_output=True, text=True, check=True)
    tracked = [file for file in listed.stdout.splitlines() if (PACK / file).exists()]
    ours = {path.as_posix() for path in installed_files(PACK)}
    assert ours & set(tracked) == set(tracked) - git_ignored(PACK, tracked)


def test_what_is_copied_is_the_pack_without_tests(tmp_path):
    copy_pack(tmp_path / "pack")
    copied = {path.relative_to(tmp_path / "pack").parts[0] for path in (tmp_path / "pack").rglob("*")}
    assert {"__init__.py", "nodes", "ddpm_core", "demo", "web", "workflows"} <= copied
    assert not {"tests", "tools", "run.py", ".git", "output"} & copied


def git_ignored(root: Path, files: list[str]) -> set[str]:
    command = ["git", "-c", f"core.excludesFile={root / '.comfyignore'}", "check-ignore", "--no-index", "--stdin"]
    found = subprocess.run(command, cwd=root, input="\n".join(files), capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return set(found.stdout.splitlines())
