"""Edits by another prompt of structure and appearance that a condition entangles, at the papers' settings.

A sample has one of K structures in 24 dimensions and one of two appearances in 8. The condition sets the appearance and
turns the sign of 2 of the 24. A method succeeds where the nearest mean has the target's appearance; the structure is
kept where it is that of the source, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ddpm_core import trajectories
from ddpm_core.guidance import CFGSchedule, guided
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.null_text import UncondDenoiser, null_text
from ddpm_core.sampling import sample
from ddpm_core.schedule import NoiseSchedule

from ..lab.null_text import sampled_with_embeddings
from . import closed_forms, levels
from .mixtures import Mixture
from .oracles import Check
from .runs import ByCore, Inversion, Pack, Run

STRUCTURES, PLACE, LOOK, STD = 32, 24, 8, 0.15
Make = Callable[[Mixture, Tensor], Pack]


@dataclass(frozen=True, eq=False)
class Scenes:
    """A draw of the mixture, and sources under its first condition.

    Args:
        images: (N, 1, 4, 8).
        structures: (N,) of them.
    """

    mixture: Mixture
    images: Tensor
    structures: Tensor

    @classmethod
    def draw(cls, seed: int, count: int, turned: int = 2) -> Scenes:
        """The means are those of a seed of NumPy's.

        Args:
            turned: dimensions of the structure whose sign the condition turns.
        """
        rng = np.random.default_rng(seed)
        places, looks = rng.normal(size=(STRUCTURES, PLACE)), (rng.normal(size=LOOK), rng.normal(size=LOOK))
        signs = [np.where(np.arange(PLACE) < turned, sign, 1) for sign in (1, -1)]
        means = [np.hstack([places * signs[c], np.tile(looks[c], (STRUCTURES, 1))]) for c in (0, 1)]
        structures = rng.integers(0, STRUCTURES, count)
        images = means[0][structures] + STD * rng.normal(size=(count, PLACE + LOOK))
        std = torch.full((1,), STD, dtype=torch.float64)
        mixture = Mixture(torch.from_numpy(np.vstack(means)).view(-1, 1, 4, 8), std)
        return cls(mixture, torch.from_numpy(images).view(-1, 1, 4, 8), torch.from_numpy(structures))

    @property
    def source(self) -> Tensor:
        """The prompt of the images."""
        return self.mixture.prompt(slice(STRUCTURES))

    @property
    def target(self) -> Tensor:
        """The other prompt."""
        return self.mixture.prompt(slice(STRUCTURES, None))

    def reached(self, edited: Tensor) -> Tensor:
        """(N,) how far the appearance went from the source's, 0, to the target's, 1."""
        here, there = (self.mixture.means[k].flatten()[PLACE:] for k in (0, STRUCTURES))
        way = there - here
        return (edited.flatten(1)[:, PLACE:].double() - here) @ way / (way @ way)

    def succeeded_and_kept(self, edited: Tensor, structures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N,) where the target's appearance is there, and where the source's structure is, too."""
        nearest = self.mixture.nearest(edited)
        success = nearest >= STRUCTURES
        return success, success & (nearest % STRUCTURES == (self.structures if structures is None else structures))


def by_maps(pack: Pack, scenes: Scenes, method: Inversion, source_cfg: float, target_cfg: float, skip: int) -> Tensor:
    """Inverted under the source prompt, sampled under the target's."""
    eta = 0.0 if method == "DDIM" else 1.0
    maps = pack.invert(method, scenes.images, scenes.source, Run(cfg=source_cfg, eta=eta))
    return pack.sample(maps, scenes.target, Run(cfg=target_cfg, skip=skip))


PAPER: dict[str, tuple[Inversion, float, float, int]] = {
    "edit friendly, 15, skip 36": ("edit friendly", 3.5, 15.0, 36),
    "DDIM, 9, skip 0": ("DDIM", 3.5, 9.0, 0),
    "CycleDiffusion, 4, skip 25": ("CycleDiffusion", 3.5, 4.0, 25),
}
"""Inversion, both cfgs and skip of arXiv 2304.06140, Tab. 3 and Fig. 15, of 100 steps."""
KEPT = {"edit friendly": 0.85, "DDIM": 0.485, "CycleDiffusion": 0.44, "SDEdit": 0.185}
"""The structure that five draws of the review kept, in the middle: .78 to .91, .43 to .54, .40 to .48, .18 to .19."""


