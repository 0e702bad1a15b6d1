"""Figs. 5, 6 and 12 of arXiv 2304.06140: the statistics of noise maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_core import plots, statistics, trajectories
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import generate, pure_noise
from ddpm_core.schedule import NoiseSchedule

from .results import Result, Table
from .subjects import Subjects

STEPS = 40  # of Fig. 5, as in the paper
OBTUSE = 150  # degrees; a sixth of uniform angles lies above


def gaussian_maps(rows: int, steps: int = STEPS) -> dict[str, NoiseMaps]:
    """Native and edit-friendly maps of data N((10, 10), I), whose denoiser has a closed form."""
    alphas_cumprod = torch.cat([torch.linspace(0.006, 0.999, steps), torch.ones(1)])
    schedule = NoiseSchedule.variance_preserving(alphas_cumprod)

    def posterior_mean(x: Tensor, sigma: Tensor) -> Tensor:
        a2 = 1 / (1 + sigma.view(-1, 1) ** 2)
        return 10 + a2.sqrt() * (x - a2.sqrt() * 10)

    seeds = list(range(rows))
    x_0 = 10 + trajectories.standard_normal(torch.zeros(rows, 2), seeds, 0)
    friendly = invert(posterior_mean, trajectories.edit_friendly(x_0, schedule, seeds), schedule)
    native = generate(posterior_mean, pure_noise(x_0, schedule, seeds), schedule, seeds)
    return {"native": native, "edit friendly": friendly}


def figure_5(subjects: Subjects) -> Result:
    """One path of each kind in the plane, step by step, and the angles of consecutive z of all."""
    maps = gaussian_maps(subjects.sizes.paths)
    figure = Figure(figsize=(9, 7.4), dpi=100, layout="constrained")
    paths, angles = figure.subplots(2, 2, height_ratios=(2, 1))
    for axes, (name, noise_maps) in zip(paths, maps.items(), strict=True):
        draw_path(axes, noise_maps)
        axes.set(title=f"{name}: x_T ... x_0", xlim=(-3, 13), ylim=(-3, 13), aspect="equal")
    paths[0].legend(fontsize="small", loc="upper left")
    for axes, (name, noise_maps) in zip(angles, maps.items(), strict=True):
        plots.angles(axes, {name: noise_maps})
        axes.set(title=f"{name}: angle of consecutive z", ylim=(0, 0.08))
    return Result(
        (_statistics(f"Data N((10, 10), I), {STEPS} steps, {subjects.sizes.paths} paths", maps, angles=True),), figure
    )


def draw_path(axes: Axes, noise_maps: NoiseMaps, row: int = 0) -> None:
    """The states of a path in the plane, and each step as its drift to mu_t and the noise from there."""
    states, residuals = noise_maps.states[:, row], noise_maps.residuals[:, row]
    means = states[1:] - residuals
    for start, end, color, label in (
        (states[:-1], means, "tab:blue", "drift to mu_t"),
        (means, states[1:], "tab:red", "noise sigma_t z_t"),
    ):
        arrows = (end - start).T.tolist()
        axes.quiver(
            *start.T.tolist(), *arrows, color=color, label=label, angles="xy", scale_units="xy", scale=1, width=0.004
        )
    axes.plot(*states[1:-1].T.tolist(), ".", color="tab:green", label="x_t")
    axes.plot(*states[[0, -1]].T.tolist(), "o", color="black", label="x_T and x_0")


def figure_6(subjects: Subjects) -> Result:
    """Size and correlation of z, native and edit friendly."""
    maps = {name: subjects.pictures.maps[name] for name in ("native", "edit friendly")}
    return Result((_statistics(_of_pictures(subjects), maps),), plots.size_and_correlation(maps))


def figure_12(subjects: Subjects) -> Result:
    """The same with CycleDiffusion."""
    maps = subjects.pictures.maps
    return Result((_statistics(_of_pictures(subjects), maps),), plots.size_and_correlation(maps))


def _of_pictures(subjects: Subjects) -> str:
    return f"{subjects.sizes.pictures} generated pictures, {subjects.sizes.steps} steps"


def _statistics(title: str, maps: Mapping[str, NoiseMaps], angles: bool = False) -> Table:
    columns: tuple[str, ...] = ("deviation of z", "correlation of consecutive z", "angle between them, degrees")
    rows = {}
    for name, noise_maps in maps.items():
        between = statistics.z_angles(noise_maps)
        means = (statistics.z_std(noise_maps), statistics.z_correlation(noise_maps), between)
        rows[name] = [part.mean().item() for part in means]
        if angles:
            rows[name].append((between > OBTUSE).double().mean().item())
    if angles:
        columns += (f"fraction of angles above {OBTUSE}",)
    return Table(f"{title}, means over the steps", columns, rows, (".2f", ".2f", ".0f", ".2f")[: len(columns)])
