"""Copies between the CPU, where noise maps live, and the device, without making either wait for the other.

On CUDA (and ROCm) they go through pinned memory and queue behind the kernels; elsewhere they are plain copies.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Recorder:
    """A tensor on the CPU, written slice by slice from the device and read when all is done."""

    def __init__(self, like: Tensor, device: torch.device):
        self._device = device
        self._pinned = device.type == "cuda"
        self._buffer = torch.empty(like.shape, dtype=like.dtype, pin_memory=self._pinned)

    def write(self, i: int, value: Tensor) -> None:
        """Queue `value` for place i."""
        self._buffer[i].copy_(value, non_blocking=self._pinned)

    def read(self) -> Tensor:
        """All that was written; waits for it."""
        if not self._pinned:
            return self._buffer
        torch.cuda.synchronize(self._device)
        return self._buffer.clone()  # pinned memory is for the copies only, not for as long as the maps live
