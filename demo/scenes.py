"""Scenes drawn by code: an integer seed gives an image, its caption and its masks.

Two families. Shapes: a coloured circle, square or triangle on a coloured ground. Landscapes: a house or a boat, by
day, at sunset or at night, in summer or in winter. What the caption says is the scene's attributes; everything
else (sizes, offsets, stripes, dots, hills, trees, windows, stars, wall and sail colours) is drawn from the seed
alone and in a fixed order. So `scene.replace(color="blue")` is the SAME scene with one attribute changed, which
gives every edit a ground truth, and the uncaptioned detail shows whether an edit kept the structure.

Images are drawn at four times their size and averaged down. Shapes: 3 channels first, 32 x 32 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any

import numpy as np

SIZE = 32
OVERSAMPLING = 4
FINE = SIZE * OVERSAMPLING

COLORS = {
    "red": (0.86, 0.16, 0.14),
    "yellow": (0.95, 0.84, 0.16),
    "green": (0.16, 0.64, 0.22),
    "blue": (0.16, 0.32, 0.88),
    "purple": (0.62, 0.22, 0.76),
    "white": (0.93, 0.93, 0.93),
}
SHAPES = ("circle", "square", "triangle")
POSITIONS = {"left": 0.29, "centre": 0.5, "right": 0.71}
OBJECTS = ("house", "boat")
TIMES = {"day": "by day", "sunset": "at sunset", "night": "at night"}
SEASONS = ("summer", "winter")

# One block of seeds for each use, far enough apart that no use ever reaches another's.
TRAIN_SEED = 0
TUNE_SEED = 1_000_000_000
TEST_SEED = 2_000_000_000
CLASSIFIER_SEED = 3_000_000_000

_V, _U = np.meshgrid(*[(np.arange(FINE, dtype=np.float32) + 0.5) / FINE] * 2, indexing="ij")


@dataclass(frozen=True)
class ShapeScene:
    """A coloured shape on a coloured ground."""

    seed: int
    shape: str
    color: str
    ground: str
    position: str

    @property
    def caption(self) -> str:
        """The full caption, eight words."""
        return f"a {self.color} {self.shape} {self.position} on a {self.ground} ground"

    @property
    def held_out(self) -> bool:
        """Whether this combination is never trained: one in seven."""
        colors = list(COLORS)
        code = colors.index(self.color) + 2 * colors.index(self.ground) + 3 * SHAPES.index(self.shape)
        return code % 7 == 0

    def replace(self, **attributes: Any) -> ShapeScene:
        """The same scene, all uncaptioned detail kept, with other attributes."""
        return with_fields(self, **attributes)


@dataclass(frozen=True)
class LandscapeScene:
    """A house on a meadow or a boat on a lake."""

    seed: int
    object: str
    time: str
    season: str

    @property
    def caption(self) -> str:
        """The full caption, six words."""
        return f"a {self.object} {TIMES[self.time]} in {self.season}"

    @property
    def held_out(self) -> bool:
        """Whether this combination is never trained: one in twelve."""
        return (self.object, self.time, self.season) == ("boat", "sunset", "winter")

    def replace(self, **attributes: Any) -> LandscapeScene:
        """The same scene, all uncaptioned detail kept, with other attributes."""
        return with_fields(self, **attributes)


Scene = ShapeScene | LandscapeScene


@dataclass(frozen=True)
class Rendering:
    """A drawn scene: image (3, 32, 32) in [-1, 1]; masks (32, 32) in [0, 1], the part of a pixel that is covered.

    Masks of a shape scene: object, ground. Of a landscape: object, sky, ground (the meadow or the water).
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]


def sample_scene(seed: int) -> Scene:
    """The scene of a seed: half are shapes, half are landscapes."""
    rng = np.random.default_rng([seed, 0])
    return _sample_shape(seed, rng) if rng.random() < 0.5 else _sample_landscape(seed, rng)


def _sample_shape(seed: int, rng: np.random.Generator) -> ShapeScene:
    color, ground = map(str, rng.choice(list(COLORS), 2, replace=False))
    return ShapeScene(seed, str(rng.choice(SHAPES)), color, ground, str(rng.choice(list(POSITIONS))))


