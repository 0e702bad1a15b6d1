"""The papers' figures and tables on the demo model, and further tables: pictures, and the numbers in one file.

Sources: arXiv 2304.06140 (edit-friendly noise maps), arXiv 2410.23530v2 (There and Back Again), "Diffusion Inversion
Report" (2025). Each figure is a function of what the figures share (`subjects.Subjects`) and gives its tables and its
picture; docs/figures.md, measurements.md and demo-model.md walk through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from demo.model import DemoModel

from ...host import NeedsComfyUI
from ..sizes import Sizes
from . import manipulations, noise_space, reconstruction, text_edits, there_and_back
from .measured import MEASURED
from .results import RESULTS, Made, Make, filled, keep, made_with, opened, read, written
from .subjects import Subjects

FIGURES: dict[str, Make] = {
    "fig2": manipulations.figure_2,
    "fig4": text_edits.figure_4,
    "fig5": noise_space.figure_5,
    "fig6": noise_space.figure_6,
    "fig7": manipulations.figure_7,
    "fig8": manipulations.figure_8,
    "fig11": manipulations.figure_11,
    "fig12": noise_space.figure_12,
    "fig13": manipulations.figure_13,
    "fig14": text_edits.figure_14,
    "fig15": text_edits.figure_15,
    "fig16": text_edits.figure_16,
    "table1": text_edits.table_1,
    "table2": text_edits.table_2,
    "latents": there_and_back.latents,
    "steps": there_and_back.steps,
    "replaced": there_and_back.replaced,
    "interpolation": there_and_back.interpolation,
    "edited": there_and_back.edited,
    "cfg": reconstruction.cfg_schedules,
    "nulltext": reconstruction.null_text_edits,
    "exactness": reconstruction.exactness,
    **MEASURED,
}
"""By name: those of arXiv 2304.06140 by its numbers, those of the two others, then tables of their own."""


def make_figures(
    model: DemoModel,
    out: Path,
    only: Sequence[str] = (),
    sizes: Sizes | None = None,
    report: Callable[[str], None] = lambda text: None,
    processes: int = 1,
) -> None:
    """Write figures below `out`, each as NAME.png and as its part of the results file, as soon as it is there.

    Args:
        only: the names of those to make; none for all that the results file lacks, without ComfyUI those that the core
            can make.
        report: called with each table, with what each figure took, and with what is left.
        processes: how many figures are made at a time; each process has its share of the threads.

    Raises:
        NeedsComfyUI: one of `only` does, and there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    subjects = Subjects(model, sizes or Sizes())
    made_by = made_with(subjects.sizes)
    kept = opened(out / RESULTS, made_by)
    left = list(only) or [name for name in FIGURES if name not in kept["figures"]]
    for name, made in _each(subjects, left, out, processes):
        left = [other for other in left if other != name]
        if isinstance(made, NeedsComfyUI):
            if only:
                raise made
            report(f"{name} is left out: {made}\n")
            continue
        keep(name, made, out / RESULTS, made_by)
        for table in made.tables:
            report(f"{name}: {table}\n")
        report(f"{name} took {made.seconds:.0f} s; left: {', '.join(left) or 'nothing'}\n")


def _each(
    subjects: Subjects, names: Sequence[str], out: Path, processes: int
) -> Iterator[tuple[str, Made | NeedsComfyUI]]:
    """The figures as they get ready; subjects that several share are made once in each process."""
    if processes == 1:
        for name in names:
            yield name, _made(subjects, name, out)
        return
    threads = max(1, torch.get_num_threads() // processes)
    started = (subjects.model, subjects.sizes, threads)
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, started) as pool:
        begun = {pool.submit(_made_there, name, out): name for name in names}
        for future in as_completed(begun):
            yield begun[future], future.result()


def _made(subjects: Subjects, name: str, out: Path) -> Made | NeedsComfyUI:
    try:
        return written(name, partial(FIGURES[name], subjects), out)
    except NeedsComfyUI as error:
        return error


_there: Subjects
"""Those of a process of the pool."""


def _start(model: DemoModel, sizes: Sizes, threads: int) -> None:
    global _there
    torch.set_num_threads(threads)
    _there = Subjects(model, sizes)


def _made_there(name: str, out: Path) -> Made | NeedsComfyUI:
    return _made(_there, name, out)


def fill_pages(out: Path, pages: Sequence[Path]) -> None:
    """Put the tables of the results file below `out` between the comments of pages."""
    kept = read(out / RESULTS)
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), kept), encoding="utf-8")
