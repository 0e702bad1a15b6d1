"""Places: sky, clouds, what is far away and the ground, in the light of the hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .painting import (
    ALBEDO,
    DEPTH,
    EMITTED,
    SHADE,
    Array,
    Canvas,
    Color,
    Light,
    Patch,
    between,
    box,
    circle,
    convex,
    ellipse,
    lit_ball,
    lit_cylinder,
    mixed,
    noise,
    profile,
    smooth,
    stroke,
)  # fmt: skip
from .scenes import rng_of

_SKY = {  # top, middle, horizon
    "day": ((0.22, 0.48, 0.84), (0.48, 0.72, 0.94), (0.84, 0.92, 0.97)),
    "sunset": ((0.27, 0.27, 0.53), (0.80, 0.46, 0.50), (1.00, 0.75, 0.44)),
    "night": ((0.03, 0.05, 0.16), (0.08, 0.12, 0.29), (0.19, 0.24, 0.43)),
}
_OVERCAST = {"day": (0.76, 0.80, 0.85), "sunset": (0.74, 0.60, 0.62), "night": (0.22, 0.26, 0.38)}
_AMBIENT = {"day": (0.53, 0.58, 0.66), "sunset": (0.48, 0.39, 0.48), "night": (0.31, 0.35, 0.52)}
_DIRECT = {"day": (0.62, 0.56, 0.45), "sunset": (0.78, 0.47, 0.22), "night": (0.19, 0.23, 0.30)}
_GREY = {"clear": 0.0, "cloudy": 0.45, "rainy": 0.85, "foggy": 0.9}
_SUN = {"clear": 1.0, "cloudy": 0.55, "rainy": 0.12, "foggy": 0.2}
_HAZE = {"clear": 0.35, "cloudy": 0.5, "rainy": 0.9, "foggy": 2.3}
_GRASS = {
    "spring": (0.46, 0.70, 0.28),
    "summer": (0.36, 0.58, 0.22),
    "autumn": (0.63, 0.55, 0.26),
    "winter": (0.92, 0.94, 0.97),
}
LEAVES: dict[str, tuple[Color, ...]] = {
    "spring": ((0.94, 0.66, 0.76), (0.97, 0.82, 0.86), (0.60, 0.78, 0.34)),
    "summer": ((0.20, 0.46, 0.18), (0.28, 0.54, 0.22), (0.17, 0.41, 0.24)),
    "autumn": ((0.86, 0.47, 0.13), (0.78, 0.25, 0.13), (0.92, 0.70, 0.20)),
    "winter": ((0.86, 0.90, 0.95), (0.80, 0.85, 0.91), (0.90, 0.93, 0.97)),
}
_FAR: dict[str, Color] = {
    "spring": (0.42, 0.62, 0.38),
    "summer": (0.30, 0.50, 0.30),
    "autumn": (0.60, 0.45, 0.26),
    "winter": (0.84, 0.88, 0.94),
}
SNOW = (0.95, 0.97, 1.0)
BARK = (0.33, 0.23, 0.16)
LAMP = (1.0, 0.76, 0.36)


@dataclass(frozen=True)
class View:
    """What no word names of the place: the horizon, where the light stands, and the seed of all else."""

    seed: int
    horizon: float
    light_x: float
    light_y: float

    @classmethod
    def of(cls, seed: int) -> View:
        """The view of a seed."""
        rng = rng_of(seed, "view")
        left = rng.random() < 0.5
        x = rng.uniform(0.06, 0.34)
        return cls(seed, rng.uniform(0.40, 0.60), x if left else 1 - x, rng.uniform(0.09, 0.20))

    def light(self, time: str, weather: str) -> Light:
        """The light of an hour and a weather."""
        side = float(np.sign(self.light_x - 0.5))
        grey, sun = _GREY[weather], _SUN[weather]
        ambient = mixed(_AMBIENT[time], np.mean(_AMBIENT[time]) * np.array((0.98, 1.0, 1.04)), 0.6 * grey)
        ambient *= 1 + 0.10 * grey if weather != "rainy" else 0.94
        direct = np.array(_DIRECT[time], np.float32) * sun
        air = mixed(_SKY[time][2], _OVERCAST[time], max(grey, 0.25))
        return Light(ambient, direct, side, air, _HAZE[weather])

    def depth(self, y: Array | float) -> Array:
        """How far away the ground is at y, 1 at the horizon."""
        near = np.clip((np.asarray(y, np.float32) - self.horizon) / (1 - self.horizon), 0, 1)
        return 0.06 + 0.5 * (1 - near) ** 2


def draw_place(
    canvas: Canvas, view: View, place: str, weather: str, time: str, season: str, water: bool = False
) -> None:
    """Sky, what is far away, and the ground; all ground is water where `water` is true."""
    _draw_sky(canvas, view, weather, time)
    _draw_far(canvas, view, place, season)
    if water or place == "sea":
        _draw_water(canvas, view, time, weather, season)
    if not water:
        _draw_meadow(canvas, view, season, shore=place == "sea")


def _draw_sky(canvas: Canvas, view: View, weather: str, time: str) -> None:
    top, middle, low = (mixed(c, _OVERCAST[time], _GREY[weather]) for c in _SKY[time])
    grey = _GREY[weather]
    height = np.clip(canvas.y / max(view.horizon, 0.1), 0, 1)
    upper = mixed(top, middle, np.broadcast_to(smooth(0, 0.62, height), (canvas.size, canvas.size)))
    sky = upper + (low[:, None, None] - upper) * smooth(0.35, 1.0, height)
    canvas.fill(box(0, 0, 1, 1), emitted=lambda patch: sky, depth=0.0, tags=("sky",))

    x, y = view.light_x, (view.horizon - 0.07 if time == "sunset" else view.light_y)
    seen = 1 - grey
    if time == "night":
        rng = rng_of(view.seed, "stars")
        for star_x, star_y, bright in rng.uniform((0, 0, 0.25), (1, 1, 1), (34, 3)):
            canvas.glow(star_x, star_y * view.horizon * 0.9, 0.017, (0.9, 0.93, 1.0), bright * seen)
        canvas.glow(x, y, 0.34, (0.22, 0.26, 0.38), 0.4 + 0.6 * seen)
        moon = circle(x, y, 0.045)
        canvas.fill(moon, emitted=(0.95, 0.94, 0.86), tags=("sky",), alpha=max(seen, 0.12), soft=0.010)
    else:
        warm = (1.0, 0.86, 0.55) if time == "day" else (1.0, 0.62, 0.28)
        canvas.glow(x, y, 0.55, warm, (0.28 if time == "day" else 0.5) * (0.25 + 0.75 * seen))
        canvas.glow(x, y, 0.16, warm, 0.55 * seen)
        disc = (1.0, 0.97, 0.84) if time == "day" else (1.0, 0.88, 0.58)
        canvas.fill(
            circle(x, y, 0.040 if time == "day" else 0.058),
            emitted=disc,
            tags=("sky",),
            alpha=max(seen, 0.1),
            soft=0.012,
        )
    _draw_clouds(canvas, view, weather, time)


def _draw_clouds(canvas: Canvas, view: View, weather: str, time: str) -> None:
    rng = rng_of(view.seed, "clouds")
    rows = np.clip(canvas.y[:, 0] / (view.horizon + 0.06), 0, 1) ** 1.6  # flatter towards the horizon
    body = noise(rng, canvas.size, (4, 8, 16, 32), (3, 6, 12, 24), rows.astype(np.float32))
    cover = {"clear": rng.uniform(0.56, 0.66), "cloudy": 0.43, "rainy": 0.36, "foggy": 0.60}[weather]
    thick = smooth(cover, cover + 0.17, body)
    down, toward = (
        np.clip(np.arange(canvas.size) + step, 0, canvas.size - 1) for step in (-4, 6 * int(canvas.light.side))
    )
    ahead = body[down][:, toward]  # where the light comes through
    bright = np.clip(0.55 + 3.2 * (body - ahead), 0, 1)
    low, high = {
        "day": ((0.66, 0.71, 0.80), (1.0, 0.99, 0.97)),
        "sunset": ((0.50, 0.34, 0.48), (1.0, 0.70, 0.50)),
        "night": ((0.07, 0.09, 0.19), (0.25, 0.29, 0.43)),
    }[time]
    grey = {"clear": 0.0, "cloudy": 0.3, "rainy": 0.8, "foggy": 0.8}[weather]
    dark = mixed(low, _OVERCAST[time], 0.4 * grey)
    light = mixed(high, mixed(low, _OVERCAST[time], 0.7), grey)
    fade = smooth(1.0, 0.8, canvas.y / view.horizon) * (0.9 if weather != "foggy" else 0.4)
    colors = mixed(dark, light, bright)
    canvas.fill(
        box(0, 0, 1, view.horizon + 0.02),
        emitted=lambda patch: patch.of(colors),
        alpha=lambda patch: patch.of(thick * fade),
        tags=("sky",),
    )


def _draw_far(canvas: Canvas, view: View, place: str, season: str) -> None:
    rng = rng_of(view.seed, place)
    if place == "mountains":
        for depth, height, base in ((0.95, 0.30, 0.10), (0.70, 0.20, 0.03)):
            _draw_ridge(canvas, view, rng, season, depth, height * rng.uniform(0.8, 1.1), base)
    elif place == "hills":
        for k, depth in enumerate((0.95, 0.7, 0.5)):
            _draw_hill(canvas, view, rng, season, depth, 0.13 - 0.035 * k, 0.05 - 0.02 * k)
    elif place == "forest":
        _draw_hill(canvas, view, rng, season, 0.95, 0.08, 0.06)
        for depth, height, count in ((0.62, 0.15, 15), (0.42, 0.11, 19)):
            _draw_wood(canvas, view, rng, season, depth, height * rng.uniform(0.85, 1.15), count)
    else:
        _draw_hill(canvas, view, rng, season, 1.0, 0.05, 0.0, rng.uniform(0.3, 0.9))


def _draw_ridge(
    canvas: Canvas, view: View, rng: np.random.Generator, season: str, depth: float, height: float, base: float
) -> None:
    outline = profile(rng, (3, 6, 13, 26, 50), pointed=True)
    at = np.linspace(0, 1, 257, dtype=np.float32)
    heights = base + height * np.clip((outline(at) - 0.25) * 2, 0.05, 1.2)
    grain = noise(rng, canvas.size, (8, 16, 32), (10, 20, 40))
    slopes = np.gradient(heights, at)
    slopes = np.convolve(slopes, np.ones(9) / 9, "same")
    rock, snow_line = mixed((0.46, 0.45, 0.48), (0.50, 0.42, 0.38), rng.random()), rng.uniform(0.35, 0.6)
    line = 0.12 if season == "winter" else snow_line + (0.12 if season == "summer" else 0.0)

    def top(x: Array) -> Array:
        return np.asarray(view.horizon - np.interp(x, at, heights), np.float32)

    def facet(patch: Patch) -> Array:
        down = patch.y - top(patch.x)
        turned_by = np.interp(patch.x + 0.5 * down * (patch.of(grain) - 0.5) * 4, at, slopes)
        return np.asarray(np.clip(0.5 - 0.5 * canvas.light.side * np.tanh(1.6 * turned_by), 0.06, 1) * 1.1)

    def color(patch: Patch) -> Array:
        up = (view.horizon - patch.y) / (base + height)
        snow = smooth(line - 0.05, line + 0.08, up + 0.45 * (patch.of(grain) - 0.5))
        foot = mixed(_FAR[season], rock, smooth(0.05, 0.42, up + 0.3 * (patch.of(grain) - 0.5)))
        return mixed(foot, SNOW, snow)

    canvas.fill(
        between(top, lambda x: np.full_like(x, view.horizon + 0.01), 0, 1), color, facet, depth, tags=("place",)
    )


def _draw_hill(
    canvas: Canvas,
    view: View,
    rng: np.random.Generator,
    season: str,
    depth: float,
    height: float,
    base: float,
    end: float | None = None,
) -> None:
    """A rounded hill with fields and dark woods; it falls to the water at `end` if that is given."""
    outline, side = profile(rng, (2, 4, 9)), rng.random() < 0.5
    grain = noise(rng, canvas.size, (12, 24, 48), (8, 16, 32))
    patches = noise(rng, canvas.size, (14, 28), (5, 10))
    fields = (_FAR[season], mixed(_FAR[season], _GRASS[season], 0.7))

    def top(x: Array) -> Array:
        rise = base + height * (0.25 + 0.9 * outline(x))
        if end is not None:
            rise = rise * smooth(0.0, 0.35, (end - x) if side else (x - 1 + end)) - 0.004
        return np.asarray(view.horizon - rise, np.float32)

    def color(patch: Patch) -> Array:
        woods = smooth(0.56, 0.60, patch.of(grain)) * 0.5
        ground = mixed(*fields, smooth(0.47, 0.53, patch.of(patches)))
        return mixed(ground, mixed(_FAR[season], (0.12, 0.22, 0.16), 0.55), woods)

    def shade(patch: Patch) -> Array:
        slope = (top(np.clip(patch.x + 0.02, 0, 1)) - top(np.clip(patch.x - 0.02, 0, 1))) / 0.04
        lit = np.clip(0.75 + 0.9 * canvas.light.side * slope, 0.2, 1)
        return np.broadcast_to(lit, (patch.y.shape[0], patch.x.shape[1]))

    canvas.fill(
        between(top, lambda x: np.full_like(x, view.horizon + 0.01), 0, 1), color, shade, depth, tags=("place",)
    )


def _draw_wood(
    canvas: Canvas, view: View, rng: np.random.Generator, season: str, depth: float, height: float, count: int
) -> None:
    """A row of firs and round trees."""
    foot = view.horizon + 0.012
    for x in np.sort(rng.uniform(-0.03, 1.03, count)):
        tall, fir = height * rng.uniform(0.6, 1.15), rng.random() < 0.5
        leaf = rng.integers(3)
        if fir:
            green = mixed((0.12, 0.31, 0.20), (0.82, 0.87, 0.92), 0.62 if season == "winter" else 0.0)
            tip = foot - tall * 1.25
            shape = convex((x, tip), (x + 0.27 * tall, foot), (x - 0.27 * tall, foot))
            canvas.fill(shape, green, lit_cylinder(canvas, x, 0.27 * tall), depth, tags=("place",))
        else:
            color = mixed(LEAVES[season][leaf], _FAR[season], 0.3)
            canvas.fill(stroke(x, foot, x, foot - 0.4 * tall, 0.10 * tall), BARK, 0.5, depth, tags=("place",))
            crown = ellipse(x, foot - 0.62 * tall, 0.30 * tall, 0.40 * tall)
            canvas.fill(
                crown, color, lit_ball(canvas, x, foot - 0.62 * tall, 0.30 * tall, 0.40 * tall), depth, tags=("place",)
            )


def _ground_rows(canvas: Canvas, horizon: float) -> Array:
    """Where each row of the picture lies on a ground that runs away to the horizon, 0 near to 1 far."""
    near = np.clip((canvas.y[:, 0] - horizon) / (1 - horizon), 0.0, 1)
    return np.asarray(1 - near**0.55, np.float32)


def _draw_meadow(canvas: Canvas, view: View, season: str, shore: bool) -> None:
    rng = rng_of(view.seed, "meadow")
    rows = _ground_rows(canvas, view.horizon)
    coarse = noise(rng, canvas.size, (8, 16), (4, 8), rows)
    fine = noise(rng, canvas.size, (16, 34), (20, 42), rows)
    flowers = noise(rng, canvas.size, (26,), (34,), rows)
    rolling = profile(rng, (2, 5))
    start = view.horizon + (rng.uniform(0.07, 0.13) if shore else -0.004)
    hue = _GRASS[season]
    other = mixed(hue, (0.80, 0.76, 0.42) if season != "winter" else (0.78, 0.84, 0.94), 0.30)
    petals = mixed((0.96, 0.90, 0.50), (0.92, 0.55, 0.62), rng.random())

    def top(x: Array) -> Array:
        return np.asarray(start + (0.03 if shore else 0.012) * (rolling(x) - 0.5), np.float32)

    def color(patch: Patch) -> Array:
        ground = mixed(hue, other, smooth(0.35, 0.65, patch.of(coarse)))
        ground = ground * (1 + (0.30 if season != "winter" else 0.07) * (patch.of(fine) - 0.5))
        if season in ("spring", "summer"):
            ground = mixed(
                ground,
                petals,
                0.55
                * smooth(0.76, 0.92, patch.of(flowers))
                * smooth(0.1, 0.4, 1 - patch.of(rows[:, None] + 0 * canvas.x)),
            )
        if season == "autumn":
            ground = mixed(ground, (0.78, 0.46, 0.18), 0.40 * smooth(0.62, 0.85, patch.of(flowers)))
        if shore:
            sand = mixed((0.90, 0.82, 0.62), SNOW, 0.6 if season == "winter" else 0.0)
            ground = mixed(
                ground, sand, 1 - smooth(0.035, 0.075, patch.y - top(patch.x) + 0.05 * (patch.of(fine) - 0.5))
            )
        return ground

    def shade(patch: Patch) -> Array:
        return 0.78 + 0.6 * (patch.of(coarse) - 0.5)

    canvas.fill(between(top, np.ones_like, 0, 1), color, shade, lambda p: view.depth(p.y) + 0 * p.x, tags=("ground",))


def _draw_water(canvas: Canvas, view: View, time: str, weather: str, season: str) -> None:
    """Water that mirrors what is above the horizon, with waves and the path of the light."""
    rng = rng_of(view.seed, "water")
    size = canvas.size
    first = int(np.ceil(view.horizon * size))
    y = canvas.y[first:]
    away = y - view.horizon
    rows = _ground_rows(canvas, view.horizon)
    waves = noise(rng, size, (36, 72), (5, 14), rows)[first:]
    slow = noise(rng, size, (10, 20), (3, 7), rows)[first:]
    rough = 0.006 + 0.16 * away
    source_rows = np.clip(((2 * view.horizon - y) - 0.5 * rough * (waves - 0.5)) * size, 0, first - 1).astype(np.int64)
    source_columns = np.clip((canvas.x + 0.5 * rough * (slow - 0.5)) * size, 0, size - 1).astype(np.int64)
    mirrored = canvas.planes[:8, source_rows, source_columns]
    calm = {"clear": 0.62, "cloudy": 0.5, "rainy": 0.32, "foggy": 0.5}[weather]
    tint = mixed((0.10, 0.34, 0.46), (0.16, 0.27, 0.40), rng.random())
    deep = mixed(tint, (0.40, 0.52, 0.60), 0.4 if season == "winter" else 0.0)
    share = calm * (1 - 0.55 * smooth(0, 0.5, away)) + 0.5 * (waves - 0.5)
    share = np.clip(share, 0.08, 0.9)
    planes = canvas.planes[:, first:]
    planes[ALBEDO] = deep[:, None, None] * (1 - share) + mirrored[ALBEDO] * share
    planes[SHADE] = 0.55 + 0.25 * (waves - 0.5)
    planes[DEPTH] = view.depth(y) + 0 * canvas.x
    planes[EMITTED] = mirrored[EMITTED] * share
    across = (canvas.x - view.light_x) / (0.05 + 0.45 * away)
    glitter = np.exp(-(across**2)) * smooth(0.55, 0.72, waves) * _SUN[weather]
    color = {"day": (0.5, 0.5, 0.45), "sunset": (0.85, 0.5, 0.2), "night": (0.36, 0.40, 0.48)}[time]
    planes[EMITTED] += np.array(color, np.float32)[:, None, None] * glitter
    planes[8:] = 0
    planes[8 + canvas.tags.index("ground")] = 1