def _sample_landscape(seed: int, rng: np.random.Generator) -> LandscapeScene:
    return LandscapeScene(seed, str(rng.choice(OBJECTS)), str(rng.choice(list(TIMES))), str(rng.choice(SEASONS)))


def scene_of_caption(caption: str, seed: int) -> Scene:
    """A scene that the caption describes; what it leaves open, and all detail, comes from the seed.

    Raises:
        ValueError: the caption names none or both of a shape and a landscape object.
    """
    words = caption.lower().replace(",", " ").replace(".", " ").split()
    things = [word for word in words if word in SHAPES or word in OBJECTS]
    if len(things) != 1:
        raise ValueError(f"a scene shows one of {', '.join((*SHAPES, *OBJECTS))}; {caption!r} names {len(things)}")
    rng = np.random.default_rng([seed, 4])
    if things[0] in OBJECTS:
        landscape = _sample_landscape(seed, rng).replace(object=things[0])
        return landscape.replace(**_named(words, time=TIMES, season=SEASONS))
    shape = _sample_shape(seed, rng).replace(shape=things[0], **_named(words, position=POSITIONS))
    colors = [(word, words[i + 1 : i + 2] == ["ground"]) for i, word in enumerate(words) if word in COLORS]
    return _with_colors(shape, {"ground" if of_ground else "color": word for word, of_ground in colors})


def _named(words: list[str], **fields: Iterable[str]) -> dict[str, str]:
    """For each field, the word of the caption that is one of its values."""
    return {field: word for field, values in fields.items() for word in words if word in values}


def _with_colors(scene: ShapeScene, chosen: dict[str, str]) -> ShapeScene:
    """The chosen colours; one that was left open gives way where both would be the same."""
    scene = scene.replace(**chosen)
    if scene.color == scene.ground and len(chosen) < 2:
        other = next(color for color in COLORS if color != scene.color)
        scene = scene.replace(**{"color" if "ground" in chosen else "ground": other})
    return scene


def training_caption(scene: Scene) -> str:
    """The caption to train with: sometimes silent on one attribute, so that shorter prompts work too."""
    rng = np.random.default_rng([scene.seed, 1])
    drop = rng.random()
    if isinstance(scene, ShapeScene):
        return scene.caption.replace(f" {scene.position}", "") if drop < 0.5 else scene.caption
    if drop < 0.1:
        return f"a {scene.object} {TIMES[scene.time]}"
    return f"a {scene.object} in {scene.season}" if drop < 0.2 else scene.caption


def render(scene: Scene) -> Rendering:
    """Draw a scene at four times its size and average it down."""
    rng = np.random.default_rng([scene.seed, 2])
    canvas, masks = _draw_shape(scene, rng) if isinstance(scene, ShapeScene) else _draw_landscape(scene, rng)
    image = _average_down(np.clip(canvas, 0, 1)) * 2 - 1
    return Rendering(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32),
        masks={name: _average_down(mask.astype(np.float32)) for name, mask in masks.items()},
    )


def _average_down(fine: np.ndarray) -> np.ndarray:
    """(128, 128, ...) -> (32, 32, ...)."""
    return fine.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, *fine.shape[2:]).mean(axis=(1, 3))


