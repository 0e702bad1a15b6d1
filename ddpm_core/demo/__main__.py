"""The command line: `python -m ddpm_core.demo train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .model import WEIGHTS


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m ddpm_core.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="train the weights again")
    command.add_argument("--out", type=Path, default=WEIGHTS)
    command.add_argument("--steps", type=int)
    args = parser.parse_args()
    if args.command == "train":
        from .train import TrainConfig, train

        train(args.out, TrainConfig(steps=args.steps) if args.steps else TrainConfig())


if __name__ == "__main__":
    main()
