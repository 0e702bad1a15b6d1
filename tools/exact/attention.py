"""Prompt-to-Prompt where the maps are known: a predictor that is one cross-attention, exact and without training.

A scene is a ground and an object that covers some of the cells; a prompt names both and the side that the object is on.
The object's map in E[x_0 | x] is the probability that it covers a cell, so D = g x + (1 - g) map @ values with
g = s^2 / (s^2 + sigma^2): softmax of queries that know the cell's likelihoods, keys that are the words' places in the
prompt, and values that are the words' appearances.
"""

from __future__ import annotations

from collections.abc import Callable
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

from . import levels
from .mixtures import Mixture
from .oracles import Check
from .runs import ByCore, Run

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

    def invert(self, images: Tensor, words: Words, cfg: float) -> NoiseMaps:
        """Edit-friendly maps."""

    def edit(self, maps: NoiseMaps, source: Words, target: Words, share: float, cfg: float, skip: int) -> Tensor:
        """Images sampled under the target with the source's maps for a share of the steps (arXiv 2208.01626)."""


class WordsByCore:
    """The pack by its core."""

    def __init__(self, scenes: Scenes, abar: Tensor):
        self._scenes, self._pack = scenes, ByCore(scenes.mixture, abar)

    def invert(self, images: Tensor, words: Words, cfg: float) -> NoiseMaps:
        """As `Pack` has it."""
        return self._pack.invert("edit friendly", images, self._scenes.prompt(words), Run(cfg=cfg))

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
    source = Words(side=0, thing=0, ground=1)
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
            layout, thing = scenes.seen(edited(target=Words(0, 2, 1), share=share, cfg=cfg))
            name = f"appearance, strength {cfg:g}, maps for {share:g}"
            checks.append(Check.of_cases(f"{name}: success", thing == 2, 1, 0.05))
            checks.append(Check.of_cases(f"{name}: place kept", layout == layouts, *of_place[share]))
            layout, _ = scenes.seen(edited(target=Words(1, 0, 1), share=share, cfg=cfg))
            moved = layout % SIDES == 1
            checks.append(Check.of_cases(f"place, strength {cfg:g}, maps for {share:g}: moved", moved, 1 - share, 0.05))
    return checks
