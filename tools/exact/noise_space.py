"""Noise maps and latents: arXiv 2304.06140, Figs. 5, 6 and 12; arXiv 2410.23530v2, Tabs. 3 to 6, 9 and 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ddpm_core import statistics, trajectories
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.schedule import NoiseSchedule

from . import closed_forms, levels
from .mixtures import Mixture, preserving_variance
from .oracles import Check
from .runs import ByCore, Pack, Run

Make = Callable[[Mixture, Tensor], Pack]
STDS = (0.01, 0.03, 0.1, 0.3, 1.0)
OBTUSE = 150  # degrees; a sixth of uniform angles lies above


def in_the_plane(make: Make | None = None, rows: int = 2000) -> list[Check]:
    """E1, Fig. 5: data N((10, 10), I) in 40 steps, in the paper's scaling and levels, or those of `make`."""
    abar = levels.of_the_plane() if make is None else levels.stable_diffusion(40)
    ten = torch.full((1, 1, 1, 2), 10.0, dtype=torch.float64)
    data = Mixture(ten, torch.ones(1, dtype=torch.float64))
    x_0 = 10 + trajectories.standard_normal(
        ten.expand(rows, -1, -1, -1), list(range(rows)), 0, trajectories.Purpose.FILL_OF_NOISE
    )
    if make is None:
        schedule = NoiseSchedule.variance_preserving(abar)
        states = trajectories.edit_friendly(x_0, schedule, list(range(rows)))
        maps = invert(preserving_variance(data.denoiser(data.prompt())), states, schedule)
    else:
        maps = make(data, abar).invert("edit friendly", x_0, data.prompt())
    deviation, correlation = closed_forms.z_of_gaussian(abar.numpy(), 1.0)
    densities = [closed_forms.angle_density(value) for value in correlation]
    angles = statistics.z_angles(maps)
    error = 3 / rows**0.5
    measured = statistics.z_std(maps).numpy()
    of = closed_forms.coefficients(abar.numpy())
    x = (maps.states.flatten(2).double() * (abar.sqrt() / maps.schedule.signal)[:, None, None]).numpy()
    a, x_weight, denoised_weight, sigma = (
        part[:-1, None, None] for part in (of.a[:-1], of.x_weight, of.denoised_weight, of.sigma)
    )
    z = (x[1:-1] - x_weight * x[:-2] - denoised_weight * (10 + a * (x[:-2] - a * 10))) / sigma
    return [
        Check("x_t, largest error of a mean over paths", abs(x.mean(axis=1) - 10 * of.a[:, None]).max(), 0, 2 * error),
        Check("z of Eq. 5, largest error", abs(maps.z.flatten(2).numpy() - z).max(), 0, 1e-5 if make is None else 1e-3),
        Check("deviation of z, mean over steps", measured.mean(), deviation.mean(), error * deviation.mean() / 10),
        Check("deviation of z, largest error of a step", abs(measured / deviation - 1).max(), 0, error),
        Check("correlation of neighbours", statistics.z_correlation(maps).mean().item(), correlation.mean(), error / 4),
        Check(
            "angle, degrees", angles.mean().item(), np.mean([(d * share).sum() for d, share in densities]), 30 * error
        ),
        Check(
            f"share of angles above {OBTUSE}",
            (angles > OBTUSE).double().mean().item(),
            np.mean([share[d > OBTUSE].sum() for d, share in densities]),
            error / 4,
        ),
    ]


SCHEDULES: dict[str, Callable[[], Tensor]] = {
    "Stable Diffusion, 20 steps": lambda: levels.stable_diffusion(20),
    "Stable Diffusion, 50 steps": lambda: levels.stable_diffusion(50),
    "Stable Diffusion, 100 steps": lambda: levels.stable_diffusion(100),
    "ImageNet, 100 steps": lambda: levels.imagenet(100),
}


