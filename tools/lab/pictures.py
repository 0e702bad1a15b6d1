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
from ddpm_core.sampling import generate, pure_noise, sample
from demo.model import DemoModel
from demo.scenes import COLORS, TEST_SEED, Rendering, Scene, render, sample_scene, scene_of_caption

from .settings import SHIFT, ColorEdit, LabSettings

CIRCLE = scene_of_caption("a red circle left on a blue ground", TEST_SEED + 2)
HOUSE = scene_of_caption("a house by day in summer", TEST_SEED + 5)
NIGHT, SUNSET, WINTER = "a house at night in summer", "a house at sunset in summer", "a house by day in winter"
SETTINGS = LabSettings()


def strip(*tiles: Tile) -> Image.Image:
    """Tiles of scenes with their notes, two a line: they fill the node help at its usual width."""
    return contact_sheet.grid(
        [tiles[k : k + 2] for k in range(0, len(tiles), 2)], size=(96, 96), letters=10, ground=None
    )


@dataclass(frozen=True)
class Inverted:
    """A scene and its noise maps: where every picture starts."""

    model: DemoModel
    drawn: Rendering
    caption: str
    noise_maps: NoiseMaps

    @property
    def image(self) -> Tensor:
        """(3, H, W)"""
        return torch.from_numpy(self.drawn.image)

    @property
    def original(self) -> Tile:
        return Tile(self.image, "original")

    @property
    def mask(self) -> Tensor:
        """(H, W) where the scene's object is."""
        return torch.from_numpy(self.drawn.masks["object"]).float()

    def replay(self, noise_maps: NoiseMaps | None = None) -> Tensor:
        """(3, H, W) by the inversion's own prompt, from these maps or from changed ones."""
        denoiser = self.model.denoiser(self.caption, SETTINGS.cfg_source)
        return sample(denoiser, noise_maps or self.noise_maps)[0]

    def edit(
        self,
        target: str,
        skip_steps: int = SETTINGS.skip_steps,
        cfg: float = SETTINGS.cfg_target,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(3, H, W) by another prompt."""
        denoiser = self.model.denoiser(target, cfg)
        return sample(denoiser, self.noise_maps, skip_steps=skip_steps, mask=mask)[0]


class Runs:
    """The demo model, and inversions of its scenes, each made once."""

    def __init__(self, model: DemoModel):
        self.model = model
        self.inverted = cache(self._inverted)

    def _inverted(self, scene: Scene, seed: int = 1, caption: str | None = None) -> Inverted:
        drawn, schedule = render(scene), SETTINGS.schedule()
        caption = scene.caption if caption is None else caption
        states = trajectories.edit_friendly(torch.from_numpy(drawn.image)[None], schedule, [seed])
        noise_maps = invert(self.model.denoiser(caption, SETTINGS.cfg_source), states, schedule)
        return Inverted(self.model, drawn, caption, noise_maps)

    @property
    def house(self) -> Inverted:
        return self.inverted(HOUSE)

    @property
    def circle(self) -> Inverted:
        """Without a prompt: one that says "left" would draw it back."""
        return self.inverted(CIRCLE, caption="")

    def generated(self, caption: str, seed: int) -> Tensor:
        """(3, H, W) an image from a prompt alone."""
        schedule = SETTINGS.schedule()
        start = pure_noise(torch.zeros(1, 3, 32, 32), schedule, [seed])
        return generate(self.model.denoiser(caption, SETTINGS.cfg_target), start, schedule, [seed]).image[0]


def _invert(runs: Runs) -> Image.Image:
    house = runs.house
    back, half = house.replay(), house.noise_maps.steps // 2
    z = house.noise_maps.z[half, 0]
    return strip(
        house.original,
        Tile(z / z.std() / 3, f"noise of step {half}"),
        Tile(back, f"back, error {(back - house.image).abs().max():.0e}"),
        Tile(house.edit(NIGHT), "edit: at night"),
    )


def _one_pass(runs: Runs) -> Image.Image:
    edits = [Tile(runs.inverted(HOUSE, seed).edit(SUNSET), f"at sunset, seed {seed}") for seed in (1, 2, 3)]
    return strip(runs.house.original, *edits)


def _sampler(runs: Runs) -> Image.Image:
    house = runs.house
    skips = [Tile(house.edit(NIGHT, skip_steps=skip), f"skip_steps {skip}") for skip in (0, 6, 14, 20)]
    scales = [Tile(house.edit(NIGHT, cfg=cfg), f"cfg {cfg:g}") for cfg in (4, 12)]
    around = house.edit(WINTER, mask=1 - house.mask)
    return strip(*skips, *scales, Tile(house.edit(WINTER), "no mask"), Tile(around, "mask: around it"))


def _shift(runs: Runs) -> Image.Image:
    circle = runs.circle
    moved = {fill: manipulation.shift(circle.noise_maps, SHIFT, 0, fill) for fill in ("copy", "wrap", "gaussian")}
    tiles = [Tile(circle.replay(maps), f"{SHIFT} px right, {fill}") for fill, maps in moved.items()]
    return strip(circle.original, *tiles)


def _flip(runs: Runs) -> Image.Image:
    circle = runs.circle
    sides = {side: manipulation.flip(circle.noise_maps, **{side: True}) for side in ("horizontal", "vertical")}
    return strip(circle.original, *(Tile(circle.replay(maps), side) for side, maps in sides.items()))


def _recolor(runs: Runs) -> Image.Image:
    circle, tuned = runs.circle, ColorEdit()
    paint = (torch.tensor(COLORS["yellow"]).view(3, 1, 1) * 2 - 1).expand_as(circle.image)
    painted = torch.lerp(circle.image, paint, circle.mask)
    tiles = [circle.original, Tile(painted, "painted (color)")]
    for strength in (tuned.strength / 2, tuned.strength):
        maps = manipulation.recolor(circle.noise_maps, circle.mask, painted, strength, tuned.start, tuned.end)
        tiles.append(Tile(circle.replay(maps), f"strength {strength:.2f}"))
    return strip(*tiles)


def _saved(runs: Runs) -> Image.Image:
    targets = {"at night": NIGHT, "at sunset": SUNSET, "in winter": WINTER}
    return strip(runs.house.original, *(Tile(runs.house.edit(target), note) for note, target in targets.items()))


def _preview(runs: Runs) -> Image.Image:
    noise_maps = runs.house.noise_maps
    levels = contact_sheet.levels_shown(noise_maps.steps, 5)
    return contact_sheet.draw(contact_sheet.columns_of(noise_maps, levels, 0, lambda x: x, lambda z: z))


def _generated(runs: Runs) -> Image.Image:
    prompts = {
        "boat, sunset": "a boat at sunset in summer",
        "house, winter": "a house by day in winter",
        "yellow square": "a yellow square centre on a purple ground",
        "white triangle": "a white triangle right on a red ground",
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
