"""The contact sheet: everything the pack does, on a few held-out scenes, by the core alone or by a ComfyUI server."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ddpm_core import manipulation, trajectories
from ddpm_core.contact_sheet import Tile, grid
from ddpm_core.denoiser import Denoiser
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import sample
from demo.autoencoder import FACTOR, Autoencoder
from demo.model import DemoModel
from demo.rendering import render
from demo.scenes import COLORS, TEST_SEED, Scene, scene_of_caption

from ..batch.server import ComfyServer
from ..batch.template import read_graph, with_inputs
from ..comfyui import PACK
from .edits import image_of
from .methods import cells_of, kept
from .settings import BOAT, HOUSE, SHIFT, VARIATIONS, VASE, WOMAN, ColorEdit, Keep, LabSettings

TOUR = PACK / "workflows" / "api" / "tour.json"
PATIENCE = 3600  # seconds for one graph; a busy machine is slow, not broken
COLUMNS = (
    "original",
    "reconstruction",
    "edit",
    "image kept",
    "variation 1",
    "variation 2",
    "shift",
    "flip",
    "color edit",
)


@dataclass(frozen=True)
class Row:
    """One scene of the sheet, its captions and a tile for each of `COLUMNS`."""

    source: str
    target: str
    tiles: tuple[Tile, ...]
    reconstruction_error: float


@dataclass(frozen=True)
class Example:
    """A scene, the prompt that edits it and the color that Eq. 7 paints over the scene's own."""

    scene: Scene
    target: str
    color: str

    @property
    def seed(self) -> int:
        """The scene's place among the held-out ones."""
        return self.scene.seed - TEST_SEED


EXAMPLES = tuple(
    Example(scene_of_caption(source, TEST_SEED + seed), source.replace(before, after), color)
    for (source, seed), before, after, color in (
        (HOUSE, "day", "night", "yellow"),
        (BOAT, "summer", "winter", "red"),
        (VASE, "clay", "glass", "green"),
        (WOMAN, "black", "blond", "blue"),
    )
)


