"""The seam to ComfyUI: what the core needs to know of a MODEL, a LATENT or a MASK, and one run of the host's guider.

No model is named here. How a model noises and how it scales latents is read off the model by probing it.
"""

from __future__ import annotations

import json

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..ddpm_core import NoiseMaps, NoiseSchedule, __version__


def levels(model, scheduler: str, steps: int) -> Tensor:
    """(T+1,) the sigmas of the host's scheduler under the model's (possibly patched) sampling.

    T is `steps`, but for schedulers that can only come near it (ddim_uniform, where 1000 is no multiple).
    """
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps).cpu()


def schedule_for(model, sigmas: Tensor, eta: float) -> NoiseSchedule:
    """The noising process of the model at `sigmas`.

    The host's `noise_scaling` is linear in noise and latent, so a and b are what it makes of (0, 1) and (1, 0).
    """
    model_sampling = model.get_model_object("model_sampling")
    sigmas = sigmas.detach().to("cpu", torch.float64)
    one = torch.ones((len(sigmas), 1, 1, 1), dtype=torch.float64)
    zero = torch.zeros_like(one)
    signal = model_sampling.noise_scaling(sigmas, zero.clone(), one.clone()).flatten()
    noise = model_sampling.noise_scaling(sigmas, one.clone(), zero.clone()).flatten()
    return NoiseSchedule(sigmas, signal, noise, eta)


def provenance(model, **settings: object) -> dict[str, str]:
    """What noise maps remember of their making: the model's kind, its latent format, the node's settings."""
    latent_format = model.get_model_object("latent_format")
    shape = (1, latent_format.latent_channels) + (1,) * latent_format.latent_dimensions
    shift = latent_format.process_in(torch.zeros(shape))
    scale = latent_format.process_in(torch.ones(shape)) - shift
    return {
        **_model_kind(model),
        "latent_scale": json.dumps(scale.flatten().tolist()),
        "latent_shift": json.dumps(shift.flatten().tolist()),
        "pixels_per_cell": str(_pixels_per_cell(latent_format)),
        "pack_version": __version__,
        **{key: str(value) for key, value in settings.items()},
    }


def check_same_model(noise_maps: NoiseMaps, model) -> None:
    """Refuse to sample maps with a model that would silently misread them.

    Raises:
        ValueError: another model family, latent format, channel count or noising process than the maps were made with.
    """
    for what, here in _model_kind(model).items():
        made_with = noise_maps.info.get(what, here)
        if made_with != here:
            raise ValueError(
                f"the noise maps were made with {what.replace('_', ' ')} {made_with}, this model has {here}: "
                "connect the kind of model that the image was inverted with, or invert it again with this one"
            )
    channels = model.get_model_object("latent_format").latent_channels
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


