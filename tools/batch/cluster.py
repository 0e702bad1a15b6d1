"""Edit many pictures on many GPUs, with a ComfyUI for each, by Ray. Needs: pip install -r requirements-cluster.txt

examples:
  python -m tools.batch cluster pictures/ --source "a photo of a cat" --target "a photo of a dog" --comfyui ~/ComfyUI
  python -m tools.batch cluster --prompts list.parquet --models /models --checkpoint v1-5.safetensors --out s3://bucket/edited
  python -m tools.batch cluster ... --address auto         every GPU of the Ray cluster that this machine is part of
  python -m tools.batch cluster ... --workers 2 --cpu      no GPU

pictures, lists, graphs, shards, results, exit codes: as of `edit`, which also finishes what this has begun, and the
other way round. All edits of a picture go to the same server, whose cache spares their inversions.

a worker starts ComfyUI on its machine, in a folder of its own, with this pack in it, which travels along; it starts it
anew when it ends, and after --recycle pictures. A picture in which three servers end has failed. The table of the run
is runs/RUN.parquet beside the results: each edit's name, status, key, tries, seconds, error, outputs and machine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..comfyui import find_comfyui
from .plan import EditRequest, Plan, add_options, plan_of
from .store import store_at
from .tally import Tally
from .template import UsageError
from .worker import Setup

if TYPE_CHECKING:
    from .run_table import RunTable
    from .work_list import WorkList


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    try:
        from . import ray_data, run_table  # noqa: F401, for those who lack Ray learn it here
        from .work_list import WorkList
    except ModuleNotFoundError as missing:
        options.refuse(f"{missing}. Run: python -m pip install -r requirements-cluster.txt")
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, Path(os.path.abspath(value)))  # workers run in another folder
    try:
        request = EditRequest.of(options)
        plan = plan_of(request)
        work, name = WorkList(plan.edits), run_table.new_run()
        store = store_at(request.out)
        store.prepare()
        setup = _setup(options, request, plan, work.checkpoints, run_table.marker_of(name))
    except (UsageError, OSError) as error:
        options.refuse(str(error))
    for note in plan.notes:
        tqdm.write(note)
    try:
        with Tally(len(work), request.out) as tally:
            if len(work):
                _run(options, work, setup, run_table.RunTable(store, name), tally)
    except UsageError as error:  # raised by what Ray finds
        options.refuse(str(error))
    return tally.exit_status


def _run(options: argparse.Namespace, work: WorkList, setup: Setup, table: RunTable, tally: Tally) -> None:
    """Do the edits on the workers of a Ray cluster."""
    from . import ray_data

    with ray_data.connected(options.address):
        workers = ray_data.workers(options.address, options.workers, options.cpu)
        tally.bar.unpause()  # Ray's start is no part of the pictures' rate
        with table:
            for outcome, host in ray_data.outcomes(work, setup, workers):
                table.add(outcome, host)
                tally.add(outcome)


def _setup(options: argparse.Namespace, request: EditRequest, plan: Plan, checkpoints: list[str], marker: str) -> Setup:
    """The settings of the workers; UsageError for ones that make no sense."""
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: there has to be one")
    comfyui = options.comfyui or find_comfyui()
    if comfyui is None:
        raise UsageError("there is no ComfyUI here: say with --comfyui where the workers find it")
    return Setup(
        graph=plan.template.graph,
        out=str(request.out),
        marker=marker,
        comfyui=str(comfyui),
        python=options.comfyui_python,
        models=_text(options.models),
        gpu=not options.cpu,
        checkpoints=tuple(checkpoints),
        timeout=request.timeout,
        recycle=options.recycle,
        scratch=_text(options.scratch),
        logs=_text(options.logs),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cluster`."""
    add_options(parser)
    parser.add_argument("--address", metavar="ADDRESS", help="a Ray cluster, or auto; default: it starts one here")
    parser.add_argument("--workers", type=int, metavar="N", help="default: one a GPU")
    parser.add_argument("--cpu", action="store_true", help="compute without a GPU; then one worker is the default")
    parser.add_argument("--comfyui", type=Path, metavar="FOLDER", help="on each machine; default: one that is found")
    parser.add_argument(
        "--comfyui-python", metavar="FILE", help="its interpreter; default: of .venv or venv in its folder, or this one"
    )
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="models on each machine, in folders as in ComfyUI"
    )
    parser.add_argument(
        "--recycle",
        type=int,
        default=500,
        metavar="N",
        help="start a server anew after so many pictures; %(default)s",
    )
    parser.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="for the servers' folders; default: the system's"
    )
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep what the servers say, on the machine of each")
