"""Scenes as values: an integer seed and the attributes that words can name.

Three families. Landscapes: one to three things in a place, by weather, time and season. Still lifes: a vessel and
fruit on a table. Portraits: a figure in a place. Position, size, camera, shapes, clouds, trees and all else that no
word names come from the seed, part by part, so `scene.edited("color", "blue")` is the same scene with that attribute
changed, which gives every edit a ground truth. A caption may say all attributes or few; what it does not say is open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

SIZE = 128

COLORS = {
    "red": (0.80, 0.15, 0.12),
    "orange": (0.93, 0.50, 0.12),
    "yellow": (0.95, 0.79, 0.20),
    "green": (0.18, 0.55, 0.27),
    "blue": (0.17, 0.36, 0.76),
    "purple": (0.50, 0.25, 0.64),
    "white": (0.93, 0.92, 0.88),
    "brown": (0.46, 0.29, 0.17),
}
THINGS = {
    "house": "houses", "boat": "boats", "tree": "trees", "car": "cars", "balloon": "balloons", "sheep": "sheep",
}  # fmt: skip
PLACES = ("hills", "mountains", "sea", "forest")
WEATHERS = ("clear", "cloudy", "rainy", "foggy")
TIMES = {"day": ("by day", "on a"), "sunset": ("at sunset", "at a"), "night": ("at night", "on a")}
SEASONS = ("spring", "summer", "autumn", "winter")
NUMBERS = {"one": "a", "two": "two", "three": "three"}
VESSELS = ("vase", "cup", "bowl", "jug")
MATERIALS = ("clay", "glass", "metal")
FRUITS = {"apple": "apples", "lemon": "lemons", "pear": "pears", "plum": "plums"}
TABLES = ("wooden", "marble", "checkered")
PERSONS = ("woman", "man", "girl", "boy")
EXPRESSIONS = ("smiling", "sad", "surprised", "calm")
HAIRS = ("black", "brown", "blond", "red", "grey")
WEARS = ("nothing", "glasses", "hat", "scarf")

# One block of seeds for each use, far enough apart that no use ever reaches another's.
TRAIN_SEED = 0
TUNE_SEED = 1_000_000_000
TEST_SEED = 2_000_000_000
CLASSIFIER_SEED = 3_000_000_000


@dataclass(frozen=True)
class Scene(ABC):
    """A scene of one of the three families; `values` are what each attribute can be, `subject` names its object."""

    seed: int
    values: ClassVar[Mapping[str, Collection[str]]] = {}
    subject: ClassVar[str] = ""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the attributes that can be seen in this scene."""
        return tuple(self.values)

    @property
    def caption(self) -> str:
        """The caption that says every attribute."""
        return self.said(self.attributes)

    @abstractmethod
    def said(self, names: Collection[str]) -> str:
        """The caption that says these attributes and no other."""

    def words_of(self, attribute: str) -> str:
        """The words of the caption that say an attribute; empty where none does."""
        value = str(getattr(self, attribute))
        if attribute == "number":  # one is an article, and so is every other
            return "" if value == "one" else value
        plural = attribute in ("thing", "fruit") and getattr(self, "number", "one") != "one"
        return {**THINGS, **FRUITS}[value] if plural else value

    @property
    def held_out(self) -> bool:
        """Whether this combination of attributes is never trained: one in eight."""
        places = [list(self.values[name]).index(getattr(self, name)) for name in self.attributes]
        return sum((k + 1) * place for k, place in enumerate(places)) % 8 == 0

    def edited(self, attribute: str, value: str) -> Scene:
        """The same scene, all else held, with an attribute changed.

        Raises:
            ValueError: this scene does not show the attribute, or it cannot have the value.
        """
        if attribute not in self.attributes:
            raise ValueError(f"{self.caption!r} has no {attribute}; it has {', '.join(self.attributes)}")
        if value not in self.values[attribute]:
            raise ValueError(f"{attribute} is one of {', '.join(self.values[attribute])}, not {value!r}")
        changed: dict[str, Any] = {attribute: value}
        return replace(self, **changed)


