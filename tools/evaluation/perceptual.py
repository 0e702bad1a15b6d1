"""LPIPS, Zhang et al., arXiv 1801.03924, version 0.1: weighted squared differences of a backbone's unit features.

Backbones come from the files that torchvision publishes, the linear heads from those that torchmetrics brings. Features
are normalised as torchmetrics does, which PIE-Bench measures with.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

# Modules of torchvision's `features` after which LPIPS compares: the activations of each stage.
_COMPARED_AFTER = {"squeeze": (1, 4, 7, 9, 10, 11, 12), "alex": (1, 4, 7, 9, 11)}
_BACKBONES = {"squeeze": "squeezenet1_1", "alex": "alexnet"}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pixels in [-1, 1]
_EPS = 1e-8


class LocalLpips:
    """The LPIPS distance with a backbone read from a file.

    Raises:
        RuntimeError, KeyError: the file does not hold that backbone.
    """

    def __init__(self, kind: Literal["squeeze", "alex"], file: Path, device: str = "cpu"):
        import torchvision

        prefix = "features."
        weights = torch.load(file, map_location="cpu", weights_only=True)
        self.features = getattr(torchvision.models, _BACKBONES[kind])(weights=None).features
        self.features.load_state_dict(
            {name[len(prefix) :]: weights[name] for name in weights if name.startswith(prefix)}
        )
        self.features.to(device).eval()
        self.compared_after = _COMPARED_AFTER[kind]
        heads = files("torchmetrics.functional.image") / "lpips_models" / f"{kind}.pth"
        with heads.open("rb") as opened:
            read = torch.load(opened, map_location=device, weights_only=True)
        self.heads = [read[f"lin{stage}.model.1.weight"].view(1, -1, 1, 1) for stage in range(len(self.compared_after))]
        self.device = device

    def distance(self, source: Tensor, edited: Tensor) -> float:
        """Distance of two pictures (H, W, 3) uint8 of one size: the mean over each stage's own grid."""
        return sum(stage.mean() for stage in self._stages(source, edited)).item()  # type: ignore[union-attr]

    def distance_within(self, source: Tensor, edited: Tensor, region: Tensor) -> float:
        """Mean over a region (H, W) bool of the distance map."""
        return self.distance_map(source, edited)[region.to(self.device)].double().mean().item()

    def distance_map(self, source: Tensor, edited: Tensor) -> Tensor:
        """(H, W) sum of the stages, each enlarged to the size of the pictures."""
        size = tuple(source.shape[:2])
        enlarged = [
            torch.nn.functional.interpolate(stage, size, mode="bilinear", align_corners=False)
            for stage in self._stages(source, edited)
        ]
        return torch.stack(enlarged).sum(dim=0)[0, 0]

    @torch.inference_mode()
    def _stages(self, source: Tensor, edited: Tensor) -> list[Tensor]:
        """(1, 1, h, w) weighted squared differences of each stage."""
        shift, scale = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_SHIFT, _SCALE))
        pixels = torch.stack([source, edited]).movedim(-1, 1).to(self.device) / 127.5 - 1
        x = (pixels - shift) / scale
        stages: list[Tensor] = []
        for index, layer in enumerate(self.features[: self.compared_after[-1] + 1]):
            x = layer(x)
            if index in self.compared_after:
                unit = x / torch.sqrt(_EPS + (x**2).sum(dim=1, keepdim=True))
                difference = (unit[:1] - unit[1:]) ** 2
                stages.append((difference * self.heads[len(stages)]).sum(dim=1, keepdim=True))
        return stages
