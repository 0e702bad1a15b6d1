"""The seam to ComfyUI: what the core needs to know of a MODEL, and one run of the host's guider.

No model is named here. How a model noises and how it scales latents is read off the model by probing it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.latent_formats import LatentFormat
from torch import Tensor

from ..ddpm_core import NoiseMaps, NoiseSchedule, __version__
from . import latents, newest
from .guide import ImagesGuider
from .types import Conditioning, ModelPatcher


def levels(model: ModelPatcher, scheduler: str, steps: int) -> Tensor:
    """(T+1,) the sigmas of the host's scheduler under the model's (possibly patched) sampling.

    T is `steps`, but for schedulers that leave out levels that are equal (beta), and never more than a model's own
    levels allow. The host's ddim_uniform goes in whole strides, which makes 63 steps of 60; here it has as many as it
    is asked for: the same where they divide the model's levels, else each rounded down to a level.
    """
    model_sampling = model.get_model_object("model_sampling")
    sigmas: Tensor = comfy.samplers.calculate_sigmas(model_sampling, scheduler, steps).cpu()
    if scheduler == "ddim_uniform" and len(sigmas) - 1 != steps:
        table = model_sampling.sigmas.cpu()
        steps = min(steps, len(table) - 1)
        chosen = table[1 + torch.arange(steps) * len(table) // steps]
        sigmas = torch.cat([chosen.flip(0), chosen.new_zeros(1)])
    return sigmas


def levels_at(model: ModelPatcher, timesteps: Sequence[int]) -> Tensor:
    """(T+1,) the sigmas of the model at timesteps of its training, then 0."""
    model_sampling = model.get_model_object("model_sampling")
    sigmas = torch.stack([model_sampling.sigma(torch.tensor(float(t))).cpu() for t in timesteps])
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def schedule_for(model: ModelPatcher, sigmas: Tensor, eta: float, order: int = 1) -> NoiseSchedule:
    """The noising process of the model at `sigmas`.

    The host's `noise_scaling` is linear in noise and latent, so a and b are what it makes of (0, 1) and (1, 0).
    """
    model_sampling = model.get_model_object("model_sampling")
    sigmas = sigmas.detach().to("cpu", torch.float64)
    one = torch.ones((len(sigmas), 1, 1, 1), dtype=torch.float64)
    zero = torch.zeros_like(one)
    signal = model_sampling.noise_scaling(sigmas, zero.clone(), one.clone()).flatten()
    noise = model_sampling.noise_scaling(sigmas, one.clone(), zero.clone()).flatten()
    return NoiseSchedule(sigmas, signal, noise, eta, order)


def provenance(model: ModelPatcher, **settings: object) -> dict[str, str]:
    """What noise maps remember of their making: the model's kind, its latent format, the node's settings."""
    latent_format = model.get_model_object("latent_format")
    cell = latents.cell_of(latent_format)
    return {
        **_model_kind(model),
        **_scaling(latent_format),
        **_preview_colors(latent_format),
        **({} if cell is None else {"pixels_per_cell": str(cell)}),
        "pack_version": __version__,
        **{key: str(value) for key, value in settings.items()},
    }


def check_same_model(noise_maps: NoiseMaps, model: ModelPatcher) -> None:
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


def check_same_prompt(noise_maps: NoiseMaps, source: Conditioning, says: str) -> None:
    """Refuse an attention edit whose source is not the prompt that the maps were made with.

    Raises:
        ValueError: another prompt, as far as the maps tell.
    """
    known = noise_maps.info.get("prompt_signature")
    if known is not None and not same_signature(json.loads(known), signature(source)):
        raise ValueError(
            f"the noise maps were made with another prompt than the attention edit's source ({says}): connect the "
            "source output of Prompt-to-Prompt (or the source of Share Self-Attention) to the inversion too"
        )


def signature(prompt: Conditioning) -> list[float]:
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
    return [round(number, 4) for number in numbers]


def same_signature(a: list[float], b: list[float]) -> bool:
    """Whether two signatures may be of one prompt: rounding moves one by hundredths, another word by tenths."""
    return len(a) == len(b) and all(abs(x - y) < 0.05 for x, y in zip(a, b, strict=True))


def seed_of(noise_maps: NoiseMaps) -> int:
    """The seed that the maps were made with; 0 for maps that do not say."""
    return int(noise_maps.info.get("seed", 0))


def images_of(noise_maps: NoiseMaps) -> int:
    """B of the maps' rows, which are B images times their variations."""
    rows = len(noise_maps.image)
    variations = int(noise_maps.info.get("variations", 1))
    return rows // variations if rows % variations == 0 else rows


