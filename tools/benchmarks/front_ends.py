"""Cost of the front ends of tools.batch beside the servers: the same edits by each, on servers that only wait.

    python -m tools.benchmarks.front_ends                    2,000 edits of 0.05 s
    python -m tools.benchmarks.front_ends --list 1000000     only what such a list costs the driver of a cluster

Needs the environment of `python run.py test`, no ComfyUI. Throughput is a ratio to `edit` on one server. Lost is what a
server waits between its runs, for each edit, counted from the first result on; the start is what comes before it.
Memory is the resident set of the command's own process, after a quarter of the edits and at most after that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from ..batch.server import ComfyServer
from ..comfyui import PACK
from ..evaluation.decoder import png_of

COMFYUI = PACK / "tools" / "benchmarks" / "stand_in_comfyui"
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Target prompt"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "positive": ["2", 0]}},
}
POLL = 0.1  # seconds between two measurements of a command


@dataclass
class FrontEndCost:
    """Cost of one front end, in seconds and in bytes of its process."""

    servers: int
    start: float
    run: float
    after_a_quarter: int
    most: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a run on a server")
    parser.add_argument("--list", type=int, metavar="N", help="measure a list of N edits instead")
    options = parser.parse_args()
    if options.list:
        return measure_list(options.list)
    os.environ |= {"STAND_IN_SECONDS": str(options.seconds), "RAY_AUTH_MODE": "disabled"}
    methods: dict[str, Callable[[Path], FrontEndCost]] = {
        "edit, 1 server": lambda folder: edit(folder, options.edits, 1),
        "edit, 2 servers": lambda folder: edit(folder, options.edits, 2),
        "edit, 2 shards": lambda folder: shards(folder, options.edits, 2),
        "cluster, 2 workers": lambda folder: cluster(folder, options.edits, 2),
    }
    measured = {}
    for name, method in methods.items():
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = method(Path(folder))
    report(measured, options.edits, options.seconds)


def measure_list(edits: int) -> None:
    """Read a list with two edits of each picture and group it as `cluster` does."""
    from ..batch.edits import PromptList
    from ..batch.work_list import WorkList

    me = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        with path.open("w") as file:
            file.write("picture,source,target\n")
            for number in range(edits):
                file.write(f"pictures/{number // 2:08}.jpg,a photo of a cat,a photo of a dog number {number % 2}\n")
        started, before = time.perf_counter(), me.memory_info().rss
        work = WorkList(PromptList(path).edits(Path(folder), None, None, {}))
        read, held = time.perf_counter() - started, me.memory_info().rss - before
        started = time.perf_counter()
        tables = work.tables()
        grouped, size = time.perf_counter() - started, sum(table.nbytes for table in tables)
        print(
            f"{len(work)} edits of {sum(map(len, tables))} pictures: read and sorted in {read:.1f} s, put together in"
        )
        print(f"{grouped:.1f} s; {held / 1e6:.0f} MB in the driver, {size / 1e6:.0f} MB handed to Ray")


def edit(folder: Path, edits: int, count: int) -> FrontEndCost:
    with servers(folder, count) as running:
        where = [part for server in running for part in ("--server", server.url)]
        return watched([command("edit", folder, edits, *where)], folder / "edited", edits, count)


def shards(folder: Path, edits: int, count: int) -> FrontEndCost:
    with servers(folder, count) as running:
        commands = [
            command("edit", folder, edits, "--server", server.url, "--shard", f"{index}/{count}")
            for index, server in enumerate(running)
        ]
        return watched(commands, folder / "edited", edits, count)


def cluster(folder: Path, edits: int, count: int) -> FrontEndCost:
    where = ["--comfyui", str(COMFYUI), "--cpu", "--workers", str(count), "--scratch", str(folder / "own")]
    return watched([command("cluster", folder, edits, *where)], folder / "edited", edits, count)


@contextlib.contextmanager
def servers(folder: Path, count: int) -> Iterator[list[ComfyServer]]:
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(count):
            base = folder / f"server {number}"
            base.mkdir()
            server = ComfyServer(COMFYUI, base, log=base / "log", gpu=False)
            running.append(stack.enter_context(server))
        yield running


def command(name: str, folder: Path, edits: int, *arguments: str) -> list[str]:
    """A command line for that many pictures, which are created if missing."""
    pictures = folder / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        picture = png_of(Image.new("RGB", (512, 512)))
        (folder / "graph.json").write_text(json.dumps(GRAPH))
        for number in range(edits):
            (pictures / f"{number:06}.png").write_bytes(picture + number.to_bytes(4, "big") * 25_000)  # 100 kB
    what = [str(pictures), "--target", "a dog", "--graph", str(folder / "graph.json"), "--out", str(folder / "edited")]
    return [sys.executable, "-m", "tools.batch", name, *what, *arguments]


def watched(commands: list[list[str]], out: Path, edits: int, count: int) -> FrontEndCost:
    """Run commands at the same time and measure their results and memory."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        processes = [subprocess.Popen(line, cwd=PACK, stdout=said, stderr=said) for line in commands]
        first, after_a_quarter, most = started, 0, 0
        while any(process.poll() is None for process in processes):
            time.sleep(POLL)
            done = sum(name.endswith(".json") for name in os.listdir(out)) if out.exists() else 0
            first = first if done else time.perf_counter()
            if done >= edits / 4:
                resident = sum(map(resident_of, processes))
                after_a_quarter = after_a_quarter or resident
                most = max(most, resident)
        if any(process.returncode for process in processes):
            said.seek(0)
            sys.exit(said.read().decode(errors="replace"))
    return FrontEndCost(count, first - started, time.perf_counter() - first, after_a_quarter, most)


def resident_of(process: subprocess.Popen) -> int:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process.pid).memory_info().rss
    return 0


def report(measured: dict[str, FrontEndCost], edits: int, seconds: float) -> None:
    base = next(iter(measured.values()))
    print(f"\n{edits} edits of {seconds:g} s, {os.cpu_count()} processors")
    print(
        f"{'front end':20} {'start s':>8} {'run s':>7} {'throughput':>11} {'lost ms':>8} {'MB at 1/4':>10} {'most':>5}"
    )
    for name, one in measured.items():
        lost = 1000 * (one.run * one.servers / edits - seconds)
        sizes = f"{one.after_a_quarter / 1e6:10.0f} {one.most / 1e6:5.0f}"
        print(f"{name:20} {one.start:8.1f} {one.run:7.1f} {base.run / one.run:11.2f} {lost:8.0f} {sizes}")


if __name__ == "__main__":
    main()