def _jitter(rng: np.random.Generator, color: tuple[float, ...], amount: float) -> np.ndarray:
    """A colour near the given one, (3,)."""
    return np.array(color, np.float32) + rng.uniform(-amount, amount, 3).astype(np.float32)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _draw_shape(scene: ShapeScene, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    x = POSITIONS[scene.position] + rng.uniform(-0.05, 0.05)
    y = rng.uniform(0.38, 0.62)
    radius = rng.uniform(0.17, 0.24)
    ground_pattern, object_pattern = _pattern(rng), _pattern(rng)
    color = _jitter(rng, COLORS[scene.color], 0.05)
    ground = _jitter(rng, COLORS[scene.ground], 0.05)

    inside = _shape_mask(scene.shape, _U - x, _V - y, radius)
    canvas = np.where(inside[..., None], color * object_pattern, ground * ground_pattern)
    return canvas, {"object": inside, "ground": ~inside}


def _shape_mask(shape: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """(128, 128) bool; the three shapes have about the same area."""
    if shape == "circle":
        return u**2 + v**2 < radius**2
    if shape == "square":
        return np.maximum(abs(u), abs(v)) < 0.88 * radius
    height = 1.3 * radius
    return (abs(v) < height) & (abs(u) < (v + height) * 0.6)


def _pattern(rng: np.random.Generator) -> np.ndarray:
    """Brightness (128, 128, 1) about 1: plain, stripes, dots or shading. Every call draws the same count of numbers."""
    kind = rng.integers(5)
    angle, phase, shift = rng.uniform(0, np.pi), rng.uniform(0, 1), rng.uniform(0, 1)
    period, contrast = rng.uniform(0.16, 0.3), rng.uniform(0.12, 0.22)
    along = _U * np.cos(angle) + _V * np.sin(angle)
    if kind in (1, 2):
        dark = (along / period + phase) % 1 < 0.45
    elif kind == 3:
        dark = ((_U / period + phase) % 1 - 0.5) ** 2 + ((_V / period + shift) % 1 - 0.5) ** 2 < 0.08
    elif kind == 4:
        dark = np.clip(along, 0, 1)
    else:
        dark = np.zeros_like(along)
    return (1 - contrast * dark)[..., None].astype(np.float32)


# --- landscapes -------------------------------------------------------------------------------------------------------

_SKY = {  # top, horizon
    "day": ((0.36, 0.62, 0.95), (0.74, 0.88, 0.99)),
    "sunset": ((0.50, 0.32, 0.58), (0.99, 0.62, 0.28)),
    "night": ((0.12, 0.14, 0.36), (0.24, 0.28, 0.54)),
}
_LIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.76, 0.62), "night": (0.52, 0.56, 0.80)}
_WALLS = ((0.90, 0.80, 0.60), (0.78, 0.36, 0.28), (0.62, 0.70, 0.80), (0.85, 0.85, 0.82), (0.80, 0.62, 0.30))
_ROOFS = ((0.56, 0.20, 0.16), (0.34, 0.26, 0.24), (0.28, 0.34, 0.46))
_HULLS = ((0.66, 0.22, 0.18), (0.44, 0.28, 0.16), (0.20, 0.30, 0.56), (0.22, 0.44, 0.30))
_SAILS = ((0.96, 0.94, 0.88), (0.92, 0.56, 0.30), (0.90, 0.78, 0.34), (0.70, 0.80, 0.92))
_LEAVES = {"summer": (0.20, 0.52, 0.18), "winter": (0.84, 0.90, 0.94)}
_HILLS = {"summer": (0.30, 0.56, 0.34), "winter": (0.80, 0.86, 0.92)}
_MEADOW = {"summer": (0.44, 0.72, 0.26), "winter": (0.93, 0.95, 0.98)}
_WATER = {"summer": (0.16, 0.46, 0.74), "winter": (0.44, 0.60, 0.72)}
_SNOW = (0.95, 0.97, 1.0)
_LAMP = (1.0, 0.86, 0.38)


