"""Figs. 4, 14, 15 and 16 and Tabs. 1 and 2 of arXiv 2304.06140: edits by words, in the measures of `edits`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from ddpm_core import statistics, trajectories
from ddpm_core.inversion import invert
from ddpm_core.sampling import sample

from ...host import open_host
from ..edits import Edit, has_outside, kept_by, score, source_images
from ..methods import (
    CYCLE_DIFFUSION,
    DDIM,
    EDIT_FRIENDLY,
    METHODS,
    P2P,
    P2P_DDIM,
    PLUG_AND_PLAY_DDIM,
    ZERO_SHOT,
    ZERO_SHOT_DDIM,
    LabMethod,
)
from ..settings import LabSettings, PromptToPrompt
from .results import Result, Table, mosaic
from .subjects import FORMS, MEASURES, EditRun, Subjects, of_edits, row_of

SKIPS, STRENGTHS_OF_CFG = (0.0, 0.1, 0.25, 0.5), (1.0, 2.0, 4.0, 7.0)  # of Fig. 14
SHOWN = 5  # variations, as in Fig. 16

# All in ComfyUI, where what they take can be compared.
TABLE_1, TABLE_2 = (
    tuple(method if method.needs_comfyui else replace(method, by_core=None) for method in methods)
    for methods in ((DDIM, PLUG_AND_PLAY_DDIM, P2P_DDIM, P2P, EDIT_FRIENDLY), (ZERO_SHOT_DDIM, ZERO_SHOT))
)
_OF_DDIM = LabSettings(skip=0.0, cfg_source=3.5, cfg_target=9.0)
TAB_3 = (  # of the paper, in the order of TABLE_1
    _OF_DDIM,
    replace(_OF_DDIM, cfg_source=1.0, cfg_target=10.0),
    replace(_OF_DDIM, p2p=PromptToPrompt(cross_steps=0.8, self_steps=0.4)),
    replace(_OF_DDIM, skip=0.12),
    replace(_OF_DDIM, skip=0.36, cfg_target=15.0),
)


# --- Fig. 4 -----------------------------------------------------------------------------------------------------------


def figure_4(subjects: Subjects) -> Result:
    """One edit of each kind by CycleDiffusion and by the edit-friendly inversion."""
    edits = subjects.shown_edits
    rows = [subjects.edits.index(edit) for edit in edits]
    runs = {method.name: subjects.run(method, "tuned") for method in (CYCLE_DIFFUSION, EDIT_FRIENDLY)}
    parts = {"scene": list(source_images(edits))} | {name: list(run.images[rows]) for name, run in runs.items()}
    picture = mosaic(parts, [_named(edit) for edit in edits])
    numbers = {name: run.row for name, run in runs.items()}
    return Result((Table(of_edits(subjects), MEASURES, numbers, FORMS),), picture)


def _named(edit: Edit) -> str:
    """What an edit changes, in two short lines."""
    before, after = (getattr(scene, edit.kind) for scene in (edit.source, edit.target))
    return f"{before}\nto {after}"


# --- Fig. 14 ----------------------------------------------------------------------------------------------------------


def figure_14(subjects: Subjects) -> Result:
    """One inversion of each scene, edited with each pair of skip and strength."""
    edits, steps = subjects.shown_edits, subjects.sizes.edit_steps
    images, schedule = source_images(edits), LabSettings(steps=steps).schedule()
    autoencoder = subjects.model.autoencoder
    latents = autoencoder.encode(images)
    source = subjects.model.denoiser([edit.source.caption for edit in edits], LabSettings.cfg_source)
    noise_maps = invert(source, trajectories.edit_friendly(latents, schedule, [edit.seed for edit in edits]), schedule)
    shown = max(range(len(edits)), key=lambda k: edits[k].kind == "time")
    pictures: dict[str, list[Tensor]] = {}
    numbers = {}
    for skip in SKIPS:
        for cfg in STRENGTHS_OF_CFG:
            target = subjects.model.denoiser([edit.target.caption for edit in edits], cfg)
            results = autoencoder.decode(sample(target, noise_maps, skip_steps=round(skip * steps)))
            numbers[f"skip {skip:g}, strength {cfg:g}"] = row_of(score(edits, images, results, subjects.classifier))
            pictures.setdefault(f"skip {skip:g}", [images[shown]]).append(results[shown])
    caption = f"{edits[shown].source.caption} -> {edits[shown].target.caption}"
    picture = mosaic(pictures, ["scene", *(f"strength {cfg:g}" for cfg in STRENGTHS_OF_CFG)], title=caption)
    return Result(
        (Table(f"{len(edits)} held-out edits, one a kind, {steps} steps", MEASURES, numbers, FORMS),), picture
    )


# --- Fig. 15 ----------------------------------------------------------------------------------------------------------


def figure_15(subjects: Subjects) -> Result:
    """Success against error of every method, from its weakest to its strongest setting."""
    open_host()  # asked for first, not after minutes of what can do without
    runs = {f"{m.name}, {strength}": subjects.run(m, strength) for m in METHODS for strength in m.plotted}
    numbers = {name: (*run.row, run.rows / len(subjects.edits)) for name, run in runs.items()}
    table = Table(of_edits(subjects), (*MEASURES, "rows of the network an edit"), numbers, (*FORMS, ".0f"))
    return Result((table,), plot_all(table))


def plot_all(table: Table) -> Figure:
    """The plot of the table of Fig. 15, with a line through the settings of a method."""
    figure = Figure(figsize=(10.5, 5.2), dpi=100, layout="constrained")
    by_error, by_structure = figure.subplots(1, 2, sharey=True)
    for k, method in enumerate(method for method in METHODS if method.plotted):
        rows = [table.rows[f"{method.name}, {strength}"] for strength in method.plotted]
        success, _, _, error, _, structure, _ = zip(*rows, strict=True)
        style: dict[str, Any] = {
            "marker": "osD^vPX*"[k % 8],
            "ms": 6,
            "lw": 1,
            "color": f"C{k % 10}",
        }
        by_error.plot(error, success, label=method.name, **style)
        by_structure.plot([1 - value for value in structure], success, **style)
    by_error.set(xlabel="error where nothing was to change", ylabel="success", title=table.title)
    by_structure.set(xlabel="1 - structure", title="the same edits")
    figure.legend(*by_error.get_legend_handles_labels(), loc="outside right upper", fontsize="x-small")
    return figure


# --- Fig. 16, Tabs. 1 and 2 -------------------------------------------------------------------------------------------


def figure_16(subjects: Subjects) -> Result:
    """Variations of one edit, each by an inversion of its own."""
    edits, found = subjects.varied_edits, subjects.varied(EDIT_FRIENDLY)
    rows = {
        "\n".join(textwrap.wrap(f"{edit.source.caption} -> {edit.target.caption}", 36)): [image, *results[:SHOWN]]
        for edit, image, results in zip(edits, source_images(edits), found, strict=True)
    }
    picture = mosaic(rows, ["scene", *(f"variation {v + 1}" for v in range(min(SHOWN, found.shape[1])))])
    numbers = {
        f"{edit.kind}: {edit.target.caption}": [statistics.diversity(results)]
        for edit, results in zip(edits, found, strict=True)
    }
    title = f"Mean absolute difference of pairs of {subjects.sizes.variations} variations"
    return Result((Table(title, ("diversity",), numbers),), picture)


def table_1(subjects: Subjects) -> Result:
    """The methods of Tab. 1, as tuned for the demo model, and at the settings of Tab. 3."""
    as_printed = {
        method.name: subjects.run_on(subjects.edits, method, settings).row
        for method, settings in zip(TABLE_1, TAB_3, strict=True)
    }
    title = f"At the paper's settings; {of_edits(subjects)}"
    return Result((_compared(subjects, TABLE_1), Table(title, MEASURES, as_printed, FORMS)))


def table_2(subjects: Subjects) -> Result:
    """The methods of Tab. 2."""
    return Result((_compared(subjects, TABLE_2),))


def _compared(subjects: Subjects, methods: Sequence[LabMethod]) -> Table:
    runs = [subjects.run(method, "tuned") for method in methods]
    numbers = {
        method.name: (*run.row, *_diversities(subjects, method), *_costs(run, runs[-1]))
        for method, run in zip(methods, runs, strict=True)
    }
    columns = (*MEASURES, "diversity", "outside the edit", "rows, ratio", "processor time, ratio")
    return Table(
        f"{of_edits(subjects)}; costs over those of the last row",
        columns,
        numbers,
        (*FORMS, ".3f", ".3f", ".2f", ".2f"),
    )


def _diversities(subjects: Subjects, method: LabMethod) -> tuple[float, float]:
    """Of the variations of each edit, averaged over the edits; and the same where nothing was to change."""
    found, kept = subjects.varied(method), [kept_by(edit) for edit in subjects.varied_edits]
    whole = [statistics.diversity(each) for each in found]
    outside = [statistics.diversity(each[..., k]) for each, k in zip(found, kept, strict=True) if has_outside(k)]
    return sum(whole) / len(whole), sum(outside) / len(outside) if outside else float("nan")


def _costs(run: EditRun, unit: EditRun) -> tuple[float, float]:
    return run.rows / unit.rows, run.seconds / unit.seconds
