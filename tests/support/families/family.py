"""A family of models that ComfyUI samples, as a value: its network made tiny, its latent, what its prompts carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tools.benchmarks.random_weights import randomize

TOKENS = 7


@dataclass(frozen=True)
class Normal:
    """Random numbers of a shape, others for each prompt."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Ids:
    """Random numbers of tokens, of a shape."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """One row of the matrix.

    Args:
        name: the class, and behind a blank what else sets it apart.
        network: the fields of the network's class, as detection reads them off a checkpoint.
        latent: (B, *S) of a LATENT, or of each of its parts.
        text: (L, D) of a prompt.
        pooled: what a prompt's pooled output has behind the batch.
        masked: how many of a prompt's tokens are padding; None for prompts without an attention mask.
        told: what else a prompt carries.
        weights: what of a checkpoint is not the network's.
        kept_frames: first frames that the LATENT's noise mask keeps.
        cut: a list of layers whose number the host's class has fixed, made one.
        refused: what the pack says of it, where it has no noise maps.
    """

    name: str
    network: Mapping[str, Any]
    latent: tuple[Any, ...] = (1, 4, 8, 8)
    text: tuple[int, int] = (TOKENS, 32)
    pooled: tuple[int, ...] | None = None
    masked: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str = "simple"
    cfg: float = 3.5
    kept_frames: int = 0
    cut: str = ""
    refused: str = ""
    of: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def host_class(self) -> str:
        """The class of `comfy.supported_models`."""
        return self.of or self.name.split()[0]

    def is_in(self, comfy: Any) -> bool:
        """Whether a host has it."""
        return hasattr(comfy.supported_models, self.host_class)

    def model(self, comfy: Any, dtype: torch.dtype = torch.float32) -> Any:
        """A MODEL with random weights."""
        config = getattr(comfy.supported_models, self.host_class)(dict(self.network))
        config.unet_config.update(self.network)
        config.set_inference_dtype(dtype, None)
        weights = drawn(self.weights, torch.Generator().manual_seed(1))
        base = _built(config, weights, torch.device("meta" if self.cut else "cpu"))
        if self.cut:
            del base.get_submodule(self.cut)[1:]
            base.diffusion_model.to_empty(device="cpu")
        for name, module in base.named_children():
            if name != "model_sampling":
                randomize(module, seed=1)
        base.eval().requires_grad_(False)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)

    def image(self, model: Any, images: int = 1) -> dict[str, Any]:
        """A LATENT that its MODEL takes; image b is the same in any number of them."""
        shapes = self.latent if isinstance(self.latent[0], tuple) else (self.latent,)
        parts = [torch.cat([_normal(shape, seed=b) for b in range(images)]) for shape in shapes]
        if len(parts) > 1:
            from comfy.nested_tensor import NestedTensor

            return {"samples": NestedTensor(parts)}
        samples = parts[0] if self.refused else model.model.process_latent_out(parts[0])
        if not self.kept_frames:
            return {"samples": samples}
        mask = torch.ones_like(samples[:, :1])
        mask[:, :, : self.kept_frames] = 0
        return {"samples": samples, "noise_mask": mask}

    def prompt(self, seed: int, more: int = 0) -> list[list[Any]]:
        """A random CONDITIONING, of so many tokens more than others have."""
        generator = torch.Generator().manual_seed(seed)
        tokens, width = self.text[0] + more, self.text[1]
        told = drawn({"pooled_output": None if self.pooled is None else Normal((1, *self.pooled))}, generator)
        told |= drawn(self.told, generator)
        if self.masked is not None:
            told["attention_mask"] = (torch.arange(tokens) < tokens - self.masked).long()[None]
        return [[torch.randn((1, tokens, width), generator=generator), told]]


def drawn(value: Any, generator: torch.Generator) -> Any:
    """A value with random numbers in the places of `Normal` and `Ids`."""
    if isinstance(value, Normal):
        return torch.randn(value.shape, generator=generator)
    if isinstance(value, Ids):
        return torch.randint(1, 99, value.shape, generator=generator)
    if isinstance(value, Mapping):
        return {name: drawn(part, generator) for name, part in value.items()}
    return [drawn(part, generator) for part in value] if isinstance(value, list) else value


def _normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _built(config: Any, weights: dict[str, torch.Tensor], device: torch.device) -> Any:
    """The host's model, without those fields that its network does not know, which are of newer versions."""
    while True:
        try:
            return config.get_model(dict(weights), "model.diffusion_model.", device)  # which takes out what it reads
        except TypeError as error:
            name = str(error).rpartition("unexpected keyword argument ")[2].strip("'")
            if name not in config.unet_config:
                raise
            del config.unet_config[name]
