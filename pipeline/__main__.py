"""The command line of the pipeline: `python -m pipeline edit --help`, `python -m pipeline evaluate --help`."""

from __future__ import annotations

import argparse
import io
import sys

try:
    from . import cluster, edit, evaluate
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Run: python -m pip install requests tqdm")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    edit.add_command(commands)
    cluster.add_command(commands)
    evaluate.add_command(commands)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A picture's name may hold what the console cannot show, which must not end a batch.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parser.parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
