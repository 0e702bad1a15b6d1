"""A canvas of layers for scenes drawn by code: shapes by their distance, noise, light, shadow and fog.

Coordinates are in units of the picture's side, x to the right and y down. What is painted is matter: its own color,
how much direct light it gets, what it emits and how far away it is. `Canvas.lit` makes the picture of it, so time and
weather change the light and the air, and no shape. Edges are antialiased by the share of a pixel that a shape covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray
Color = Sequence[float] | Array
ALBEDO, SHADE, DEPTH, EMITTED, MASKS = slice(0, 3), 3, 4, slice(5, 8), 8


@dataclass(frozen=True)
class Patch:
    """The part of a canvas that a shape can touch: its rows and columns, and x (1, w) and y (h, 1) of their centres."""

    rows: slice
    columns: slice
    x: Array
    y: Array

    def of(self, plane: Array) -> Array:
        """This part of a plane (..., H, W)."""
        return plane[..., self.rows, self.columns]


@dataclass(frozen=True)
class Shape:
    """A region: its bounds x0, y0, x1, y1, and the signed distance to its edge, negative inside, of x and y."""

    bounds: tuple[float, float, float, float]
    distance: Callable[[Array, Array], Array]

    def __or__(self, other: Shape) -> Shape:
        a, b = self.bounds, other.bounds
        bounds = min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
        return Shape(bounds, lambda x, y: np.minimum(self.distance(x, y), other.distance(x, y)))

    def __and__(self, other: Shape) -> Shape:
        a, b = self.bounds, other.bounds
        bounds = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
        return Shape(bounds, lambda x, y: np.maximum(self.distance(x, y), other.distance(x, y)))

    def __sub__(self, other: Shape) -> Shape:
        return Shape(self.bounds, lambda x, y: np.maximum(self.distance(x, y), -other.distance(x, y)))

    def mirrored(self, level: float, ripple: float = 0.0) -> Shape:
        """Upside down below y = level, in water whose waves displace it by `ripple`."""
        x0, y0, x1, y1 = self.bounds

        def distance(x: Array, y: Array) -> Array:
            return self.distance(x + ripple * np.sin((y - level) * 260 + x * 9), 2 * level - y)

        return Shape((x0 - ripple, 2 * level - y1, x1 + ripple, 2 * level - y0), distance)


def circle(x: float, y: float, radius: float) -> Shape:
    """A disc."""
    return ellipse(x, y, radius, radius)


def ellipse(x: float, y: float, rx: float, ry: float) -> Shape:
    """An ellipse with its axes along x and y; the distance is right near the edge."""

    def distance(px: Array, py: Array) -> Array:
        return (np.sqrt(((px - x) / rx) ** 2 + ((py - y) / ry) ** 2) - 1) * min(rx, ry)

    return Shape((x - rx, y - ry, x + rx, y + ry), distance)


def convex(*points: tuple[float, float]) -> Shape:
    """A convex polygon of points in order."""
    p = np.array(points, np.float32)
    edges = np.roll(p, -1, axis=0) - p
    area = (p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1]).sum()
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) * np.sign(area)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    offsets = (normals * p).sum(axis=1)

    def distance(x: Array, y: Array) -> Array:
        out = normals[0, 0] * x + normals[0, 1] * y - offsets[0]
        for (nx, ny), offset in zip(normals[1:], offsets[1:], strict=True):
            np.maximum(out, nx * x + ny * y - offset, out=out)
        return out

    return Shape((*p.min(axis=0).tolist(), *p.max(axis=0).tolist()), distance)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Shape:
    """A rectangle with its corners rounded."""
    cx, cy, hx, hy = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 - radius, (y1 - y0) / 2 - radius

    def distance(x: Array, y: Array) -> Array:
        dx, dy = abs(x - cx) - hx, abs(y - cy) - hy
        if not radius:
            return np.maximum(dx, dy)
        outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
        return outside + np.minimum(np.maximum(dx, dy), 0) - radius

    return Shape((x0, y0, x1, y1), distance)


def stroke(x0: float, y0: float, x1: float, y1: float, width: float, end: float | None = None) -> Shape:
    """A line with round ends, `width` across at its start and `end` at its end."""
    r0, r1 = width / 2, (width if end is None else end) / 2
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy + 1e-12
    r = max(r0, r1)

    def distance(x: Array, y: Array) -> Array:
        t = clip(((x - x0) * dx + (y - y0) * dy) / length, 0.0, 1.0)
        return np.sqrt((x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2) - (r0 + (r1 - r0) * t)

    return Shape((min(x0, x1) - r, min(y0, y1) - r, max(x0, x1) + r, max(y0, y1) + r), distance)


def blob(circles: Array) -> Shape:
    """The union of circles (N, 3) of x, y and radius."""
    x, y, r = (circles[:, i, None, None].astype(np.float32) for i in range(3))
    bounds = float((x - r).min()), float((y - r).min()), float((x + r).max()), float((y + r).max())
    return Shape(bounds, lambda px, py: (np.sqrt((px - x) ** 2 + (py - y) ** 2) - r).min(axis=0))


def between(top: Callable[[Array], Array], bottom: Callable[[Array], Array], x0: float, x1: float) -> Shape:
    """What lies below top(x) and above bottom(x), from x0 to x1; functions of x (1, w)."""
    xs = np.linspace(x0, x1, 64, dtype=np.float32)
    bounds = x0, float(top(xs).min()), x1, float(bottom(xs).max())
    return Shape(bounds, lambda x, y: np.maximum(np.maximum(top(x) - y, y - bottom(x)), np.maximum(x0 - x, x - x1)))


def turned(x: float, y0: float, y1: float, radius: Callable[[Array], Array], widest: float) -> Shape:
    """A solid of revolution about a vertical axis from y0 down to y1; radius is a function of 0 to 1 from the top."""

    def distance(px: Array, py: Array) -> Array:
        t = (py - y0) / (y1 - y0)
        r, step = radius(np.clip(t, 0, 1)), 0.01
        slope = (radius(np.clip(t + step, 0, 1)) - radius(np.clip(t - step, 0, 1))) / (2 * step * (y1 - y0))
        return np.maximum((abs(px - x) - r) / np.sqrt(1 + slope**2), np.maximum(y0 - py, py - y1))

    return Shape((x - widest, y0, x + widest, y1), distance)


def smooth(low: float, high: float, value: Any) -> Any:
    """0 below low, 1 above high, and a smooth step between."""
    t = clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def clip(value: Any, low: float, high: float) -> Any:
    """`np.clip`, which costs several times as much on few pixels."""
    return np.minimum(np.maximum(value, low), high)


def mixed(a: Color, b: Color, share: float | Array) -> Array:
    """Color a with a share of b: (3,), or (3, ...) where the share (...) varies."""
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if isinstance(share, np.ndarray) and share.ndim:
        first, second = (c.reshape(3, *[1] * share.ndim) if c.ndim == 1 else c for c in (first, second))
    return first + (second - first) * share


@lru_cache(maxsize=64)
def _weights(size: int, nodes: int) -> Array:
    return _interpolation(np.linspace(0, 1, size, dtype=np.float32), nodes)


def _interpolation(at: Array, nodes: int) -> Array:
    """(N, nodes): smooth interpolation between values at even places of 0 to 1."""
    place = np.clip(at, 0, 1) * (nodes - 1)
    low = np.minimum(place.astype(np.int64), nodes - 2)
    share = (place - low).astype(np.float32)
    share = share * share * (3 - 2 * share)
    out = np.zeros((len(at), nodes), np.float32)
    out[np.arange(len(at)), low] = 1 - share
    out[np.arange(len(at)), low + 1] = share
    return out


def noise(
    rng: np.random.Generator, size: int, down: Iterable[int], across: Iterable[int], rows: Array | None = None
) -> Array:
    """Smooth noise (size, size) in 0 to 1 about 0.5: octaves of so many cells down and across, each half the last.

    Args:
        rows: where each row (size,) lies in 0 to 1 of the noise, for a ground that runs away.
    """
    total, weight, scale = np.zeros((size, size), np.float32), 1.0, 0.0
    for n, m in zip(down, across, strict=True):
        grid = rng.random((n + 1, m + 1), np.float32)
        left = _weights(size, n + 1) if rows is None else _interpolation(rows, n + 1)
        total += weight * (left @ grid @ _weights(size, m + 1).T)
        scale += weight
        weight *= 0.5
    return total / scale


def profile(rng: np.random.Generator, cells: Iterable[int], pointed: bool = False) -> Callable[[Array], Array]:
    """A random curve in 0 to 1 over x from 0 to 1: octaves of so many cells, pointed or rounded."""
    octaves = [(rng.random(n + 1), n) for n in cells]

    def at(x: Array) -> Array:
        total, weight, scale = np.zeros(np.shape(x), np.float32), 1.0, 0.0
        for values, n in octaves:
            place = np.clip(x, 0, 1) * n
            low = np.minimum(place.astype(np.int64), n - 1)
            share = place - low
            share = share if pointed else share * share * (3 - 2 * share)
            total += weight * (values[low] + (values[low + 1] - values[low]) * share)
            scale += weight
            weight *= 0.5
        return (total / scale).astype(np.float32)

    return at


@dataclass(frozen=True)
class Light:
    """The light of a scene: colors of what comes from everywhere and of what comes from the source, and the air.

    Args:
        side: where the source stands, -1 for left to 1 for right.
        haze: how much of what is far away the air hides, and in which color.
    """

    ambient: Color
    direct: Color
    side: float
    air: Color
    haze: float

    def on_ball(self, nx: Array, ny: Array) -> Array:
        """The direct light, 0 to 1, on a surface whose normal points to nx, ny (down is positive) and to the viewer."""
        nz = np.sqrt(np.maximum(1 - nx**2 - ny**2, 0))
        return np.asarray(clip(0.62 * self.side * nx - 0.55 * ny + 0.56 * nz, 0.0, 1.0))


class Canvas:
    """Layers of matter on a square of pixels."""

    def __init__(self, size: int, light: Light, tags: Sequence[str]):
        self.size = size
        self.light = light
        self.tags = tuple(tags)
        self.planes = np.zeros((MASKS + len(self.tags), size, size), np.float32)
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = centres[None, :], centres[:, None]

    def patch(self, shape: Shape, margin: float = 0.0) -> Patch:
        """The part of the canvas that a shape and a margin around it touch."""
        x0, y0, x1, y1 = shape.bounds
        m = margin + 1 / self.size
        columns, rows = self._pixels(x0 - m, x1 + m), self._pixels(y0 - m, y1 + m)
        return Patch(rows, columns, self.x[:, columns], self.y[rows])

    def _pixels(self, low: float, high: float) -> slice:
        return slice(min(max(int(low * self.size), 0), self.size), min(max(int(high * self.size) + 1, 0), self.size))

    def fill(
        self,
        shape: Shape,
        color: Color | Callable[[Patch], Array] = (0.0, 0.0, 0.0),
        shade: float | Callable[[Patch], Array] = 1.0,
        depth: float | Callable[[Patch], Array] = 0.0,
        emitted: Color | Callable[[Patch], Array] = (0.0, 0.0, 0.0),
        tags: Sequence[str] = (),
        alpha: float | Callable[[Patch], Array] = 1.0,
        soft: float = 0.0,
    ) -> None:
        """Cover a shape with matter.

        Args:
            color, emitted: (3,), or a function of the patch that gives (3, h, w).
            shade: the direct light that it gets; 1 is all.
            tags: the masks that it belongs to.
            soft: the width over which its edge fades, at least a pixel.
        """
        patch = self.patch(shape, soft)
        if not patch.x.size or not patch.y.size:
            return
        cover = clip(0.5 - shape.distance(patch.x, patch.y) / max(soft, 1 / self.size), 0.0, 1.0)
        cover = cover * (alpha(patch) if callable(alpha) else alpha)
        under = patch.of(self.planes)
        under *= 1 - cover
        for place, matter in ((ALBEDO, color), (SHADE, shade), (DEPTH, depth), (EMITTED, emitted)):
            given = np.asarray(matter(patch) if callable(matter) else matter, np.float32)
            if given.any():
                under[place] += (given[:, None, None] if given.ndim == 1 else given) * cover
        for tag in tags:
            under[MASKS + self.tags.index(tag)] += cover

    def shadow(self, shape: Shape, strength: float, soft: float) -> None:
        """Take direct light from what lies under a shape, with an edge as wide as `soft`."""
        patch = self.patch(shape, soft)
        if patch.x.size and patch.y.size:
            cover = smooth(soft, -soft, shape.distance(patch.x, patch.y))
            self.planes[SHADE, patch.rows, patch.columns] *= 1 - strength * cover

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float = 1.0) -> None:
        """Add light around a point that falls off within `radius`."""
        patch = self.patch(circle(x, y, radius))
        if patch.x.size and patch.y.size:
            fall = np.maximum(1 - np.sqrt((patch.x - x) ** 2 + (patch.y - y) ** 2) / radius, 0) ** 2 * strength
            self.planes[EMITTED, patch.rows, patch.columns] += np.asarray(color, np.float32)[:, None, None] * fall

    def lit(self) -> Array:
        """The picture (3, H, W) in 0 to 1, before anything in front of it."""
        light, planes = self.light, self.planes
        ambient, direct, air = (
            np.asarray(c, np.float32)[:, None, None] for c in (light.ambient, light.direct, light.air)
        )
        seen = planes[ALBEDO] * (ambient + direct * planes[SHADE]) + planes[EMITTED]
        hidden = 1 - np.exp(-light.haze * planes[DEPTH])
        return np.asarray(seen + (air - seen) * hidden)

    def mask(self, tag: str) -> Array:
        """(H, W) in 0 to 1, the share of each pixel that a tag covers."""
        return self.planes[MASKS + self.tags.index(tag)]


@dataclass(frozen=True)
class Frame:
    """A thing's own coordinates: x to the right, or left where flipped, y up from its foot, in units of its size."""

    x: float
    y: float
    size: float
    flip: float = 1.0

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        """A point on the canvas."""
        return self.x + self.flip * self.size * x, self.y - self.size * y

    def convex(self, *points: tuple[float, float]) -> Shape:
        """`convex`."""
        return convex(*(self(*p) for p in points))

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> Shape:
        """`ellipse`."""
        return ellipse(*self(x, y), rx * self.size, ry * self.size)

    def stroke(self, x0: float, y0: float, x1: float, y1: float, width: float, end: float | None = None) -> Shape:
        """`stroke`."""
        size = self.size
        return stroke(*self(x0, y0), *self(x1, y1), width * size, None if end is None else end * size)

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Shape:
        """`box`, of two opposite corners."""
        (ax, ay), (bx, by) = self(x0, y0), self(x1, y1)
        return box(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by), radius * self.size)

    def blob(self, circles: Array) -> Shape:
        """`blob`."""
        return blob(np.array([(*self(x, y), radius * self.size) for x, y, radius in circles.tolist()]))


def lit_ball(canvas: Canvas, x: float, y: float, rx: float, ry: float, lowest: float = 0.1) -> Callable[[Patch], Array]:
    """The direct light on an ellipsoid."""

    def shade(patch: Patch) -> Array:
        lit = canvas.light.on_ball((patch.x - x) / rx, (patch.y - y) / ry)
        return np.asarray(lowest + (1.15 - lowest) * lit)

    return shade


def lit_cylinder(canvas: Canvas, x: float, radius: float) -> Callable[[Patch], Array]:
    """The direct light on an upright cylinder or cone."""

    def shade(patch: Patch) -> Array:
        lit = np.clip(0.55 + 0.5 * canvas.light.side * (patch.x - x) / radius, 0.08, 1.1)
        return np.broadcast_to(lit, (patch.y.shape[0], patch.x.shape[1]))

    return shade
