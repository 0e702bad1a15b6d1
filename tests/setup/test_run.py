"""`python run.py demo` and `test` on machines of all kinds: what they set up, what they say, how they end."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name == "nt", reason="a program that is a script of the shell")


def only_line(text: str) -> str:
    """The text, which is one sentence in one line."""
    (line,) = text.splitlines()
    return line


def test_with_comfyui_its_requirements_are_installed_and_the_command_learns_where_it_is(settled, installed):
    done = settled.run("demo")
    assert done.returncode == 0, done.stderr
    assert f"ran lab sheet with '{settled.home / 'comfy' / 'ComfyUI'}'" in done.stdout
    assert {"only_for_comfyui-1.0", "torch-2.11.0"} <= installed(settled.pack / ".venv-comfyui-0.17.0")


def test_without_comfyui_the_command_learns_that_there_is_none(settled, installed):
    for arguments, environment in ((["demo"], {"COMFYUI_PATH": ""}), (["demo", "--comfyui", "none"], {})):
        done = settled.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert "ran lab sheet with ''" in done.stdout
    assert not any(name.startswith("only_for_comfyui") for name in installed(settled.pack / ".venv"))


def test_what_is_set_up_needs_no_network_again(settled):
    for arguments, environment in ((["test"], {}), (["demo"], {}), (["demo"], {"COMFYUI_PATH": ""})):
        done = settled.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert "Installing" not in done.stdout


def test_the_suite_comes_last_and_gets_the_other_arguments(settled):
    done = settled.run("test", "tests/core", "-x")
    checks = [line.split(" with ")[0] for line in done.stdout.splitlines()]
    assert checks == [
        "ran ruff check",
        "ran ruff format --check",
        "ran mypy",
        "ran pytest -n 2 --dist loadfile --no-loadscope-reorder tests/core -x",
    ]


@pytest.mark.parametrize(("failing", "last"), [("ruff", "ran ruff check"), ("pytest", "ran pytest")])
def test_a_check_that_fails_is_the_last_and_its_status_the_commands(settled, failing, last):
    done = settled.run("test", **{f"{failing}_STATUS": "3"})
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith(last)


def test_what_computes_together_shares_the_processors_unless_the_user_says_otherwise(settled):
    def told(*arguments, **environment) -> tuple[int, int]:
        """The threads of a process, and how long they wait before they sleep."""
        threads, spins = settled.run(*arguments, **environment).stderr.splitlines()[-1].split()[1:]
        return int(threads), int(spins)

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert told("demo") == (processors, 20000)
    assert told("test") == (max(1, processors // 2), 20000)
    assert told("test", OMP_NUM_THREADS="7", GOMP_SPINCOUNT="5") == (7, 5)


def test_comfyui_is_found_around_a_pack_that_is_installed_in_it(machine):
    comfyui = machine.give_comfyui(machine.home / "Comfy UI")
    machine.give_comfyui(machine.home / "comfy" / "ComfyUI", version="0.33.0")
    (comfyui / "custom_nodes").mkdir()
    machine.pack = machine.pack.rename(comfyui / "custom_nodes" / "pack")
    done = machine.run("demo")
    assert f"ran lab sheet with '{comfyui}'" in done.stdout, done.stderr


def test_a_version_is_found_wherever_comfyuis_are(machine):
    machine.give_comfyui(machine.home / "comfy" / "ComfyUI", version="0.33.0")
    oldest = machine.give_comfyui(machine.home / "comfy" / "another", version="0.17.0")
    done = machine.run("demo", "--comfyui", "0.17.0")
    assert f"ran lab sheet with '{oldest}'" in done.stdout, done.stderr


def test_a_relative_folder_is_one_of_the_callers(machine):
    comfyui = machine.give_comfyui(machine.home / "here")
    for done in (machine.run("demo", COMFYUI_PATH="here"), machine.run("demo", "--comfyui", "here")):
        assert f"ran lab sheet with '{comfyui}'" in done.stdout, done.stderr


def test_a_comfyui_that_the_pins_do_not_suit_is_served_without_them(bare, installed):
    bare.give_comfyui(bare.home / "comfy" / "ComfyUI", version="0.99.0", requires="pillow>=99")
    done = bare.run("demo")
    assert done.returncode == 0, done.stderr
    assert "0.17.0 and 0.33.0" in done.stdout
    assert "pillow-99.0" in installed(bare.pack / ".venv-comfyui-0.99.0")


def test_comfyui_is_fetched_where_there_is_none_and_is_there_the_next_time(machine):
    machine.give_remote("0.17.0")
    done = machine.run("demo")
    own = machine.pack / ".comfyui" / "0.17.0"
    assert f"ran lab sheet with '{own}'" in done.stdout, done.stderr
    again = machine.run("demo", GIT_ALLOW_PROTOCOL="none")
    assert f"ran lab sheet with '{own}'" in again.stdout, again.stderr
    assert "Installing ComfyUI" not in again.stdout


def test_half_a_comfyui_is_no_comfyui(machine):
    machine.give_comfyui(machine.pack / ".comfyui" / ".0.17.0")
    done = machine.run("demo")
    assert "ran lab sheet with ''" in done.stdout, done.stderr
    assert not list((machine.pack / ".comfyui").iterdir())


def test_without_comfyui_or_network_the_command_goes_on_and_says_so(machine):
    done = machine.run("demo")
    assert done.returncode == 0
    assert "ran lab sheet with ''" in done.stdout
    assert "Going on without it" in done.stdout and "COMFYUI_PATH" in done.stdout


def test_in_ci_a_missing_comfyui_is_a_failure_unless_none_is_asked_for(machine):
    done = machine.run("demo", CI="true")
    assert done.returncode == 1
    assert "In CI that is a failure" in done.stderr and "COMFYUI_PATH" in done.stderr
    assert "ran demo" not in done.stdout
    assert machine.run("demo", CI="true", COMFYUI_PATH="").returncode == 0
    assert machine.run("demo", "--comfyui", "none", CI="true").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ([], {"COMFYUI_PATH": "/nowhere"}, "/nowhere"),
        (["--comfyui", "/nowhere"], {}, "/nowhere"),
        (["--comfyui", "0.12.34"], {}, "0.12.34"),
    ],
)
def test_a_comfyui_that_is_asked_for_and_not_there_is_a_failure(offline, arguments, environment, says):
    done = offline.run("demo", *arguments, **environment)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]
    assert not offline.environments()


def test_a_comfyui_that_is_too_old_is_a_failure(offline):
    offline.give_comfyui(offline.home / "comfy" / "ComfyUI", version="0.16.4")
    done = offline.run("demo")
    assert done.returncode == 1
    assert "0.16.4" in only_line(done.stderr) and "0.17.0" in done.stderr


def test_without_ensurepip_one_sentence_says_what_to_install_and_nothing_is_left(offline, tmp_path):
    """As on Debian without python3-venv."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    done = offline.run("demo", COMFYUI_PATH="", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert f"python3.{sys.version_info.minor}-venv" in only_line(done.stderr)
    assert not offline.environments()