def at_the_papers_settings(make: Make = ByCore, draws: int = 5, count: int = 600) -> list[Check]:
    """E3 on the settings of Tab. 3: success, structure kept, and the order of the methods."""
    kept: dict[str, list[Tensor]] = {}
    success: dict[str, list[Tensor]] = {}
    for seed in range(1, draws + 1):
        scenes = Scenes.draw(seed, count)
        pack = make(scenes.mixture, levels.stable_diffusion(100))
        edited = {name: by_maps(pack, scenes, *how) for name, how in PAPER.items()}
        if isinstance(pack, ByCore):
            noised = Run(cfg=15.0, skip=36, seed=10_000)
            edited["SDEdit, 15, skip 36"] = pack.noise_and_denoise(scenes.images, scenes.target, noised)
        for name, images in edited.items():
            succeeded, there = scenes.succeeded_and_kept(images)
            success.setdefault(name, []).append(succeeded)
            kept.setdefault(name, []).append(there)
    error = 2 / count**0.5
    checks = []
    for name, parts in kept.items():
        of_method = name.split(",")[0]
        checks.append(Check(f"{name}: success", torch.cat(success[name]).double().mean().item(), 1, 0.02))
        checks.append(Check.of_cases(f"{name}: structure kept", torch.cat(parts), KEPT[of_method], 0.05 + error))
    ours = torch.cat(kept["edit friendly, 15, skip 36"]).double()
    for name in list(kept)[1:]:
        lead = ours - torch.cat(kept[name]).double()
        expected = KEPT["edit friendly"] - KEPT[name.split(",")[0]]
        checks.append(Check.of_cases(f"edit friendly over {name}", lead, expected, 0.07 + error))
    return checks


SWEPT: dict[tuple[Inversion | Literal["SDEdit"], float, int], tuple[float, float]] = {
    ("edit friendly", 15, 36): (0.822, 1.006),
    ("edit friendly", 12, 36): (0.828, 1.006),
    ("edit friendly", 9, 36): (0.828, 1.005),
    ("edit friendly", 15, 60): (0.775, 1.001),
    ("edit friendly", 15, 80): (0.882, 1.012),
    ("DDIM", 9, 0): (0.463, 1.084),
    ("DDIM", 9, 36): (0.477, 1.002),
    ("DDIM", 9, 60): (0.713, 0.952),
    ("DDIM", 9, 80): (0.895, 0.921),
    ("CycleDiffusion", 4, 15): (0.397, 1.006),
    ("CycleDiffusion", 4, 25): (0.395, 1.005),
    ("CycleDiffusion", 3, 30): (0.397, 1.003),
    ("CycleDiffusion", 4, 60): (0.677, 0.993),
    ("CycleDiffusion", 4, 80): (0.882, 0.970),
    ("SDEdit", 15, 36): (0.185, 1.001),
    ("SDEdit", 15, 60): (0.628, 0.999),
    ("SDEdit", 15, 80): (0.888, 1.013),
}
"""Structure kept and appearance reached on draw 1, by a page of NumPy: the settings of arXiv 2304.06140, Fig. 15, three
of ours and of CycleDiffusion and one of DDIM, and longer skips."""
FIG_15 = {"edit friendly": ((15, 36), (12, 36), (9, 36)), "CycleDiffusion": ((4, 15), (4, 25), (3, 30))}
"""Strengths and skips of the paper."""


def over_settings(make: Make = ByCore, count: int = 300) -> list[Check]:
    """E3, Fig. 15: structure kept over how far the appearance went, for each method by strength and skip."""
    scenes = Scenes.draw(1, count)
    pack = make(scenes.mixture, levels.stable_diffusion(100))
    maps: dict[str, NoiseMaps] = {}
    kept: dict[tuple[str, tuple[float, int]], Tensor] = {}
    success, checks, error = [], [], 2 / count**0.5
    for (method, cfg, skip), (structure, appearance) in SWEPT.items():
        run = Run(cfg=cfg, skip=skip)
        if method == "SDEdit":
            if not isinstance(pack, ByCore):
                continue
            edited = pack.noise_and_denoise(scenes.images, scenes.target, replace(run, seed=10_000))
        else:
            if method not in maps:
                way_there = Run(cfg=3.5, eta=0.0 if method == "DDIM" else 1.0)
                maps[method] = pack.invert(method, scenes.images, scenes.source, way_there)
            edited = pack.sample(maps[method], scenes.target, run)
        succeeded, there = scenes.succeeded_and_kept(edited)
        success.append(succeeded.double().mean().item())
        kept[method, (cfg, skip)] = there.double()
        name = f"{method}, {cfg:g}, skip {skip}"
        checks.append(Check.of_cases(f"{name}: structure kept", there, structure, 0.03 + error))
        checks.append(
            Check.of_cases(f"{name}: appearance reached", scenes.reached(edited), appearance, 0.02 + error / 4)
        )
    ours, others = (torch.stack([kept[name, how] for how in FIG_15[name]]) for name in FIG_15)
    lead = ours[ours.mean(dim=1).argmin()] - others[others.mean(dim=1).argmax()]
    checks.append(
        Check.of_cases("edit friendly at its worst over CycleDiffusion at its best", lead, 0.425, 0.1 + error)
    )
    checks.append(Check("success, least of all", min(success), 1, 0.01))
    return checks


