"""The trade-off of CLIP and LPIPS over the settings of a method (Fig. 15 of arXiv 2304.06140), and its choice (D.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .intervals import Mean
from .protocols import BY_NAME, Metric
from .scores import Scores

# The paper's own choice first, then what stands in for it without those weights.
_CLIP, _LPIPS = ("ef-paper.clip", "pie-bench.clip_whole"), ("ef-paper.lpips", "whole.lpips")


@dataclass(frozen=True)
class Point:
    """A setting of a method: CLIP of edit and target prompt, LPIPS to the source."""

    setting: str
    clip: Mean
    lpips: Mean


@dataclass(frozen=True)
class Tradeoff:
    """The settings of each method, from the nearest to the source on; methods are those whose names agree up to a
    comma."""

    clip: Metric
    lpips: Metric
    methods: Mapping[str, list[Point]]

    @classmethod
    def of(cls, scores: Mapping[str, Scores]) -> Tradeoff | None:
        """That of all methods; None without weights of both networks."""
        measured = {name for name in (*_CLIP, *_LPIPS) if any(own.mean(BY_NAME[name]).count for own in scores.values())}
        clip, lpips = (next((BY_NAME[name] for name in names if name in measured), None) for names in (_CLIP, _LPIPS))
        if clip is None or lpips is None:
            return None
        methods: dict[str, list[Point]] = {}
        for name, own in scores.items():
            method, _, setting = name.partition(", ")
            point = Point(setting, own.mean(clip), own.mean(lpips))
            if point.lpips.count and point.clip.count:
                methods.setdefault(method, []).append(point)
        return cls(clip, lpips, {name: sorted(own, key=lambda p: p.lpips.mean) for name, own in methods.items()})

    def best(self, method: str, bound: float) -> Point | None:
        """The setting of the highest CLIP among those whose LPIPS does not exceed a bound; None if all exceed it."""
        within = [point for point in self.methods[method] if point.lpips.mean <= bound]
        return max(within, key=lambda point: point.clip.mean, default=None)
