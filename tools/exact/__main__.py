"""Measure the papers' claims on exact scores, and fill the page that shows them."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import torch

from ddpm_core import __version__

from ..host import NeedsComfyUI
from ..lab.figures.results import RESULTS, filled, keep, opened, read
from .figures import FIGURES


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 where a number is not what it has to be, too."""
    parser = argparse.ArgumentParser(prog="python -m tools.exact", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/exact"), help="folder of the numbers and pictures")
    parser.add_argument("--pages", type=Path, nargs="*", default=(), help="pages whose tables are filled")
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), help="sections to make anew")
    args = parser.parse_args(arguments)
    try:
        beyond = make(args.out, args.only or list(FIGURES), named=args.only is not None)
    except (ValueError, NeedsComfyUI) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for page in args.pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), read(args.out / RESULTS)), encoding="utf-8")
    return int(beyond)


def make(out: Path, names: list[str], named: bool) -> bool:
    """Write sections below `out` and print their tables; whether any number is beyond its bound.

    Args:
        named: by the user, so that one that needs ComfyUI is not left out where there is none.

    Raises:
        NeedsComfyUI: a named section does, and there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    versions = {"pack": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    results = opened(out / RESULTS, {"command": "python -m tools.exact --out docs/exact", "versions": versions})
    beyond = False
    for name in names:
        start = time.perf_counter()
        try:
            result = FIGURES[name]()
        except NeedsComfyUI as error:
            if named:
                raise
            print(f"{name} is left out: {error}\n")
            continue
        result.save(out / f"{name}.png")
        keep(results, name, result, time.perf_counter() - start, out / RESULTS)
        for table in result.tables:
            print(f"{name}: {table}\n", flush=True)
            beyond |= any(abs(row[0] - row[3]) > row[4] for row in table.rows.values() if len(row) == 5)
    return beyond


if __name__ == "__main__":
    raise SystemExit(main())
