"""Prompt-to-Prompt where the maps are known: a predictor that is one cross-attention, exact and without training.

A scene is a ground and an object that covers some of the cells; a prompt names both and the side that the object is on.
The object's map in E[x_0 | x] is the probability that it covers a cell, so D = g x + (1 - g) map @ values with
g = s^2 / (s^2 + sigma^2): softmax of queries that know the cell's likelihoods, keys that are the words' places in the
prompt, and values that are the words' appearances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ddpm_core.attention.alignment import Prompt, align
from ddpm_core.attention.cross import CrossEdit, cross_attention
from ddpm_core.guidance import guided
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import replay
from ddpm_core.zero_shot import map_distance, zero_shot

from . import levels
from .mixtures import Mixture
from .oracles import Check
from .runs import ByCore, Inversion, Run

LAYOUTS, CELLS, CHANNELS, OBJECTS, GROUNDS, STD = 8, 16, 3, 3, 3, 0.15
SIDES = 2  # even and odd layouts
NEVER = -1e4


@dataclass(frozen=True)
class Words:
    """A prompt: side, object and ground, in this order."""

    side: int
    thing: int
    ground: int

    @property
    def tokens(self) -> Prompt:
        """As the cross-attention reads it."""
        return Prompt(self.names, ((0,), (1,), (2,)), self.names, 3)

    @property
    def names(self) -> tuple[str, str, str]:
        """The words themselves."""
        return f"side{self.side}", f"object{self.thing}", f"ground{self.ground}"


SOURCE, TARGET = Words(side=0, thing=0, ground=1), Words(side=0, thing=2, ground=1)


class Scenes:
    """All scenes, as a mixture and as a cross-attention."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        covered = np.stack([rng.permutation(CELLS) < CELLS // 3 for _ in range(LAYOUTS)])
        self.covered = torch.from_numpy(covered).double()  # (layouts, cells)
        self.things, self.grounds = (torch.from_numpy(rng.normal(size=(n, CHANNELS))) for n in (OBJECTS, GROUNDS))
        over = self.covered[:, None, None, None, :]
        means = over * self.things[None, :, None, :, None] + (1 - over) * self.grounds[None, None, :, :, None]
        self.mixture = Mixture(means.reshape(-1, CHANNELS, 1, CELLS), torch.full((1,), STD, dtype=torch.float64))
        self._index = torch.arange(len(self.mixture.means)).view(LAYOUTS, OBJECTS, GROUNDS)

    def prompt(self, words: Words) -> Tensor:
        """The prior of a prompt."""
        return self.mixture.prompt(self._index[words.side :: SIDES, words.thing, words.ground].flatten())

    def draw(self, words: Words, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
        """(N, C, 1, cells) images and their layouts (N,)."""
        rng = np.random.default_rng(seed)
        layouts = torch.from_numpy(rng.integers(0, LAYOUTS // SIDES, count)) * SIDES + words.side
        noise = torch.from_numpy(rng.normal(size=(count, CHANNELS, 1, CELLS)))
        return self.mixture.means[self._index[layouts, words.thing, words.ground]] + STD * noise, layouts

    def errors(self, edited: Tensor, images: Tensor, layouts: Tensor) -> Tensor:
        """(N,) root mean squared distance to the images with the target's appearances in place of the source's."""
        there, here = (
            self.mixture.means[self._index[layouts, words.thing, words.ground]] for words in (TARGET, SOURCE)
        )
        return (edited - (images + there - here)).square().flatten(1).mean(dim=1).sqrt()

    def seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) the layout and the object of the nearest scene."""
        nearest = self.mixture.nearest(images)
        return nearest // (OBJECTS * GROUNDS), nearest // GROUNDS % OBJECTS

    def read(self, x: Tensor, sigma: float, words: Words) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, cells, 3), keys (N, 3, 3) and values (N, 3, C) of x = x_0 + sigma eps."""
        appearances = torch.stack(
            [torch.zeros(CHANNELS).double(), self.things[words.thing], self.grounds[words.ground]]
        )
        cells = x[:, :, 0].transpose(1, 2)  # (N, cells, C)
        squares = (cells[:, None] - appearances[1:, None, :]).square().sum(-1)  # (N, 2, cells)
        likelihoods = -0.5 * squares / (STD**2 + sigma**2)
        side = torch.arange(LAYOUTS) % SIDES == words.side
        logits = likelihoods[:, 0] @ self.covered.T + likelihoods[:, 1] @ (1 - self.covered).T
        layout = (logits + torch.where(side, 0.0, NEVER)).softmax(dim=1)
        object_there = layout @ self.covered
        chances = torch.stack([torch.zeros_like(object_there), object_there, 1 - object_there], dim=-1)
        eye = torch.eye(3, dtype=x.dtype).expand(len(x), 3, 3)
        return chances.clamp(min=1e-30).log(), eye, appearances.expand(len(x), 3, CHANNELS)

    def predicted(self, x: Tensor, sigma: float, attended: Tensor) -> Tensor:
        """E[x_0 | x] of what the cross-attention (N, cells, C) gives."""
        kept = STD**2 / (STD**2 + sigma**2)
        return kept * x + (1 - kept) * attended.transpose(1, 2)[:, :, None]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v."""
    return (q @ k.transpose(1, 2)).softmax(dim=-1) @ v


def plain_of(q: Tensor, k: Tensor) -> Callable[[slice, Tensor], Tensor]:
    """The attention of some of the rows to values."""
    return lambda rows, values: attend(q[rows], k[rows], values)


class Pack(Protocol):
    """The pack on the scenes and some levels."""

    def invert(self, images: Tensor, words: Words, cfg: float, method: Inversion = "edit friendly") -> NoiseMaps:
        """The maps of an inversion; of DDIM with the states of sampling back."""

    def edit(self, maps: NoiseMaps, source: Words, target: Words, share: float, cfg: float, skip: int) -> Tensor:
        """Images sampled under the target with the source's maps for a share of the steps (arXiv 2208.01626)."""


def run_of(method: Inversion, cfg: float) -> Run:
    """The settings of an inversion for Prompt-to-Prompt."""
    return Run(cfg=cfg, eta=0.0, replay_source=True) if method == "DDIM" else Run(cfg=cfg)


class WordsByCore:
    """The pack by its core."""

    def __init__(self, scenes: Scenes, abar: Tensor):
        self._scenes, self._pack = scenes, ByCore(scenes.mixture, abar)

    def invert(self, images: Tensor, words: Words, cfg: float, method: Inversion = "edit friendly") -> NoiseMaps:
        """As `Pack` has it."""
        return self._pack.invert(method, images, self._scenes.prompt(words), run_of(method, cfg))

    def edit(self, maps: NoiseMaps, source: Words, target: Words, share: float, cfg: float, skip: int) -> Tensor:
        """As `Pack` has it."""
        scenes = self._scenes
        matrix, shared, _ = align(source.tokens, target.tokens, "replace")
        edit = CrossEdit(matrix, shared, torch.ones(3, dtype=torch.float64), ((0.0, share),) * 3)
        rows = maps.states.shape[1]
        halves = [(slice(rows), slice(rows, 2 * rows))]
        empty = scenes.mixture.prompt()

        def predict(i: int, x: Tensor) -> tuple[Tensor, Tensor]:
            sigma = maps.schedule.step(i).sigma
            pairs = zip(scenes.read(maps.states[i], sigma, source), scenes.read(x, sigma, target), strict=True)
            q, k, v = (torch.cat(pair) for pair in pairs)
            weights = edit.at(i - skip, maps.full_steps, 3)
            attended = cross_attention(partial(attend, q, k), plain_of(q, k), v, halves, weights)[rows:]
            away = scenes.mixture.predict(x, torch.full((rows,), sigma, dtype=torch.float64), empty)
            return x, guided(away, scenes.predicted(x, sigma, attended), cfg)

        return replay(predict, maps, skip_steps=skip)


def with_known_maps(
    make: Callable[[Scenes, Tensor], Pack] = WordsByCore, count: int = 200, steps: int = 100
) -> list[Check]:
    """E9, Fig. 9 and Tab. 1: edits of appearance and of place, with and without the source's maps, by strength."""
    scenes = Scenes()
    source = SOURCE
    images, layouts = scenes.draw(source, count)
    pack = make(scenes, levels.stable_diffusion(steps))
    maps = pack.invert(images, source, cfg=3.5)
    sigma = maps.schedule.step(steps // 2).sigma
    at = maps.states[steps // 2].double()
    by_attention = scenes.predicted(at, sigma, attend(*scenes.read(at, sigma, source)))
    exact = scenes.mixture.denoiser(scenes.prompt(source))(at, torch.full((count,), sigma, dtype=torch.float64))
    paper = CrossEdit(torch.eye(3).double(), torch.ones(3).bool(), torch.ones(3).double(), ((0.0, 0.6),) * 3)
    open_steps = sum(paper.is_open(step, 100) for step in range(100 - 12))
    checks = [
        Check("largest error of the cross-attention", (by_attention - exact).abs().max().item(), 0, 1e-9),
        Check("steps with the source's maps at the paper's 0.6", open_steps, 60, 0),
    ]
    edited = partial(pack.edit, maps, source, skip=12 * steps // 100)
    of_place = {1.0: (1, 0.01), 0.0: (0.72, 0.1 + 1 / count**0.5)}  # expected, and within
    for cfg in (9.0, 15.0):
        for share in (1.0, 0.0):
            layout, thing = scenes.seen(edited(target=TARGET, share=share, cfg=cfg))
            name = f"appearance, strength {cfg:g}, maps for {share:g}"
            checks.append(Check.of_cases(f"{name}: success", thing == 2, 1, 0.05))
            checks.append(Check.of_cases(f"{name}: place kept", layout == layouts, *of_place[share]))
            layout, _ = scenes.seen(edited(target=Words(1, 0, 1), share=share, cfg=cfg))
            moved = layout % SIDES == 1
            checks.append(Check.of_cases(f"place, strength {cfg:g}, maps for {share:g}: moved", moved, 1 - share, 0.05))
    return checks


TAB_1: dict[str, tuple[Inversion, float, float, int]] = {
    "DDIM": ("DDIM", 9.0, 0.0, 0),
    "Prompt-to-Prompt on DDIM": ("DDIM", 9.0, 0.8, 0),
    "ours": ("edit friendly", 15.0, 0.0, 36),
    "Prompt-to-Prompt with ours": ("edit friendly", 9.0, 0.6, 12),
}
"""Inversion, strength, share of the steps with the source's maps and skip of arXiv 2304.06140, Tab. 3, of 100 steps."""


def table_1(make: Callable[[Scenes, Tensor], Pack] = WordsByCore, count: int = 200, steps: int = 100) -> list[Check]:
    """E9, Tab. 1: Prompt-to-Prompt on DDIM, whose source is sampled again beside the target, and with these maps.

    The error is the root mean squared distance to the answer.
    """
    scenes = Scenes()
    images, layouts = scenes.draw(SOURCE, count)
    pack = make(scenes, levels.stable_diffusion(steps))
    maps = {method: pack.invert(images, SOURCE, 3.5, method) for method in INVERSIONS}
    checks, errors = [], {}
    for name, (method, cfg, share, skip) in TAB_1.items():
        edited = pack.edit(maps[method], SOURCE, TARGET, share=share, cfg=cfg, skip=skip * steps // 100)
        layout, thing = scenes.seen(edited)
        place, within = {"DDIM": (0.5, 0.15), "ours": (0.9, 0.15), "Prompt-to-Prompt with ours": (1.0, 0.02)}.get(
            name, (1.0, 0.15)
        )
        errors[name] = scenes.errors(edited, images, layouts)
        checks.append(Check.of_cases(f"{name}: success", thing == TARGET.thing, 1, 0.05))
        checks.append(Check.of_cases(f"{name}: place kept", layout == layouts, place, within + 0.5 / count**0.5))
        if name != "DDIM":
            part = (errors[name].mean() / errors["DDIM"].mean()).item()
            checks.append(Check(f"{name}: error over that of DDIM", part, 0, 0.1 if within == 0.02 else 0.5))
    ours, theirs = (errors[f"Prompt-to-Prompt {how}"] for how in ("with ours", "on DDIM"))
    part = (ours.mean() / theirs.mean()).item()
    return [*checks, Check("Prompt-to-Prompt with ours: error over that on DDIM", part, 0, 0.3)]


INVERSIONS: tuple[Inversion, ...] = ("DDIM", "edit friendly")


@dataclass(frozen=True)
class HeldMaps:
    """The target's prediction and its empty one, and the gradient that leads its maps to the source's."""

    scenes: Scenes
    cfg: float
    halves: int = 2

    def gradients(self, x: Tensor, state: Tensor, sigma: Tensor) -> list[Tensor]:
        """As `zero_shot.AttentionGuidance` has it; the empty prompt has no words to hold."""
        with torch.enable_grad():
            moving = x.detach().requires_grad_(True)
            of_target, of_source = (self._maps(at, sigma, words) for at, words in ((moving, TARGET), (state, SOURCE)))
            (gradient,) = torch.autograd.grad(map_distance(of_target, of_source).sum(), moving)
        return [gradient, torch.zeros_like(gradient)]

    def predict(self, moved: Sequence[Tensor], sigma: Tensor) -> Tensor:
        """As `zero_shot.AttentionGuidance` has it."""
        mixture = self.scenes.mixture
        cond, uncond = (
            mixture.predict(x, sigma, prompt)
            for x, prompt in zip(moved, (self.scenes.prompt(TARGET), mixture.prompt()), strict=True)
        )
        return guided(uncond, cond, self.cfg)

    def _maps(self, x: Tensor, sigma: Tensor, words: Words) -> Tensor:
        q, k, _ = self.scenes.read(x, sigma[0].item(), words)
        return (q @ k.transpose(1, 2)).softmax(dim=-1)[:, None]


TAB_4: dict[Inversion, tuple[float, tuple[float, ...]]] = {"DDIM": (1.0, (0.1,)), "edit friendly": (3.5, (0.03, 0.1))}
"""Strength of the inversion and weights of arXiv 2304.06140, Tab. 4, and its weight for DDIM with our maps."""


def table_2(count: int = 100, steps: int = 50) -> list[Check]:
    """E9, Tab. 2: zero-shot editing with known maps, by DDIM and by ours, beside itself without guidance."""
    scenes = Scenes()
    images, layouts = scenes.draw(SOURCE, count)
    pack, guidance = WordsByCore(scenes, levels.stable_diffusion(steps)), HeldMaps(scenes, 7.5)
    checks = []
    for method, (cfg, weights) in TAB_4.items():
        maps = pack.invert(images, SOURCE, cfg, method)
        free = scenes.errors(zero_shot(guidance, maps, weight=0.0), images, layouts).mean()
        for weight in weights:
            edited = zero_shot(guidance, maps, weight=weight)
            name, (layout, thing) = f"{method}, weight {weight:g}", scenes.seen(edited)
            part = (scenes.errors(edited, images, layouts).mean() / free).item()
            checks.append(Check.of_cases(f"{name}: success", thing == TARGET.thing, 1, 0.05))
            checks.append(Check.of_cases(f"{name}: place kept", layout == layouts, 1, 0.4))
            checks.append(Check(f"{name}: error over that without guidance", part, 0, 0.95))
    return checks
