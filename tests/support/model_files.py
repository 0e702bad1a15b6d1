"""Files of random weights that ComfyUI's own loaders take."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from tools.benchmarks.random_weights import SD15_UNET, SDXL_UNET, randomize


def save_sd15_files(models: Path) -> None:
    """Files that ComfyUI's loaders take for an SD1.5 UNet, a CLIP-L and a TAESD, below its folder `models`.

    The host recognises SD1.5 by model_channels 320 and context_dim 768, whatever the depth.
    """
    import comfy.ops
    import comfy.sd1_clip
    import comfy.taesd.taesd
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**SD15_UNET, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    clip = comfy.sd1_clip.SDClipModel(dtype=torch.float16).transformer
    vae = comfy.taesd.taesd.TAESD()
    for name, module in {
        "diffusion_models/random_sd15": unet,
        "text_encoders/random_clip_l": clip,
        "vae_approx/taesd_encoder": vae.taesd_encoder,
        "vae_approx/taesd_decoder": vae.taesd_decoder,
    }.items():
        path = models / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(randomize(module, seed=3).state_dict(), path)


def save_sd15_checkpoint(path: Path) -> None:
    """One file that ComfyUI's checkpoint loader takes for SD1.5: a shallow UNet, a whole CLIP-L, a TAESD for VAE."""
    tensors = _prefixed("model.diffusion_model.", _unet(SD15_UNET))
    tensors |= _prefixed("cond_stage_model.transformer.", _clip_l())
    _save(tensors | _prefixed("first_stage_model.", _taesd()), path)


def save_sdxl_checkpoint(path: Path) -> None:
    """One file that ComfyUI's checkpoint loader takes for SDXL.

    The host knows SDXL by its transformer depths, so the UNet is as deep, and 320 channels wide throughout. CLIP-G has
    but one size; it is all zeros, so that prompts differ by CLIP-L alone.
    """
    import comfy.sdxl_clip

    wide = {"channel_mult": [1, 1, 1], "num_res_blocks": [2, 2, 2], "transformer_depth_middle": 10}
    depths = {"transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10]}
    tensors = _prefixed("model.diffusion_model.", _unet(SDXL_UNET | wide | depths))
    tensors |= _prefixed("conditioner.embedders.0.transformer.", _clip_l())
    clip_g = comfy.sdxl_clip.SDXLClipG(dtype=torch.float16).transformer.state_dict()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in clip_g.items()}
    tensors |= _prefixed("conditioner.embedders.1.model.transformer.", zeros)
    _save(tensors | _prefixed("first_stage_model.", _taesd()), path)


def _unet(config: dict) -> dict[str, torch.Tensor]:
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**config, dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    return randomize(unet, seed=3).state_dict()


def _clip_l() -> dict[str, torch.Tensor]:
    import comfy.sd1_clip

    return randomize(comfy.sd1_clip.SDClipModel(dtype=torch.float16).transformer, seed=3).state_dict()


def _taesd() -> dict[str, torch.Tensor]:
    import comfy.taesd.taesd

    vae = comfy.taesd.taesd.TAESD()
    randomize(vae.taesd_encoder, seed=3)
    randomize(vae.taesd_decoder, seed=3)
    return vae.state_dict()


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
