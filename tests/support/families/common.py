"""What families of several kinds have: shapes, and what is told beside a prompt."""

from __future__ import annotations

from typing import Any

import torch

from support.families.family import Normal

IMAGE, IMAGE_16, IMAGE_128, PIXELS = (1, 4, 8, 8), (1, 16, 8, 8), (1, 128, 6, 6), (1, 3, 64, 64)
FRAME, VIDEO, VIDEO_32, VIDEO_48 = (1, 16, 1, 8, 8), (1, 16, 3, 8, 8), (1, 32, 3, 4, 4), (1, 48, 3, 4, 4)

EDM = {"scheduler": "karras"}
TWO_PARTS = "has 2 parts, of shapes"
DISTILLED = {"pooled": (32,), "told": {"guidance": 3.5}, "cfg": 1.0}  # guidance is a number of the prompt
WITH_POOLED = {"pooled": (32,)}
WITH_MASK = {"masked": 0}
PADDED = {"masked": 2}
LETTERS = {"conditioning_byt5small": Normal((1, 5, 1472))}


def beside(*shape: int) -> dict[str, Any]:
    """A picture that the network reads beside the latent."""
    return {"concat_latent_image": Normal(shape)}


def left_half(*shape: int) -> dict[str, Any]:
    """Where the picture beside the latent is to be painted."""
    return {"concat_mask": (torch.arange(shape[-1]) < shape[-1] // 2).float().expand(shape)}


def references(*shape: int) -> dict[str, Any]:
    """A picture that an edit model reads as further tokens."""
    return {"reference_latents": [Normal(shape)]}
