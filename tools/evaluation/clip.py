"""Cosines of pictures and prompts by a CLIP of transformers, loaded from a folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_core.measures import cropped_for_clip

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_KEPT = 64  # embeddings: a source is asked for by each method, a prompt by each picture


class FolderClip:
    """The model and the tokenizer in a folder as on the hub: config.json, model.safetensors, vocab.json, ...

    Pictures are prepared by Pillow as CLIP itself does, since processors differ between versions of transformers.
    The embeddings of the last pictures and prompts are cached.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        from transformers import CLIPModel, CLIPTokenizer

        self.device = device
        self.model = CLIPModel.from_pretrained(folder, local_files_only=True).float().to(device).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()

    def text(self, picture: Tensor, prompt: str) -> float:
        """Cosine of a picture (H, W, 3) uint8 and a prompt, cut at the model's length."""
        return float(self._of_picture(picture) @ self._of_text(prompt))

    def pictures(self, first: Tensor, second: Tensor) -> float:
        """Cosine of two pictures."""
        return float(self._of_picture(first) @ self._of_picture(second))

    def _of_picture(self, picture: Tensor) -> Tensor:
        return self._once((picture.shape, picture.numpy().tobytes()), lambda: self._picture_features(picture))

    def _of_text(self, prompt: str) -> Tensor:
        return self._once(prompt, lambda: self._text_features(prompt))

    def _picture_features(self, picture: Tensor) -> Any:
        pixels = prepared(picture, self.model.config.vision_config.image_size)
        return self.model.get_image_features(pixel_values=pixels.to(self.device))

    def _text_features(self, prompt: str) -> Any:
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompt, truncation=True, max_length=length, return_tensors="pt")
        return self.model.get_text_features(**{name: ids.to(self.device) for name, ids in tokens.items()})

    def _once(self, key: Hashable, features: Callable[[], Any]) -> Tensor:
        """(D,) scaled to length 1, on the CPU in float64."""
        if key not in self._kept:
            with torch.inference_mode():
                result = features()
            row = getattr(result, "pooler_output", result)[0]  # a tensor in transformers 4, an output object in 5
            self._kept[key] = unit(row)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def prepared(picture: Tensor, size: int) -> Tensor:
    """(1, 3, size, size) input of the model for a picture (H, W, 3) uint8."""
    pixels = cropped_for_clip(picture, size).movedim(-1, 0).float() / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return ((pixels - mean) / deviation)[None]


def unit(embedding: Tensor) -> Tensor:
    """(D,) scaled to length 1, on the CPU in float64."""
    return torch.nn.functional.normalize(embedding.detach().cpu().double(), dim=-1)
