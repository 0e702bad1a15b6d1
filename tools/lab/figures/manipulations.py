"""Figs. 2, 7, 8, 11 and 13 of arXiv 2304.06140: what becomes of the picture when its noise maps are changed."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_core import manipulation, statistics, trajectories
from ddpm_core.inversion import invert
from ddpm_core.sampling import generate, sample
from demo.autoencoder import FACTOR
from demo.rendering import render
from demo.scenes import COLORS, SIZE, Scene, sample_scene

from ..edits import structure_kept
from ..methods import cells_of
from ..settings import ColorEdit, LabSettings
from .results import Result, Table, mosaic
from .subjects import SHIFTS, Subjects, generate_pictures

SHIFT = 2  # cells of Figs. 2 and 13, where the paper moves by 30 of 256 pixels
WIDTH = SIZE // FACTOR
FILL_SHIFT = 4
PIXELS = tuple(by * FACTOR for by in SHIFTS)
NOISE_SHARES = {"SDEdit, little noise": 0.3, "SDEdit, much noise": 0.7}  # of the steps that SDEdit runs
METHODS = ("native", "CycleDiffusion", "edit friendly")


# --- Fig. 2 -----------------------------------------------------------------------------------------------------------


def figure_2(subjects: Subjects) -> Result:
    """A generated picture under another caption, mirrored and moved, by its native maps and by edit-friendly ones."""
    sizes, names = subjects.sizes, ("native", "edit friendly")
    seeds = sizes.seeds(sizes.captioned)
    scenes = [sample_scene(seed) for seed in seeds]
    captioned = generate_pictures(subjects.model, seeds, sizes.steps, [scene.caption for scene in scenes])
    target = subjects.model.denoiser([_changed(scene).caption for scene in scenes], LabSettings.cfg_target)
    edited = {name: captioned.decoded(sample(target, captioned.maps[name])) for name in names}

    count = min(3, sizes.captioned, sizes.pictures)
    plain = subjects.pictures.images
    rows = {
        "another caption": (captioned.images, edited["native"], edited["edit friendly"]),
        "mirrored": (plain, *(subjects.flips[name] for name in names)),
        f"moved {SHIFT} cells": (plain, *(subjects.shifts[name, SHIFT] for name in names)),
    }
    picture = mosaic(
        {name: [part[k] for k in range(count) for part in parts] for name, parts in rows.items()},
        ["generated", "native maps", "edit-friendly\nmaps"] * count,
    )
    numbers = {}
    for name in names:
        pairs = zip(edited[name].clamp(-1, 1), captioned.images, strict=True)
        structure = torch.tensor([structure_kept(*pair) for pair in pairs]).mean().item()
        numbers[name] = [structure, _flip_error(subjects, name)[0], _shift_error(subjects, name, SHIFT)[0]]
    columns = (
        f"structure under another caption ({sizes.captioned} pictures)",
        f"MSE x 1000, mirrored ({sizes.pictures} pictures)",
        f"MSE x 1000, moved {SHIFT} cells",
    )
    return Result((Table("What is kept", columns, numbers, (".2f", ".1f", ".1f")),), picture)


def _changed(scene: Scene) -> Scene:
    """The scene with another color, or, where it has none, at another time."""
    kind = "color" if "color" in scene.attributes else "time"
    return scene.edited(kind, next(value for value in scene.values[kind] if value != getattr(scene, kind)))


# --- Figs. 7, 11 and 13 -----------------------------------------------------------------------------------------------


def figure_7(subjects: Subjects) -> Result:
    """One generated picture, its maps moved by each number of cells, for each method; and the picture moved itself.

    It is the one whose native maps, moved by SHIFT cells, fare as those of most: the median of the errors.
    """
    native = statistics.shift_errors(subjects.pictures.images, subjects.shifts["native", SHIFT], SHIFT * FACTOR)
    row = int(native.argsort()[len(native) // 2])
    image = subjects.pictures.images[row]
    ideal = [torch.cat([torch.ones_like(image[..., :by]), image[..., :-by]], dim=-1) for by in PIXELS]
    rows = {"the picture, moved": [image, *ideal]}
    rows |= {name: [image, *(subjects.shifts[name, by][row] for by in SHIFTS)] for name in METHODS}
    mse = {name: [_shift_error(subjects, name, by, row)[0] for by in SHIFTS] for name in METHODS}
    table = Table("MSE x 1000 over the valid pixels of this picture", _shift_names(), mse, (".1f",))
    return Result((table,), mosaic(rows, ["generated", *_shift_names()]))


def figure_11(subjects: Subjects) -> Result:
    """MSE over the valid pixels against the shift, with one standard error each way; and the other ways to fill."""
    errors = {name: [_shift_error(subjects, name, by) for by in SHIFTS] for name in METHODS}
    figure = Figure(figsize=(7, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, values in errors.items():
        mse, sem = (torch.tensor(part) for part in zip(*values, strict=True))
        axes.plot(SHIFTS, mse, marker="o", ms=4, label=name)
        axes.fill_between(SHIFTS, mse - sem, mse + sem, alpha=0.25)
    axes.axvspan(0, 16 / 256 * WIDTH, color="gray", alpha=0.15, lw=0, label="the paper's shares of the width")
    axes.set(xlabel=f"shift in cells of {WIDTH}", ylabel="MSE x 1000 over the valid pixels", ylim=(0, None))
    axes.set(xlim=(0, SHIFTS[-1] + 0.5), title=f"shifted maps of {subjects.sizes.pictures} generated pictures")
    axes.legend(fontsize="small")
    with_sem = {
        f"{by} ({by / WIDTH:.0%} of the width)": [number for name in METHODS for number in errors[name][k]]
        for k, by in enumerate(SHIFTS)
    }
    columns = tuple(part for name in METHODS for part in (name, "+-"))
    fills = {fill: list(_fill_error(subjects, fill)) for fill in get_args(manipulation.Fill)}
    return Result(
        (
            Table("MSE x 1000 over the valid pixels, and its standard error, by cells", columns, with_sem, (".1f",)),
            Table(f"Edit friendly, {FILL_SHIFT} cells, by what fills the free columns", ("MSE", "+-"), fills, (".1f",)),
        ),
        figure,
    )


def figure_13(subjects: Subjects) -> Result:
    """Mirrored and moved maps of CycleDiffusion and of the edit-friendly inversion."""
    images, count = subjects.pictures.images, min(4, subjects.sizes.pictures)
    rows = {"generated": list(images[:count]) * 2}
    for name in METHODS[1:]:
        rows[name] = [*subjects.flips[name][:count], *subjects.shifts[name, SHIFT][:count]]
    columns = ["mirrored"] * count + [f"moved {SHIFT * FACTOR} px"] * count
    numbers = {name: [*_flip_error(subjects, name), *_shift_error(subjects, name, SHIFT)] for name in METHODS}
    table = Table("MSE x 1000, and its standard error", ("mirrored", "+-", f"moved {SHIFT}", "+-"), numbers, (".1f",))
    return Result((table,), mosaic(rows, columns))


def _shift_names() -> tuple[str, ...]:
    return tuple(f"{by} px" for by in PIXELS)


def _thousandths(errors: Tensor) -> tuple[float, float]:
    return statistics.mean_and_sem(1000 * errors)


def _shift_error(subjects: Subjects, method: str, by: int, row: int | None = None) -> tuple[float, float]:
    errors = statistics.shift_errors(subjects.pictures.images, subjects.shifts[method, by], by * FACTOR)
    return _thousandths(errors if row is None else errors[row : row + 1])


def _fill_error(subjects: Subjects, fill: manipulation.Fill) -> tuple[float, float]:
    pictures = subjects.pictures
    moved = pictures.shifted("edit friendly", FILL_SHIFT, fill)
    return _thousandths(statistics.shift_errors(pictures.images, moved, FILL_SHIFT * FACTOR))


def _flip_error(subjects: Subjects, method: str) -> tuple[float, float]:
    return _thousandths(statistics.shift_errors(subjects.pictures.images.flip(-1), subjects.flips[method], 0))


# --- Fig. 8 -----------------------------------------------------------------------------------------------------------


def figure_8(subjects: Subjects) -> Result:
    """A color painted over the object of a scene: SDEdit from little and from much noise, and Eq. 7."""
    seeds, schedule = subjects.sizes.seeds(subjects.sizes.captioned), LabSettings(steps=subjects.sizes.steps).schedule()
    scenes = [sample_scene(seed) for seed in seeds]
    drawn, colors = [render(scene) for scene in scenes], [_paint(scene) for scene in scenes]
    images = torch.from_numpy(np.stack([each.image for each in drawn]))
    masks = torch.stack([torch.from_numpy(each.masks["object"]) for each in drawn])[:, None].float()
    paints = torch.stack([torch.tensor(COLORS[color]).view(3, 1, 1) * 2 - 1 for color in colors])
    painted = torch.lerp(images, paints.expand_as(images), masks)
    autoencoder = subjects.model.autoencoder
    color, made = autoencoder.encode(painted), {}
    for name, share in NOISE_SHARES.items():
        made[name] = _sdedit(subjects, color, seeds, share)
    denoiser, edit = subjects.model.denoiser(""), ColorEdit()
    noise_maps = invert(denoiser, trajectories.edit_friendly(autoencoder.encode(images), schedule, seeds), schedule)
    changed = manipulation.recolor(noise_maps, cells_of(masks[:, 0]), color, edit.strength, edit.start, edit.end)
    made["Eq. 7"] = sample(denoiser, changed)
    results = {"painted": painted} | {name: autoencoder.decode(latents) for name, latents in made.items()}
    count = min(6, len(scenes))
    rows = {"scene": list(images[:count])} | {name: list(part[:count]) for name, part in results.items()}
    numbers = {name: _painting(images, paints, masks, part.clamp(-1, 1)) for name, part in results.items()}
    columns = ("way to the paint under the mask", "error outside it", "structure")
    return Result(
        (Table(f"{len(scenes)} scenes, {schedule.steps} steps", columns, numbers, (".2f", ".3f", ".2f")),), mosaic(rows)
    )


def _paint(scene: Scene) -> str:
    return "blue" if "yellow" in vars(scene).values() else "yellow"


def _sdedit(subjects: Subjects, painted: Tensor, seeds: list[int], share: float) -> Tensor:
    """(B, C, H, W) sampled from the painted latent, noised so far that `share` of the steps are left."""
    schedule = LabSettings(steps=subjects.sizes.steps, skip=1 - share).levels_to_run()
    start = trajectories.edit_friendly_state(painted, schedule, seeds, 0)
    return generate(subjects.model.denoiser(""), start, schedule, seeds).image


def _painting(images: Tensor, paints: Tensor, masks: Tensor, results: Tensor) -> list[float]:
    """Over the scenes, how far results went from image to paint, the mean absolute error outside, and structure."""
    before, after = ((masks * (part - paints)).abs().flatten(1).sum(dim=1) for part in (images, results))
    outside = ((1 - masks) * (results - images).abs() / 2).sum(dim=(1, 2, 3)) / (3 * (1 - masks).sum(dim=(1, 2, 3)))
    structure = torch.tensor([structure_kept(*pair) for pair in zip(results, images, strict=True)])
    return [(1 - after / before).mean().item(), outside.mean().item(), structure.mean().item()]
