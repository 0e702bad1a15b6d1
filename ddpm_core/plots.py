"""Plots of the statistics of noise maps, to compare inversions. Needs matplotlib, unlike all else here.

Source: arXiv 2304.06140, Figs. 5, 6 and 12, whose axes these have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import statistics
from .noise_maps import NoiseMaps

Curve = Callable[[NoiseMaps], np.ndarray]


def compare(maps: Mapping[str, NoiseMaps]) -> Figure:
    """One figure of four panels, with a color for each of the named maps.

    Size of z, correlation and angles of consecutive z over the steps, and the elements of the noisiest state against
    N(0, 1). Maps without z (eta 0, or too few steps) are in the last panel only.
    """
    figure = Figure(figsize=(10, 7), dpi=100, layout="constrained")
    panels = figure.subplots(2, 2).flat
    for panel, axes in zip((size, correlation, angles, latents), panels, strict=True):
        panel(axes, maps)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return figure


def size_and_correlation(maps: Mapping[str, NoiseMaps]) -> Figure:
    """The two panels of Figs. 6 and 12."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    for panel, axes in zip((size, correlation), figure.subplots(1, 2), strict=True):
        panel(axes, maps)
        axes.legend(fontsize="small")
    return figure


def size(axes: Axes, maps: Mapping[str, NoiseMaps]) -> None:
    """The standard deviation of z over the steps, and that of edit-friendly maps of a perfect predictor."""
    _curves(axes, maps, lambda noise_maps: statistics.z_std(noise_maps).numpy(), first=0, needs=2)
    axes.axhline(1, color="gray", lw=0.8, ls=":")
    _of_perfect_predictor(axes, maps, first=0)
    axes.set(title="size of z", xlabel="step, 0 is the noisiest", ylabel="standard deviation", ylim=(0, None))


def correlation(axes: Axes, maps: Mapping[str, NoiseMaps]) -> None:
    """The correlation of z with that of the step before, and that of a perfect predictor."""
    _curves(axes, maps, lambda noise_maps: statistics.z_correlation(noise_maps).numpy(), first=1, needs=3)
    axes.axhline(0, color="gray", lw=0.8, ls=":")
    _of_perfect_predictor(axes, maps, first=1)
    axes.set(title="consecutive z", xlabel="step", ylabel="correlation", ylim=(-1.05, 1.05))


def angles(axes: Axes, maps: Mapping[str, NoiseMaps]) -> None:
    """The histogram of the angles of consecutive z."""
    for k, (name, noise_maps) in enumerate(maps.items()):
        if _has_z(noise_maps, 3):
            values = statistics.z_angles(noise_maps).flatten().numpy()
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, 36, range=(0, 180), weights=weights, label=name, color=f"C{k}", histtype="step", lw=1.5)
    axes.axvline(90, color="gray", lw=0.8, ls=":")
    axes.set(title="angle of consecutive z", xlabel="degrees", ylabel="share", xlim=(0, 180))


def latents(axes: Axes, maps: Mapping[str, NoiseMaps]) -> None:
    """The histogram of the elements of the noisiest state, beside the normal density."""
    for k, (name, noise_maps) in enumerate(maps.items()):
        values = statistics.latent(noise_maps).flatten().numpy()
        axes.hist(values, 60, range=(-4, 4), density=True, label=name, color=f"C{k}", histtype="step", lw=1.5)
    x = np.linspace(-4, 4, 200)
    axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="gray", ls=":", label="N(0, 1)")
    axes.set(title="elements of the noisiest state", xlabel="value / scale of its level", ylabel="density")


def to_array(figure: Figure) -> np.ndarray:
    """(H, W, 3) in [0, 1] float32 of a figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


def _curves(axes: Axes, maps: Mapping[str, NoiseMaps], curve: Curve, first: int, needs: int) -> None:
    for k, (name, noise_maps) in enumerate(maps.items()):
        if _has_z(noise_maps, needs):
            values = curve(noise_maps)
            steps = noise_maps.skipped + first + np.arange(len(values))
            axes.plot(steps, values, label=name, color=f"C{k}", marker="." if len(values) < 8 else None)


def _of_perfect_predictor(axes: Axes, maps: Mapping[str, NoiseMaps], first: int) -> None:
    """What the schedule alone makes of edit-friendly maps, once for each schedule that the maps have."""
    shown: list[NoiseMaps] = []
    for noise_maps in maps.values():
        known = any(noise_maps.schedule.same_levels(other.schedule) for other in shown)
        if noise_maps.noising is not None:  # whose states have other weights than the schedule's
            continue
        if _has_z(noise_maps, 2 + first) and not known:
            values = statistics.z_of_perfect_predictor(noise_maps.schedule)[first].numpy()
            label = None if shown else "edit friendly, perfect predictor"
            axes.plot(noise_maps.skipped + first + np.arange(len(values)), values, "k--", lw=0.9, label=label)
            shown.append(noise_maps)


def _has_z(noise_maps: NoiseMaps, steps: int) -> bool:
    """Whether maps have noise, and at least so many steps."""
    return noise_maps.schedule.eta > 0 and noise_maps.steps >= steps
