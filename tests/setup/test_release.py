"""What is published, and when it is refused: the publisher's data, the version, and the graphs that users saved."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml

from tools.release import FIELDS, SCHEMAS, main, problems

ROOT = Path(__file__).parents[2]
READ = ("pyproject.toml", "README.md", "CHANGELOG.md", "ddpm_core/__init__.py", SCHEMAS)
VERSION = re.search('^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE).group(1)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def change(root: Path, name: str, pattern: str, text: str) -> None:
    """Put a text in place of what one line of a file has."""
    before = (root / name).read_text(encoding="utf-8")
    after, count = re.subn(pattern, text, before, count=1, flags=re.MULTILINE)
    assert count == 1, (name, pattern)
    (root / name).write_text(after, encoding="utf-8")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments], cwd=root, check=True)


@pytest.fixture
def ready(tmp_path) -> Path:
    """What the check reads of this tree, with the publisher's data and a day, in a repository."""
    for name in READ:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in FIELDS:
        change(tmp_path, "pyproject.toml", f'^("?{name}"?) = ".*"', r'\1 = "https://example.org"')
    assert main(["address"], tmp_path) == 0
    change(tmp_path, "CHANGELOG.md", "^## .*", f"## {VERSION}, 2026-12-01")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a version")
    return tmp_path


def test_nothing_is_missing_but_what_the_publisher_knows():
    """Which is shown as a warning, for the suite runs before there is a publisher."""
    heading = f"CHANGELOG.md: the first heading is '{VERSION}, unreleased'"
    found = problems(ROOT)
    unknown = (heading, "README.md: the install lines have ADDRESS ")
    assert not [line for line in found if " is empty, fill in " not in line and not line.startswith(unknown)]
    if found:
        warnings.warn("Left for the release: " + " ".join(found), stacklevel=1)


def test_what_is_ready_is_released_under_its_tag_alone(ready):
    assert main(["check", f"v{VERSION}"], ready) == 0
    assert "The tag is v9.9.9" in main(["check", "v9.9.9"], ready)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_empty_is_named(ready, name):
    change(ready, "pyproject.toml", f'^("?{name}"?) = ".*"', r'\1 = ""')
    assert main(["check", f"v{VERSION}"], ready) == f"pyproject.toml: {name} is empty, fill in {FIELDS[name]}."


def test_the_install_lines_can_be_copied(ready):
    """They get the address from one place, and a release waits for it."""
    readme = (ready / "README.md").read_text(encoding="utf-8")
    assert "ADDRESS" not in readme
    lines = (
        "git clone --depth 1 https://example.org ComfyUI\\custom_nodes\\edit-friendly-ddpm",
        "git clone --depth 1 https://example.org custom_nodes/edit-friendly-ddpm",
        "comfy node install https://example.org",
        "comfy node install edit-friendly-ddpm",
    )
    assert all(f"`{line}`" in readme for line in lines)
    shutil.copy(ROOT / "README.md", ready)
    assert main(["check"], ready).startswith("README.md: the install lines have ADDRESS ")


def test_an_address_that_has_moved_is_written_anew(ready):
    change(ready, "pyproject.toml", "^Repository = .*", 'Repository = "https://example.com/moved"')
    assert main(["check"], ready).startswith("README.md: the install lines have https://example.org ")
    assert main(["address"], ready) == 0
    assert main(["check"], ready) == 0


def test_the_version_is_one_everywhere_and_has_a_day(ready):
    change(ready, "ddpm_core/__init__.py", "^__version__.*", '__version__ = "0.0.1"')
    change(ready, "CHANGELOG.md", "^## .*", f"## {VERSION}, unreleased")
    core, changes = main(["check"], ready).splitlines()
    assert core.startswith("ddpm_core/__init__.py: the version is 0.0.1")
    assert changes.startswith(f"CHANGELOG.md: the first heading is '{VERSION}, unreleased'")


@pytest.mark.parametrize(("released", "version", "refused"), [
    ("0.2.0", "0.2.1", True), ("0.2.0", "0.3.0", False), ("1.2.0", "1.3.0", True), ("1.2.0", "2.0.0", False),
])  # fmt: skip
def test_graphs_of_the_last_release_break_only_where_the_version_says_so(ready, released, version, refused):
    git(ready, "tag", f"v{released}")
    change(ready, "pyproject.toml", "^version = .*", f'version = "{version}"')
    assert main(["nodes"], ready) == 0
    schemas = json.loads((ready / SCHEMAS).read_text(encoding="utf-8"))
    gone = schemas["LatentShift"]["inputs"].pop()
    (ready / SCHEMAS).write_text(json.dumps(schemas), encoding="utf-8")
    said = main(["nodes"], ready)
    assert said == (f"BREAKS LatentShift: inputs lack {json.dumps(gone)}" if refused else 0)


def test_the_registry_gets_the_changes_of_the_newest_version_alone(ready, capsys):
    change(ready, "CHANGELOG.md", "^## ", "## 9.0.0, 2027-01-01\n\nNew.\n\n## ")
    assert main(["changes"], ready) == 0
    assert capsys.readouterr().out == "New.\n"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_what_is_there(path):
    """Actions by a version, commands of the pack, and workflows beside it."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in [job, *job.get("steps", ())]]
    for used in (step["uses"] for step in steps if "uses" in step):
        assert re.search(r"@v\d+$", used) or (ROOT / used).is_file(), used
    commands = [command for step in steps for command in re.findall(r"-m tools\.release (\w+)", step.get("run", ""))]
    for command in commands:
        with pytest.raises(SystemExit, match="^0$"):
            main([command, "--help"])
    assert {need for job in jobs.values() for need in [job.get("needs", [])] if need} <= jobs.keys()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_and_names_no_address(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    assert all(
        part["type"] in ("textarea", "input", "dropdown") and part["attributes"]["label"] for part in form["body"]
    )
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
    assert "://" not in path.read_text(encoding="utf-8")
