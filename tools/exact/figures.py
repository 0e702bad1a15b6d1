"""Each oracle as tables and, where a picture says more, a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_core import plots

from ..lab.figures.results import Result, Table
from . import attention, closed_forms, edits, flow, levels, manipulations, noise_space
from .by_nodes import ByNodes
from .oracles import Check, as_table
from .runs import ByCore
from .words_by_nodes import WordsByNodes

Oracle = Callable[..., list[Check]]


def _result(title: str, oracle: Oracle, draw: Callable[[Sequence[Check]], Figure] | None = None) -> Result:
    checks = oracle()
    return Result((as_table(title, checks),), draw and draw(checks))


def figure_of_sizes(checks: Sequence[Check]) -> Figure:
    """Size and correlation of z of E3's mixture in 50 steps, beside those of a perfect predictor."""
    scenes = edits.Scenes.draw(1, 200)
    pack = ByCore(scenes.mixture, levels.stable_diffusion(50))
    native = pack.generate(scenes.images, scenes.source)
    maps = {"native": native}
    for method in ("CycleDiffusion", "edit friendly"):
        maps[method] = pack.invert(method, native.image, scenes.source)
    return plots.size_and_correlation(maps)


def figure_of_methods(checks: Sequence[Check]) -> Figure:
    """Structure kept by each method with its interval."""
    kept = [check for check in checks if check.what.endswith(": structure kept")]
    figure, axes = _axes(7, 2.6)
    for row, check in enumerate(reversed(kept)):
        axes.barh(row, check.value, color="C0", height=0.6)
        axes.plot([check.low, check.high], [row, row], color="black", lw=1.5)
    axes.set_yticks(range(len(kept)), [check.what.removesuffix(": structure kept") for check in reversed(kept)])
    axes.set(xlim=(0, 1), xlabel="structure kept; the line is its 95% interval")
    return figure


def figure_of_settings(checks: Sequence[Check]) -> Figure:
    """Structure kept over appearance reached: lines by the skip."""
    figure, axes = _axes(6, 3.6)
    by_name = {check.what: check for check in checks}
    methods = list(dict.fromkeys(method for method, *_ in edits.SWEPT))
    for k, name in enumerate(methods):
        of_method = [how for method, *how in edits.SWEPT if method == name]
        points = [
            tuple(
                by_name[f"{name}, {cfg:g}, skip {skip}: {what}"].value
                for what in ("appearance reached", "structure kept")
            )
            for cfg, skip in sorted(of_method, key=lambda how: how[1])
        ]
        axes.plot(*zip(*points, strict=True), color=f"C{k}", marker=".", label=name)
    axes.set(xlabel="appearance reached", ylabel="structure kept", ylim=(0, 1))
    axes.legend(fontsize="small")
    return figure


def figure_of_paint(checks: Sequence[Check]) -> Figure:
    """Detail kept over the response to paint: SDEdit gives and keeps one share, Eq. 7 by strength keeps more."""
    figure, axes = _axes(6, 3.6)
    values = {check.what: check.value for check in checks}
    axes.plot([0, 1], [0, 1], color="C7", label="SDEdit")
    for k, s in enumerate(manipulations.RESPONSES):
        shares = [values[f"s {s:g}, SDEdit, skip {skip}: response, and detail kept"] for skip in manipulations.SKIPS]
        axes.plot(shares, shares, f"C{k}s", ms=4)
        given, kept = (values[f"s {s:g}: {what}"] for what in ("response", "detail kept"))
        axes.plot([0, 4 * given], [1, 1 - 4 * (1 - kept)], color=f"C{k}", label=f"Eq. 7, N(m, {s:g}^2)")
        axes.plot(given, kept, f"C{k}o", ms=5)
    axes.set(xlabel="response to paint", ylabel="detail kept", xlim=(0, 1), ylim=(0, 1.05))
    axes.legend(fontsize="small")
    return figure


def figure_of_shifts(checks: Sequence[Check]) -> Figure:
    """Error of moved maps over the cells, with intervals."""
    figure, axes = _axes(6, 3.6)
    for k, name in enumerate(("native", "CycleDiffusion", "edit friendly")):
        rows = [check for check in checks if check.what.startswith("by ") and check.what.endswith(f", {name}")]
        cells = [int(check.what.removeprefix("by ").split(",")[0]) for check in rows]
        axes.plot(cells, [check.value for check in rows], color=f"C{k}", marker=".", label=name)
        axes.fill_between(
            cells, [check.low for check in rows], [check.high for check in rows], color=f"C{k}", alpha=0.25, lw=0
        )
    axes.set(xlabel="cells moved, of 64", ylabel="mean squared error", ylim=(0, None))
    axes.legend(fontsize="small")
    return figure


def figure_of_skips(checks: Sequence[Check]) -> Figure:
    """How much of an edit is reached by the skip: lines by the closed form, points measured."""
    figure, axes = _axes(6, 3.6)
    abar = levels.stable_diffusion(100).numpy()
    for k, (std, eta) in enumerate((std, eta) for std in edits.GAUSSIAN for eta in edits.ETAS):
        name = f"N(m, {std:g}^2), eta {eta:g}"
        curve = [closed_forms.reached(abar, std, skip, eta) for skip in range(100)]
        axes.plot(range(100), curve, color=f"C{k}", label=name)
        points = [check for check in checks if check.what.startswith(f"{name},")]
        axes.plot(
            [int(p.what.split("skip ")[1].split(":")[0]) for p in points], [p.value for p in points], f"C{k}o", ms=4
        )
    axes.set(xlabel="skip_steps of 100", ylabel="share of the edit reached", ylim=(0, 1.05))
    axes.legend(fontsize="small")
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    return figure, figure.subplots()


