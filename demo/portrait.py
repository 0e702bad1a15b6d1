"""Portraits: a figure from the chest up before a landscape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .painting import Array, Canvas, Frame, Patch, Shape, between, mixed, smooth
from .place import View, draw_place
from .scenes import COLORS, Portrait, rng_of

TAGS = ("person", "face", "hair", "wears", "color", "sky", "ground", "place")
_SKIN = ((0.96, 0.80, 0.68), (0.90, 0.70, 0.55), (0.76, 0.54, 0.40), (0.56, 0.38, 0.28), (0.98, 0.84, 0.74))
_HAIR = {
    "black": (0.10, 0.09, 0.10), "brown": (0.36, 0.22, 0.13), "blond": (0.88, 0.72, 0.38), "red": (0.70, 0.27, 0.11),
    "grey": (0.68, 0.68, 0.70),
}  # fmt: skip


def draw(scene: Portrait, size: int) -> tuple[Array, dict[str, Array]]:
    """The picture (3, size, size) in 0 to 1 and the masks (size, size) of `TAGS`."""
    view = View.of(scene.seed)
    rng = rng_of(scene.seed, "season")
    season = ("spring", "summer", "autumn", "winter")[rng.integers(4)]
    weather = ("clear", "clear", "cloudy")[rng.integers(3)]
    canvas = Canvas(size, view.light(scene.time, weather), TAGS)
    draw_place(canvas, view, scene.place, weather, scene.time, season)
    _figure(canvas, scene)
    return np.clip(canvas.lit(), 0, 1), {tag: canvas.mask(tag) for tag in TAGS}


def _figure(canvas: Canvas, scene: Portrait) -> None:
    rng = rng_of(scene.seed, "figure")
    child = scene.person in ("girl", "boy")
    long_hair = scene.person in ("woman", "girl")
    size = rng.uniform(0.68, 0.84) * (0.90 if child else 1.0)
    x = rng.uniform(0.36, 0.64)
    chin = rng.uniform(0.66, 0.74) + (0.04 if child else 0.0)
    look = rng.uniform(-0.03, 0.03)
    skin = np.array(_SKIN[rng.integers(len(_SKIN))], np.float32)
    wide = rng.uniform(0.235, 0.265) * (1.06 if child else 1.0) * (1.04 if scene.person == "man" else 1.0)
    tall = rng.uniform(0.29, 0.32) * (0.94 if child else 1.0)
    length = rng.uniform(-0.42, -0.10)
    part = rng.uniform(-0.5, 0.5)
    eyes = ((0.25, 0.40, 0.55), (0.30, 0.22, 0.14), (0.28, 0.45, 0.30))[rng.integers(3)]
    collar, beard = rng.random() < 0.5, rng.random() < 0.35
    f = Frame(x, chin, size)
    hair = np.array(_HAIR[scene.hair], np.float32)
    coat = np.clip(np.array(COLORS[scene.color], np.float32) * rng.uniform(0.95, 1.04), 0, 1)
    second = COLORS[("red", "yellow", "blue", "white", "green", "orange")[rng.integers(6)]]
    side = canvas.light.side
    fill = partial(canvas.fill, tags=("person",))
    cy = tall * 0.98  # the middle of the head above the chin

    def ball(cx: float, cyy: float, rx: float, ry: float, low: float = 0.25) -> Callable[[Patch], Array]:
        px, py = f(cx, cyy)

        def shade(patch: Patch) -> Array:
            lit = canvas.light.on_ball((patch.x - px) / (rx * size), (patch.y - py) / (ry * size))
            return np.asarray(low + (1.12 - low) * lit)

        return shade

    face_light = ball(0, cy - 0.02, wide * 1.25, tall * 1.25, 0.30)
    hair_light = ball(0, cy + 0.05, wide * 1.5, tall * 1.5, 0.20)

    def strands(p: Patch) -> Array:
        wave = np.sin((p.x - f.x) / size * 95 + 14 * np.abs(p.x - f.x) + 6 * part)
        return np.asarray(hair_light(p) * (0.95 + 0.06 * wave))

    # hair behind
    if long_hair:
        back = f.ellipse(0, cy + 0.02, wide + 0.095, tall + 0.07) | f.box(-wide - 0.085, length, wide + 0.085, cy, 0.09)
        fill(back, hair * 0.78, lambda p: 0.8 * strands(p), tags=("person", "hair"))
    # neck and coat

    def neck_shade(p: Patch) -> Array:
        return np.asarray(0.42 + 0.25 * smooth(-0.1, 0.1, side * (p.x - f.x)) + 0 * p.y)

    shoulders = 0.52 if scene.person == "man" else 0.45 if scene.person == "woman" else 0.40

    def top(px: Array) -> Array:
        u = np.abs((px - f.x) / size)
        fall = 0.155 + 0.12 * np.clip(u / shoulders, 0, 1) ** 1.6 + 2.4 * np.clip(u - shoulders * 0.86, 0, 1) ** 1.25
        return np.asarray(f.y + size * fall, np.float32)

    body = between(top, lambda px: np.full_like(px, 1.02), 0.0, 1.0)

    def folds(p: Patch) -> Array:
        across, down = (p.x - f.x) / size, (p.y - f.y) / size
        lit = np.clip(0.62 + 0.84 * side * across + 0.08 * np.sin(16 * across + 9 * p.y), 0.12, 1.1)
        return np.asarray(lit * (1 - 0.35 * smooth(0.12, 0.0, down - 0.13)))

    fill(body, coat, folds, tags=("person", "color"))
    fill(f.box(-0.105, -0.20, 0.105, 0.14, 0.05), skin, neck_shade)
    canvas.shadow(f.ellipse(-side * 0.03, -0.02, 0.15, 0.07), 0.6, 0.03)
    if collar:
        for k in (-1, 1):
            lapel = f.convex((0.10 * k, -0.10), (0.015 * k, -0.27), (0.16 * k, -0.36), (0.20 * k, -0.16))
            fill(lapel, np.minimum(coat * 1.12 + 0.03, 1), 0.6 + 0.3 * k * side, tags=("person", "color"))
    else:
        for y in (-0.34, -0.48):
            fill(f.ellipse(0.0, y, 0.018, 0.018), np.minimum(coat * 0.55 + 0.35, 1), 0.8)
        fill(f.stroke(-0.13, -0.145, 0.13, -0.145, 0.075), coat * 0.88, folds, tags=("person", "color"))
    if scene.wears == "scarf":
        fill(
            f.box(-0.21, -0.225, 0.21, -0.055, 0.08),
            second,
            lambda p: np.asarray(
                0.75 + 0.3 * np.sin((p.y - f.y) / size * 70) * 0.5 + 0.25 * side * (p.x - f.x) / (0.2 * size)
            ),
            tags=("person", "wears"),
        )
        fill(
            f.convex((0.06, -0.16), (0.18, -0.14), (0.19, -0.52), (0.05, -0.54)),
            np.array(second) * 0.92,
            lambda p: 0.7 + 0.3 * np.sin((p.y - f.y) / size * 60) * 0.4 + 0 * p.x,
            tags=("person", "wears"),
        )

    # head
    for k in (-1, 1):
        fill(
            f.ellipse(k * wide * 0.99, cy - 0.045, 0.042, 0.065),
            skin * 0.94,
            0.55 + 0.2 * k * side,
            tags=("person", "face"),
        )
    jaw = 0.86 if scene.person == "man" else 0.74
    head = f.ellipse(0, cy + 0.02, wide, tall * 0.96) | f.ellipse(0, cy - 0.13, wide * jaw, tall * 0.62)
    cheeks = np.clip(skin * np.array((1.0, 0.80, 0.76), np.float32), 0, 1)

    def complexion(patch: Patch) -> Array:
        total: Array = np.zeros((patch.y.shape[0], patch.x.shape[1]), np.float32)
        for k in (-1, 1):
            px, py = f(k * wide * 0.58, cy - 0.13)
            total = total + np.exp(-(((patch.x - px) / (0.075 * size)) ** 2) - ((patch.y - py) / (0.055 * size)) ** 2)
        return mixed(skin, cheeks, 0.75 * np.clip(total, 0, 1))

    fill(head, complexion, face_light, tags=("person", "face"))
    if scene.person == "man" and beard:
        chin_ = f.ellipse(0, cy - 0.20, wide * 0.86, tall * 0.42)
        mouth_line = f(0, cy - 0.085)[1]
        low = Shape(chin_.bounds, lambda a, b: np.maximum(chin_.distance(a, b), mouth_line - b))
        fill(low, mixed(hair, skin, 0.18), face_light, soft=0.02, tags=("person", "hair"))
    _face(canvas, scene, f, cy, wide, look, skin, hair, np.array(eyes))
    _hair(canvas, scene, f, cy, wide, tall, part, hair, strands, long_hair)
    if scene.wears == "hat":
        band = np.array(second)
        felt = mixed(second, (0.35, 0.28, 0.24), 0.55)
        y = cy + tall * 0.52
        crown = f.box(-wide * 0.88, y, wide * 0.88, y + 0.25, 0.09)
        canvas.shadow(f.ellipse(0, y - 0.02, wide * 1.2, 0.06), 0.45, 0.03)
        fill(crown, felt, ball(0, y + 0.08, wide * 1.2, 0.26), tags=("person", "wears"))
        fill(
            f.box(-wide * 0.885, y + 0.01, wide * 0.885, y + 0.075),
            band * 0.8,
            ball(0, y + 0.08, wide * 1.2, 0.26),
            tags=("person", "wears"),
        )
        fill(
            f.ellipse(0, y, wide * 1.55, 0.055),
            np.asarray(felt) * 0.92,
            ball(0, y, wide * 1.7, 0.12),
            tags=("person", "wears"),
        )


def _face(
    canvas: Canvas,
    scene: Portrait,
    f: Frame,
    cy: float,
    wide: float,
    look: float,
    skin: Array,
    hair: Array,
    iris: Array,
) -> None:
    """Eyes, brows, nose and mouth, as the expression has them."""
    fill = partial(canvas.fill, tags=("person", "face"))
    mood = scene.expression
    eye_y, open_ = cy - 0.01, {"smiling": 0.030, "sad": 0.027, "surprised": 0.050, "calm": 0.032}[mood]
    brow_y = eye_y + {"smiling": 0.088, "sad": 0.082, "surprised": 0.125, "calm": 0.080}[mood]
    tilt = {"smiling": 0.0, "sad": 0.040, "surprised": 0.004, "calm": -0.004}[mood]
    dark = np.minimum(hair * 0.62, 0.42)
    for k in (-1, 1):
        ex = k * wide * 0.44 + look
        fill(f.ellipse(ex, eye_y, 0.052, open_ + 0.012), skin * 0.72, 0.6, soft=0.014)
        fill(f.ellipse(ex, eye_y, 0.046, open_), (0.97, 0.96, 0.94), 0.75)
        fill(f.ellipse(ex + look * 0.4, eye_y - 0.002, 0.026, min(open_ * 1.02, 0.028)), iris, 0.7)
        fill(f.ellipse(ex + look * 0.4, eye_y - 0.002, 0.013, min(open_, 0.015)), (0.04, 0.04, 0.05), 0.4)
        fill(f.ellipse(ex + look * 0.4 + 0.010, eye_y + 0.010, 0.008, 0.008), (0.9, 0.9, 0.9), 1.0)
        fill(
            f.stroke(ex - 0.046, eye_y + open_ * 0.6, ex + 0.046, eye_y + open_ * 0.6 + 0.002, 0.012),
            skin * 0.32,
            0.5,
            alpha=0.8,
        )
        inner, outer = ex - k * 0.050, ex + k * 0.055
        fill(f.stroke(inner, brow_y + tilt, outer, brow_y - tilt * 0.8, 0.026, 0.016), dark, 0.7)
    side = canvas.light.side
    fill(
        f.stroke(0.008 - 0.012 * side + look, eye_y - 0.02, -0.026 * side + look, cy - 0.125, 0.014, 0.024),
        skin * 0.80,
        0.45,
        soft=0.016,
        alpha=0.8,
    )
    fill(f.ellipse(look, cy - 0.125, 0.034, 0.020), skin * 0.94, 0.75, soft=0.018)
    fill(f.stroke(-0.022 + look, cy - 0.148, 0.022 + look, cy - 0.148, 0.010), skin * 0.55, 0.4, alpha=0.7, soft=0.012)

    lips = mixed((0.74, 0.30, 0.30), skin * 0.75, 0.25 if scene.person in ("woman", "girl") else 0.6)
    my, mx = cy - 0.225, look * 0.6
    if mood == "surprised":
        fill(f.ellipse(mx, my - 0.008, 0.048, 0.058), lips, 0.7)
        fill(f.ellipse(mx, my - 0.010, 0.034, 0.044), (0.28, 0.08, 0.09), 0.4)
        return
    half = {"smiling": 0.112, "sad": 0.082, "calm": 0.078}[mood]
    bend = {"smiling": 0.052, "sad": -0.048, "calm": 0.004}[mood]
    px, py = f(mx, my)
    unit, wide_ = f.size, half * f.size

    def line(at: Array, below: float) -> Array:
        u = np.clip((at - px) / wide_, -1, 1)
        return np.asarray(py - unit * (bend * (u**2 - 0.5) - below * (1 - u**2)), np.float32)

    if mood == "smiling":
        mouth = between(lambda a: line(a, -0.004), lambda a: line(a, 0.062), px - wide_, px + wide_)
        fill(mouth, lips * 0.72, 0.6)
        teeth = between(lambda a: line(a, 0.004), lambda a: line(a, 0.036), px - wide_ * 0.86, px + wide_ * 0.86)
        fill(teeth, (0.97, 0.96, 0.93), 0.8)
    else:
        mouth = between(lambda a: line(a, -0.012), lambda a: line(a, 0.020), px - wide_, px + wide_)
        fill(mouth, lips, 0.75)
        fill(between(lambda a: line(a, -0.003), lambda a: line(a, 0.006), px - wide_, px + wide_), lips * 0.45, 0.5)


def _hair(
    canvas: Canvas, scene: Portrait, f: Frame, cy: float, wide: float, tall: float, part: float, hair: Array,
    strands: Callable[[Patch], Array], long_hair: bool,
) -> None:  # fmt: skip
    """The hair before the head, and glasses."""
    fill = partial(canvas.fill, tags=("person", "hair"))
    cap = f.ellipse(0, cy + 0.07, wide + 0.055, tall * 0.94 + 0.03)
    middle, line = f(part * wide * 0.8, 0)[0], f(0, cy + 0.125)[1]

    def brow(x: Array) -> Array:
        u = (x - middle) / (wide * f.size)
        return np.asarray(
            line - f.size * (0.11 * np.exp(-((u / 0.55) ** 2)) - 0.16 * np.clip(np.abs(u) - 0.55, 0, 1)), np.float32
        )

    front = Shape(cap.bounds, lambda a, b: np.maximum(cap.distance(a, b), b - brow(a)))
    fill(front, hair, strands)
    for k in (-1, 1):
        low = -0.16 if long_hair else cy - 0.02
        lock = f.box(k * (wide + 0.015) - 0.045, low, k * (wide + 0.015) + 0.045, cy + 0.14, 0.04)
        fill(lock, hair * 0.95, strands)
    gx, gy = f(-canvas.light.side * -0.09, cy + tall * 0.78)
    gloss = np.minimum(hair * 1.6 + 0.12, 1)
    fill(
        Shape((gx - 0.14 * f.size, gy - 0.05 * f.size, gx + 0.14 * f.size, gy + 0.05 * f.size),
              lambda a, b: (np.sqrt(((a - gx) / 0.13) ** 2 + ((b - gy) / 0.035) ** 2) / f.size - 1) * 0.035 * f.size),
        gloss, strands, alpha=0.35, soft=0.03)  # fmt: skip
    if scene.wears == "glasses":
        fill_worn = partial(canvas.fill, tags=("person", "wears"))
        for k in (-1, 1):
            ex = k * wide * 0.46
            fill_worn(f.ellipse(ex, cy - 0.012, 0.085, 0.076), (0.85, 0.92, 0.96), 0.8, alpha=0.16)
            ring, hole = f.ellipse(ex, cy - 0.012, 0.092, 0.083), f.ellipse(ex, cy - 0.012, 0.074, 0.065)
            fill_worn(ring - hole, (0.12, 0.11, 0.13), 0.5)
            fill_worn(f.stroke(ex + k * 0.085, cy + 0.005, k * wide, cy + 0.012, 0.016), (0.12, 0.11, 0.13), 0.5)
        fill_worn(f.stroke(-wide * 0.46 + 0.085, cy, wide * 0.46 - 0.085, cy, 0.016), (0.12, 0.11, 0.13), 0.5)
