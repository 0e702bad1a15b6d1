"""Cross-attention guidance in the demo's own network, by the core's equations (pix2pix-zero, arXiv 2302.03027)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ddpm_core.attention import attention_maps
from ddpm_core.zero_shot import attend, map_distance
from demo.model import DemoModel
from demo.network import CrossAttention, ResBlock, denoise

from .control import Sites


class _AtCrossAttention:
    """Hands the maps of one call to `see`, cross-attention by cross-attention."""

    def __init__(self, sites: Sites, see: Callable[[CrossAttention, Tensor], None]):
        self._sites = sites
        self._see = see

    def attend(self, at: CrossAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if at not in self._sites.of_cross:
            return at.attend(q, k, v)
        maps = attention_maps(q, k, at.heads)
        self._see(at, maps)
        return attend(maps, v)

    def features(self, at: ResBlock, h: Tensor) -> Tensor:
        return h


class DemoGuidance:
    """The demo model as the core's `AttentionGuidance`.

    Args:
        model: the demo model.
        sources, targets: captions, one a row.
        cfg: of the target; at 1 there is one half.
    """

    def __init__(self, model: DemoModel, sources: list[str], targets: list[str], cfg: float):
        self._network, self._cfg, self._sites = model.network, cfg, Sites.of(model.network)
        uncond = model.encode([""]).expand(len(targets), -1, -1)
        # the contexts of reference and target, half by half
        self._pairs = [(model.encode(sources), model.encode(targets)), (uncond, uncond)][: 1 if cfg == 1 else 2]

    @property
    def halves(self) -> int:
        return len(self._pairs)

    def gradients(self, x: Tensor, state: Tensor, sigma: Tensor) -> list[Tensor]:
        return [self._gradient(*contexts, x, state, sigma) for contexts in self._pairs]

    def predict(self, moved: Sequence[Tensor], sigma: Tensor) -> Tensor:
        positive, *negative = (
            denoise(self._network, x, sigma, context) for x, (_, context) in zip(moved, self._pairs, strict=True)
        )
        return negative[0] + self._cfg * (positive - negative[0]) if negative else positive

    def _gradient(self, source: Tensor, target: Tensor, x: Tensor, state: Tensor, sigma: Tensor) -> Tensor:
        reference: dict[CrossAttention, Tensor] = {}
        self._look(reference.__setitem__, state, sigma, source)
        losses: list[Tensor] = []
        with torch.enable_grad():
            open_x = x.detach().clone().requires_grad_(True)
            self._look(lambda at, maps: losses.append(map_distance(maps, reference[at])), open_x, sigma, target)
            return torch.autograd.grad(torch.stack(losses).sum(), open_x)[0]

    def _look(self, see: Callable[[CrossAttention, Tensor], None], x: Tensor, sigma: Tensor, context: Tensor) -> None:
        denoise(partial(self._network, control=_AtCrossAttention(self._sites, see)), x, sigma, context)
