"""Random weights in the layouts that ComfyUI knows, small in depth; for exactness, not for meaning."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

SMALL_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 1],
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "legacy": False,
}
SD15_UNET = SMALL_UNET | {
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "num_heads": 8,
    "num_head_channels": -1,
}
SDXL_UNET = SMALL_UNET | {
    "context_dim": 2048,
    "use_linear_in_transformer": True,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "num_head_channels": 64,
}
SD3_MMDIT = {
    "patch_size": 2,
    "in_channels": 16,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
    "num_patches": 36864,
    "pos_embed_max_size": 192,
    "pos_embed_scaling_factor": None,
    "x_block_self_attn_layers": [],
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
WAN = {"image_model": "wan2.1", "model_type": "t2v", "dim": 128, "ffn_dim": 256, "num_heads": 2, "num_layers": 1}
STABLE_AUDIO = {"audio_model": "dit1.0", "embed_dim": 768, "depth": 1, "num_heads": 12}
ACE_STEP = {
    "audio_model": "ace",
    "attention_head_dim": 32,
    "inner_dim": 64,
    "num_attention_heads": 2,
    "num_layers": 1,
    "max_width": 64,
    "max_position": 64,
    "text_embedding_dim": 32,
    "lyric_encoder_vocab_size": 100,
    "lyric_hidden_size": 64,
}
ACE_STEP15 = {
    "audio_model": "ace1.5",
    "hidden_size": 64,
    "text_hidden_dim": 32,
    "num_dit_layers": 1,
    "num_lyric_layers": 1,
    "num_timbre_layers": 1,
    "num_tokenizer_layers": 1,
    "num_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 32,
    "intermediate_size": 64,
    "fsq_dim": 64,
}
CONTEXT = {
    "sd15": (77, 768),
    "v": (77, 768),
    "inpaint": (77, 768),
    "sdxl": (77, 2048),
    "sd15_tall": (77, 768),
    "sdxl_tall": (77, 2048),
    "flow": (77, 4096),
    "flux": (77, 4096),
    "wan": (77, 4096),
    "wan_i2v": (77, 4096),
    "stable_audio": (77, 768),
    "ace": (20, 32),
    "ace15": (20, 32),
}
POOLED = {"sdxl": 1280, "sdxl_tall": 1280, "flow": 2048, "flux": 768}
CHANNELS = {
    "sd15": 4,
    "v": 4,
    "inpaint": 4,
    "sdxl": 4,
    "sd15_tall": 4,
    "sdxl_tall": 4,
    "flow": 16,
    "flux": 16,
    "wan": 16,
    "wan_i2v": 16,
    "stable_audio": 64,
    "ace": 8,
    "ace15": 64,
}


def randomize(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights that keep a signal's size: unit-gain normal matrices, ones in norms, small biases."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / parameter[0].numel() ** 0.5
        else:
            value = 0.1 * noise if name.endswith(("bias", "beta")) else 1 + 0.1 * noise
        parameter.data.copy_(value)
    for _, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return module


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