FEW = 16
BOTH, WORDS = (ByCore, ByNodes), (attention.WordsByCore, WordsByNodes)
BY_BOTH: dict[str, tuple[Oracle, tuple[type, type]]] = {
    "E1": (partial(noise_space.in_the_plane, rows=FEW), BOTH),
    "E2": (noise_space.of_a_perfect_predictor, BOTH),
    "E3, the papers' settings": (partial(edits.at_the_papers_settings, draws=1, count=FEW), BOTH),
    "E3, without guidance": (partial(edits.without_guidance, count=FEW), BOTH),
    "E3, two seeds": (partial(edits.two_seeds, count=FEW), BOTH),
    "E3, Fig. 15": (partial(edits.over_settings, count=FEW), BOTH),
    "E4": (partial(manipulations.shifted, count=FEW, by=(1, 2, 4)), BOTH),
    "E4, turned": (partial(manipulations.turned, count=4), BOTH),
    "E4, mirrored": (partial(manipulations.mirrored, count=4), BOTH),
    "E5": (noise_space.latents_of_plain_pixels, BOTH),
    "E5, triangle": (partial(noise_space.triangles, rows=FEW, cells=100), BOTH),
    "E6, data N(m, s^2)": (edits.reached, BOTH),
    "E6, mixture": (partial(edits.structure_by_skip, count=FEW), BOTH),
    "E7": (manipulations.painted, BOTH),
    "E8": (partial(edits.way_back_of_ddim, count=FEW), BOTH),
    "E9": (partial(attention.with_known_maps, count=8, steps=50), WORDS),
    "E9, Tab. 1": (partial(attention.table_1, count=8, steps=50), WORDS),
}
"""The oracles that ask a MODEL, with few rows, and the pack by its core and by its nodes."""


def apart(oracle: Oracle, by_core: type, by_nodes: type) -> tuple[int, float]:
    """How many numbers an oracle has by the nodes, and how far the farthest is from the core's.

    Raises:
        NeedsComfyUI: there is none.
    """
    found, expected = oracle(by_nodes), {check.what: check.value for check in oracle(by_core)}
    return len(found), max(abs(check.value - expected[check.what]) for check in found)


def nodes_and_core() -> Result:
    """The same numbers by the nodes, on a MODEL whose network is the exact predictor."""
    rows = {name: apart(oracle, *packs) for name, (oracle, packs) in BY_BOTH.items()}
    return Result((Table("Nodes against core", ("numbers", "largest difference"), rows, (".0f", ".1e")),))


SD = "Stable Diffusion's schedule"
FIGURES: dict[str, Callable[[], Result]] = {
    "plane": lambda: _result("Data N((10, 10), I), 40 steps, 2000 paths", noise_space.in_the_plane),
    "sizes": lambda: _result(
        "z of a model that knows the image, 128 x 128",
        partial(noise_space.of_a_perfect_predictor, cells=128),
        figure_of_sizes,
    ),
    "methods": lambda: _result(
        f"{SD}, 100 steps, five draws of 600 edits", edits.at_the_papers_settings, figure_of_methods
    ),
    "settings": lambda: _result(f"{SD}, 100 steps, 300 edits each", edits.over_settings, figure_of_settings),
    "unguided": lambda: _result(
        f"{SD}, 50 steps, no skip, cfg 1, 600 edits each",
        lambda: [check for turned in (0, 2, 4) for check in edits.without_guidance(turned=turned)],
    ),
    "seeds": lambda: _result("The same edits with the noise of another seed", edits.two_seeds),
    "between": lambda: _result("The same edits, noise of neighbours correlated", edits.between_constructions),
    "shifts": lambda: _result(
        f"{SD}, 100 steps, 600 signals", partial(manipulations.shifted, count=600), figure_of_shifts
    ),
    "turned": lambda: _result(f"{SD}, 50 steps, 30 signals on rings", manipulations.turned),
    "mirrored": lambda: _result(f"{SD}, 100 steps, 100 signals", manipulations.mirrored),
    "triangle": lambda: _result("100 images of 400 pixels, DDIM", noise_space.triangles),
    "plain": lambda: _result("Pixels N(m, s^2), DDIM, 100 steps", noise_space.latents_of_plain_pixels),
    "skips": lambda: _result(f"{SD}, 100 steps, cfg 3.5 and 15", edits.reached, figure_of_skips),
    "dip": lambda: _result(f"{SD}, 100 steps, cfg 3.5 and 15, 600 edits", edits.structure_by_skip),
    "paint": lambda: _result(
        "Data N(m, s^2), strength 0.05, 0.30 to 0.80 of 100 steps", manipulations.painted, figure_of_paint
    ),
    "guidance": lambda: _result(f"{SD}, 100 steps, root mean squared error", edits.way_back_of_ddim),
    "nulltext": lambda: _result(f"{SD}, 50 steps, 60 images", edits.way_back_of_null_text),
    "words": lambda: _result("100 steps, skip 12, 200 edits each", attention.with_known_maps),
    "table1": lambda: _result("100 steps, 200 edits each", attention.table_1),
    "table2": lambda: _result("50 steps, strength 7.5, no skip, 100 edits each", attention.table_2),
    "flow": lambda: Result((flow.beside_known(),), None),
    "order": lambda: Result((flow.order_of_inversion(),), None),
    "nodes": nodes_and_core,
}
"""The sections of docs/exact.md by name."""