KEPT_UNGUIDED = {"edit friendly": 0.84, "DDIM": 0.57}


def without_guidance(make: Make = ByCore, count: int = 600, turned: int = 2) -> list[Check]:
    """E3 without guidance, 50 steps, no skip: Figs. 2 and 4. Native maps keep what CycleDiffusion keeps."""
    expected = {
        2: {**KEPT_UNGUIDED, "CycleDiffusion": 0.48, "SDEdit": 0.04, "native": 0.44},
        4: {"edit friendly": 0.57, "DDIM": 0.28, "CycleDiffusion": 0.25, "SDEdit": 0.03, "native": 0.25},
        0: {"edit friendly": 1.0, "DDIM": 1.0, "CycleDiffusion": 1.0, "SDEdit": 0.03, "native": 1.0},
    }[turned]
    scenes = Scenes.draw(1, count, turned)
    pack = make(scenes.mixture, levels.stable_diffusion(50))
    edited = {
        "edit friendly": by_maps(pack, scenes, "edit friendly", 1.0, 1.0, 0),
        "DDIM": by_maps(pack, scenes, "DDIM", 1.0, 1.0, 0),
        "CycleDiffusion": by_maps(pack, scenes, "CycleDiffusion", 1.0, 1.0, 0),
    }
    native = pack.generate(scenes.images, scenes.source, Run(seed=20_000))
    of_native = scenes.mixture.nearest(native.image) % STRUCTURES
    found = {name: scenes.succeeded_and_kept(images)[1] for name, images in edited.items()}
    found["native"] = scenes.succeeded_and_kept(pack.sample(native, scenes.target), of_native)[1]
    if isinstance(pack, ByCore):
        noised = pack.noise_and_denoise(scenes.images, scenes.target, Run(seed=10_000))
        found["SDEdit"] = scenes.succeeded_and_kept(noised)[1]
    error = 2.5 / count**0.5
    return [
        Check.of_cases(f"{turned} of {PLACE} turned, {name}: structure kept", kept, expected[name], error)
        for name, kept in found.items()
    ]


def two_seeds(make: Make = ByCore, count: int = 600) -> list[Check]:
    """E3, Fig. 16: the same edits with other noise differ, and keep as much structure; DDIM has one result."""
    scenes = Scenes.draw(1, count)
    pack = make(scenes.mixture, levels.stable_diffusion(50))
    checks = []
    apart_by: tuple[tuple[Inversion, float, float], ...] = (("edit friendly", 1.0, 0.13), ("DDIM", 0.0, 0.0))
    for method, eta, difference in apart_by:
        first, second = (
            pack.sample(
                pack.invert(method, scenes.images, scenes.source, Run(eta=eta, seed=seed)), scenes.target
            ).double()
            for seed in (0, 50_000)
        )
        apart = (first - second).abs().flatten(1).mean(dim=1)
        checks.append(Check.of_cases(f"{method}: mean difference of two seeds", apart, difference, 0.05 if eta else 0))
        kept, again = (scenes.succeeded_and_kept(images)[1].double() for images in (first, second))
        checks.append(Check.of_cases(f"{method}: structure kept", kept, KEPT_UNGUIDED[method], 2.5 / count**0.5))
        noise = 1.5 / count**0.5 if eta else 0
        checks.append(Check.of_cases(f"{method}: structure kept, the second over the first", again - kept, 0, noise))
    return checks


GAUSSIAN = (0.3, 1.0)  # deviations of the data of the closed forms
SKIPS, ETAS = (0, 12, 36, 60, 80), (1.0, 0.5, 0.0)


