"""mypy over the nodes. Their imports reach into the pack, so they are read as part of a package, as ComfyUI reads them.

All else `python run.py test` hands to mypy as it stands.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_mypy_finds_nothing_in_the_nodes(tmp_path):
    package = tmp_path / "edit_friendly_ddpm"  # the folder's own name need not be one of a package
    for room in ("nodes", "ddpm_core", "demo", "tools"):
        shutil.copytree(ROOT / room, package / room, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "__init__.py", package)
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", f"{package.name}.nodes"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"MYPYPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
