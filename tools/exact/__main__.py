"""Measure the papers' claims on exact scores, and fill the page that shows them."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ddpm_core import __version__

from ..host import NeedsComfyUI
from ..lab.figures.results import RESULTS, filled, keep, opened, read, written
from .figures import FIGURES


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 where a number is not what it has to be, too."""
    parser = argparse.ArgumentParser(prog="python -m tools.exact", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/exact"), help="folder of the numbers and pictures")
    parser.add_argument("--pages", type=Path, nargs="*", default=(), help="pages whose tables are filled")
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), help="sections to make anew")
    args = parser.parse_args(arguments)
    try:
        beyond = make(args.out, args.only or ())
    except (ValueError, NeedsComfyUI) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for page in args.pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), read(args.out / RESULTS)), encoding="utf-8")
    return int(beyond)


def make(out: Path, only: Sequence[str] = ()) -> bool:
    """Write sections below `out`, print their tables and what is left; whether any number is beyond its bound.

    Args:
        only: the names of those to make; none for all that the results file lacks, without ComfyUI those that the core
            can make.

    Raises:
        NeedsComfyUI: one of `only` does, and there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    versions = {"pack": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    made_with = {"command": "python -m tools.exact --out docs/exact", "versions": versions}
    kept = opened(out / RESULTS, made_with)
    left = list(only) or [name for name in FIGURES if name not in kept["figures"]]
    beyond = False
    for name in list(left):
        left.remove(name)
        try:
            made = written(name, FIGURES[name], out)
        except NeedsComfyUI as error:
            if only:
                raise
            print(f"{name} is left out: {error}\n")
            continue
        keep(name, made, out / RESULTS, made_with)
        for table in made.tables:
            print(f"{name}: {table}\n", flush=True)
            beyond |= any(abs(row[0] - row[3]) > row[4] for row in table.rows.values() if len(row) == 5)
        print(f"{name} took {made.seconds:.0f} s; left: {', '.join(left) or 'nothing'}\n", flush=True)
    return beyond


if __name__ == "__main__":
    raise SystemExit(main())
