"""A MODEL in the terms of noise maps: its latent space, and whether maps were made with its kind.

No model is named here. How a model noises and how it scales latents is read off the model by probing it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from comfy.latent_formats import LatentFormat
from torch import Tensor

from ...ddpm_core import LatentSpace, NoiseMaps, network_at
from .blocks import is_of_frames
from .levels import schedule_for
from .models import networks
from .values import Conditioning, ModelPatcher

_SAME_NETWORK = 0.02  # of numbers about 1: rounding to bfloat16 moves one by thousandths, other weights by more


def latent_space(model: ModelPatcher) -> LatentSpace:
    """The latent space of a model, as far as the host tells."""
    latent_format = model.get_model_object("latent_format")
    scale, shift = _scaling(latent_format)
    colors, bias = _preview_colors(latent_format)
    return LatentSpace(
        type(model.model.model_config).__name__,
        type(latent_format).__name__,
        scale,
        shift,
        0 if is_of_sound(model) else cell_of(latent_format),
        colors,
        bias,
    )


def rows_are_frames(model: ModelPatcher) -> bool:
    """Whether a batch of latents is a video to a model, as to Stable Video Diffusion."""
    return any(map(is_of_frames, model.model.diffusion_model.modules()))


def is_of_sound(model: ModelPatcher) -> bool:
    """Whether the latents of a model are sound, whose cells have no pixels whatever the format's default says."""
    return "audio_model" in type(model.model.model_config).unet_config


def cell_of(latent_format: LatentFormat) -> int | None:
    """Image pixels along one side of a latent cell; None for a format that does not tell."""
    ratio = latent_format.spacial_downscale_ratio
    return int(ratio) if ratio else None


def check_same_model(noise_maps: NoiseMaps, model: ModelPatcher) -> None:
    """Refuse to sample maps with a model that would silently misread them.

    Raises:
        ValueError: another model family, latent format, channel count or noising process than the maps were made with.
    """
    latent_format = model.get_model_object("latent_format")
    for what, made_with, here in (
        ("model family", noise_maps.space.family, type(model.model.model_config).__name__),
        ("latent format", noise_maps.space.format, type(latent_format).__name__),
    ):
        if made_with and made_with != here:
            raise ValueError(
                f"the noise maps were made with {what} {made_with}, this model has {here}: connect the kind of model "
                "that the image was inverted with, or invert it again with this one"
            )
    channels = latent_format.latent_channels
    if noise_maps.image.shape[1] != channels:
        raise ValueError(
            f"the noise maps have {noise_maps.image.shape[1]} channels, this model's latents have {channels}: "
            "invert the image again with this model and its VAE"
        )
    schedule = noise_maps.schedule
    if not schedule.same_levels(schedule_for(model, schedule.sigmas, schedule.eta)):
        raise ValueError(
            "the noise maps and this model noise an image in different ways (such as diffusion against flow): "
            "connect the kind of model that the image was inverted with, or invert it again with this one"
        )


def advice_on_networks(noise_maps: NoiseMaps, model: ModelPatcher, sigmas: Sequence[float]) -> str:
    """Advice on maps that were made with other weights than a model has at the sigmas of a run; empty where with these.

    Raises:
        ValueError: of the two models that made them, the one for other levels.
    """
    made, here, off = noise_maps.origin.networks if noise_maps.origin else (), networks(model), 0.0
    for sigma in sigmas:
        own, found = network_at(made, sigma), network_at(here, sigma)
        distance = own.distance(found)
        off = max(off, distance)
        if distance > _SAME_NETWORK and any(0 < len(part.numbers) and part.distance(found) < distance for part in made):
            raise ValueError(
                f"the noise maps were made with two models, one down to sigma {made[0].down_to:.4g} and one below, "
                f"and at sigma {sigma:.4g} this model is the other of them: connect both with Switch Models by Noise "
                "Level, or split the sigmas there and sample each part with its own"
            )
    if off <= _SAME_NETWORK:
        return ""
    return (
        "the noise maps were made with a model of other weights, so the image does not come back exactly with this "
        "one: to have it back, connect the model that it was inverted with"
    )


