"""What the pack adds to the start of ComfyUI, and to a page of it that is opened.

    python -m tools.benchmarks.start                    5 processes, an output folder of 200,000 files
    python -m tools.benchmarks.start --files 1000000

Needs the environment of `python run.py test` and ComfyUI. Each process is a fresh one that has imported all that
ComfyUI imports before it loads packs; the best of them counts. The start is what ComfyUI's loader takes for the pack,
as its log has it. /object_info is what its server asks of the pack's nodes for a page, and that as JSON: at first,
once the output folder has been read, and after a file has come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ..comfyui import PACK
from ..host import import_comfyui, open_host


@dataclass
class Start:
    """One process: milliseconds that passed, and those of the processor; the pack's modules, and others it imports."""

    times: dict[str, tuple[float, float]] = field(default_factory=dict)
    modules: int = 0
    others: frozenset[str] = frozenset()

    def timed(self, name: str, call: Callable[[], Any]) -> None:
        passed, own = time.perf_counter(), time.thread_time()
        call()
        self.times[name] = 1000 * (time.perf_counter() - passed), 1000 * (time.thread_time() - own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000, help="in the output folder")
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.mkdir()
        for number in range(options.files):
            (output / f"ComfyUI_{number:06}_.png").touch()
        starts = []
        for _ in range(options.processes):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                starts.append(process.submit(start, output).result())
    print(f"\nbest of {options.processes} processes, {options.files} files in the output folder")
    for name in starts[0].times:
        passed, own = (min(one.times[name][k] for one in starts) for k in (0, 1))
        print(f"{name:40} {passed:6.1f} ms, {own:6.1f} of them the processor's")
    print(f"{starts[0].modules} modules of the pack, and {', '.join(sorted(starts[0].others)) or 'no others'}")


def start(output: Path) -> Start:
    """Load the pack in this process, and ask its nodes what they are."""
    loader = import_comfyui()
    import_module("server").PromptServer(asyncio.new_event_loop())
    asyncio.run(loader.init_extra_nodes(init_custom_nodes=False))
    import_module("folder_paths").set_output_directory(str(output))
    # as where Python is told nothing of it: what one start has compiled, the next one reads
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(output.with_name("compiled"))
    one, before = Start(), set(sys.modules)
    one.timed("start", lambda: asyncio.run(loader.load_custom_node(str(PACK))))
    new = set(sys.modules) - before
    host = open_host()
    one.others = frozenset(name for name in new if not name.startswith(host.root))
    one.modules = len(new - one.others)

    def object_info() -> None:
        json.dumps([node.GET_NODE_INFO_V1() for node in host.nodes.values()])

    one.timed("/object_info at first", object_info)
    reader = host.module("nodes.host.files").listing(str(output)).reader
    if reader is not None:
        reader.join()
    one.timed("/object_info later", object_info)
    (output / "another.png").touch()
    one.timed("/object_info after another file", object_info)
    (output / "another.png").unlink()
    return one


if __name__ == "__main__":
    main()
