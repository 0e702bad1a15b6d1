"""Scenes as pictures, with masks of their parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import landscape, portrait, still_life
from .scenes import SIZE, Landscape, Portrait, Scene, StillLife


@dataclass(frozen=True)
class Rendering:
    """A drawn scene: image (3, S, S) in [-1, 1], and masks (S, S) in [0, 1], the covered share of each pixel.

    The mask "object" is that of the scene's subject; "color" is what has the color that the caption says.
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]


def render(scene: Scene, size: int = SIZE) -> Rendering:
    """Draw a scene on size x size pixels."""
    if isinstance(scene, Landscape):
        picture, masks = landscape.draw(scene, size)
    elif isinstance(scene, StillLife):
        picture, masks = still_life.draw(scene, size)
    elif isinstance(scene, Portrait):
        picture, masks = portrait.draw(scene, size)
    else:
        raise ValueError(f"a {type(scene).__name__} cannot be drawn: use a Landscape, StillLife or Portrait")
    return Rendering(np.ascontiguousarray(picture * 2 - 1, np.float32), {"object": masks[scene.subject], **masks})