def by_core(
    model: DemoModel,
    examples: Sequence[Example] = EXAMPLES,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> list[Row]:
    """The rows of examples.

    Args:
        progress: called with the rows done and the rows in all.
    """
    rows = (row_of(each, _latents(model, each), model.autoencoder) for each in examples)
    return _reported(len(examples), progress, rows)


def by_comfyui(comfyui: Path, model: DemoModel, progress: Callable[[int, int], None]) -> list[Row]:
    """The rows of all examples by TOUR, on a server of the ComfyUI in `comfyui` that starts and stops for it.

    Args:
        model: whose autoencoder makes pictures of the latents.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ComfyServer(comfyui, base, log=base / "server.log", timeout=PATIENCE, previews=False) as server:
            rows = (row_of(each, _saved_latents(server, each), model.autoencoder) for each in EXAMPLES)
            return _reported(len(EXAMPLES), progress, rows)


def _reported(count: int, progress: Callable[[int, int], None], rows: Iterable[Row]) -> list[Row]:
    done: list[Row] = []
    for row in rows:
        done.append(row)
        progress(len(done), count)
    return done


def _saved_latents(server: ComfyServer, example: Example) -> dict[str, Tensor]:
    """The latents that TOUR saves for an example, by the titles of their nodes."""
    red, green, blue = (round(255 * channel) for channel in COLORS[example.color])
    graph = with_inputs(
        read_graph(TOUR),
        {
            "Image.scene": example.scene.caption,
            "Image.seed": example.seed,
            "Target prompt.text": example.target,
            "Paint.color": red << 16 | green << 8 | blue,
        },
    )
    return {
        graph[node]["_meta"]["title"]: load_file(server.path_of(output["latents"][0]))["latent_tensor"]
        for node, output in server.run(graph).items()
        if "latents" in output  # the others are previews
    }


def _latents(model: DemoModel, example: Example) -> dict[str, Tensor]:
    """The same by the core."""
    settings = LabSettings()
    drawn = render(example.scene)
    image, mask = torch.from_numpy(drawn.image)[None], torch.from_numpy(drawn.masks["color"])[None]
    original = model.autoencoder.encode(image)
    source = model.denoiser(example.scene.caption, settings.cfg_source)
    target = model.denoiser(example.target, settings.cfg_target)
    noise_maps = _invert(source, original, example.scene.seed, settings, variations=VARIATIONS)
    unconditional = model.denoiser("")  # what is changed in the maps has no prompt to hold on to
    bare = _invert(unconditional, original, example.scene.seed, settings, variations=1)
    changed = {
        "Reconstruction": bare,
        "Shifted": manipulation.shift(bare, SHIFT, 0),
        "Flipped": manipulation.flip(bare, horizontal=True),
        "Recolored": recolored(model, bare, mask, example.color, ColorEdit()),
    }
    latents = {title: sample(unconditional, maps) for title, maps in changed.items()}
    edits = sample(target, noise_maps, skip_steps=settings.skip_steps)
    holding = kept(target, original, replace(settings, keep=Keep()))
    held = sample(holding, noise_maps, skip_steps=settings.skip_steps)
    return latents | {"Original": original, "Edits": edits, "Kept": held}


def row_of(example: Example, latents: Mapping[str, Tensor], autoencoder: Autoencoder) -> Row:
    """The row that shows these latents (N, C, H, W): of `Edits` and `Kept` a variation each, of the others one."""
    error = (latents["Reconstruction"] - latents["Original"]).abs().max().item()
    images = {title: autoencoder.decode(part) for title, part in latents.items()}
    edit, *variations = images["Edits"]
    tiles = [
        Tile(image_of(example.scene)),
        Tile(images["Reconstruction"][0], f"error {error:.0e}"),
        Tile(edit),
        Tile(images["Kept"][0]),
        *map(Tile, variations),
        Tile(images["Shifted"][0], f"{SHIFT * FACTOR} px right"),
        Tile(images["Flipped"][0], "horizontal"),
        Tile(images["Recolored"][0], example.color),
    ]
    return Row(example.scene.caption, example.target, tuple(tiles), error)


def draw(rows: Sequence[Row]) -> Image.Image:
    """One line a scene, its two captions before it."""
    captions = ["\n".join((*textwrap.wrap(row.source, 20), *textwrap.wrap(f"-> {row.target}", 20))) for row in rows]
    return grid([row.tiles for row in rows], captions, COLUMNS)


def draw_edits(rows: Sequence[Row]) -> Image.Image:
    """Each scene beside its first edit, two scenes a line, with the words that differ under them."""
    tiles = []
    for row in rows:
        source, target = row.source.split(), row.target.split()
        for words, others, column in ((source, target, "original"), (target, source, "edit")):
            differing = " ".join(word for word, other in zip(words, others, strict=True) if word != other)
            picture = row.tiles[COLUMNS.index(column)].picture.resize((192, 192), Image.Resampling.LANCZOS)
            tiles.append(Tile(picture, differing))
    return grid([tiles[k : k + 4] for k in range(0, len(tiles), 4)], margin=4, ground=None)


def recolored(model: DemoModel, noise_maps: NoiseMaps, mask: Tensor, color: str, edit: ColorEdit) -> NoiseMaps:
    """Maps whose image is drawn towards a color where mask (1, H, W) of pixels is not 0 (Eq. 7)."""
    paint = (torch.tensor(COLORS[color]).view(1, 3, 1, 1) * 2 - 1).expand(1, 3, *mask.shape[-2:])
    painted = model.autoencoder.encode(paint)
    return manipulation.recolor(noise_maps, cells_of(mask), painted, edit.strength, edit.start, edit.end)


def _invert(denoiser: Denoiser, latent: Tensor, seed: int, settings: LabSettings, variations: int) -> NoiseMaps:
    seeds = trajectories.seeds_of_rows(seed, [0], variations)
    schedule = settings.schedule()
    states = trajectories.edit_friendly(latent.expand(variations, -1, -1, -1), schedule, seeds)
    return invert(denoiser, states, schedule)
