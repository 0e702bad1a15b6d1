"""How the process of a server starts and ends, on small scripts in the place of ComfyUI's main.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.stand_in import SOUND, Answer
from tools.batch import supervised
from tools.batch.client import GraphError
from tools.batch.server import ComfyServer

ROOT = Path(__file__).parents[3]
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
time.sleep(600)
"""


def test_it_ends_with_a_parent_that_is_killed(tmp_path):
    """What the parent's output goes to is open as long as one of the two lives."""
    (tmp_path / "main.py").write_text("import time\nprint('started', flush=True)\ntime.sleep(600)\n")
    command = [sys.executable, "-c", PARENT, supervised.__file__, str(tmp_path / "main.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    assert parent.communicate(timeout=60) == ("", None)


def test_a_script_runs_as_if_by_itself(tmp_path):
    """Its own folder comes first, and modules named as those of the pipeline are its own."""
    (tmp_path / "server.py").write_text("WHOSE = 'the script'\n")
    (tmp_path / "main.py").write_text(
        "import json, sys, server\n"
        "if __name__ == '__main__':\n"
        "    print(json.dumps([server.WHOSE, sys.argv, sys.path[0], sys.stdin.read()]))\n"
        "    sys.exit(3)\n"
    )
    command = [sys.executable, supervised.__file__, str(tmp_path / "main.py"), "--port", "1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    process.stdin.close()
    assert process.wait(timeout=60) == 3
    assert json.loads(said) == ["the script", [str(tmp_path / "main.py"), "--port", "1"], str(tmp_path), ""]


@pytest.fixture
def has_no_gpu(monkeypatch):
    """Spares the import of torch."""
    monkeypatch.setattr("tools.batch.server._has_gpu", lambda: False)


def test_a_server_that_ends_at_its_start_is_told_with_its_log(tmp_path, has_no_gpu):
    (tmp_path / "main.py").write_text("raise OSError('address already in use')\n")
    log = tmp_path / "server.log"
    with pytest.raises(GraphError, match="(?s)stopped at start with exit code 1; .*OSError: address already in use"):
        ComfyServer(tmp_path, tmp_path, log=log).__enter__()
    with pytest.raises(GraphError):
        ComfyServer(tmp_path, tmp_path, log=log).__enter__()
    assert log.read_text().count("OSError: address already in use") == 2


def test_another_server_on_its_port_is_not_taken_for_it(stand_in, tmp_path, has_no_gpu):
    system = SOUND["GET /system_stats"].content["system"]
    stand_in.always["GET /system_stats"] = Answer({"system": system | {"argv": ["main.py", "--base-directory", "/x"]}})
    (tmp_path / "main.py").write_text("import time\ntime.sleep(2)\nraise OSError('address already in use')\n")
    server = ComfyServer(tmp_path, tmp_path, log=tmp_path / "server.log")
    server.url = stand_in.url
    with pytest.raises(GraphError, match="address already in use"):
        server.__enter__()