@dataclass(frozen=True)
class _Detail:
    """All that the caption does not say of a landscape. The masks are drawn in units of the image size."""

    horizon: float
    x: float
    width: float
    height: float
    light_x: float
    light_y: float
    hill_phase: float
    hill_height: float
    hill_waves: float
    trees: np.ndarray  # (3, 3) x, size, present
    stars: np.ndarray  # (14, 2) x, y
    flakes: np.ndarray  # (12, 2) x, y
    waves: np.ndarray  # (6, 3) x, y, width
    windows: int
    door_side: float
    roof_slope: float
    mast: float
    wall: np.ndarray
    roof: np.ndarray
    hull: np.ndarray
    sail: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator) -> _Detail:
        """Draw every number whether or not the scene shows it, so that one attribute never shifts another's detail."""
        trees = np.stack([rng.uniform(0.04, 0.96, 3), rng.uniform(0.09, 0.15, 3), rng.uniform(0, 1, 3) < 0.7], axis=1)
        return cls(
            horizon=rng.uniform(0.52, 0.62),
            x=rng.uniform(0.36, 0.64),
            width=rng.uniform(0.30, 0.40),
            height=rng.uniform(0.20, 0.28),
            light_x=rng.uniform(0.1, 0.9),
            light_y=rng.uniform(0.10, 0.22),
            hill_phase=rng.uniform(0, 1),
            hill_height=rng.uniform(0.04, 0.12),
            hill_waves=rng.uniform(0.8, 2.0),
            trees=trees,
            stars=rng.uniform((0.02, 0.02), (0.98, 0.42), (14, 2)),
            flakes=rng.uniform(0.02, 0.98, (12, 2)),
            waves=rng.uniform((0.0, 0.0, 0.05), (1.0, 1.0, 0.12), (6, 3)),
            windows=int(rng.integers(1, 4)),
            door_side=rng.uniform(-1, 1),
            roof_slope=rng.uniform(0.5, 0.8),
            mast=rng.uniform(-0.15, 0.15),
            wall=_jitter(rng, _WALLS[rng.integers(len(_WALLS))], 0.04),
            roof=_jitter(rng, _ROOFS[rng.integers(len(_ROOFS))], 0.04),
            hull=_jitter(rng, _HULLS[rng.integers(len(_HULLS))], 0.04),
            sail=_jitter(rng, _SAILS[rng.integers(len(_SAILS))], 0.03),
        )


class _Painter:
    """A canvas that lays colours over each other, in the light of the hour."""

    def __init__(self, light: tuple[float, ...]):
        self.canvas = np.zeros((FINE, FINE, 3), np.float32)
        self.light = np.array(light, np.float32)

    def fill(self, mask: np.ndarray, color: np.ndarray | tuple[float, ...], lit: bool = True) -> None:
        """Paint the pixels of a mask. Lamps, stars, sun and moon shine by themselves and are not lit."""
        self.canvas[mask] = np.array(color, np.float32) * self.light if lit else color


