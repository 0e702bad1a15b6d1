"""Still lifes: a vessel of clay, glass or metal and fruit on a table, by the light of a window or a lamp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .painting import (
    Array,
    Canvas,
    Color,
    Light,
    Patch,
    Shape,
    between,
    box,
    circle,
    clip,
    ellipse,
    mixed,
    noise,
    smooth,
    stroke,
    turned,
)  # fmt: skip
from .scenes import COLORS, StillLife, rng_of

TAGS = ("vessel", "color", "fruit", "table", "wall")
_AMBIENT = {"day": (0.56, 0.58, 0.62), "sunset": (0.50, 0.39, 0.40), "night": (0.28, 0.29, 0.42)}
_DIRECT = {"day": (0.56, 0.54, 0.48), "sunset": (0.78, 0.50, 0.26), "night": (0.50, 0.36, 0.20)}
_WALLS = ((0.66, 0.71, 0.70), (0.78, 0.72, 0.62), (0.60, 0.66, 0.74), (0.72, 0.63, 0.60), (0.64, 0.68, 0.58))
_FRUIT: dict[str, tuple[Color, Color]] = {  # the two colors that it runs between
    "apple": ((0.78, 0.14, 0.12), (0.86, 0.52, 0.20)), "lemon": ((0.96, 0.82, 0.20), (0.90, 0.80, 0.30)),
    "pear": ((0.66, 0.72, 0.24), (0.82, 0.74, 0.30)), "plum": ((0.34, 0.16, 0.38), (0.46, 0.22, 0.40)),
}  # fmt: skip


@dataclass(frozen=True)
class _Profile:
    """The outline of a vessel: height and radius in units of its size, radius by 0 (rim) to 1 (foot)."""

    height: float
    places: tuple[float, ...]
    radii: tuple[float, ...]

    def __call__(self, t: Array) -> Array:
        place = np.clip(t, 0, 1)
        low = np.clip(np.searchsorted(self.places, place, side="right") - 1, 0, len(self.places) - 2)
        ends, values = np.array(self.places), np.array(self.radii)
        share = (place - ends[low]) / (ends[low + 1] - ends[low])
        share = share * share * (3 - 2 * share)
        return np.asarray(values[low] + (values[low + 1] - values[low]) * share, np.float32)


def _outline(vessel: str, rng: np.random.Generator) -> _Profile:
    a, b, c = rng.uniform(0.85, 1.15, 3)
    if vessel == "vase":
        return _Profile(1.05 * a, (0, 0.22, 0.62, 1), (0.17 * b, 0.11, 0.30 * c, 0.15))
    if vessel == "cup":
        return _Profile(0.52 * a, (0, 0.5, 0.85, 1), (0.29 * b, 0.27 * b, 0.20, 0.15))
    if vessel == "bowl":
        return _Profile(0.40 * a, (0, 0.55, 0.88, 1), (0.47 * b, 0.37 * b, 0.17, 0.19))
    return _Profile(0.86 * a, (0, 0.2, 0.62, 1), (0.20 * b, 0.16, 0.31 * c, 0.21))


def draw(scene: StillLife, size: int) -> tuple[Array, dict[str, Array]]:
    """The picture (3, size, size) in 0 to 1 and the masks (size, size) of `TAGS`."""
    rng = rng_of(scene.seed, "room")
    side = -1.0 if rng.random() < 0.5 else 1.0
    light = Light(_AMBIENT[scene.time], _DIRECT[scene.time], side, (0, 0, 0), 0.0)
    canvas = Canvas(size, light, TAGS)
    edge = rng.uniform(0.46, 0.60)
    _wall(canvas, scene, side)
    _table(canvas, scene, edge)
    places = rng_of(scene.seed, "places")
    x, foot = places.uniform(0.36, 0.64), edge + places.uniform(0.16, 0.26)
    scale = places.uniform(0.50, 0.62)
    sides = -1.0 if places.random() < 0.5 else 1.0
    radius = places.uniform(0.085, 0.115)
    spots = [  # the first beside the vessel, the second on the other side or before the first, the third before
        (x + sides * (0.29 + places.uniform(-0.02, 0.04)), foot + places.uniform(-0.01, 0.05)),
        (x + sides * (0.13 + places.uniform(-0.03, 0.03)), foot + 0.09 + places.uniform(0.0, 0.05)),
        (x - sides * (0.27 + places.uniform(-0.02, 0.05)), foot + 0.03 + places.uniform(-0.01, 0.06)),
    ]
    count = {"one": 1, "two": 2, "three": 3}[scene.number]
    solids: list[tuple[float, Callable[[], None]]] = [(foot, partial(_vessel, canvas, scene, x, foot, scale))]
    for k, (fx, fy) in enumerate(spots[:count]):
        fx = float(np.clip(fx, 0.10, 0.90))
        _cast(canvas, fx, fy, radius, radius * 1.6, 0.75)
        solids.append((fy, partial(_fruit, canvas, scene, fx, fy, radius, k)))
    profile = _outline(scene.vessel, rng_of(scene.seed, scene.vessel))
    foot_radius = profile.radii[-1] * scale
    _cast(
        canvas,
        x,
        foot,
        max(foot_radius, 0.6 * max(profile.radii) * scale),
        profile.height * scale,
        0.45 if scene.material == "glass" else 0.75,
    )
    for _, paint in sorted(solids, key=lambda each: each[0]):
        paint()
    return np.clip(canvas.lit(), 0, 1), {tag: canvas.mask(tag) for tag in TAGS}


def _cast(canvas: Canvas, x: float, foot: float, radius: float, height: float, strength: float) -> None:
    """The shadow on the table, away from the light, and the dark under the thing."""
    away = -canvas.light.side
    canvas.shadow(
        ellipse(x + away * (0.45 * height), foot + 0.01, radius + 0.40 * height, 0.36 * radius + 0.012), strength, 0.045
    )
    canvas.shadow(ellipse(x, foot + 0.004, radius * 1.02, 0.30 * radius), 0.6, 0.03)


def _wall(canvas: Canvas, scene: StillLife, side: float) -> None:
    rng = rng_of(scene.seed, "wall")
    hue = np.array(_WALLS[rng.integers(len(_WALLS))])
    plaster = noise(rng, canvas.size, (3, 6, 12), (3, 6, 12))
    slant, start = rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.4)
    window = rng.random() < 0.6

    def shade(patch: Patch) -> Array:
        across = patch.x if side < 0 else 1 - patch.x
        pool = 1.05 - 0.85 * np.clip(np.sqrt((across - 0.1) ** 2 + (0.8 * (patch.y - 0.25)) ** 2), 0, 1)
        if scene.time != "night" and window:  # the light of a window, slanting over the wall
            u, v = across - slant * patch.y - start, patch.y
            pane = smooth(0, 0.02, u) * smooth(0.42, 0.40, u) * smooth(0.06, 0.08, v) * smooth(0.40, 0.38, v)
            bar = smooth(0.008, 0.022, np.abs(u - 0.21)) * smooth(0.008, 0.022, np.abs(v - 0.23))
            return np.asarray(0.62 * pool + 0.55 * pane * bar)
        return np.asarray(pool)

    canvas.fill(box(0, 0, 1, 1), lambda p: hue[:, None, None] * (0.90 + 0.2 * p.of(plaster)), shade, tags=("wall",))
    if scene.time == "night":
        canvas.glow(0.04 if side < 0 else 0.96, 0.10, 0.7, (0.55, 0.36, 0.14), 0.55)


def _table(canvas: Canvas, scene: StillLife, edge: float) -> None:
    rng = rng_of(scene.seed, "table")
    size = canvas.size
    near = np.clip((canvas.y[:, 0] - edge) / (1 - edge), 0, 1).astype(np.float32)
    grain = noise(rng, size, (18, 36), (2, 4))
    veins = noise(rng, size, (5, 10, 20), (4, 8, 16))
    lean = rng.uniform(-0.1, 0.1)
    wood = mixed((0.60, 0.40, 0.24), (0.44, 0.28, 0.18), rng.random())
    cloth = ((0.74, 0.26, 0.24), (0.28, 0.44, 0.66), (0.36, 0.55, 0.40))[rng.integers(3)]
    deep = 1 / (1.55 - near)  # perspective

    def color(patch: Patch) -> Array:
        d = deep[patch.rows][:, None]
        u = (patch.x - 0.5 + lean * (d - 1)) / (0.55 + 0.45 * d)
        if scene.table == "wooden":
            joints = smooth(0.0, 0.05, np.abs((u * 3.4 + 10.3) % 1 - 0.5))
            plank = np.floor(u * 3.4 + 10.8)
            tone = 0.92 + 0.07 * np.sin(plank * 37.7)
            return np.asarray(wood[:, None, None] * (tone + 0.22 * (patch.of(grain) - 0.5)) * (0.62 + 0.38 * joints))
        if scene.table == "marble":
            vein = np.exp(-((np.abs(patch.of(veins) - 0.5) / 0.022) ** 2))
            stone = mixed((0.88, 0.87, 0.85), (0.78, 0.78, 0.79), smooth(0.3, 0.7, patch.of(veins)))
            return mixed(stone, (0.50, 0.50, 0.54), 0.6 * vein)
        checks = smooth(-0.25, 0.25, np.sin(u * 34)) + smooth(-0.25, 0.25, np.sin(d * 34)) + 0 * patch.x
        return mixed((0.94, 0.92, 0.87), cloth, checks / 2 * 0.95)

    def shade(patch: Patch) -> Array:
        toward = 0.5 - 0.5 * canvas.light.side + canvas.light.side * patch.x
        return np.asarray(0.55 + 0.45 * toward + 0 * patch.y)

    canvas.shadow(between(lambda x: np.full_like(x, edge - 0.05), lambda x: np.full_like(x, edge), 0, 1), 0.3, 0.04)
    canvas.fill(box(0, edge, 1, 1), color, shade, tags=("table",))
    canvas.fill(box(0, edge - 0.004, 1, edge + 0.004), (0.9, 0.86, 0.8), 0.6, tags=("table",), alpha=0.35)


def _surface(canvas: Canvas, material: str, color: Array, nx: Array, ny: Array) -> tuple[Array, Array, Array, Array]:
    """Albedo, shade, what is emitted and cover of a material whose normal points to nx, ny."""
    side = canvas.light.side
    lit = canvas.light.on_ball(nx, ny)
    if material == "clay":
        return (
            color[:, None, None] + 0 * nx,
            0.05 + 1.1 * lit,
            0.05 * np.exp(-(((nx - 0.4 * side) / 0.3) ** 2)) + np.zeros((3, 1, 1)),
            np.ones_like(nx),
        )
    direct = np.asarray(canvas.light.direct, np.float32)[:, None, None]
    spot = np.exp(-(((nx - 0.55 * side) / 0.10) ** 2)) * smooth(0.75, 0.2, np.abs(ny))
    if material == "glass":
        rim = np.clip(np.abs(nx), 0, 1) ** 3
        spot2 = np.exp(-(((nx + 0.62 * side) / 0.07) ** 2)) * 0.4
        albedo = mixed(color, np.minimum(color * 1.15 + 0.1, 1), 0.5 + 0 * nx) * (0.75 + 0.25 * (1 - rim))
        return albedo, 0.55 + 0.6 * (lit * 0.5 + 0.3), direct * (0.95 * spot + spot2), 0.52 + 0.40 * rim
    bands = 0.5 + 0.5 * np.sin(3.2 * nx * side + 2.4 * np.abs(nx) ** 3 + 0.4)
    metal = mixed(color, (0.55, 0.55, 0.57), 0.16)
    albedo = metal[:, None, None] * (0.30 + 0.85 * bands)
    return (
        albedo,
        0.35 + 0.8 * lit,
        direct * (1.05 * spot + 0.25 * np.exp(-(((nx + 0.7 * side) / 0.08) ** 2))),
        np.ones_like(nx),
    )


def _vessel(canvas: Canvas, scene: StillLife, x: float, foot: float, scale: float) -> None:
    profile = _outline(scene.vessel, rng_of(scene.seed, scene.vessel))
    tint = rng_of(scene.seed, "tint")
    color = np.clip(np.array(COLORS[scene.color], np.float32) + tint.uniform(-0.03, 0.03, 3).astype(np.float32), 0, 1)
    height, top = profile.height * scale, foot - profile.height * scale
    fill = partial(canvas.fill, tags=("vessel", "color"))

    def radius(t: Array) -> Array:
        return profile(t) * scale

    flat = 0.26  # how round a circle looks from here
    base, rim = profile.radii[-1] * scale, profile.radii[0] * scale

    def across(patch: Patch) -> Array:
        t = np.clip((patch.y - top) / height, 0, 1)
        return np.asarray(np.clip((patch.x - x) / np.maximum(radius(t), 1e-4), -1, 1))

    def up(patch: Patch) -> Array:
        t = np.clip((patch.y - top) / height, 0, 1)
        slope = (radius(np.clip(t + 0.02, 0, 1)) - radius(np.clip(t - 0.02, 0, 1))) / (0.04 * height)
        return np.asarray(np.clip(-slope / np.sqrt(1 + slope**2) * 0.75, -0.9, 0.9) + 0 * patch.x)

    parts: dict[tuple[int, int, int, int], tuple[Array, Array, Array, Array]] = {}

    def part(index: int) -> Callable[[Patch], Array]:
        def of(patch: Patch) -> Array:
            key = (patch.rows.start, patch.rows.stop, patch.columns.start, patch.columns.stop)
            if key not in parts:
                parts[key] = _surface(canvas, scene.material, color, across(patch), up(patch))
            return parts[key][index]

        return of

    if scene.vessel in ("cup", "jug"):
        side = -1.0 if tint.random() < 0.5 else 1.0
        mid, long = (
            top + height * (0.45 if scene.vessel == "cup" else 0.42),
            height * (0.27 if scene.vessel == "cup" else 0.26),
        )
        reach = float(radius(np.array([0.45]))[0])
        ring = ellipse(x + side * (reach + 0.01), mid, 0.42 * long + 0.045, long)
        hole = ellipse(x + side * (reach + 0.01), mid, 0.42 * long + 0.010, long - 0.034)

        def ring_part(index: int) -> Callable[[Patch], Array]:
            def of(patch: Patch) -> Array:
                nx = clip((patch.x - x - side * reach) / (0.42 * long + 0.045), -1.0, 1.0) * 0.8 + 0 * patch.y
                ny = clip((patch.y - mid) / long, -1.0, 1.0) * 0.6 + 0 * patch.x
                return _surface(canvas, scene.material, color, nx, ny)[index]

            return of

        fill(ring - hole, ring_part(0), ring_part(1), emitted=ring_part(2), alpha=ring_part(3))
    body = turned(x, top, foot, radius, max(profile.radii) * scale)
    bottom = ellipse(x, foot, base, base * flat)
    shape = body | Shape(bottom.bounds, lambda a, b: np.maximum(bottom.distance(a, b), foot - b))
    fill(shape, part(0), part(1), emitted=part(2), alpha=part(3))
    mouth = ellipse(x, top, rim, rim * flat)
    inside = color * (0.55 if scene.material != "glass" else 0.9)
    lip = np.minimum(color * 1.1 + 0.08, 1)
    glass = scene.material == "glass"
    fill(mouth, lip, 1.0, alpha=0.75 if glass else 1.0)
    fill(
        ellipse(x, top + 0.003, rim - 0.014, (rim - 0.014) * flat),
        inside,
        lambda p: 0.15 + 0.6 * smooth(-rim, rim, -canvas.light.side * (p.x - x)) + 0 * p.y,
        alpha=0.45 if glass else 1.0,
    )


def _fruit(canvas: Canvas, scene: StillLife, x: float, foot: float, radius: float, number: int) -> None:
    rng = rng_of(scene.seed, f"fruit {number}")
    first, second = _FRUIT[scene.fruit]
    ripe, lean = rng.uniform(0, 1), rng.uniform(-0.3, 0.3)
    size = radius * rng.uniform(0.92, 1.06)
    tags = ("fruit",)
    y = foot - size * 0.86

    def paint(shape: Shape, cx: float, cy: float, rx: float, ry: float) -> None:
        def color(patch: Patch) -> Array:
            turn = smooth(-0.6, 1.0, (patch.x - cx) / rx * np.sign(lean) + (patch.y - cy) / ry * 0.6)
            return mixed(first, second, 0.15 + 0.6 * ripe * turn)

        def light(patch: Patch) -> tuple[Array, Array]:
            nx, ny = np.clip((patch.x - cx) / rx, -1, 1), np.clip((patch.y - cy) / ry, -1, 1)
            side = canvas.light.side
            return canvas.light.on_ball(nx, ny), np.exp(-(((nx - 0.38 * side) / 0.16) ** 2) - ((ny + 0.42) / 0.16) ** 2)

        shine = 0.42 if scene.fruit in ("apple", "plum") else 0.22
        direct = np.asarray(canvas.light.direct, np.float32)[:, None, None]
        canvas.fill(
            shape,
            color,
            lambda p: 0.02 + 1.15 * light(p)[0],
            emitted=lambda p: direct * shine * 1.4 * light(p)[1],
            tags=tags,
        )

    if scene.fruit == "lemon":
        tip = lean * 0.5
        shape = ellipse(x, y + size * 0.12, size * 1.15, size * 0.78) | ellipse(
            x + size * 1.08, y + size * (0.12 + tip * 0.3), size * 0.22, size * 0.16
        )
        shape = shape | ellipse(x - size * 1.06, y + size * (0.12 - tip * 0.3), size * 0.16, size * 0.14)
        paint(shape, x, y + size * 0.12, size * 1.2, size * 0.80)
    elif scene.fruit == "pear":
        low = circle(x, y + size * 0.06, size * 0.88)
        neck = turned(x, y - size * 1.35, y + size * 0.1, lambda t: size * (0.34 + 0.52 * smooth(0.1, 1, t)), size)
        head = circle(x, y - size * 1.25, size * 0.36)
        paint(low | neck | head, x, y - size * 0.2, size * 0.95, size * 1.5)
        canvas.fill(
            stroke(x, y - size * 1.55, x + size * 0.25 * lean, y - size * 1.95, size * 0.14),
            (0.33, 0.24, 0.14),
            0.7,
            tags=tags,
        )
    else:
        tall = 0.90 if scene.fruit == "apple" else 0.84
        wide = 1.0 if scene.fruit == "apple" else 0.88
        paint(ellipse(x, y, size * wide, size * tall), x, y, size * wide, size * tall)
        canvas.shadow(ellipse(x + 0.1 * size * lean, y - size * 0.68, size * 0.30, size * 0.12), 0.8, 0.02)
        if scene.fruit == "apple":
            top = y - size * 0.68
            canvas.fill(
                stroke(x, top, x + size * 0.35 * lean, top - size * 0.42, size * 0.12),
                (0.33, 0.22, 0.13),
                0.7,
                tags=tags,
            )
            leaf = ellipse(x + size * (0.28 if lean > 0 else -0.28), top - size * 0.28, size * 0.26, size * 0.12)
            canvas.fill(leaf, (0.34, 0.55, 0.22), 0.8, tags=tags)