def reached(make: Make = ByCore, skips: Sequence[int] = SKIPS) -> list[Check]:
    """E6, Fig. 14: how much of the edit is reached after a skip, on data N(m_c, s^2)."""
    abar = levels.stable_diffusion(100)
    std = torch.tensor(GAUSSIAN, dtype=torch.float64).view(1, 1, 2)
    means = (
        torch.tensor([0.3, -0.4, 0.1], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 1, 2)
    )  # source, target, no
    data = Mixture(means, std, empty=2)
    pack, image = make(data, abar), torch.tensor([0.5, -0.2], dtype=torch.float64).view(1, 1, 1, 2)
    there = 15 * (means[1] - means[2]) - 3.5 * (means[0] - means[2])
    checks = []
    for eta in ETAS:
        for skip in skips:
            of_run = Run(cfg=15.0, skip=skip, eta=eta)
            edited = pack.edit(image, data.prompt(0), data.prompt(1), 3.5, of_run)
            parts = ((edited.double() - image) / there).flatten().tolist()
            for s, part in zip(GAUSSIAN, parts, strict=True):
                expected = closed_forms.reached(abar.numpy(), s, skip, eta)
                checks.append(Check(f"N(m, {s:g}^2), eta {eta:g}, skip {skip}: reached", part, expected, 1e-3))
    return checks


def structure_by_skip(make: Make = ByCore, count: int = 600) -> list[Check]:
    """E6 on E3's mixture at strength 15: less structure is kept in the middle than with no skip or a long one."""
    scenes, checks = Scenes.draw(1, count), []
    pack = make(scenes.mixture, levels.stable_diffusion(100))
    maps = pack.invert("edit friendly", scenes.images, scenes.source, Run(cfg=3.5))
    for skip, expected in ((0, 0.84), (36, 0.82), (60, 0.78), (80, 0.88)):
        kept = scenes.succeeded_and_kept(pack.sample(maps, scenes.target, Run(cfg=15.0, skip=skip)))[1]
        checks.append(Check.of_cases(f"skip {skip}: structure kept", kept, expected, 2.5 / count**0.5))
    return checks


BOTH_WAYS = {1.0: 0.049, 3.5: 0.115, 7.5: 0.291, 15.0: 0.617}
BACK_ALONE = {3.5: 0.169, 7.5: 0.233, 15.0: 0.276}
FALLING: dict[CFGSchedule, dict[float, float]] = {
    "linear": {7.5: 0.226, 15.0: 0.425},
    "cosine": {7.5: 0.227, 15.0: 0.471},
}
"""Root mean squared errors by cfg, in the review."""
WARM = 0.005
"""The same of the loop of Uni-Inv (arXiv 2504.13109), written out apart."""


def way_back_of_ddim(make: Make = ByCore, count: int = 600, cfgs: Sequence[float] = tuple(BOTH_WAYS)) -> list[Check]:
    """E8, "Diffusion Inversion Report", Sec. 4.2: how far the replay of DDIM is from the image, by guidance."""
    scenes = Scenes.draw(1, count)
    pack = make(scenes.mixture, levels.stable_diffusion(100))

    def apart(there: Run, back: Run) -> float:
        images = pack.sample(pack.invert("DDIM", scenes.images, scenes.source, there), scenes.source, back)
        return (images.double() - scenes.images).square().mean().sqrt().item()

    def check(what: str, value: float, expected: float) -> Check:
        return Check(what, value, expected, 0.01 + 0.05 * expected)

    checks = []
    for cfg in cfgs:
        back = Run(cfg=cfg, eta=0.0)
        checks.append(check(f"cfg {cfg:g} both ways", apart(back, back), BOTH_WAYS[cfg]))
        if cfg in BACK_ALONE:
            checks.append(check(f"inverted at 1, back at {cfg:g}", apart(Run(eta=0.0), back), BACK_ALONE[cfg]))
        if cfg == 1:
            warm = replace(back, warm_start=True)
            checks.append(Check("cfg 1 both ways, warm start", apart(warm, back), WARM, 0.001))
        for kind, errors in FALLING.items():
            if cfg in errors:
                both = replace(back, cfg_schedule=kind)
                checks.append(check(f"cfg {cfg:g} falling to 1, {kind}, both ways", apart(both, both), errors[cfg]))
        if cfg in FALLING["cosine"]:
            linear, cosine = (each.value for each in checks[-2:])
            ratio = FALLING["cosine"][cfg] / FALLING["linear"][cfg]
            checks.append(Check(f"cfg {cfg:g}: error by cosine over that by linear", cosine / linear, ratio, 0.05))
    return checks


