"""Landscapes: one to three things of a kind in a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .painting import (
    Array,
    Canvas,
    Color,
    Frame,
    Patch,
    Shape,
    circle,
    ellipse,
    lit_ball,
    lit_cylinder,
    mixed,
    smooth,
    turned,
)  # fmt: skip
from .place import BARK, LAMP, LEAVES, SNOW, View, draw_place
from .scenes import COLORS, Landscape, rng_of

TAGS = ("thing", "color", "sky", "ground", "place")


def draw(scene: Landscape, size: int) -> tuple[Array, dict[str, Array]]:
    """The picture (3, size, size) in 0 to 1 and the masks (size, size) of `TAGS`."""
    view = View.of(scene.seed)
    canvas = Canvas(size, view.light(scene.time, scene.weather), TAGS)
    draw_place(canvas, view, scene.place, scene.weather, scene.time, scene.season, water=scene.thing == "boat")
    _draw_things(canvas, view, scene)
    picture = canvas.lit()
    if scene.weather == "rainy":
        picture = _rain(picture, canvas, scene.seed)
    return np.clip(picture, 0, 1), {tag: canvas.mask(tag) for tag in TAGS}


def _rain(picture: Array, canvas: Canvas, seed: int) -> Array:
    """Streaks of rain before everything."""
    rng = rng_of(seed, "rain")
    slant = 0.10 * np.sign(rng.uniform(-1, 1)) * rng.uniform(0.5, 1.5)
    grid = rng.random((2, 60), np.float32)
    x = (canvas.x + slant * canvas.y) * 46 + 8
    cell = x.astype(np.int64) % 60
    y = canvas.y * 2.6 + 7 * grid[0][cell]
    place = smooth(0.32, 0.10, np.abs(x % 1 - 0.5))
    streak = place * smooth(0.60, 0.80, y % 1) * smooth(1.0, 0.93, y % 1) * smooth(0.3, 1.0, grid[1][cell])
    light = np.asarray(canvas.light.air, np.float32)[:, None, None] * 0.35 + 0.30
    return np.asarray(picture + (light - picture) * 0.40 * streak)


@dataclass(frozen=True)
class Slot:
    """Where a thing stands: its foot, its size and which way it looks."""

    x: float
    y: float
    size: float
    flip: float
    seed: int


def slots(scene: Landscape, view: View) -> list[Slot]:
    """Places for as many things as there are, the first the largest; far ones first."""
    rng = rng_of(scene.seed, "slots")
    largest = rng.uniform(0.36, 0.58)
    first_x = rng.uniform(0.28, 0.72)
    near = rng.uniform(0.34, 0.74)
    side = -1.0 if first_x > 0.5 else 1.0
    flips = np.where(rng.random(3) < 0.5, -1.0, 1.0)
    shrink = rng.uniform(0.55, 0.72, 3)
    away = rng.uniform(0.0, 0.10, 3)
    heights = rng.uniform(0.06, 0.30, 3)
    made = []
    for k in range({"one": 1, "two": 2, "three": 3}[scene.number]):
        size = largest * (1.0 if k == 0 else float(shrink[k]))
        depth = near * (1.0 if k == 0 else 0.42 + 0.18 * (k == 1))
        # the second stands on the free side, the third on the other or beyond the second
        x = (
            first_x
            if k == 0
            else first_x
            + side
            * (0.36 if k == 1 else 0.36 - 0.72 * (abs(first_x - 0.5) < 0.16) + 0.22 * (abs(first_x - 0.5) >= 0.16))
        )
        x = float(np.clip(x + (0 if k == 0 else side * away[k]), 0.09, 0.91))
        y = view.horizon + 0.05 + depth * (0.94 - view.horizon)
        if scene.thing == "balloon":
            y = view.horizon * (0.98 if k == 0 else 0.62) + 0.06 - 0.6 * float(heights[k]) * view.horizon
            y = max(y, size * 0.80 + 0.02)
        made.append(Slot(x, y, size, float(flips[k]), scene.seed * 3 + k))
    return sorted(made, key=lambda slot: slot.y if scene.thing != "balloon" else slot.size)


def _draw_things(canvas: Canvas, view: View, scene: Landscape) -> None:
    paint = {"house": _house, "boat": _boat, "tree": _tree, "car": _car, "balloon": _balloon, "sheep": _sheep}
    for slot in slots(scene, view):
        depth = 0.25 if scene.thing == "balloon" else float(view.depth(slot.y))
        paint[scene.thing](canvas, Thing(scene, slot, depth))


@dataclass(frozen=True)
class Thing:
    """One thing to draw: the scene whose attributes it shows, and where."""

    scene: Landscape
    slot: Slot
    depth: float

    @property
    def frame(self) -> Frame:
        """Its own coordinates."""
        return Frame(self.slot.x, self.slot.y, self.slot.size, self.slot.flip)

    @property
    def color(self) -> Array:
        """The color that the scene says, a little its own."""
        rng = rng_of(self.slot.seed, "tint")
        return np.clip(np.array(COLORS[self.scene.color]) * rng.uniform(0.93, 1.05) + rng.uniform(-0.02, 0.02, 3), 0, 1)

    def rng(self, part: str) -> np.random.Generator:
        """The random numbers of one of its parts."""
        return rng_of(self.slot.seed, part)


def _cast(canvas: Canvas, thing: Thing, wide: float, height: float) -> None:
    """The shadow on the ground, away from the light, and the dark under the thing."""
    x, y, size = thing.slot.x, thing.slot.y, thing.slot.size
    low = 1.7 if thing.scene.time == "sunset" else 1.0
    long = size * height * 0.42 * low
    side = -canvas.light.side
    canvas.shadow(ellipse(x + side * long * 0.55, y - 0.004, size * wide / 2 + long * 0.55, size * 0.075), 0.75, 0.022)
    canvas.shadow(ellipse(x, y + 0.004, size * wide / 2, size * 0.03), 0.55, 0.014)


def _house(canvas: Canvas, thing: Thing) -> None:
    rng, f = thing.rng("house"), thing.frame
    wall_height, gable = rng.uniform(0.34, 0.46), rng.uniform(0.24, 0.36)
    corner = rng.uniform(-0.08, 0.08)  # between the gable on the left and the long side on the right
    roof_color = ((0.55, 0.22, 0.16), (0.33, 0.26, 0.25), (0.30, 0.35, 0.43), (0.45, 0.33, 0.23))[rng.integers(4)]
    windows, door_on_gable = int(rng.integers(1, 3)), rng.random() < 0.5
    chimney = rng.uniform(0.25, 0.75)
    winter, night = thing.scene.season == "winter", thing.scene.time == "night"
    light = canvas.light.side * f.flip
    front, flank = (0.95, 0.42) if light < 0 else (0.42, 0.95)
    middle = (-0.5 + corner) / 2
    top = wall_height + gable
    _cast(canvas, thing, 1.0, 0.75)
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))

    def planks(patch: Patch) -> Array:
        lines = 1 - 0.10 * (np.abs((patch.y - thing.slot.y) / (0.055 * thing.slot.size) % 1 - 0.5) > 0.36)
        return np.asarray(thing.color[:, None, None] * (lines + 0 * patch.x))

    x0 = -0.5 + 0.5 * (corner + 0.5) + chimney * 0.3
    stack = f.convex((x0, top - 0.14), (x0 + 0.09, top - 0.14), (x0 + 0.09, top + 0.08), (x0, top + 0.08))
    fill(stack, (0.52, 0.32, 0.26), 0.7)
    fill(
        f.convex((corner, 0), (0.5, 0.03), (0.5, wall_height + 0.03), (corner, wall_height)),
        planks,
        flank,
        tags=("thing", "color"),
    )
    gable_shape = f.convex((-0.5, 0.02), (corner, 0), (corner, wall_height), (middle, top), (-0.5, wall_height))
    fill(gable_shape, planks, front, tags=("thing", "color"))

    roof = mixed(roof_color, SNOW, 0.93 if winter else 0.0)

    def tiles(patch: Patch) -> Array:
        lines = 1 - (0.04 if winter else 0.15) * (
            np.abs((patch.y - thing.slot.y) / (0.065 * thing.slot.size) % 1 - 0.5) > 0.32
        )
        return np.asarray(roof[:, None, None] * (lines + 0 * patch.x))

    over = 0.05
    ridge_end = 0.5 - (corner - middle) * 0.75
    long_roof = f.convex(
        (middle, top + 0.02),
        (ridge_end, top + 0.02),
        (0.5 + over, wall_height - 0.02),
        (corner + over * 0.5, wall_height - 0.05),
    )
    canvas.shadow(
        f.convex(
            (corner, wall_height - 0.02), (0.5, wall_height), (0.5, wall_height - 0.07), (corner, wall_height - 0.08)
        ),
        0.6,
        0.008,
    )
    fill(long_roof, tiles, 0.62 + 0.4 * (light > 0))
    edge = roof * 0.82
    for a, b in (
        ((middle, top + 0.015), (-0.5 - over, wall_height - 0.045)),
        ((middle, top + 0.015), (corner + over * 0.5, wall_height - 0.045)),
    ):
        fill(f.stroke(*a, *b, 0.055), edge, 0.8)

    glass = (0.20, 0.27, 0.34)
    shines = (0.95, 0.70, 0.30) if night else (0.42, 0.24, 0.08) if thing.scene.time == "sunset" else (0.0, 0.0, 0.0)

    def window(x: float, y: float, w: float, h: float) -> None:
        fill(f.box(x - w / 2 - 0.018, y - 0.018, x + w / 2 + 0.018, y + h + 0.018), (0.92, 0.90, 0.84), 0.7)
        fill(f.box(x - w / 2, y, x + w / 2, y + h), glass, 0.5, emitted=shines)
        fill(f.stroke(x, y, x, y + h, 0.012), (0.88, 0.86, 0.80), 0.7)
        if night:
            canvas.glow(*f(x, y + h / 2), 0.22 * thing.slot.size, LAMP, 0.35)

    def door(x: float) -> None:
        fill(f.box(x - 0.065, 0.01, x + 0.065, 0.25, 0.01), (0.90, 0.88, 0.82), 0.7)
        fill(f.box(x - 0.05, 0.01, x + 0.05, 0.235, 0.01), (0.30, 0.19, 0.13), 0.7)

    width = corner + 0.5
    window(middle, wall_height + 0.02, 0.10, 0.11)
    if door_on_gable:
        door(middle - 0.22 * width)
        window(middle + 0.22 * width, 0.13, 0.11, 0.13)
    else:
        window(middle, 0.13, 0.15, 0.13)
    flank_width = 0.5 - corner
    for k in range(windows):
        window(corner + flank_width * (k + 0.75) / (windows + 0.5), 0.14, 0.11, 0.13)
    if thing.scene.weather == "clear" and winter:
        x, y = f(x0 + 0.045, top + 0.10)
        for k in range(4):
            puff = circle(
                x - 0.012 * k * canvas.light.side,
                y - 0.03 * k * thing.slot.size * 3,
                0.05 * thing.slot.size * (1 + 0.5 * k),
            )
            canvas.fill(puff, (0.9, 0.9, 0.92), 0.6, thing.depth, alpha=0.30 - 0.05 * k, soft=0.03)


def _tree(canvas: Canvas, thing: Thing) -> None:
    rng, f, season = thing.rng("tree"), thing.frame, thing.scene.season
    size = thing.slot.size
    tall, wide = rng.uniform(1.15, 1.45), rng.uniform(0.40, 0.52)
    lean = rng.uniform(-0.05, 0.05)
    count = 18
    angle, out = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count)) * 0.72
    radius = rng.uniform(0.10, 0.18, count)
    centre_y = tall * 0.64
    tone = rng.uniform(-0.10, 0.10, count)
    hue = LEAVES[season][rng.integers(3)]
    branches = rng.uniform((-0.24, 0.55), (0.24, 0.82), (6, 2))
    _cast(canvas, thing, 0.42, tall)
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))
    x, _ = f(0, 0)
    bark = mixed(BARK, (0.42, 0.36, 0.32), rng.random())
    fill(f.stroke(0, -0.01, lean, tall * 0.62, 0.13, 0.055), bark, lit_cylinder(canvas, x, 0.06 * size))
    for bx, by in branches:
        fill(f.stroke(lean * 0.7, tall * 0.40, bx * wide * 2.1, by * tall * 0.92, 0.05, 0.015), bark, 0.6)
    circles = np.stack(
        [lean + wide * out * np.cos(angle), centre_y + 0.30 * tall * out * np.sin(angle), radius], axis=1
    )
    core = np.array([[lean, centre_y, 0.2], [lean - 0.12, centre_y - 0.08, 0.17], [lean + 0.13, centre_y - 0.06, 0.16]])
    crown = np.concatenate([core, circles])
    cx, cy = f(lean, centre_y)
    alpha = 0.72 if season == "winter" else 1.0
    leaf = np.asarray(hue, np.float32)
    whole = lit_ball(canvas, cx, cy, (wide + 0.14) * size, (0.30 * tall + 0.14) * size, 0.05)
    fill(f.blob(crown), leaf * (0.66 if season != "winter" else 0.86), whole, alpha=alpha, soft=0.012)
    order = np.argsort(circles[:, 1])
    for k in order:  # from below to above, each clump lit for itself
        px, py = f(circles[k, 0], circles[k, 1] + 0.03)
        r = circles[k, 2] * size * 0.92
        fill(
            circle(px, py, r),
            np.clip(leaf * (1 + tone[k]), 0, 1),
            _both(whole, lit_ball(canvas, px, py, r * 1.05, r * 1.05, 0.0)),
            alpha=0.85 * alpha,
            soft=0.014 + 0.25 * r,
        )


def _both(first: Callable[[Patch], Array], second: Callable[[Patch], Array]) -> Callable[[Patch], Array]:
    return lambda patch: 0.45 * first(patch) + 0.55 * second(patch)


def _car(canvas: Canvas, thing: Thing) -> None:
    rng, f = thing.rng("car"), thing.frame
    roof, front, back = rng.uniform(0.46, 0.54), rng.uniform(0.10, 0.20), rng.uniform(-0.34, -0.22)
    hood = rng.uniform(0.29, 0.33)
    night = thing.scene.time == "night"
    _cast(canvas, thing, 0.98, 0.4)
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))
    x, y = f(0, 0)
    size = thing.slot.size

    def body_shade(patch: Patch) -> Array:
        up = (y - patch.y) / size
        lit = 0.45 + 0.6 * smooth(0.10, 0.50, up) + 0.25 * np.exp(-(((up - hood + 0.03) / 0.02) ** 2))
        return np.asarray(lit + 0 * patch.x)

    fill_body = partial(fill, color=thing.color, shade=body_shade, tags=("thing", "color"))
    cabin = f.convex((back - 0.12, hood - 0.02), (front + 0.18, hood - 0.02), (front, roof), (back + 0.04, roof))
    fill_body(cabin, soft=0.012)
    fill_body(f.box(-0.5, 0.09, 0.5, hood, 0.075))
    glass, shine = (0.30, 0.40, 0.48), (0.5, 0.4, 0.2) if night else (0.0, 0.0, 0.0)
    middle = (back + front) / 2 + 0.02
    low, high = hood, roof - 0.035
    panes = (
        ((back - 0.055, low), (middle - 0.015, low), (middle - 0.015, high), (back + 0.055, high)),
        ((middle + 0.015, low), (front + 0.125, low), (front - 0.012, high), (middle + 0.015, high)),
    )
    for pane in panes:
        fill(
            f.convex(*pane),
            lambda p: mixed(glass, (0.75, 0.83, 0.88), smooth(0.2, 1.0, (y - p.y) / size / roof) + 0 * p.x),
            0.7,
            emitted=tuple(0.4 * c for c in shine),
        )
    fill(f.box(-0.49, 0.085, 0.49, 0.125, 0.01), (0.22, 0.22, 0.24), 0.4)
    fill(f.stroke(middle - 0.05, hood - 0.055, middle + 0.01, hood - 0.055, 0.016), (0.85, 0.85, 0.85), 0.8)
    for wx in (-0.29, 0.29):
        fill(f.ellipse(wx, 0.10, 0.135, 0.13), (0.10, 0.10, 0.12), 0.3)
        fill(f.ellipse(wx, 0.095, 0.105, 0.105), (0.16, 0.16, 0.17), 0.7)
        fill(f.ellipse(wx, 0.095, 0.055, 0.055), (0.74, 0.75, 0.77), 0.9)
    fill(
        f.ellipse(0.47, 0.235, 0.026, 0.038), (0.95, 0.93, 0.80), 1.0, emitted=(0.4, 0.36, 0.22) if night else (0, 0, 0)
    )
    fill(
        f.ellipse(-0.48, 0.235, 0.02, 0.034), (0.75, 0.12, 0.10), 1.0, emitted=(0.3, 0.02, 0.02) if night else (0, 0, 0)
    )
    if night:
        canvas.glow(*f(0.56, 0.2), 0.30 * size, (1.0, 0.9, 0.6), 0.6)
        canvas.glow(*f(-0.5, 0.23), 0.10 * size, (0.9, 0.15, 0.1), 0.5)


def _sheep(canvas: Canvas, thing: Thing) -> None:
    rng, f = thing.rng("sheep"), thing.frame
    size = thing.slot.size * 0.92
    f = Frame(f.x, f.y, size, f.flip)
    grazing = rng.random() < 0.3
    count = 14
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.1, 0.1, count)
    steps = rng.uniform(-0.02, 0.02, 4)
    head_y = 0.24 if grazing else rng.uniform(0.56, 0.64)
    _cast(canvas, thing, 0.9, 0.6)
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))
    dark = mixed((0.19, 0.16, 0.15), (0.55, 0.44, 0.36), 0.8 if thing.scene.color == "brown" else 0.0)
    for k, leg in enumerate((-0.24, -0.10, 0.13, 0.25)):
        shade = 0.35 if k % 2 else 0.75
        fill(f.stroke(leg, 0.26, leg + steps[k], 0.015, 0.065, 0.05), dark, shade)
    circles = np.stack([0.27 * np.cos(angle), 0.44 + 0.145 * np.sin(angle), np.full(count, 0.105)], axis=1)
    circles = np.concatenate([circles, [[-0.1, 0.44, 0.19], [0.1, 0.44, 0.19], [0.0, 0.45, 0.19]]])
    cx, cy = f(0, 0.44)
    whole = lit_ball(canvas, cx, cy, 0.42 * size, 0.27 * size, 0.0)
    wool = thing.color
    fill(f.blob(circles), wool * 0.93, whole, tags=("thing", "color"))
    curls = rng.uniform((-0.26, 0.34), (0.24, 0.56), (16, 2))
    for px, py in curls:
        qx, qy = f(px, py)
        r = 0.085 * size
        fill(
            circle(qx, qy, r),
            wool,
            _both(whole, lit_ball(canvas, qx, qy, r * 1.2, r * 1.2, 0.25)),
            alpha=0.7,
            soft=0.6 * r,
            tags=("thing", "color"),
        )
    fill(f.ellipse(-0.37, 0.47, 0.055, 0.07), wool * 0.9, whole, tags=("thing", "color"))
    hx = 0.40
    hx_, hy_ = f(hx, head_y)
    fill(f.stroke(0.27, 0.50, hx - 0.02, head_y + 0.03, 0.17, 0.13), wool * 0.85, 0.5, tags=("thing", "color"))
    face = lit_ball(canvas, hx_, hy_, 0.13 * size, 0.15 * size, 0.3)
    fill(f.stroke(hx, head_y + 0.04, hx + 0.09, head_y - 0.08, 0.16, 0.11), dark, face)
    fill(f.stroke(hx - 0.04, head_y + 0.07, hx - 0.13, head_y + 0.03, 0.055, 0.03), dark * 0.9, 0.6)
    fill(f.ellipse(hx + 0.0, head_y + 0.12, 0.075, 0.05), wool, 0.8, soft=0.01, tags=("thing", "color"))
    fill(f.ellipse(hx + 0.035, head_y + 0.035, 0.022, 0.022), (0.93, 0.92, 0.88), 0.9)
    fill(f.ellipse(hx + 0.042, head_y + 0.033, 0.011, 0.013), (0.05, 0.05, 0.05), 0.5)


def _boat(canvas: Canvas, thing: Thing) -> None:
    rng, f = thing.rng("boat"), thing.frame
    size = thing.slot.size
    tall, mast = rng.uniform(0.92, 1.12), rng.uniform(-0.06, 0.08)
    sail = ((0.97, 0.95, 0.88), (0.95, 0.88, 0.74), (0.90, 0.93, 0.96))[rng.integers(3)]
    belly = rng.uniform(0.36, 0.46)
    level = thing.slot.y
    hull = f.convex((-0.47, 0.235), (-0.42, 0.05), (-0.35, -0.012), (0.36, -0.012), (0.46, 0.11), (0.54, 0.265))
    main = f.convex((mast - 0.02, 0.30), (mast - 0.02, tall), (mast - belly * 0.55, tall * 0.57), (mast - belly, 0.33))
    jib = f.convex((mast + 0.03, tall * 0.92), (mast + 0.03, 0.34), (0.48, 0.31), (mast + 0.25, tall * 0.54))
    pole = f.stroke(mast, 0.15, mast, tall + 0.03, 0.028, 0.018)
    x_mast, _ = f(mast, 0)
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))

    def reflect(shape: Shape, color: Color, share: float) -> None:
        fill(
            shape.mirrored(level + 0.004, 0.008),
            color,
            0.6,
            alpha=lambda p: share * smooth(0.75 * size, 0.0, p.y - level) + 0 * p.x,
            soft=0.012,
            tags=("ground",),
        )

    for shape, color, share in ((main, sail, 0.42), (jib, thing.color, 0.36), (hull, thing.color * 0.8, 0.75)):
        reflect(shape, color, share)
    canvas.shadow(ellipse(thing.slot.x, level + 0.006, 0.44 * size, 0.016), 0.6, 0.012)

    def cloth(patch: Patch) -> Array:
        across = np.clip(np.abs(patch.x - x_mast) / (0.45 * size), 0, 1)
        bulge = np.sin(np.pi * across) * 0.35
        toward = canvas.light.side * np.sign(patch.x - x_mast)
        return np.asarray(np.clip(0.62 + 0.30 * toward + bulge * 0.7 + 0 * patch.y, 0.15, 1.1))

    fill(pole, (0.40, 0.27, 0.17), 0.7)
    fill(jib, mixed(thing.color, sail, 0.1), cloth, tags=("thing", "color"))
    fill(main, sail, cloth)
    y_water = level

    def planking(patch: Patch) -> Array:
        up = (y_water - patch.y) / size
        return np.asarray(0.35 + 0.7 * smooth(-0.02, 0.2, up) + 0 * patch.x)

    fill(hull, thing.color, planking, tags=("thing", "color"))
    fill(f.stroke(-0.465, 0.225, 0.525, 0.252, 0.032), mixed((0.95, 0.93, 0.88), thing.color, 0.15), 0.8)
    fill(f.stroke(mast - belly + 0.02, 0.30, mast, 0.30, 0.024), (0.40, 0.27, 0.17), 0.7)
    fill(f.stroke(-0.38, -0.005, 0.38, -0.005, 0.022), (0.9, 0.95, 0.98), 0.8, alpha=0.5, soft=0.012, tags=("ground",))
    if thing.scene.time == "night":
        x, y = f(mast, tall + 0.05)
        fill(circle(x, y, 0.010), emitted=(1.0, 0.9, 0.6))
        canvas.glow(x, y, 0.10, LAMP, 0.8)
        lx, ly = f(-0.2, 0.23)
        canvas.glow(lx, ly, 0.12, LAMP, 0.6)


def _balloon(canvas: Canvas, thing: Thing) -> None:
    rng, f = thing.rng("balloon"), thing.frame
    size = thing.slot.size * 0.82
    f = Frame(f.x, f.y, size, f.flip)
    spin, gores = rng.uniform(0, np.pi), int(rng.integers(5, 8))
    second = ((0.96, 0.93, 0.84), (0.98, 0.86, 0.52), (0.90, 0.93, 0.97))[rng.integers(3)]
    fill = partial(canvas.fill, depth=thing.depth, tags=("thing",))
    x, top = f(0, 1.0)
    low = f(0, 0.22)[1]
    r = 0.36 * size

    def radius(t: Array) -> Array:
        round_ = np.sqrt(np.clip(1 - ((t - 0.46) / 0.46) ** 2, 0, 1))
        cone = np.clip(1.0 - (t - 0.46) / 0.54 * 0.80, 0, 1)
        cone = cone + 0.12 * np.sin(np.pi * np.clip((t - 0.46) / 0.54, 0, 1))
        return np.asarray(r * np.where(t < 0.46, round_, np.minimum(cone, 1)), np.float32)

    envelope = turned(x, top, low, radius, r)

    def across(patch: Patch) -> Array:
        t = np.clip((patch.y - top) / (low - top), 0.005, 1)
        return np.asarray(np.clip((patch.x - x) / np.maximum(radius(t), 1e-4), -1, 1))

    def color(patch: Patch) -> Array:
        turn = np.arcsin(across(patch)) + spin
        stripe = smooth(0.55, 0.80, np.sin(gores * turn))
        return mixed(thing.color, mixed(thing.color, second, 0.9), stripe)

    def shade(patch: Patch) -> Array:
        t = np.clip((patch.y - top) / (low - top), 0, 1)
        return np.asarray(0.10 + 1.05 * canvas.light.on_ball(across(patch) * 0.98, (t - 0.42) * 1.1))

    def fire(patch: Patch) -> Array:
        t = np.clip((patch.y - top) / (low - top), 0, 1)
        glow = np.exp(-(((t - 1.0) / 0.45) ** 2)) * (1 - 0.5 * across(patch) ** 2)
        return (
            np.array((0.62, 0.34, 0.12), np.float32)[:, None, None] * glow * (1 if thing.scene.time == "night" else 0)
        )

    for side in (-1, 1):
        fill(f.stroke(0.058 * side, 0.24, 0.045 * side, 0.10, 0.010), (0.30, 0.24, 0.18), 0.5)
    fill(envelope, color, shade, emitted=fire, tags=("thing", "color"))
    fill(f.box(-0.062, 0.0, 0.062, 0.11, 0.015), (0.52, 0.35, 0.19), lit_cylinder(canvas, x, 0.07 * size))
    fill(f.stroke(-0.062, 0.105, 0.062, 0.105, 0.022), (0.36, 0.23, 0.13), 0.7)
