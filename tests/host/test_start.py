"""What ComfyUI waits for when it loads the pack."""

import subprocess
import sys
from pathlib import Path

PACK = Path(__file__).parents[2]
LOADED = """
import sys
from tools.host import import_comfyui, open_host

import_comfyui()
import comfy_config.config_parser  # the loader's own, for any pack
before = {*sys.modules}
root = open_host().root
print(*(name.replace(root, "pack") for name in {*sys.modules} - before), sep="\\n")
"""


def test_nothing_is_imported_that_a_start_does_not_need(comfy):
    """In a fresh process: the plots' matplotlib, and the demo model, come when a node asks for them."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=PACK, capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert "pack.nodes.demo" in names and "pack.ddpm_core.storage" in names
    assert [name for name in names if name.startswith(("pack.demo", "pack.ddpm_core.plots"))] == []
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert packages <= {"pack", "comfy", "comfy_api", "comfy_execution"}