def of_a_perfect_predictor(
    make: Make = ByCore, cells: int = 32, names: Sequence[str] = tuple(SCHEDULES)
) -> list[Check]:
    """E2, Figs. 6 and 12: a model that knows the image. Size and correlation of z are then the schedule's alone."""
    checks = []
    image = torch.randn(1, 1, cells, cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = Mixture(image, torch.zeros(1, dtype=torch.float64))
    for name in names:
        if name.startswith("ImageNet") and make is not ByCore:
            continue  # a host's model brings its own levels
        pack = make(data, SCHEDULES[name]())
        v = closed_forms.coefficients(pack.abar.numpy()).v[:-1]
        size = ((2 - v) / v) ** 0.5
        correlation = -((1 - v[1:]) ** 0.5) / ((2 - v[:-1]) * (2 - v[1:])) ** 0.5
        error = 3 / cells
        for method in ("edit friendly", "CycleDiffusion"):
            maps = pack.invert(method, image, data.prompt())
            std, between = statistics.z_std(maps).numpy(), statistics.z_correlation(maps).numpy()
            ours = method == "edit friendly"
            checks += [
                Check(f"{name}, {method}: mean deviation", std.mean(), size.mean() if ours else 1, 0.3 * error),
                Check(f"{name}, {method}: largest", std.max(), size.max() if ours else 1, 4 * error),
                Check(f"{name}, {method}: correlation", between.mean(), correlation.mean() if ours else 0, error / 5),
            ]
    return checks


def latents_of_plain_pixels(make: Make = ByCore, steps: int = 100) -> list[Check]:
    """E5: pixels N(0, s^2), plain where s is small, generated by DDIM from noise and inverted again.

    Each latent is the noise that made its pixel times a number, which is its deviation.
    """
    abar = levels.stable_diffusion(steps)
    std = torch.tensor(STDS, dtype=torch.float64).view(1, 1, -1)
    data = Mixture(torch.zeros(1, *std.shape, dtype=torch.float64), std)
    pack = make(data, abar)
    native = pack.generate(data.means, data.prompt(), Run(eta=0.0))
    found = {
        count: (
            statistics.latent(pack.invert("DDIM", native.image, data.prompt(), Run(eta=0.0, true_steps=count), native))
            / statistics.latent(native)
        ).flatten()
        for count in (0, steps // 10)
    }
    checks = []
    for k, s in enumerate(STDS):
        form, repaired = (closed_forms.ddim_latent(abar.numpy(), s, count) for count in (0, steps // 10))
        checks += [
            Check(f"s {s:g}: deviation of the latent", found[0][k].item(), form.std, 1e-4),
            Check(f"s {s:g}: deviation with a tenth true", found[steps // 10][k].item(), repaired.std, 1e-4),
        ]
        if isinstance(pack, ByCore):
            share = _in_first_tenth(data, native)[k].item()
            checks.append(Check(f"s {s:g}: share of the error in the first tenth", share, form.in_first_tenth, 1e-3))
    return checks


PLAIN_AND_OTHER = (0.01, 0.3)
SHARES = {10: (0.5,), 50: (0.5,), 100: (0.25, 0.5, 0.75)}
"""Of plain pixels, by the steps."""


def triangles(make: Make = ByCore, rows: int = 100, cells: int = 400) -> list[Check]:
    """E5, Tabs. 3 and 10: the triangle of noise, image and latent of images with plain pixels and others."""
    checks = []
    for steps, shares in SHARES.items():
        for plain in shares:
            abar = levels.stable_diffusion(steps)
            plain_cells = int(plain * cells)
            std = torch.tensor(PLAIN_AND_OTHER, dtype=torch.float64).repeat_interleave(
                torch.tensor([plain_cells, cells - plain_cells])
            )
            data = Mixture(torch.zeros(1, 1, 1, cells, dtype=torch.float64), std.view(1, 1, -1))
            pack = make(data, abar)
            native = pack.generate(data.means.expand(rows, -1, -1, -1), data.prompt(), Run(eta=0.0))
            inverted = pack.invert("DDIM", native.image, data.prompt(), Run(eta=0.0))
            noise, image, latent = (
                part.double().flatten(1)
                for part in (statistics.latent(native), native.image, statistics.latent(inverted))
            )
            angles = statistics.triangle_angles(noise, image, latent)
            long_side = (noise - image).norm(dim=1)
            measured = [*angles, *((latent - other).norm(dim=1) / long_side for other in (noise, image))]
            expected = closed_forms.triangle(abar.numpy(), PLAIN_AND_OTHER, (plain, 1 - plain))
            error = 120 / (rows * cells) ** 0.5  # degrees; a pixel alone has about 40
            for what, cases, should in zip(TRIANGLE, measured, expected, strict=True):
                name = f"{steps} steps, {plain:g} plain: {what}"
                within = error if what.startswith("angle") else error / 40
                checks.append(Check.of_cases(name, cases, should, within))
    probable = statistics.most_probable_triangle(angles)
    for what, degrees, should in zip(TRIANGLE[:3], probable, expected[:3], strict=True):
        checks.append(Check(f"the same, most probable: {what}", degrees, should, 2 + 2 * error))
    return checks


TRIANGLE = ("angle at the noise", "angle at the image", "angle at the latent", "latent to noise", "latent to image")


def _in_first_tenth(data: Mixture, native: NoiseMaps) -> Tensor:
    """(pixels,) the share of the errors of all steps that the first tenth of an inversion makes."""
    true, taken = trajectories.ddim_noises(data.denoiser(data.prompt()), native)
    errors = (taken - true).abs().flatten(1).flip(0)
    return errors[: len(errors) // 10].sum(0) / errors.sum(0)