@dataclass(frozen=True)
class Landscape(Scene):
    """One to three things of a kind in a landscape. A tree's color is its season's."""

    thing: str
    number: str
    color: str
    place: str
    weather: str
    time: str
    season: str
    values: ClassVar[Mapping[str, Collection[str]]] = {
        "thing": tuple(THINGS), "number": tuple(NUMBERS), "color": tuple(COLORS), "place": PLACES,
        "weather": WEATHERS, "time": tuple(TIMES), "season": SEASONS,
    }  # fmt: skip
    subject = "thing"

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name in self.values if not (name == "color" and self.thing == "tree"))

    def said(self, names: Collection[str]) -> str:
        words = ["a landscape"]
        if "thing" in names:
            noun = self.thing if self.number == "one" else THINGS[self.thing]
            words = [
                NUMBERS[self.number],
                *([self.color] if {"color", "thing"} <= {*names} & {*self.attributes} else []),
                noun,
            ]
        if "place" in names:
            words.append(f"by the {self.place}")
        words += _when(self.time if "time" in names else "", self.weather if "weather" in names else "")
        if "season" in names:
            words.append(f"in {self.season}")
        return _joined(words)


@dataclass(frozen=True)
class StillLife(Scene):
    """A vessel and fruit on a table before a wall."""

    vessel: str
    color: str
    material: str
    fruit: str
    number: str
    table: str
    time: str
    values: ClassVar[Mapping[str, Collection[str]]] = {
        "vessel": VESSELS, "color": tuple(COLORS), "material": MATERIALS, "fruit": tuple(FRUITS),
        "number": tuple(NUMBERS), "table": TABLES, "time": tuple(TIMES),
    }  # fmt: skip
    subject = "vessel"

    def said(self, names: Collection[str]) -> str:
        words = ["a still life"]
        if "vessel" in names:
            words = ["a", *(getattr(self, name) for name in ("color", "material") if name in names), self.vessel]
        if "fruit" in names:
            words.append(f"with {NUMBERS[self.number]} {self.fruit if self.number == 'one' else FRUITS[self.fruit]}")
        if "table" in names:
            words.append(f"on a {self.table} table")
        return _joined(words + _when(self.time if "time" in names else "", ""))


@dataclass(frozen=True)
class Portrait(Scene):
    """A figure before a landscape."""

    person: str
    expression: str
    hair: str
    wears: str
    color: str
    place: str
    time: str
    values: ClassVar[Mapping[str, Collection[str]]] = {
        "person": PERSONS, "expression": EXPRESSIONS, "hair": HAIRS, "wears": WEARS, "color": tuple(COLORS),
        "place": PLACES, "time": tuple(TIMES),
    }  # fmt: skip
    subject = "person"

    def words_of(self, attribute: str) -> str:
        after = {"hair": " hair", "color": " coat"}.get(attribute, "")  # whose adjectives are the same words
        return "" if attribute == "wears" and self.wears == "nothing" else f"{getattr(self, attribute)}{after}"

    def said(self, names: Collection[str]) -> str:
        words = ["a portrait"]
        if "person" in names:
            words = ["a", *([self.expression] if "expression" in names else []), self.person]
        worn = {"glasses": "glasses", "hat": "a hat", "scarf": "a scarf"}.get(self.wears if "wears" in names else "")
        with_ = [*([f"{self.hair} hair"] if "hair" in names else []), *([worn] if worn else [])]
        if with_:
            words.append(f"with {' and '.join(with_)}")
        if "color" in names:
            words.append(f"in a {self.color} coat")
        if "place" in names:
            words.append(f"by the {self.place}")
        return _joined(words + _when(self.time if "time" in names else "", ""))


def _joined(words: list[str]) -> str:
    """Words with blanks between, and "an" before a vowel."""
    words = " ".join(words).split()
    return " ".join("an" if a == "a" and b[:1] in "aeiou" else a for a, b in zip(words, [*words[1:], ""], strict=True))


def _when(time: str, weather: str) -> list[str]:
    """The time, the weather or both."""
    if time and weather:
        return [f"{TIMES[time][1]} {weather} {time}"]
    return [TIMES[time][0]] if time else [f"in {weather} weather"] if weather else []


def rng_of(seed: int, part: str) -> np.random.Generator:
    """The random numbers of one part of a scene, the same whatever the other parts draw."""
    return np.random.Generator(np.random.PCG64([seed, *part.encode()]))


def _draw(rng: np.random.Generator, values: Collection[str], weights: Collection[float] | None = None) -> str:
    return str(rng.choice(list(values), p=None if weights is None else list(weights)))


