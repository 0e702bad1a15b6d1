"""Changed noise maps: shifts and flips (arXiv 2304.06140, Figs. 2, 7, 11 and 13, App. A) and Eq. 7 (Fig. 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpm_core import statistics
from ddpm_core.noise_maps import NoiseMaps

from . import closed_forms, levels
from .edits import Make
from .mixtures import Mixture
from .oracles import Check
from .runs import ByCore, Inversion, Pack, Run

WIDTH, SIGNALS, OFFSETS, STD = 64, 16, 33, 0.1
SHIFTED = {1: (0.37, 0.008), 2: (0.50, 0.044), 4: (0.68, 0.10), 8: (0.93, 0.26), 16: (1.24, 0.77)}
"""Mean squared error of native and edit-friendly maps by cells of 64, in the review; CycleDiffusion's is native's."""


def windows() -> Mixture:
    """Windows of 64 cells at every one of 33 offsets of 16 smooth signals: a picture moved is another picture."""
    return _of_means([signal[start : start + WIDTH] for signal in _signals(OFFSETS) for start in range(OFFSETS)])


def rings() -> Mixture:
    """The first 64 cells of the signals as rings, turned by each number of cells: a ring turned is as probable."""
    return _of_means([np.roll(signal[:WIDTH], by) for signal in _signals(OFFSETS) for by in range(WIDTH)])


def mirrored_windows() -> Mixture:
    """The windows, then each mirrored."""
    means = windows().means
    return Mixture(torch.cat([means, means.flip(-1)]), windows().std)


def _signals(offsets: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    kernel /= (kernel**2).sum() ** 0.5
    return [np.convolve(rng.normal(size=WIDTH + offsets + 7), kernel, "valid") for _ in range(SIGNALS)]


def _of_means(means: Sequence[NDArray[np.float64]]) -> Mixture:
    stacked = torch.from_numpy(np.stack(means)).view(-1, 1, 1, WIDTH)
    return Mixture(stacked, torch.full((1,), STD, dtype=torch.float64))


def shifted(make: Make = ByCore, count: int = 200, by: tuple[int, ...] = tuple(SHIFTED)) -> list[Check]:
    """E4: maps moved to the right and filled as App. A has it, against the moved picture."""
    data = windows()
    pack, prompt = make(data, levels.stable_diffusion(100)), data.prompt()
    maps = generated_and_inverted(pack, prompt, count)
    native = maps["native"]

    def errors(name: str, cells: int) -> Tensor:
        moved = pack.sample(pack.shift(maps[name], cells), prompt)
        return 4 * statistics.shift_errors(native.image, moved.to(native.image), cells)  # of the data's own scale

    away = (native.image - data.means[data.nearest(native.image)].to(native.image)).square().mean().sqrt().item()
    generated = closed_forms.generated(pack.abar.numpy(), STD)
    checks = [Check("deviation of generated signals from their means", away, generated, 0.002 + 0.01 / count**0.5)]
    for name, of_method in maps.items():
        back = (pack.sample(of_method, prompt) - native.image).abs().max().item()
        checks.append(Check(f"not moved, largest error, {name}", back, 0, 1e-5))
    for cells in by:
        of_native, of_ours = SHIFTED[cells]
        found = {name: errors(name, cells) for name in maps}
        noise = 2 / count**0.5
        for name, values in found.items():
            expected = of_ours if name == "edit friendly" else of_native
            checks.append(Check.of_cases(f"by {cells}, {name}", values, expected, 0.01 + (2 * noise + 0.2) * expected))
        gap = found["CycleDiffusion"] - found["native"]
        checks.append(Check.of_cases(f"by {cells}, CycleDiffusion - native", gap, 0, 2 * noise * of_native))
    return checks


def generated_and_inverted(pack: Pack, prompt: Tensor, count: int) -> dict[str, NoiseMaps]:
    """The native maps of signals, and the maps of their inversions."""
    native = pack.generate(torch.zeros(count, 1, 1, WIDTH, dtype=torch.float64), prompt, Run(seed=20_000))
    maps = {"native": native}
    for method in STOCHASTIC:
        maps[method] = pack.invert(method, native.image, prompt)
    return maps


STOCHASTIC: tuple[Inversion, ...] = ("CycleDiffusion", "edit friendly")


def turned(make: Make = ByCore, count: int = 30, by: tuple[int, ...] = (1, 8, 32)) -> list[Check]:
    """E4 on rings, with the cells that leave on one side filled in on the other: all maps turn the picture exactly."""
    data = rings()
    pack, prompt = make(data, levels.stable_diffusion(50)), data.prompt()
    within = 1e-9 if isinstance(pack, ByCore) else 1e-3
    checks = []
    for name, maps in generated_and_inverted(pack, prompt, count).items():
        for cells in by:
            error = pack.sample(pack.shift(maps, cells, "wrap"), prompt) - maps.image.roll(cells, -1)
            checks.append(Check(f"turned by {cells}, {name}: largest error", error.abs().max().item(), 0, within))
    return checks


MIRRORED = {
    1.0: {"native": 0.0, "CycleDiffusion": 0.0, "edit friendly": 0.0},
    0.1: {"native": 1.116, "CycleDiffusion": 1.110, "edit friendly": 0.044},
    0.01: {"native": 1.330, "CycleDiffusion": 1.330, "edit friendly": 0.620},
}
"""Mean squared error by how probable a mirrored window is beside its own, by a page of NumPy."""


def mirrored(make: Make = ByCore, count: int = 100) -> list[Check]:
    """E4, Figs. 2 and 13: maps mirrored, where mirrored signals are as probable as others, or rarer."""
    data, checks = mirrored_windows(), []
    pack = make(data, levels.stable_diffusion(100))
    half = len(data.means) // 2
    for rarity, of_method in MIRRORED.items():
        prompt = data.prompt()
        prompt[half:] = math.log(rarity)
        for name, maps in generated_and_inverted(pack, prompt, count).items():
            errors = (pack.sample(pack.flip(maps), prompt) - maps.image.flip(-1)).square().flatten(1).mean(dim=1)
            # a lost picture has an error of 2 or so and a kept one none, so few lost ones make a mean uncertain
            within = 1e-6 if rarity == 1 else 0.02 + 4 * (2 * of_method[name] / count) ** 0.5
            what = f"mirrored as probable by {rarity:g}, {name}"
            checks.append(Check.of_cases(what, errors, of_method[name], within))
    return checks


RESPONSES, MEAN = (0.1, 0.3, 1.0), 0.2  # deviations and mean of the data
WINDOW = (0.30, 0.80)
SKIPS = (20, 40, 60, 80)  # of SDEdit


def painted(make: Make = ByCore) -> list[Check]:
    """E7: what Eq. 7 at 0.05 in 0.30 to 0.80 of 100 steps gives for each unit of paint and keeps of an image's detail.

    Beside it SDEdit from a painted image, which gives and keeps one share. On data N(m, s^2).
    """
    std = torch.tensor(RESPONSES, dtype=torch.float64).view(1, 1, 3)
    data = Mixture(torch.full((1, 1, 1, 3), MEAN, dtype=torch.float64), std)
    abar = levels.stable_diffusion(100)
    pack, image = make(data, abar), torch.tensor([0.25, 0.0, -0.6], dtype=torch.float64).view(1, 1, 1, 3)
    maps = pack.invert("edit friendly", image, data.prompt())

    def by_eq_7(maps: NoiseMaps, paint: float) -> Tensor:
        painted = pack.recolor(maps, torch.full_like(image, paint), 0.05, *WINDOW)
        return pack.sample(painted, data.prompt()).double().flatten()

    white, black = by_eq_7(maps, 1.0), by_eq_7(maps, -1.0)
    detailed = by_eq_7(pack.invert("edit friendly", image + 1, data.prompt()), 1.0)
    checks = []
    for k, s in enumerate(RESPONSES):
        weights = closed_forms.weights_of_paint(abar.numpy(), s, 0.05, *WINDOW)
        sigma2 = 1 / abar[:-1].numpy() - 1
        predicted = MEAN + s**2 / (s**2 + sigma2) * (maps.states[:-1, 0, 0, 0, k].double().numpy() - MEAN)
        given, kept = (white - black)[k].item() / 2, (detailed - white)[k].item()
        painted_over = float((weights * (1 - predicted)).sum())
        checks += [
            Check(f"s {s:g}: response", given, weights.sum(), 2e-4),
            Check(f"s {s:g}: detail kept", kept, 1 - (weights * s**2 / (s**2 + sigma2)).sum(), 2e-4),
            Check(f"s {s:g}: change by paint of 1", white[k].item() - image.flatten()[k].item(), painted_over, 2e-4),
        ]
        for skip in SKIPS:
            if not isinstance(pack, ByCore):
                break
            low, high = (pack.noise_and_denoise(image + by, data.prompt(), Run(skip=skip)) for by in (0, 1))
            share = 1 - closed_forms.reached(abar.numpy(), s, skip)
            there = (high - low).flatten()[k].item()
            checks.append(Check(f"s {s:g}, SDEdit, skip {skip}: response, and detail kept", there, share, 2e-4))
    return checks