def way_back_of_null_text(count: int = 60, cfg: float = 7.5) -> list[Check]:
    """E8, Sec. 4.1: null-text inversion, whose embedding is the prior of the empty prompt, beside its bound.

    The bound is an open D_0, a prediction for each step in place of an embedding's: one leads to the pivot exactly.
    """
    scenes = Scenes.draw(1, count)
    mixture, prompt = scenes.mixture, scenes.source
    pivots = ByCore(mixture, levels.stable_diffusion(50)).invert("DDIM", scenes.images, prompt, Run(eta=0.0))

    def of_prior(x: Tensor, sigma: Tensor) -> UncondDenoiser:
        cond = mixture.predict(x, sigma, prompt)
        return lambda prior: guided(mixture.predict(x, sigma, prior[:, 0]), cond, cfg)

    following = iter(range(pivots.steps))

    def of_prediction(x: Tensor, sigma: Tensor) -> Tensor:
        i = next(following)
        step, cond = pivots.schedule.step(i), mixture.predict(x, sigma, prompt)
        wanted = (pivots.states[i + 1] - step.x_weight * x) / step.denoised_weight
        return guided((wanted - cfg * cond) / (1 - cfg), cond, cfg)

    def apart(back: Tensor) -> float:
        return (back - scenes.images).square().mean().sqrt().item()

    empty = mixture.empty_prompt.expand(count, 1, -1)
    nothing_found = replace(pivots, uncond=torch.stack([empty] * pivots.steps))
    without, found = (
        apart(sampled_with_embeddings(of_prior, maps))
        for maps in (nothing_found, null_text(of_prior, pivots.states, pivots.schedule, empty))
    )
    bound = apart(sample(of_prediction, pivots))
    return [
        Check(f"cfg {cfg:g}, null-text over the empty prompt", found / without, 0, 0.9),
        Check(f"cfg {cfg:g}, an open prediction for each step", bound, 0, 1e-9),
    ]


def between_constructions(count: int = 600, parts: tuple[float, ...] = (0.0, 0.5, 0.9, 1.0)) -> list[Check]:
    """E11: noise of neighbouring states correlated by a part of what CycleDiffusion has, without guidance, 50 steps.

    0 is edit friendly, 1 is CycleDiffusion: sqrt(SNR_t / SNR_s), as the forward process correlates them.
    """
    scenes = Scenes.draw(1, count)
    schedule = levels.in_scale_of_host(levels.stable_diffusion(50))
    source, target = (scenes.mixture.denoiser(prompt) for prompt in (scenes.source, scenes.target))
    kept = []
    for part in parts:
        states = states_between(scenes.images, schedule, list(range(count)), part)
        edited = sample(target, invert(source, states, schedule))
        kept.append(scenes.succeeded_and_kept(edited)[1])
    middle = {0.0: 0.84, 0.5: 0.8, 0.9: 0.6, 1.0: 0.46}
    error = 2.5 / count**0.5
    checks = [
        Check.of_cases(f"{part:g} of the Markov correlation: structure kept", there, middle[part], error)
        for part, there in zip(parts, kept, strict=True)
    ]
    lead = kept[0].double() - kept[-1].double()
    expected = middle[parts[0]] - middle[parts[-1]]
    return [*checks, Check.of_cases(f"{parts[0]:g} over {parts[-1]:g}", lead, expected, 0.05 + 0.6 * error)]


def states_between(x_0: Tensor, schedule: NoiseSchedule, seeds: Sequence[int], part: float) -> Tensor:
    """(T+1, B, *S) whose noise is correlated by `part` of the forward process's correlation of neighbouring levels."""
    eps = trajectories.standard_normal(x_0, seeds, schedule.steps)
    states = []
    for i in range(schedule.steps):
        a, b = schedule.signal[i].item(), schedule.noise[i].item()
        if i:
            before_a, before_b = schedule.signal[i - 1].item(), schedule.noise[i - 1].item()
            correlation = part * (before_a / before_b) / (a / b)
            fresh = trajectories.standard_normal(x_0, seeds, schedule.steps - i)
            eps = correlation * eps + (1 - correlation**2) ** 0.5 * fresh
        states.append(a * x_0 + b * eps)
    return torch.stack([*states, x_0])
