"""Figures and tables of arXiv 2410.23530v2, "There and Back Again": noise, picture and the latent of DDIM inversion.

Pictures are generated with eta 0, where the starting noise alone makes them and can be found again, and inverted by
textbook DDIM without guidance.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ddpm_core import statistics, trajectories
from ddpm_core.manipulation import slerp
from ddpm_core.measures import as_saved, ssim
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import generate, sample
from demo.scenes import Scene, sample_scene

from ..classifier import HEADS
from ..methods import generated
from ..settings import LabSettings
from .results import Result, Table, mosaic
from .subjects import Subjects, inverted_from

FIRST = (1, 2, 4)  # steps whose predictions are replaced: a tenth of 20 is 2
WEIGHTS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
PAIRS, SERIES = 24, 2  # interpolated half way, and at all weights
SHOWN = 8
EDITED = 48  # pictures made again under another caption
REPLAYED = 24  # pictures that are sampled back from their latents
TRUE, NOISED = "true predictions", "noised steps"


def latents(subjects: Subjects) -> Result:
    """How the latents differ from the noise: Figs. 2 and 9 and Tabs. 2 to 5 and 8 of the paper."""
    native, found = subjects.latents, subjects.inverted()
    noise, latent, images = statistics.latent(native), statistics.latent(found), native.image
    plain = statistics.plain_mask(statistics.unit_range(images))
    numbers = {"noise": _of(native, native), "latent": _of(found, native)}
    numbers["picture"] = [statistics.top_patch_correlation(images), images.var().item(), *[float("nan")] * 5]
    triangles = statistics.triangle_angles(noise, images, latent)
    angles = {
        "mean": triangles.mean(dim=1).tolist(),
        "most probable": statistics.most_probable_triangle(triangles),
    }
    assigned = {
        "noise": [statistics.fraction_assigned(images, noise), statistics.fraction_assigned(noise, images)],
        "latent": [statistics.fraction_assigned(images, latent), statistics.fraction_assigned(latent, images)],
    }
    rows = {
        "picture": subjects.model.autoencoder.decode(images[:SHOWN]),
        "plain cells": plain[:SHOWN, None].expand(-1, 3, -1, -1) * 2.0 - 1,
        "noise / 3": _colors(noise),
        "latent / 3": _colors(latent),
        "difference / 3": _colors(latent - noise),
    }
    sizes = f"{subjects.sizes.latents} pictures, {subjects.sizes.latent_steps} steps"
    columns = (
        "top patch correlation",
        "variance",
        "KL to N(0, 1)",
        "deviation, plain",
        "other",
        "error, plain",
        "error, other",
    )
    return Result(
        (
            Table(f"{sizes}; errors are those of the noise", columns, numbers),
            Table("Degrees of the triangle", ("at the noise", "at the picture", "at the latent"), angles, (".0f",)),
            Table(
                f"Share whose nearest of {subjects.sizes.latents} is its own",
                ("of pictures", "of noises or latents"),
                assigned,
                (".2f",),
            ),
        ),
        mosaic({name: list(part[:SHOWN]) for name, part in rows.items()}),
    )


def _colors(noise: Tensor) -> Tensor:
    """The first of (B, C, H, W), at a third of their size and by their first three channels."""
    return noise[:SHOWN, :3] / 3


def _of(noise_maps: NoiseMaps, native: NoiseMaps) -> list[float]:
    latent = statistics.latent(noise_maps)
    return [
        statistics.top_patch_correlation(latent),
        latent.var().item(),
        statistics.kl_to_standard_normal(latent).mean().item(),
        *statistics.plain_and_other_std(noise_maps),
        *statistics.plain_and_other_error(noise_maps, native),
    ]


def steps(subjects: Subjects) -> Result:
    """The error of each step of the inversion alone: Fig. 4 and Tab. 6 of the paper."""
    native = subjects.latents
    true, taken = trajectories.ddim_noises(subjects.model.denoiser(""), native)
    errors = dict(zip(("plain", "other"), statistics.step_errors(true, taken, native.image), strict=True))
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, values in errors.items():
        axes.plot(range(1, len(values) + 1), values.flip(0), marker=".", label=f"{name} areas")
    axes.set(xlabel="step of the inversion, 1 is the first", ylabel="error of the prediction / its size", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"{len(native.image)} pictures, {native.steps} steps")
    axes.legend()
    tenth = max(1, round(native.steps / 10))
    numbers = {
        f"{name} areas": [values[-tenth:].sum().item(), values[:-tenth].sum().item(), values.sum().item()]
        for name, values in errors.items()
    }
    columns = (f"first {tenth} steps", f"other {native.steps - tenth}", "all")
    return Result((Table("Sum of the errors over the steps (Eq. 17)", columns, numbers),), figure)


def replaced(subjects: Subjects) -> Result:
    """The first steps of the inversion by their true predictions, and by noising the picture: Tab. 9 of the paper."""
    native, sizes = subjects.latents, subjects.sizes
    runs = {"textbook": subjects.inverted()}
    runs |= {f"{n} {TRUE}": subjects.inverted(true=n) for n in FIRST}
    runs |= {f"{n} {NOISED}": subjects.inverted(noised=n) for n in FIRST}
    runs["the noise itself"] = native
    numbers = {name: _replaced(subjects, found) for name, found in runs.items()}
    shown = {"picture": subjects.model.autoencoder.decode(native.image[:SHOWN])}
    shown |= {
        name: _colors(statistics.latent(runs[name]))
        for name in ("the noise itself", "textbook", f"2 {TRUE}", f"2 {NOISED}")
    }
    columns = (
        "top patch correlation",
        "error of the latent back",
        "error of the noise",
        "KL to N(0, 1)",
        "deviation, plain",
        "other",
        "degrees at the picture",
    )
    forms = (".3f", ".4f", ".3f", ".4f", ".2f", ".2f", ".0f")
    return Result(
        (Table(f"{sizes.latents} pictures, {sizes.latent_steps} steps", columns, numbers, forms),),
        mosaic({name: list(part[:SHOWN]) for name, part in shown.items()}),
    )


def _replaced(subjects: Subjects, found: NoiseMaps) -> list[float]:
    native = subjects.latents
    latent, noise = statistics.latent(found), statistics.latent(native)
    few = NoiseMaps(found.schedule, found.states[:, :REPLAYED], found.residuals[:, :REPLAYED])
    back = sample(subjects.model.denoiser(""), few)
    return [
        statistics.top_patch_correlation(latent),
        (back - few.image).abs().mean().item(),
        (latent - noise).abs().mean().item(),
        statistics.kl_to_standard_normal(latent).mean().item(),
        *statistics.plain_and_other_std(found),
        statistics.angles_to_noise(found, native)[1],
    ]


def interpolation(subjects: Subjects) -> Result:
    """Pictures between two others, from their noises and from their latents: Sec. 4.1 and Tab. 12 of the paper."""
    tenth = max(1, round(subjects.sizes.latent_steps / 10))
    starts = {
        "noise": subjects.latents.states[0],
        "latent": subjects.inverted().states[0],
        f"latent, {tenth} {TRUE}": subjects.inverted(true=tenth).states[0],
    }
    pairs = min(PAIRS, len(subjects.latents.image) // 2)
    shown = min(SERIES, pairs)
    series = {name: [_between(subjects, start, weight, shown) for weight in WEIGHTS] for name, start in starts.items()}
    rows = {f"{name}, pair {k + 1}": [part[k] for part in series[name]] for k in range(shown) for name in starts}
    ends = subjects.model.autoencoder.decode(subjects.latents.image[: 2 * pairs]).clamp(-1, 1)
    numbers = {"the pictures themselves": _look(ends)}
    numbers |= {f"half way, {name}": _look(_between(subjects, start, 0.5, pairs)) for name, start in starts.items()}
    columns = ("diversity", "fraction of plain pixels", "mean gradient")
    table = Table(f"{2 * pairs} pictures, and {pairs} half way between two", columns, numbers)
    return Result((table,), mosaic(rows, [f"{weight:g}" for weight in WEIGHTS]))


def edited(subjects: Subjects) -> Result:
    """Pictures under one caption, made again under another from their noise and from their latents: Sec. 4.2, Figs. 6
    and 7, Tabs. 7 and 13 of the paper."""
    model, count, steps = subjects.model, min(EDITED, subjects.sizes.latents), subjects.sizes.latent_steps
    scenes = [sample_scene(seed) for seed in subjects.sizes.seeds(2 * count)]
    sources, targets = scenes[:count], scenes[count:]
    captions, wanted = ([scene.caption for scene in part] for part in (sources, targets))
    seeds, schedule = [scene.seed for scene in sources], LabSettings(steps=steps, eta=0.0).schedule()
    native, tenth = generated(model, captions, seeds, schedule), max(1, round(steps / 10))
    denoiser = model.denoiser(captions)
    starts = {
        "noise": native,
        "latent": inverted_from(native, denoiser),
        f"latent, {tenth} {TRUE}": inverted_from(native, denoiser, true=tenth),
        f"latent, {tenth} {NOISED}": inverted_from(native, denoiser, noised=tenth),
    }
    lead = model.denoiser(wanted, LabSettings.cfg_target)
    made = {name: generate(lead, maps.states[0], schedule, seeds).image for name, maps in starts.items()}
    before = model.autoencoder.decode(native.image).clamp(-1, 1)
    plain = statistics.plain_mask(statistics.unit_range(native.image))
    numbers, pictures = {}, {"picture": before}
    for name, latents in made.items():
        after = pictures[name] = model.autoencoder.decode(latents).clamp(-1, 1)
        moved = (latents - native.image).abs().mean(dim=1)
        pairs = zip(*(as_saved((part.movedim(1, -1) + 1) / 2) for part in (before, after)), strict=True)
        numbers[name] = [
            (after - before).abs().mean().item() / 2,
            sum(ssim(*pair) for pair in pairs) / count,
            moved[plain].mean().item(),
            moved[~plain].mean().item(),
            _read_as(subjects, after, targets, sources),
            _read_as(subjects, after, sources, targets),
        ]
    columns = ("difference", "SSIM", "of plain cells", "of others", "reads as asked", "as before")
    shown = {name: list(part[:SHOWN]) for name, part in pictures.items()}
    title = f"{count} pictures under other captions, {steps} steps"
    forms = (".3f", ".3f", ".2f", ".2f", ".2f", ".2f")
    return Result((Table(title, columns, numbers, forms),), mosaic(shown))


def _read_as(subjects: Subjects, images: Tensor, scenes: list[Scene], others: list[Scene]) -> float:
    """The share of attributes of scenes that images (B, 3, 128, 128) read as, of those that the others have not."""
    read = {name: subjects.classifier.read(images, name) for name in HEADS}
    hits = [
        read[name][k] == getattr(scene, name)
        for k, (scene, other) in enumerate(zip(scenes, others, strict=True))
        for name in scene.attributes
        if name in HEADS and getattr(scene, name) != getattr(other, name, None)
    ]
    return sum(hits) / len(hits)


def _between(subjects: Subjects, starts: Tensor, weight: float, pairs: int) -> Tensor:
    """(pairs, 3, 128, 128) sampled with eta 0 between rows 2k and 2k + 1 of states (B, C, 16, 16)."""
    start = slerp(starts[0 : 2 * pairs : 2], starts[1 : 2 * pairs : 2], weight)
    latents = generate(subjects.model.denoiser(""), start, subjects.latents.schedule, [0] * pairs).image
    return subjects.model.autoencoder.decode(latents).clamp(-1, 1)


def _look(images: Tensor) -> list[float]:
    """How much images (B, 3, H, W) differ, how much of them is plain, and their mean difference of neighbours."""
    units = (images + 1) / 2
    steps_down, steps_across = units.diff(dim=-2).abs().mean(), units.diff(dim=-1).abs().mean()
    plain = statistics.plain_mask(units).float().mean().item()
    return [statistics.diversity(images), plain, ((steps_down + steps_across) / 2).item()]
