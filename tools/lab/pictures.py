"""The pictures of the help pages and the README: real runs of the demo model, one picture for a node.

`python -m tools.lab pictures` makes them anew, which a change of the weights asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from ddpm_core import contact_sheet, manipulation, trajectories
from ddpm_core.contact_sheet import Tile
from ddpm_core.inversion import invert
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.sampling import sample
from demo.autoencoder import FACTOR
from demo.model import DemoModel
from demo.rendering import Rendering, render
from demo.scenes import COLORS, TEST_SEED, sample_scene, scene_of_caption

from .methods import cells_of, generated
from .settings import BOAT, HOUSE, SHIFT, ColorEdit, LabSettings

NIGHT, WINTER, FOG = (
    HOUSE[0].replace(*words) for words in (("day", "night"), ("summer", "winter"), ("clear", "foggy"))
)
SETTINGS = LabSettings()


def strip(*tiles: Tile) -> Image.Image:
    """Tiles of scenes with their notes, two a line: they fill the node help at its usual width."""
    return contact_sheet.grid(
        [tiles[k : k + 2] for k in range(0, len(tiles), 2)], size=(128, 128), letters=10, ground=None
    )


@dataclass(frozen=True)
class Inverted:
    """A scene and the noise maps of its latent: where every picture starts."""

    model: DemoModel
    drawn: Rendering
    caption: str
    noise_maps: NoiseMaps

    @property
    def image(self) -> Tensor:
        """(3, H, W) the scene itself."""
        return torch.from_numpy(self.drawn.image)

    @property
    def original(self) -> Tile:
        return Tile(self.image, "original")

    @property
    def mask(self) -> Tensor:
        """(1, 1, H, W) how much of each cell of the latent what has the scene's color covers."""
        return cells_of(torch.from_numpy(self.drawn.masks["color"])[None])

    def decoded(self, latents: Tensor) -> Tensor:
        """(3, H, W) the picture of the first of latents (B, C, h, w)."""
        return self.model.autoencoder.decode(latents[:1])[0]

    def replay(self, noise_maps: NoiseMaps | None = None) -> Tensor:
        """(3, H, W) by the inversion's own prompt, from these maps or from changed ones."""
        denoiser = self.model.denoiser(self.caption, SETTINGS.cfg_source)
        return self.decoded(sample(denoiser, noise_maps or self.noise_maps))

    def edit(
        self,
        target: str,
        skip_steps: int = SETTINGS.skip_steps,
        cfg: float = SETTINGS.cfg_target,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(3, H, W) by another prompt."""
        denoiser = self.model.denoiser(target, cfg)
        return self.decoded(sample(denoiser, self.noise_maps, skip_steps=skip_steps, mask=mask))


class Runs:
    """The demo model, and inversions of its scenes, each made once."""

    def __init__(self, model: DemoModel):
        self.model = model
        self.inverted = cache(self._inverted)

    def _inverted(self, scene: tuple[str, int], seed: int = 1, prompt: bool = True) -> Inverted:
        caption, of_scene = scene
        drawn, schedule = render(scene_of_caption(caption, TEST_SEED + of_scene)), SETTINGS.schedule()
        caption = caption if prompt else ""
        latent = self.model.autoencoder.encode(torch.from_numpy(drawn.image)[None])
        states = trajectories.edit_friendly(latent, schedule, [seed])
        noise_maps = invert(self.model.denoiser(caption, SETTINGS.cfg_source), states, schedule)
        return Inverted(self.model, drawn, caption, noise_maps)

    @property
    def house(self) -> Inverted:
        return self.inverted(HOUSE)

    @property
    def boat(self) -> Inverted:
        """Without a prompt, which would hold on to what is changed in the maps."""
        return self.inverted(BOAT, prompt=False)

    def generated(self, caption: str, seed: int) -> Tensor:
        """(3, H, W) an image from a prompt alone."""
        made = generated(self.model, [caption], [seed], SETTINGS.schedule(), SETTINGS.cfg_target)
        return self.model.autoencoder.decode(made.image)[0]


def _invert(runs: Runs) -> Image.Image:
    house = runs.house
    back, half = house.replay(), house.noise_maps.steps // 2
    z = house.noise_maps.z[half, 0, :3]
    return strip(
        house.original,
        Tile(z / z.std() / 3, f"noise of step {half}"),
        Tile(back, f"back, error {(back - house.decoded(house.noise_maps.image)).abs().max():.0e}"),
        Tile(house.edit(NIGHT), "edit: at night"),
    )


def _one_pass(runs: Runs) -> Image.Image:
    edits = [Tile(runs.inverted(HOUSE, seed).edit(NIGHT), f"at night, seed {seed}") for seed in (1, 2, 3)]
    return strip(runs.house.original, *edits)


def _sampler(runs: Runs) -> Image.Image:
    house = runs.house
    skips = [Tile(house.edit(NIGHT, skip_steps=skip), f"skip_steps {skip}") for skip in (0, 3, 7, 10)]
    scales = [Tile(house.edit(NIGHT, cfg=cfg), f"cfg {cfg:g}") for cfg in (4, 12)]
    around = house.edit(WINTER, mask=1 - house.mask)
    return strip(*skips, *scales, Tile(house.edit(WINTER), "no mask"), Tile(around, "mask: around it"))


def _shift(runs: Runs) -> Image.Image:
    boat = runs.boat
    moved = {fill: manipulation.shift(boat.noise_maps, SHIFT, 0, fill) for fill in ("copy", "wrap", "gaussian")}
    tiles = [Tile(boat.replay(maps), f"{SHIFT * FACTOR} px right, {fill}") for fill, maps in moved.items()]
    return strip(boat.original, *tiles)


def _flip(runs: Runs) -> Image.Image:
    boat = runs.boat
    sides = {side: manipulation.flip(boat.noise_maps, **{side: True}) for side in ("horizontal", "vertical")}
    return strip(boat.original, *(Tile(boat.replay(maps), side) for side, maps in sides.items()))


def _recolor(runs: Runs) -> Image.Image:
    boat, tuned = runs.boat, ColorEdit()
    paint = (torch.tensor(COLORS["red"]).view(3, 1, 1) * 2 - 1).expand_as(boat.image)
    painted = torch.lerp(boat.image, paint, torch.from_numpy(boat.drawn.masks["color"]))
    color = boat.model.autoencoder.encode(painted[None])
    tiles = [boat.original, Tile(painted, "painted (color)")]
    for strength in (tuned.strength / 2, tuned.strength):
        maps = manipulation.recolor(boat.noise_maps, boat.mask, color, strength, tuned.start, tuned.end)
        tiles.append(Tile(boat.replay(maps), f"strength {strength:.2f}"))
    return strip(*tiles)


def _saved(runs: Runs) -> Image.Image:
    targets = {"at night": NIGHT, "in fog": FOG, "in winter": WINTER}
    return strip(runs.house.original, *(Tile(runs.house.edit(target), note) for note, target in targets.items()))


def _preview(runs: Runs) -> Image.Image:
    house, noise_maps = runs.house, runs.house.noise_maps
    levels = contact_sheet.levels_shown(noise_maps.steps, 5)
    return contact_sheet.draw(
        contact_sheet.columns_of(noise_maps, levels, 0, lambda x: house.decoded(x[None]), lambda z: z[:3])
    )


def _generated(runs: Runs) -> Image.Image:
    prompts = {
        "sheep": "three white sheep by the hills on a cloudy day in spring",
        "balloon": "a purple balloon by the mountains at sunset in winter",
        "still life": "a green glass jug with three plums on a marble table at night",
        "portrait": "a smiling man with grey hair and glasses in a blue coat by the forest",
    }
    return strip(*(Tile(runs.generated(caption, seed=5), note) for note, caption in prompts.items()))


def _scenes(runs: Runs) -> Image.Image:
    drawn = [render(sample_scene(TEST_SEED + seed)) for seed in range(8)]
    return strip(*(Tile(torch.from_numpy(each.image), f"seed {seed}") for seed, each in enumerate(drawn)))


PICTURES: dict[str, Callable[[Runs], Image.Image]] = {
    "EditFriendlyInvert": _invert,
    "EditFriendlyEdit": _one_pass,
    "FixedNoiseSampler": _sampler,
    "LatentShift": _shift,
    "EditFriendlyNoiseMapsFlip": _flip,
    "MaskColorEdit": _recolor,
    "EditFriendlySaveNoiseMaps": _saved,
    "EditFriendlyNoiseMapsPreview": _preview,
    "EditFriendlyLoadDemoModel": _generated,
    "EditFriendlyLoadDemoImage": _scenes,
}
