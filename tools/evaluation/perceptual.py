"""LPIPS of torchmetrics, with the backbone from a local file: Zhang et al., arXiv 1801.03924, linear heads v0.1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

_BACKBONES = {"squeeze": "squeezenet1_1", "alex": "alexnet"}


class LocalLpips:
    """The distance over a backbone; its linear heads come with torchmetrics.

    torchmetrics would download the backbone, and gives no map of the distance. So its network is made without one, and
    filled from the file that torchvision publishes.
    """

    def __init__(self, kind: Literal["squeeze", "alex"], file: Path, device: str = "cpu"):
        import torchvision
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        features = getattr(torchvision.models, _BACKBONES[kind])().features
        weights = torch.load(file, map_location="cpu", weights_only=True)
        prefix = "features."
        features.load_state_dict({name[len(prefix) :]: weights[name] for name in weights if name.startswith(prefix)})
        self.network = _NoTrainLpips(net=kind, spatial=True, pnet_rand=True)
        with torch.no_grad():
            # The slices of its backbone are the layers of torchvision's, in order.
            for own, given in zip(self.network.net.parameters(), features.parameters(), strict=True):
                own.copy_(given)
        self.network.to(device)
        self.device = device

    def distance(self, source: Tensor, edited: Tensor) -> float:
        """Of two pictures (H, W, 3) uint8 of one size: the mean over each layer's own grid."""
        return self._run(source, edited, spatial=False).item()

    def distance_within(self, source: Tensor, edited: Tensor, region: Tensor) -> float:
        """The mean over a region (H, W) bool of the map, each layer enlarged to the picture."""
        return self._run(source, edited, spatial=True)[0, 0][region.to(self.device)].double().mean().item()

    def _run(self, source: Tensor, edited: Tensor, spatial: bool) -> Tensor:
        self.network.spatial = spatial
        first, second = (picture.movedim(-1, 0)[None].to(self.device) / 127.5 - 1 for picture in (source, edited))
        with torch.inference_mode():
            return self.network(first, second)