def run(
    guider: ImagesGuider,
    sampler: comfy.samplers.Sampler,
    latent: Tensor,
    sigmas: Tensor,
    seed: int,
    *,
    images: int,
    mask: Tensor | None = None,
    progress: tuple[int, int] | None = None,
) -> Tensor:
    """One run of the host's sampling around one of the pack's samplers.

    The host loads the model, prepares conditionings, applies patches, shows previews and answers the interrupt.
    The samplers here bring their own noise, so the host's is zero; its seed still reaches conditionings that use one.

    Args:
        latent: (rows, *S) in the LATENT's own scaling, whatever the sampler starts from; the host makes room for them.
        images: B; the sampler is handed the first B rows.
        mask: (rows, 1, *S[1:]) the noise mask of the inverted LATENT, which some models read.
        progress: of several runs that the node's progress counts as one: the steps before this one, and all; without
            live previews.
    """
    guider.images = images
    callback = _callback(guider.model_patcher, len(sigmas) - 1, *(progress or (0, None)))
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


def run_on_maps(
    guider: ImagesGuider,
    sampler: comfy.samplers.Sampler,
    sigmas: Tensor,
    noise_maps: NoiseMaps,
    progress: tuple[int, int] | None = None,
) -> Tensor:
    """A run around a sampler that brings its states from noise maps; (rows, *S) in the LATENT's own scaling."""
    return run(
        guider,
        sampler,
        guider.model_patcher.model.process_latent_out(noise_maps.image),
        sigmas,
        seed_of(noise_maps),
        images=images_of(noise_maps),
        mask=noise_maps.mask,
        progress=progress,
    )


def _callback(model: ModelPatcher, steps: int, before: int, in_all: int | None) -> Callable[..., None]:
    """The host's own callback of a run, or with `in_all` one that counts it as a part of so many steps.

    That one shows no live previews: the front end would keep the last of them in place of the node's own picture.
    """
    if in_all is None:
        return latent_preview.prepare_callback(model, steps)
    bar = comfy.utils.ProgressBar(in_all)
    return lambda step, *_: bar.update_absolute(before + step + 1, in_all)


@contextmanager
def gradients(models: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Room for gradients inside a node, which the host runs in inference mode.

    Autograd refuses weights that were loaded in inference mode. They are replaced, one at a time, by copies that are
    equal bit for bit and stay in their place. What the host changes in place, as it adds a ControlNet to the features,
    is kept as it was for the way back.
    """
    with torch.inference_mode(False), torch.autograd.graph.allow_mutation_on_saved_tensors():
        for module in (module for model in models for module in model.modules()):
            for name, weight in module.named_parameters(recurse=False):
                if weight.is_inference():
                    setattr(module, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=False))
                weight = getattr(module, name)
                weight.requires_grad_(False)
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_inference():
                    setattr(module, name, buffer.clone())
        yield


def _scaling(latent_format: LatentFormat) -> dict[str, str]:
    """Scale and shift of each channel; empty for formats that do more (HunyuanImage's refiner folds frames)."""
    shape = (1, latent_format.latent_channels) + (1,) * latent_format.latent_dimensions
    shift = latent_format.process_in(torch.zeros(shape))
    if shift.shape != shape:
        return {}
    scale = latent_format.process_in(torch.ones(shape)) - shift
    return {"latent_scale": json.dumps(scale.flatten().tolist()), "latent_shift": json.dumps(shift.flatten().tolist())}


def _preview_colors(latent_format: LatentFormat) -> dict[str, str]:
    """The linear map from channels to colors of the host's live previews; empty where it has none.

    (C, 3) nested lists, or (C, P, P, 3) where each cell is P x P pixels of the preview.
    """
    factors, bias = latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias
    unfold = newest.unfold_of_preview(latent_format)
    if factors is not None and unfold is not None:
        # (C, C', P, P) what channels become when only one of them is not zero
        cells = unfold(torch.eye(latent_format.latent_channels)[..., None, None])
        if cells.shape[1] != len(factors):
            return {}
        factors = torch.einsum("cdhw,dr->chwr", cells, torch.tensor(factors)).tolist()
    if factors is None or len(factors) != latent_format.latent_channels:
        return {}
    return {"latent_rgb_factors": json.dumps(factors), "latent_rgb_bias": json.dumps(bias or [0.0, 0.0, 0.0])}


def _model_kind(model: ModelPatcher) -> dict[str, str]:
    return {
        "model_family": type(model.model.model_config).__name__,
        "latent_format": type(model.get_model_object("latent_format")).__name__,
    }