def latent_to_invert(model, latent: dict, variations: int) -> Tensor:
    """(variations * B, *S) the rows to invert, in the LATENT's own scaling; row v * B + b is image b.

    Raises:
        ValueError: channels that the model does not take, NaN or infinity.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"]).to(torch.float32)
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise ValueError(
            f"the latent has {samples.shape[1]} channels, this model takes {channels}: "
            "encode the image with the VAE that belongs to the model"
        )
    if not samples.isfinite().all():
        raise ValueError(
            "the latent holds NaN or infinity: the VAE that encoded it overflowed; "
            "start ComfyUI with --fp32-vae or use another VAE"
        )
    return comfy.utils.repeat_to_batch_size(samples, variations * len(samples))


def latent_for(noise_maps: NoiseMaps, latent: dict) -> Tensor:
    """(rows, *S) a LATENT in the scaling of the maps, which is the model's own.

    Raises:
        ValueError: other channels, another size, NaN or infinity, a batch that does not divide the rows.
    """
    samples, image = latent["samples"], noise_maps.image
    if samples.ndim == image.ndim - 1:
        samples = samples.unsqueeze(2)  # an image for maps of a video model
    if samples.numel() == 0 or samples.shape[1:] != image.shape[1:] or len(image) % max(len(samples), 1):
        raise ValueError(
            f"the color latent has shape {tuple(samples.shape)}, the noise maps have rows of shape "
            f"{tuple(image.shape)}: paint over the image that was inverted and encode it with the same VAE"
        )
    if not samples.isfinite().all():
        raise ValueError("the color latent holds NaN or infinity: encode the painted image again, with --fp32-vae")
    per_channel = (1, -1) + (1,) * (samples.ndim - 2)
    scale = torch.tensor(json.loads(noise_maps.info.get("latent_scale", "[1.0]"))).view(per_channel)
    shift = torch.tensor(json.loads(noise_maps.info.get("latent_shift", "[0.0]"))).view(per_channel)
    return comfy.utils.repeat_to_batch_size(samples.cpu().float() * scale + shift, len(image))


def mask_for(noise_maps: NoiseMaps, mask: Tensor) -> Tensor:
    """(rows, 1, H, W) a MASK of the image, averaged over each latent cell; (1, 1, F, H, W) for a video.

    The VAE crops an image to whole cells about its middle, so the mask is cropped likewise.

    Raises:
        ValueError: maps without height and width, a mask that is empty, of another size, or of another batch.
    """
    image, cell = noise_maps.image, pixels_per_cell(noise_maps)
    if image.ndim < 4:
        raise ValueError(f"a mask needs noise maps of images, these have rows of shape {tuple(image.shape[1:])}")
    height, width = image.shape[-2:]
    mask = mask.reshape((-1, *mask.shape[-2:])).float().cpu()
    if mask.numel() == 0 or not mask.any():
        raise ValueError(
            "the mask is empty, so nothing would be edited: paint one (an image without transparency loads with an "
            "empty mask)"
        )
    if mask.shape[-2:] != (height, width):
        if (mask.shape[-2] // cell, mask.shape[-1] // cell) != (height, width):
            raise ValueError(
                f"the mask is {mask.shape[-1]} x {mask.shape[-2]} pixels, the inverted image is {width * cell} x "
                f"{height * cell}: use a mask of the image's size"
            )
        top, left = mask.shape[-2] % cell // 2, mask.shape[-1] % cell // 2
        mask = mask[:, top : top + height * cell, left : left + width * cell]
        mask = torch.nn.functional.avg_pool2d(mask[:, None], cell)[:, 0]
    if image.ndim == 5:
        mask, rows = mask[None, None], image.shape[2]
    else:
        mask, rows = mask[:, None], image.shape[0]
    count = mask.shape[2] if image.ndim == 5 else mask.shape[0]
    if rows % count or (image.ndim == 5 and count not in (1, rows)):
        raise ValueError(f"there are {count} masks for {rows} images: use one, or one for each")
    return mask if image.ndim == 5 else comfy.utils.repeat_to_batch_size(mask, rows)


def pixels_per_cell(noise_maps: NoiseMaps) -> int:
    """Image pixels along one side of a latent cell."""
    return int(noise_maps.info.get("pixels_per_cell", 8))


def seed_of(noise_maps: NoiseMaps) -> int:
    """The seed that the maps were made with; 0 for maps that do not say."""
    return int(noise_maps.info.get("seed", 0))


def guider_for(model, positive, negative, cfg: float) -> comfy.samplers.CFGGuider:
    """The host's own classifier-free guidance."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def run(guider, sampler, latent: Tensor, sigmas: Tensor, seed: int, mask: Tensor | None = None) -> Tensor:
    """One run of the host's sampling around one of the pack's samplers.

    The host loads the model, prepares conditionings, applies patches, shows previews and answers the interrupt.
    The samplers here bring their own noise, so the host's is zero; its seed still reaches conditionings that use one.
    """
    callback = latent_preview.prepare_callback(guider.model_patcher, len(sigmas) - 1)
    return guider.sample(
        torch.zeros_like(latent),
        latent,
        sampler,
        sigmas.to(torch.float32),
        denoise_mask=mask,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def _model_kind(model) -> dict[str, str]:
    return {
        "model_family": type(model.model.model_config).__name__,
        "latent_format": type(model.get_model_object("latent_format")).__name__,
    }


def _pixels_per_cell(latent_format) -> int:
    # Newer hosts say it; before, every image format but pixel space (three channels) had cells of 8.
    known = getattr(latent_format, "spacial_downscale_ratio", None)
    return known or (1 if latent_format.latent_channels == 3 else 8)
