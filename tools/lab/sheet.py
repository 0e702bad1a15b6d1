"""The contact sheet: everything the pack does, on a few held-out scenes, as labelled tiles.

The tiles are plain tensors with a caption, so that the command line and a host can fill and draw the same sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core import manipulation, trajectories
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import sample
from demo.model import DemoModel
from demo.scenes import COLORS, TEST_SEED, Scene, render, scene_of_caption

from .settings import SHIFT, VARIATIONS, ColorEdit, Settings

COLUMNS = (
    "original",
    "reconstruction",
    "edit",
    "variation 1",
    "variation 2",
    "variation 3",
    "shift",
    "flip",
    "colour edit",
)


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet: image (3, H, W) in [-1, 1] and a note of a few words."""

    image: Tensor
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One scene of the sheet, its captions and a tile for each of `COLUMNS`."""

    source: str
    target: str
    tiles: tuple[Tile, ...]
    reconstruction_error: float


@dataclass(frozen=True)
class Example:
    """A scene, the prompt that edits it and the colour that Eq. 7 paints its object with."""

    scene: Scene
    target: str
    color: str

    @property
    def seed(self) -> int:
        """The scene's place among the held-out ones."""
        return self.scene.seed - TEST_SEED


EXAMPLES = tuple(
    Example(scene_of_caption(source, TEST_SEED + seed), target, color)
    for seed, source, target, color in (
        (2, "a red circle left on a blue ground", "a green circle left on a blue ground", "yellow"),
        (2, "a yellow triangle centre on a purple ground", "a yellow square centre on a purple ground", "white"),
        (5, "a house by day in summer", "a house at night in summer", "blue"),
        (6, "a boat by day in summer", "a boat at sunset in summer", "red"),
    )
)


def make_sheet(
    model: DemoModel,
    examples: tuple[Example, ...] = EXAMPLES,
    settings: Settings | None = None,
    color_edit: ColorEdit | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Fill the sheet, row by row.

    Args:
        progress: called with the rows done and the rows in all.
    """
    rows = []
    for example in examples:
        rows.append(_row(model, example, settings or Settings(), color_edit or ColorEdit()))
        if progress is not None:
            progress(len(rows), len(examples))
    return rows


def _row(model: DemoModel, example: Example, settings: Settings, color_edit: ColorEdit) -> Row:
    drawn = render(example.scene)
    image = torch.from_numpy(drawn.image)[None]
    mask = torch.from_numpy(drawn.masks["object"])
    source = model.denoiser(example.scene.caption, settings.cfg_source)
    target = model.denoiser(example.target, settings.cfg_target)
    noise_maps = _invert(source, image, example.scene.seed, settings, variations=VARIATIONS)
    # What is moved has no prompt: one that says "left" would draw it back.
    unconditional = model.denoiser("")
    bare = _invert(unconditional, image, example.scene.seed, settings, variations=1)
    changed = {
        "Reconstruction": bare,
        "Shifted": manipulation.shift(bare, SHIFT, 0),
        "Flipped": manipulation.flip(bare, horizontal=True),
        "Recolored": recolored(bare, mask, example.color, color_edit),
    }
    images = {title: sample(unconditional, maps) for title, maps in changed.items()}
    edits = sample(target, noise_maps, skip_steps=settings.skip_steps)
    return row_of(example, images | {"Original": image, "Edits": edits})


def row_of(example: Example, images: Mapping[str, Tensor]) -> Row:
    """The row that shows these images (N, 3, H, W): one each, and as many `Edits` as there are variations."""
    original, reconstruction = images["Original"][0], images["Reconstruction"][0]
    error = (reconstruction - original).abs().max().item()
    tiles = [
        Tile(original),
        Tile(reconstruction, f"error {error:.0e}"),
        *(Tile(edit) for edit in images["Edits"]),
        Tile(images["Shifted"][0], f"{SHIFT} px right"),
        Tile(images["Flipped"][0], "horizontal"),
        Tile(images["Recolored"][0], example.color),
    ]
    return Row(example.scene.caption, example.target, tuple(tiles), error)


def recolored(noise_maps: NoiseMaps, mask: Tensor, color: str, color_edit: ColorEdit) -> NoiseMaps:
    """Maps whose image (1, 3, H, W) is drawn towards a colour where mask (H, W) is not 0 (Eq. 7)."""
    paint = torch.tensor(COLORS[color]).view(1, 3, 1, 1) * 2 - 1
    return manipulation.recolor(
        noise_maps, mask, paint.expand_as(noise_maps.image), color_edit.strength, color_edit.start, color_edit.end
    )


def _invert(denoiser: Callable, image: Tensor, seed: int, settings: Settings, variations: int) -> NoiseMaps:
    seeds = trajectories.seeds_of_rows(seed, 1, variations)
    schedule = settings.schedule()
    states = trajectories.edit_friendly(image.expand(variations, -1, -1, -1), schedule, seeds)
    return invert(denoiser, states, schedule)