def test_what_pip_could_not_finish_is_finished_by_the_next_run(bare, installed):
    done = bare.run("demo", COMFYUI_PATH="", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert "the same command tries again" in done.stderr.splitlines()[-1]
    done = bare.run("demo", COMFYUI_PATH="")
    assert "ran lab sheet" in done.stdout, done.stderr
    assert "torch-2.11.0" in installed(bare.pack / ".venv")


def test_an_environment_that_was_begun_and_not_finished_is_made_anew(bare):
    python = bare.pack / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)
    python.write_text("half a Python")
    (bare.pack / ".venv" / "started").touch()
    done = bare.run("demo", COMFYUI_PATH="")
    assert "ran lab sheet" in done.stdout, done.stderr


def test_a_folder_of_the_users_is_not_deleted(offline):
    theirs = offline.pack / ".venv" / "theirs.txt"
    theirs.parent.mkdir()
    theirs.touch()
    done = offline.run("demo", COMFYUI_PATH="")
    assert done.returncode == 1
    assert str(theirs.parent) in only_line(done.stderr)
    assert theirs.exists()


@pytest.mark.parametrize(
    ("asked", "ci", "outcome"),
    [({}, "true", "error"), ({}, "", "skipped"), ({"COMFYUI_PATH": ""}, "true", "skipped")],
)
def test_a_test_without_its_comfyui_fails_in_ci_unless_none_is_asked_for(tmp_path, asked, ci, outcome):
    test = PACK / "tests" / "server" / "test_server.py"
    kept = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    environment = kept | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "CI": ci} | asked
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(command, env=environment, cwd=PACK, capture_output=True, text=True)
    assert outcome in done.stdout.splitlines()[-1]
    assert (done.returncode == 0) == (outcome == "skipped")
    assert "needs ComfyUI" in done.stdout


