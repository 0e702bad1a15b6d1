"""Random weights in the layouts that ComfyUI knows, small in depth; for exactness, not for meaning."""

from __future__ import annotations

import torch

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
