"""Structure distance: difference of the self-similarities of two pictures' patches, by keys of DINO's last layer.

Tumanyan et al., "Splicing ViT Features for Semantic Appearance Transfer", arXiv 2201.00424, Sec. 3; PIE-Bench uses its
code with ViT-B/8.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

SIZE, LARGEST = 224, 480  # of the shorter side, and of the longer at most
HEAD = 64  # channels of a head, in all of DINO's transformers
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEPT = 4  # self-similarities, of 785 x 785 each: the source is asked for by each method


class DinoStructure:
    """A DINO vision transformer from its published file, which gives patch size, width and depth."""

    def __init__(self, file: Path, device: str = "cpu"):
        from timm.models.vision_transformer import VisionTransformer

        weights = torch.load(file, map_location="cpu", weights_only=True)
        width, patch = weights["patch_embed.proj.weight"].shape[0], weights["patch_embed.proj.weight"].shape[-1]
        side = round((weights["pos_embed"].shape[1] - 1) ** 0.5) * patch
        depth = sum(name.endswith("attn.qkv.weight") for name in weights)
        self.model = VisionTransformer(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=max(1, width // HEAD),
            num_classes=0,
            dynamic_img_size=True,
        )
        self.model.load_state_dict(weights)
        self.model.to(device).eval()
        self.patch, self.device = patch, device
        self._kept: OrderedDict[tuple[bytes, float], Tensor] = OrderedDict()

    def distance(self, source: Tensor, edited: Tensor, full: float) -> float:
        """Mean squared difference of the self-similarities of two pictures (H, W, 3) uint8 of one size.

        Args:
            full: value of white: 1 as in the paper, or 255 as in PIE-Bench's evaluator, by mistake.
        """
        return ((self._similarity(source, full) - self._similarity(edited, full)) ** 2).mean().item()

    def _similarity(self, picture: Tensor, full: float) -> Tensor:
        key = (picture.numpy().tobytes(), full)
        if key not in self._kept:
            self._kept[key] = self_similarity(self.keys(picture, full)).cpu()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def keys(self, picture: Tensor, full: float) -> Tensor:
        """(1 + patches, D) keys of the last layer, all heads side by side, the class token first."""
        caught: list[Tensor] = []
        # The rows of qkv are queries, keys and values of all heads, one after the other.
        hook = self.model.blocks[-1].attn.qkv.register_forward_hook(
            lambda module, inputs, output: caught.append(output[0].chunk(3, dim=-1)[1])
        )
        try:
            with torch.inference_mode():
                self.model(self._prepared(picture, full).to(self.device))
        finally:
            hook.remove()
        return caught[0]

    def _prepared(self, picture: Tensor, full: float) -> Tensor:
        """(1, 3, h, w): shorter side 224, no antialiasing, whole patches, normalised by ImageNet's mean and spread."""
        height, width = picture.shape[:2]
        scale = min(SIZE / min(height, width), LARGEST / max(height, width))
        size = [max(self.patch, int(scale * side + 1e-6) // self.patch * self.patch) for side in (height, width)]
        pixels = picture.movedim(-1, 0)[None].float() * (full / 255)
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=False)
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        return (pixels - mean) / deviation


def self_similarity(keys: Tensor) -> Tensor:
    """(N, N) cosines between keys (N, D)."""
    unit = torch.nn.functional.normalize(keys, dim=-1, eps=1e-8)
    return unit @ unit.T