class Ci:
    """.ci/run beside a stand-in for run.py, with only these programs on the PATH."""

    def __init__(self, folder: Path):
        (folder / ".ci").mkdir()
        shutil.copy(PACK / ".ci" / "run", folder / ".ci")
        (folder / "run.py").write_text(
            "import os, sys\nOLDEST, NEWEST = '1', '2'\n"
            "if __name__ == '__main__':\n    print('CI', os.environ['CI'])\n"
            "    print('==', repr(os.environ.get('COMFYUI_PATH')), *sys.argv[1:], 'in 1.00s ==')\n"
            "    print('Exception ignored in: what goes on after it')\n"
            "    sys.exit(os.environ.get('FAILING') in sys.argv)\n"
        )
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name in ("bash", "env", "dirname", "tail", "tee", "grep", "mktemp", "rm"):
            (self.bin / name).symlink_to(shutil.which(name))
        (self.bin / "python3").symlink_to(sys.executable)
        self.give("id", "echo 0")

    def give(self, name: str, script: str = "exit 0") -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(stat.S_IRWXU)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), **environment}
        return subprocess.run([self.folder / ".ci" / "run"], env=environment, capture_output=True, text=True)


@pytest.fixture
def ci(tmp_path) -> Ci:
    return Ci(tmp_path)


@POSIX
@pytest.mark.parametrize("failing", [None, "test", "1", "2"])
def test_ci_runs_all_three_and_ends_with_their_closing_lines(ci, failing):
    ci.give("chromium")
    done = ci.run(**({"FAILING": failing} if failing else {}))
    assert [line.split(": ")[1] for line in done.stdout.splitlines()[-3:]] == [
        "== '' test in 1.00s ==",  # set to nothing, as CONTRIBUTING.md says it
        "== None test --comfyui 1 --needs-comfyui -m not once in 1.00s ==",
        "== None test --comfyui 2 --needs-comfyui in 1.00s ==",
    ]
    assert done.returncode == (1 if failing else 0), done.stderr
    assert "CI true" in done.stdout


@POSIX
def test_ci_fails_where_it_has_no_browser_and_cannot_get_one(ci):
    ci.give("apt-get", "exit 100")
    done = ci.run()
    assert done.returncode == 1
    assert "Chromium" in done.stdout.splitlines()[-1]
    assert "== None test --comfyui 2" in done.stdout


@POSIX
def test_ci_gets_a_browser(ci):
    ci.give("apt-get", f'case "$*" in *install*chromium*) cp {shutil.which("true")} {ci.bin}/chromium;; esac')
    (ci.bin / "cp").symlink_to(shutil.which("cp"))
    done = ci.run()
    assert done.returncode == 0, done.stdout + done.stderr
