"""What noise maps are of: seeds, images, the way they were made, and the latent space that they lie in.

All that code decides by is a field with a type; `notes` are for people, and no code reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

LARGEST_SEED = 2**64 - 1


class Method(Enum):
    """Ways to noise maps."""

    EDIT_FRIENDLY = "edit friendly"
    CYCLE_DIFFUSION = "CycleDiffusion"
    FEW_STEPS = "few steps"
    DDIM = "DDIM"
    DDIM_WITH_RESIDUALS = "DDIM with residuals"
    NULL_TEXT = "null-text"
    NATIVE = "native"  # the image was generated


@dataclass(frozen=True)
class Network:
    """Network that predicts at some of the noise levels.

    Args:
        numbers: a few, by which it is known again; empty where they are not known.
        down_to: the lowest sigma that it is called with.

    Raises:
        ValueError: numbers that are not finite, a sigma below 0.
    """

    numbers: tuple[float, ...] = ()
    down_to: float = 0.0

    def __post_init__(self) -> None:
        if not all(abs(number) < float("inf") for number in (self.down_to, *self.numbers)) or self.down_to < 0:
            raise ValueError(f"a network of the noise maps has numbers that cannot be: {self}")

    def distance(self, other: Network) -> float:
        """Largest difference of their numbers; 0 where those of one are not known."""
        pairs = zip(self.numbers, other.numbers, strict=False)
        return max((abs(a - b) for a, b in pairs), default=0.0)


@dataclass(frozen=True)
class Origin:
    """Making of noise maps.

    Args:
        method: the inversion, or native.
        cfg: scale of guidance towards the prompt; None where it is not known.
        prompt: a few numbers by which the prompt is known again; empty where they are not known.
        networks: that predicted, from the noisiest level on; empty where they are not known.

    Raises:
        ValueError: a cfg or numbers that are not finite.
    """

    method: Method
    cfg: float | None = None
    prompt: tuple[float, ...] = ()
    networks: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if not all(abs(number) < float("inf") for number in (self.cfg or 0.0, *self.prompt)):
            raise ValueError(f"the origin of the noise maps has numbers that are not finite: {self}")


def network_at(networks: Sequence[Network], sigma: float) -> Network:
    """The first of networks that is called with a sigma; one of which nothing is known where there is none."""
    return next((network for network in networks if sigma >= network.down_to * (1 - 1e-6)), Network())


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """Scaling and size of the latents that a model samples.

    Args:
        family: of models; empty where it is not known.
        format: name of the latent format; empty where it is not known.
        scale, shift: (C,) or (1,), latent of the model = LATENT * scale + shift; None where it is not so simple.
        cell: image pixels along one side of a latent cell; 0 of sound, which has none; None where it is not known.
        colors: (C, P, P, 3) linear map from channels to the colors of P x P pixels; None for the mean of the channels.
        color_bias: (3,) what is added to them.

    Raises:
        ValueError: tensors of other shapes, numbers that are not finite, a scale of 0, a cell of no such size.
    """

    family: str = ""
    format: str = ""
    scale: Tensor | None = field(default_factory=lambda: torch.ones(1))
    shift: Tensor | None = field(default_factory=lambda: torch.zeros(1))
    cell: int | None = None
    colors: Tensor | None = None
    color_bias: Tensor = field(default_factory=lambda: torch.zeros(3))

    def __post_init__(self) -> None:
        parts = {"scale": self.scale, "shift": self.shift, "colors": self.colors, "color bias": self.color_bias}
        for name, part in parts.items():
            if part is not None and not part.isfinite().all():
                raise ValueError(f"the {name} of the latent space holds NaN or infinity")
        if (self.scale is None) != (self.shift is None):
            raise ValueError("the latent space has only one of scale and shift")
        if self.scale is not None and not self.scale.all():
            raise ValueError("the scale of the latent space is 0 in a channel")
        if self.color_bias.shape != (3,):
            raise ValueError(f"the color bias of the latent space has shape {tuple(self.color_bias.shape)}, not (3,)")
        if self.cell is not None and not 0 <= self.cell <= 1024:
            raise ValueError(f"a cell of the latent space has {self.cell} pixels: 0 to 1024 are possible")

    def check_channels(self, channels: int) -> None:
        """Refuse a space of other channels.

        Raises:
            ValueError: another number of channels in scale, shift or colors.
        """
        for name, part in (("scale", self.scale), ("shift", self.shift)):
            if part is not None and part.shape not in ((1,), (channels,)):
                shape = tuple(part.shape)
                raise ValueError(f"the {name} of the latent space has shape {shape} for {channels} channels")
        if self.colors is not None:
            shape = tuple(self.colors.shape)
            if len(shape) != 4 or (shape[0], shape[3]) != (channels, 3) or shape[1] != shape[2] or not shape[1]:
                raise ValueError(f"the colors of the latent space have shape {shape} for {channels} channels")

    def of_model(self, x: Tensor) -> Tensor:
        """x (N, C, ...) in the scaling of a LATENT as the model samples it.

        Raises:
            ValueError: a format that is not scaled channel by channel.
        """
        scale, shift = self._per_channel(x)
        return x * scale + shift

    def of_latent(self, x: Tensor) -> Tensor:
        """x (N, C, ...) as the model samples it, in the scaling of a LATENT, which a VAE decodes.

        Raises:
            ValueError: a format that is not scaled channel by channel.
        """
        scale, shift = self._per_channel(x)
        return (x - shift) / scale

    def colored(self, x: Tensor) -> Tensor:
        """(3, P * H, P * W) in [-1, 1] of x (C, H, W), by the linear map of the model's live previews.

        (3, C, L) of x (C, L), such as sound: its channels over time, black and white three standard deviations.
        """
        if x.ndim == 2:
            return x.expand(3, -1, -1) / 3
        return _mixed(x, self._colors(len(x))) + self.color_bias.view(3, 1, 1)

    def colored_noise(self, z: Tensor) -> Tensor:
        """(3, P * H, P * W) of unit variance of z (C, H, W): the map of `colored`, each color scaled to length 1.

        (3, C, L) of z (C, L).
        """
        if z.ndim == 2:
            return z.expand(3, -1, -1)
        return _mixed(z, torch.nn.functional.normalize(self._colors(len(z)), dim=0))

    def _colors(self, channels: int) -> Tensor:
        return torch.full((channels, 1, 1, 3), 1 / channels) if self.colors is None else self.colors

    def _per_channel(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale is None or self.shift is None:
            raise ValueError(
                f"latents of the format {self.format} are not scaled channel by channel, so no latent can be put "
                "beside these noise maps: sample them and go on from the image"
            )
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return self.scale.to(x).view(shape), self.shift.to(x).view(shape)


@dataclass(frozen=True, eq=False)
class Facts:
    """What noise maps are of.

    Args:
        seeds: one a row, which draws for that row alone what it has in a batch, too; empty for 0 in all rows.
        images: B, where row v * B + b is variation v of image b; None where each row is an image.
        origin: how they were made; None where it is not known.
        space: that the states lie in.
        notes: for people.
    """

    seeds: tuple[int, ...] = ()
    images: int | None = None
    origin: Origin | None = None
    space: LatentSpace = field(default_factory=LatentSpace)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "notes", MappingProxyType(dict(self.notes)))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle keeps; the view that protects `notes` can be neither."""
        return {**vars(self), "notes": dict(self.notes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, notes=MappingProxyType(state["notes"]))

    def check(self, rows: int, channels: int) -> None:
        """Refuse facts of other maps.

        Raises:
            ValueError: another number of seeds than rows, one that is none, images that do not divide the rows, a
                space of other channels.
        """
        if self.seeds and len(self.seeds) != rows:
            raise ValueError(f"there are {len(self.seeds)} seeds for {rows} rows: one a row, or none")
        if not all(0 <= seed <= LARGEST_SEED for seed in self.seeds):
            raise ValueError(f"a seed is not from 0 to {LARGEST_SEED}: {self.seeds}")
        if self.images is not None and (self.images < 1 or rows % self.images):
            raise ValueError(f"{rows} rows are not {self.images} images with as many variations each")
        self.space.check_channels(channels)


def _mixed(x: Tensor, colors: Tensor) -> Tensor:
    """(3, P * H, P * W) of x (C, H, W) by colors (C, P, P, 3)."""
    return torch.einsum("chw,cpqr->rhpwq", x, colors.to(x)).flatten(3, 4).flatten(1, 2)