def _draw_landscape(scene: LandscapeScene, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    detail = _Detail.sample(rng)
    painter = _Painter(_LIGHT[scene.time])
    below = detail.horizon < _V
    _draw_sky(painter, scene, detail)
    _draw_hills(painter, scene, detail)
    if scene.object == "boat":
        _draw_trees(painter, scene, detail, detail.horizon, 0.75)
        _draw_water(painter, scene, detail, below)
        inside = _draw_boat(painter, scene, detail)
    else:
        painter.fill(below, _MEADOW[scene.season])
        _draw_trees(painter, scene, detail, detail.horizon + 0.05, 1.15)
        inside = _draw_house(painter, scene, detail)
    if scene.season == "winter":
        for x, y in detail.flakes:
            painter.fill(_disc(x, y, 0.011), _SNOW)
    return painter.canvas, {"object": inside, "sky": ~below & ~inside, "ground": below & ~inside}


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    return (_U - x) ** 2 + (_V - y) ** 2 < radius**2


def _box(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return (abs(_U - x) < half_width) & (abs(_V - y) < half_height)


def _draw_sky(painter: _Painter, scene: LandscapeScene, detail: _Detail) -> None:
    top, low = (np.array(c, np.float32) for c in _SKY[scene.time])
    painter.canvas[:] = top + (low - top) * np.clip(_V / detail.horizon, 0, 1)[..., None]
    x, y = detail.light_x, detail.light_y
    if scene.time == "day":
        painter.fill(_disc(x, y, 0.075), (1.0, 0.93, 0.50), lit=False)
    elif scene.time == "sunset":
        painter.fill(_disc(x, detail.horizon - 0.10, 0.10), (1.0, 0.90, 0.52), lit=False)
    else:
        for star_x, star_y in detail.stars:
            painter.fill(_disc(star_x, star_y, 0.010), (1.0, 1.0, 0.92), lit=False)
        painter.fill(_disc(x, y, 0.075) & ~_disc(x + 0.045, y - 0.02, 0.065), (0.97, 0.96, 0.84), lit=False)


def _draw_hills(painter: _Painter, scene: LandscapeScene, detail: _Detail) -> None:
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (detail.hill_waves * _U + detail.hill_phase))
    painter.fill(detail.horizon - detail.hill_height * (0.35 + wave) < _V, _HILLS[scene.season])


def _draw_trees(painter: _Painter, scene: LandscapeScene, detail: _Detail, foot: float, scale: float) -> None:
    for x, size, present in detail.trees:
        if present:
            size = size * scale
            painter.fill(_box(x, foot - 0.4 * size, 0.12 * size, 0.4 * size), (0.36, 0.25, 0.15))
            painter.fill(_disc(x, foot - 1.2 * size, 0.6 * size), _LEAVES[scene.season])


def _draw_water(painter: _Painter, scene: LandscapeScene, detail: _Detail, below: np.ndarray) -> None:
    painter.fill(below, _WATER[scene.season])
    depth = 1 - detail.horizon
    for x, y, width in detail.waves:
        y = detail.horizon + (0.1 + 0.85 * y) * depth
        if scene.season == "winter":  # an ice floe where summer has the glint of a wave
            floe = ((_U - x) / (1.3 * width)) ** 2 + ((_V - y) / 0.026) ** 2 < 1
            painter.fill(floe, _SNOW)
        else:
            painter.fill(_box(x, y, width, 0.009), (0.46, 0.72, 0.90))


def _draw_house(painter: _Painter, scene: LandscapeScene, detail: _Detail) -> np.ndarray:
    """Paint the house and return its mask (128, 128) bool."""
    half, height = detail.width / 2, detail.height
    foot = detail.horizon + 0.20
    eaves = foot - height
    walls = _box(detail.x, foot - height / 2, half, height / 2)
    peak = detail.roof_slope * half * 1.2
    roof = (eaves - peak < _V) & (eaves >= _V) & (abs(_U - detail.x) < (_V - eaves + peak) / detail.roof_slope)
    painter.fill(walls, detail.wall)
    painter.fill(roof, _SNOW if scene.season == "winter" else detail.roof)

    door_x = detail.x + detail.door_side * 0.55 * half
    painter.fill(_box(door_x, foot - 0.065, 0.032, 0.065), (0.32, 0.20, 0.12))
    night = scene.time == "night"
    for k in range(detail.windows):
        window_x = detail.x + (2 * (k + 0.5) / detail.windows - 1) * half
        window = _box(window_x, eaves + 0.065, 0.033, 0.033)
        painter.fill(window, _LAMP if night else (0.30, 0.42, 0.54), lit=not night)
    return walls | roof


def _draw_boat(painter: _Painter, scene: LandscapeScene, detail: _Detail) -> np.ndarray:
    """Paint the boat and return its mask (128, 128) bool."""
    half = detail.width / 2 * 1.15
    deck = detail.horizon + 0.10
    x = detail.x
    hull = (deck < _V) & (deck + 0.11 > _V) & (abs(_U - x) < half - 0.6 * (_V - deck))
    mast_x = x + detail.mast * half
    top = deck - 1.5 * detail.height
    rise = (_V - top) / (deck - 0.03 - top)
    sail = (rise > 0) & (rise < 1) & (_U - mast_x > 0.012) & (_U - mast_x < 0.012 + rise * half * 0.85)
    jib = (rise > 0.25) & (rise < 1) & (mast_x - _U > 0.03) & (mast_x - _U < 0.03 + (rise - 0.25) * half * 0.7)
    mast = _box(mast_x, (top + deck) / 2, 0.013, (deck - top) / 2 + 0.02)
    painter.fill(mast, (0.30, 0.20, 0.12))
    painter.fill(sail | jib, detail.sail)
    painter.fill(hull, detail.hull)
    if scene.time == "night":
        painter.fill(_disc(x - 0.5 * half, deck + 0.035, 0.028), _LAMP, lit=False)
    return hull | mast | sail | jib