def sample_scene(seed: int, family: type[Scene] | None = None) -> Scene:
    """The scene of a seed: half are landscapes, a quarter still lifes, a quarter portraits, if no family is given."""
    rng = rng_of(seed, "scene")
    share = rng.random()
    family = family or (Landscape if share < 0.5 else StillLife if share < 0.75 else Portrait)
    time = _draw(rng, TIMES, (0.44, 0.28, 0.28))
    number = _draw(rng, NUMBERS, (0.5, 0.25, 0.25))
    color = _draw(rng, COLORS)
    place = _draw(rng, PLACES)
    if family is Landscape:
        weather = _draw(rng, WEATHERS, (0.46, 0.2, 0.17, 0.17))
        return Landscape(seed, _draw(rng, THINGS), number, color, place, weather, time, _draw(rng, SEASONS))
    if family is StillLife:
        vessel, material, fruit = _draw(rng, VESSELS), _draw(rng, MATERIALS), _draw(rng, FRUITS)
        return StillLife(seed, vessel, color, material, fruit, number, _draw(rng, TABLES), time)
    person, expression, hair = _draw(rng, PERSONS), _draw(rng, EXPRESSIONS), _draw(rng, HAIRS)
    return Portrait(seed, person, expression, hair, _draw(rng, WEARS), color, place, time)


def scene_of_caption(caption: str, seed: int) -> Scene:
    """A scene that the caption describes; what it leaves open, and all detail, comes from the seed.

    Raises:
        ValueError: the caption names nothing that a scene shows, or things of two families.
    """
    words = caption.lower().replace(",", " ").replace(".", " ").split()
    families = {family for family, nouns in _NOUNS.items() if {*words} & nouns}
    if len(families) != 1:
        shown = ", ".join((*THINGS, *VESSELS, *PERSONS))
        raise ValueError(f"a scene shows one of {shown}; {caption!r} names {'none' if not families else 'several'}")
    scene = sample_scene(seed, families.pop())
    said: dict[str, Any] = {}
    for name, values in scene.values.items():
        forms = {form: value for value in values for form in (value, {**THINGS, **FRUITS}.get(value, value))}
        said.update((name, forms[word]) for word in words if word in forms)
    said.update(("number", word) for word in words if word in ("two", "three"))
    if isinstance(scene, Portrait):  # whose hair and coat have the same words
        said = {name: value for name, value in said.items() if name not in ("hair", "color")}
        after = {"hair": "hair", "coat": "color"}
        said.update((after[word], before) for before, word in zip(words, words[1:], strict=False) if word in after)
        said.setdefault("wears", "nothing")
    elif "number" not in said and {"thing", "fruit"} & said.keys():
        said["number"] = "one"
    wrong = {name: value for name, value in said.items() if value not in scene.values[name]}
    if wrong:
        raise ValueError(f"{caption!r} has {wrong}: use {', '.join(', '.join(scene.values[name]) for name in wrong)}")
    return replace(scene, **said)


_NOUNS: dict[type[Scene], set[str]] = {
    Landscape: {"landscape", *THINGS, *THINGS.values()},
    StillLife: {"still", *VESSELS},
    Portrait: {"portrait", *PERSONS},
}


def training_caption(scene: Scene, visit: int = 0) -> str:
    """The caption to train with at a visit: a third say all, the others leave out any share of the attributes."""
    rng = rng_of(scene.seed, f"caption {visit}")
    share = rng.uniform(0, 1.5)
    return scene.said([name for name in scene.attributes if rng.random() < share])


def instruction(scene: Scene, attribute: str, value: str) -> str:
    """The words that ask an edit model for `scene.edited(attribute, value)`."""
    many = getattr(scene, "number", "one") != "one"

    def form(word: str) -> str:
        return {**THINGS, **FRUITS}.get(word, word) if many else word

    thing, vessel, person, worn = (getattr(scene, name, "") for name in ("thing", "vessel", "person", "wears"))
    colored = {Landscape: form(thing), StillLife: vessel, Portrait: "coat"}[type(scene)]
    noun = {
        "color": colored, "material": vessel, "table": "table", "expression": person, "hair": "hair",
    }.get(attribute)  # fmt: skip
    if noun:
        said = f"make the {noun} {value}"
    elif attribute in ("weather", "time", "season"):
        said = f"make it {value}"
    elif attribute == "place":
        said = f"move it to the {value}"
    elif attribute == "number":
        kind = thing or getattr(scene, "fruit", "")
        said = f"show {NUMBERS[value]} {kind if value == 'one' else {**THINGS, **FRUITS}[kind]}"
    elif attribute == "wears":
        given = value if value == "glasses" else f"a {value}"
        said = f"remove the {worn}" if value == "nothing" else f"give the {person} {given}"
    else:
        before = form(getattr(scene, attribute))
        said = f"turn the {before} into {form(value) if many and attribute != 'vessel' else f'a {value}'}"
    return _joined(said.split())
