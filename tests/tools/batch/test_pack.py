"""What an installed pack has of this folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.batch.pack import copy_for_workers, copy_pack, installed_files
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
        ("*.py\n!/b/a.py\n", {"b/a.py", "b/c/d.txt"}),
        ("b/**/*.py\n", {"a.py", "b/c/d.txt"}),
        ("[a-c].py\n", {"b/c/d.txt"}),
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


def test_a_worker_runs_from_the_copy_that_it_gets_and_copies_the_pack_from_there(tmp_path):
    """Elsewhere than here, where no other file of this folder is."""
    copy_for_workers(tmp_path / "sent")
    code = "from tools.batch import pack, worker; pack.copy_pack(pack.Path('pack')); print(worker.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "sent", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "sent" / "tools" / "batch" / "worker.py"
    shutil.move(tmp_path / "sent" / "pack", tmp_path / "theirs")
    copy_pack(tmp_path / "ours")
    ours, theirs = (
        {path.relative_to(root) for path in root.rglob("*.*")} for root in (tmp_path / "ours", tmp_path / "theirs")
    )
    assert ours == theirs and Path("nodes/__init__.py") in ours


def git_ignored(root: Path, files: list[str]) -> set[str]:
    command = ["git", "-c", f"core.excludesFile={root / '.comfyignore'}", "check-ignore", "--no-index", "--stdin"]
    found = subprocess.run(command, cwd=root, input="\n".join(files), capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return set(found.stdout.splitlines())
