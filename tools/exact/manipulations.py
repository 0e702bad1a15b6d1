"""Changed noise maps: shifts (arXiv 2304.06140, Figs. 7 and 11, App. A) and Eq. 7 (Fig. 8)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ddpm_core import statistics
from ddpm_core.noise_maps import NoiseMaps

from . import closed_forms, levels
from .edits import Make
from .mixtures import Mixture
from .oracles import Check
from .runs import ByCore, Run

WIDTH, SIGNALS, OFFSETS, STD = 64, 16, 33, 0.1
SHIFTED = {1: (0.37, 0.008), 2: (0.50, 0.044), 4: (0.68, 0.10), 8: (0.93, 0.26), 16: (1.24, 0.77)}
"""Mean squared error of native and edit-friendly maps by cells of 64, in the review; CycleDiffusion's is native's."""


def windows() -> Mixture:
    """Windows of 64 cells at every one of 33 offsets of 16 smooth signals: a picture moved is another picture."""
    rng = np.random.default_rng(0)
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    kernel /= (kernel**2).sum() ** 0.5
    signals = [np.convolve(rng.normal(size=WIDTH + OFFSETS + 7), kernel, "valid") for _ in range(SIGNALS)]
    means = np.stack([signal[start : start + WIDTH] for signal in signals for start in range(OFFSETS)])
    return Mixture(torch.from_numpy(means).view(-1, 1, 1, WIDTH), torch.full((1,), STD, dtype=torch.float64))


def shifted(make: Make = ByCore, count: int = 200, by: tuple[int, ...] = tuple(SHIFTED)) -> list[Check]:
    """E4: maps moved to the right and filled as App. A has it, against the moved picture."""
    data = windows()
    pack, prompt = make(data, levels.stable_diffusion(100)), data.prompt()
    like = torch.zeros(count, 1, 1, WIDTH, dtype=torch.float64)
    native = pack.generate(like, prompt, Run(seed=20_000))
    maps: dict[str, NoiseMaps] = {"native": native}
    maps["CycleDiffusion"] = pack.invert("CycleDiffusion", native.image, prompt)
    maps["edit friendly"] = pack.invert("edit friendly", native.image, prompt)

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


RESPONSES, MEAN = (0.1, 0.3, 1.0), 0.2  # deviations and mean of the data


def painted(make: Make = ByCore) -> list[Check]:
    """E7: what Eq. 7 at 0.05 in 0.30 to 0.80 of 100 steps adds for each unit of paint, on data N(m, s^2)."""
    std = torch.tensor(RESPONSES, dtype=torch.float64).view(1, 1, 3)
    data = Mixture(torch.full((1, 1, 1, 3), MEAN, dtype=torch.float64), std)
    abar = levels.stable_diffusion(100)
    pack, image = make(data, abar), torch.tensor([0.25, 0.0, -0.6], dtype=torch.float64).view(1, 1, 1, 3)
    maps = pack.invert("edit friendly", image, data.prompt())
    white, black = (
        pack.sample(pack.recolor(maps, torch.full_like(image, paint), 0.05, 0.30, 0.80), data.prompt()).double()
        for paint in (1.0, -1.0)
    )
    gains = ((white - black) / 2).flatten().tolist()
    checks = []
    for k, s in enumerate(RESPONSES):
        weights = closed_forms.weights_of_paint(abar.numpy(), s, 0.05, 0.30, 0.80)
        sigma2 = 1 / abar[:-1].numpy() - 1
        predicted = MEAN + s**2 / (s**2 + sigma2) * (maps.states[:-1, 0, 0, 0, k].double().numpy() - MEAN)
        painted_over = float((weights * (1 - predicted)).sum())
        checks += [
            Check(f"s {s:g}: response", gains[k], weights.sum(), 2e-4),
            Check(f"s {s:g}: change by paint of 1", (white - image).flatten()[k].item(), painted_over, 2e-4),
        ]
    return checks
