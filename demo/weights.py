"""The file of the demo model: the weights of its parts, and the layout of its network in the host's terms.

The file holds float16 weights, keyed `autoencoder.*`, `text_encoder.*` and `network.*`, and is read as float32.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

WEIGHTS = Path(__file__).parent / "weights.safetensors"
FORMAT = "ddpm-latent-demo-1"
PARTS = ("network", "text_encoder", "autoencoder")
LatentRgb = list[list[float]]
StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the network.

    The depths are the numbers of transformer blocks after each residual block of the way down, in the middle and
    after each residual block of the way up, the last listed first, as the latent-diffusion configs do. Latents of
    128 x 128 pixels have 16 x 16 cells: attention sits there and at 8 x 8.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 64
    channel_mult: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    input_depth: tuple[int, ...] = (1, 1)
    middle_depth: int = 1
    output_depth: tuple[int, ...] = (1, 1, 1, 1)
    head_channels: int = 32
    context_dim: int = 96

    def host_config(self) -> dict[str, Any]:
        """The keyword arguments that build the same network as a latent-diffusion `UNetModel`."""
        return {
            "image_size": 16,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "model_channels": self.model_channels,
            "channel_mult": list(self.channel_mult),
            "num_res_blocks": [self.num_res_blocks] * len(self.channel_mult),
            "transformer_depth": list(self.input_depth),
            "transformer_depth_middle": self.middle_depth,
            "transformer_depth_output": list(self.output_depth),
            "num_heads": -1,
            "num_head_channels": self.head_channels,
            "context_dim": self.context_dim,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": True,
            "use_scale_shift_norm": True,
            "legacy": False,
        }

    @property
    def context_width(self) -> int:
        """The width of a text encoder's output."""
        return self.context_dim


@dataclass(frozen=True)
class FluxConfig:
    """Sizes of the network; the fields are named as in the host's config."""

    in_channels: int = 4
    out_channels: int = 4
    patch_size: int = 2
    hidden_size: int = 192
    num_heads: int = 4
    axes_dim: tuple[int, ...] = (16, 16, 16)
    theta: int = 10_000
    mlp_ratio: float = 3.0
    depth: int = 3
    depth_single_blocks: int = 5
    context_in_dim: int = 96
    vec_in_dim: int = 96
    qkv_bias: bool = True
    guidance_embed: bool = False
    txt_ids_dims: tuple[int, ...] = ()

    def host_config(self) -> dict[str, Any]:
        """The keyword arguments that build the same network as the host's class."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def context_width(self) -> int:
        """The width of a text encoder's output."""
        return self.context_in_dim


LAYOUTS: dict[str, type[UNetConfig] | type[FluxConfig]] = {"unet": UNetConfig, "flux": FluxConfig}


@dataclass(frozen=True)
class Weights:
    """What the file holds.

    Args:
        latent_rgb: how a preview makes colors of latents: what each channel adds to red, green and blue in [-1, 1],
            and, last, a constant.
    """

    config: UNetConfig | FluxConfig
    network: StateDict
    text_encoder: StateDict
    autoencoder: StateDict
    latent_rgb: LatentRgb | None = None

    @property
    def is_flow(self) -> bool:
        """Whether the network is a rectified flow."""
        return isinstance(self.config, FluxConfig)


def save_weights(weights: Weights, path: Path) -> None:
    """Write in float16 beside the target, then rename, so that no half-written file is ever seen."""
    tensors = {
        f"{part}.{name}": value.half().contiguous() for part in PARTS for name, value in getattr(weights, part).items()
    }
    (layout,) = (name for name, config in LAYOUTS.items() if isinstance(weights.config, config))
    metadata = {"format": FORMAT, "layout": layout, "network": json.dumps(asdict(weights.config))}
    if weights.latent_rgb:
        metadata["latent_rgb"] = json.dumps(weights.latent_rgb)
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata=metadata)
    os.replace(beside, path)


def load_weights(path: Path | None = None) -> Weights:
    """Read a file, the bundled one by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a demo model.
    """
    path = path or WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"the weights of the demo model are missing: {path.name} should lie in {path.parent}")
    parts: dict[str, StateDict] = {part: {} for part in PARTS}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(
                    f"{path.name} is not a demo model: its format is {metadata.get('format')!r}, not {FORMAT!r}"
                )
            for key in file.keys():  # noqa: SIM118 (not a dict)
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key).float()
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged, fetch it again from the repository: {error}") from error
    config, latent_rgb = (json.loads(metadata.get(name, "null")) for name in ("network", "latent_rgb"))
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}
    return Weights(LAYOUTS[metadata["layout"]](**fields), **parts, latent_rgb=latent_rgb)
