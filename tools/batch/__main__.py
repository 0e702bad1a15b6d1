"""The command line: `python -m tools.batch edit --help`, and so on."""

from __future__ import annotations

import argparse
import io
import sys

try:
    from . import check, cluster, edit, evaluate
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Run: python -m pip install requests tqdm pillow")


# A command is a module: its docstring is the help, `add_arguments` and `run` are the rest.
COMMANDS = {
    edit: "edit a folder of pictures, or a list of them",
    cluster: "the same on many GPUs, by Ray",
    check: "try a checkpoint: exactness, time, memory, edits",
    evaluate: "measure edited pictures against a data set",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.batch", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for command, summary in COMMANDS.items():
        title, _, rest = (command.__doc__ or "").partition("\n\n")
        added = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=summary,
            description=title,
            epilog=rest,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=command.run, refuse=added.error)
        command.add_arguments(added)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A picture's name may contain what the console cannot show, which must not end a batch.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parser.parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