def check_same_prompt(noise_maps: NoiseMaps, source: Conditioning, says: str) -> None:
    """Refuse an attention edit whose source is not the prompt that the maps were made with.

    Raises:
        ValueError: another prompt, as far as the maps tell.
    """
    if made_with(noise_maps, source) is False:
        raise ValueError(
            f"the noise maps were made with another prompt than the attention edit's source ({says}): connect the "
            "source output of Prompt-to-Prompt (or the source of Share Self-Attention) to the inversion too"
        )


def made_with(noise_maps: NoiseMaps, prompt: Conditioning) -> bool | None:
    """Whether a prompt is that which maps were made with; None where they do not tell."""
    known = noise_maps.origin.prompt if noise_maps.origin else ()
    return same_signature(known, signature(prompt)) if known else None


def signature(prompt: Conditioning) -> tuple[float, ...]:
    """A few numbers by which a CONDITIONING is known again, on another device or in another precision too.

    Of each entry, its embedding read along fixed random directions.
    """
    numbers: list[float] = []
    for embedding, *_ in prompt:
        tokens = embedding.detach().float().cpu().reshape(-1, embedding.shape[-1])
        generator = torch.Generator().manual_seed(len(tokens))
        along, across = (torch.randn(8, size, generator=generator) for size in tokens.shape)
        read = torch.einsum("kl,ld,kd->k", along, tokens, across) / tokens.norm().clamp(min=1e-12)
        numbers += read.tolist()
    return tuple(round(number, 4) for number in numbers)


def same_signature(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two signatures may be of one prompt: rounding moves one by hundredths, another word by tenths."""
    return len(a) == len(b) and all(abs(x - y) < 0.05 for x, y in zip(a, b, strict=True))


def is_guidance_distilled(model: ModelPatcher) -> bool:
    """Whether a model has learned guidance, which it is told as a number beside the prompt."""
    return bool(model.model.model_config.unet_config.get("guidance_embed"))


def told_guidance(model: ModelPatcher, prompt: Conditioning, guidance: float) -> Conditioning:
    """A prompt that tells a guidance-distilled model its guidance; as it is where it tells one, or for other models."""
    if not is_guidance_distilled(model):
        return prompt
    return [[embedding, {"guidance": guidance, **options}] for embedding, options in prompt]


def advise_on_guidance(model: ModelPatcher, *scales: float) -> None:
    """Say in the log where guidance is asked of a model that has learned to do without."""
    if is_guidance_distilled(model) and any(scale != 1 for scale in scales):
        logging.warning(
            "This model is guidance-distilled: set cfg to 1 and put FluxGuidance on the prompts (Edit Preset has "
            "numbers); with cfg %s each step takes two calls, for what the model was not trained for",
            " and ".join(f"{scale:g}" for scale in scales),
        )


def _scaling(latent_format: LatentFormat) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift (C,) of each channel; None for formats that do more (HunyuanImage's refiner folds frames)."""
    shape = (1, latent_format.latent_channels) + (1,) * latent_format.latent_dimensions
    shift = latent_format.process_in(torch.zeros(shape))
    if shift.shape != shape:
        return None, None
    scale = latent_format.process_in(torch.ones(shape)) - shift
    return scale.flatten().float(), shift.flatten().float()


def _preview_colors(latent_format: LatentFormat) -> tuple[Tensor | None, Tensor]:
    """(C, P, P, 3) and (3,) the linear map from channels to colors of the host's live previews; None for no map.

    Each cell is P x P pixels.
    """
    factors, bias = latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias
    unfold, channels = latent_format.latent_rgb_factors_reshape, latent_format.latent_channels
    if factors is None:
        return None, torch.zeros(3)
    colors = torch.tensor(factors, dtype=torch.float32)
    if unfold is not None:
        # (C, C', P, P) what channels become when only one of them is not zero
        cells = unfold(torch.eye(channels)[..., None, None])
        if cells.shape[1] != len(colors):
            return None, torch.zeros(3)
        colors = torch.einsum("cdhw,dr->chwr", cells, colors)
    elif len(colors) == channels:
        colors = colors.view(channels, 1, 1, 3)
    if len(colors) != channels:
        return None, torch.zeros(3)
    return colors, torch.tensor(bias or [0.0, 0.0, 0.0], dtype=torch.float32)
