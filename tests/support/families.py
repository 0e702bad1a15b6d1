"""Every family of models that ComfyUI samples, made tiny; `Family` says what the fields are.

A row is a class of `comfy.supported_models`, or another kind of model of one. The numbers are the smallest that the
host's networks take. Random weights say whether arithmetic is exact, and nothing of how an edit looks.
"""

from __future__ import annotations

from typing import Any

import torch

from support.family import TOKENS, Family, Ids, Normal

NOT_SAMPLED = {"DepthAnything3", "RT_DETR_v4", "SAM3", "SAM31"}  # classes that find things in pictures

IMAGE, IMAGE_16, IMAGE_128, PIXELS = (1, 4, 8, 8), (1, 16, 8, 8), (1, 128, 6, 6), (1, 3, 64, 64)
FRAME, VIDEO, VIDEO_32, VIDEO_48 = (1, 16, 1, 8, 8), (1, 16, 3, 8, 8), (1, 32, 3, 4, 4), (1, 48, 3, 4, 4)


def beside(*shape: int) -> dict[str, Any]:
    """A picture that the network reads beside the latent."""
    return {"concat_latent_image": Normal(shape)}


def left_half(*shape: int) -> dict[str, Any]:
    """Where the picture beside the latent is to be painted."""
    return {"concat_mask": (torch.arange(shape[-1]) < shape[-1] // 2).float().expand(shape)}


def references(*shape: int) -> dict[str, Any]:
    """A picture that an edit model reads as further tokens."""
    return {"reference_latents": [Normal(shape)]}


# --- UNets ------------------------------------------------------------------------------------------------------------

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 32,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "adm_in_channels": None,
    "legacy": False,
}
OF_FRAMES = {
    "in_channels": 8,
    "use_temporal_attention": True,
    "use_temporal_resblock": True,
    "extra_ff_mix_layer": True,
    "use_spatial_context": True,
    "merge_strategy": "learned_with_images",
    "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1],
    "disable_temporal_crossattention": False,
}
FLAT = {"num_res_blocks": [1] * 4, "channel_mult": [1] * 4, "transformer_depth": [1] * 4}
V_OF_SD20 = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
EDM = {"scheduler": "karras"}


def unet(name: str, adm: int | None = None, network: dict[str, Any] | None = None, **fields: Any) -> Family:
    """A UNet, that reads a vector of so many numbers beside the text."""
    vector = {} if adm is None else {"adm_in_channels": adm, "num_classes": "sequential"}
    return Family(name, UNET | vector | (network or {}), **{"scheduler": "normal"} | fields)


def sdxl(name: str, adm: int = 2816, network: dict[str, Any] | None = None, **fields: Any) -> Family:
    return unet(name, adm, network, pooled=(1280,), **fields)


def depths(name: str, *depth: int) -> Family:
    """A UNet like SDXL's, with other depths."""
    output = [depth[0]] * 2 + [depth[1]] * 2
    return sdxl(name, network={"transformer_depth": [*depth], "transformer_depth_output": output})


def of_frames(name: str, adm: int) -> Family:
    network = OF_FRAMES | {"num_res_blocks": [1], "channel_mult": [1], "transformer_depth": [1]}
    network |= {"transformer_depth_output": [1, 1]}
    return unet(name, adm, network, latent=(3, 4, 4, 4), text=(1, 32), told=beside(3, 4, 4, 4), **EDM)


UNETS = [
    unet("SD15"),
    unet("SD15 inpaint", network={"in_channels": 9}, told=beside(*IMAGE) | left_half(1, 1, 8, 8)),
    unet("SD20"),
    unet("SD20 v-prediction", weights={V_OF_SD20: Normal((320,))}),
    unet("SD21UnclipL", 1536),
    unet("SD21UnclipH", 2048),
    unet("SD15_instructpix2pix", network={"in_channels": 8}, told=beside(*IMAGE)),
    unet("LotusD", 4, text=(77, 32)),
    sdxl("SDXL"),
    sdxl("SDXL v-prediction", weights={"v_pred": torch.tensor([])}),
    sdxl("SDXL Playground", weights={"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)}, **EDM),
    sdxl(
        "SDXL CosXL",
        weights={"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)},
        **EDM,
    ),
    sdxl("SDXLRefiner", 2560),
    sdxl("SDXL_instructpix2pix", network={"in_channels": 8}, told=beside(*IMAGE)),
    depths("SSD1B", 0, 2),
    depths("KOALA_700M", 2, 5),
    depths("KOALA_1B", 2, 6),
    depths("Segmind_Vega", 0, 1),
    unet(
        "SD_X4Upscaler",
        network=FLAT | {"in_channels": 7, "transformer_depth_output": [1] * 8},
        told={"concat_image": Normal((1, 3, 8, 8)), "noise_augmentation": 0.02},
    ),
    unet(
        "Stable_Zero123",
        network={"in_channels": 8, "context_dim": 768},
        text=(1, 772),
        told=beside(*IMAGE),
        weights={"cc_projection.weight": Normal((768, 772)), "cc_projection.bias": Normal((768,))},
    ),
    of_frames("SVD_img2vid", 768),
    of_frames("SV3D_u", 256),
    of_frames("SV3D_p", 1280),
]

# --- Transformers of pictures -----------------------------------------------------------------------------------------

SD3 = {
    "patch_size": 2,
    "in_channels": 16,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 32,
    "num_patches": 1024,
    "pos_embed_max_size": 32,
    "pos_embed_scaling_factor": None,
    "x_block_self_attn_layers": [],
    "context_size": 32,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 128}},
}
PIXART = {
    "hidden_size": 96,
    "depth": 1,
    "num_heads": 2,
    "caption_channels": 32,
    "model_max_length": TOKENS,
    "input_size": 40,
    "pe_interpolation": 1,
}
HUNYUAN_DIT = {
    "input_size": 8,
    "hidden_size": 64,
    "depth": 2,
    "num_heads": 2,
    "text_states_dim": 32,
    "text_states_dim_t5": 32,
    "text_len": TOKENS,
    "text_len_t5": 9,
}
TWO_TEXTS = {"conditioning_mt5xl": Normal((1, 9, 32)), "attention_mask_mt5xl": torch.ones(1, 9)}
FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
FLUX_2 = FLUX | {
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [16, 16, 16, 16],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "txt_ids_dims": [3],
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
CHROMA = {name: value for name, value in FLUX.items() if name != "guidance_embed"} | {
    "in_channels": 64,
    "out_channels": 64,
    "vec_in_dim": None,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 1,
}
RADIANCE = CHROMA | {
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 16,
    "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 1,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 0,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": torch.float32,
    "use_x0": False,
    "use_sequential_txt_ids": False,
}
DISTILLED = {"pooled": (32,), "told": {"guidance": 3.5}, "cfg": 1.0}  # guidance is a number of the prompt
WITH_POOLED = {"pooled": (32,)}
WITH_MASK = {"masked": 0}
PADDED = {"masked": 2}
LENS = {
    "num_layers": 1,
    "num_attention_heads": 1,
    "attention_head_dim": 64,
    "enc_hidden_dim": 32,
    "selected_layer_index": (0, 1),
}
ONE_HEAD = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 128}
QWEN = ONE_HEAD | {"joint_attention_dim": 32}
IDEOGRAM = ONE_HEAD | {"intermediate_size": 128, "adaln_dim": 32, "llm_features_dim": 32}
ERNIE = {"hidden_size": 128, "num_attention_heads": 1, "num_layers": 1, "ffn_hidden_size": 128, "text_in_dim": 32}
JOY = {"hidden_size": 128, "num_attention_heads": 1, "text_dim": 32, "num_layers": 1}
KREA = {
    "features": 128,
    "tdim": 32,
    "txtdim": 32,
    "heads": 1,
    "kvheads": 1,
    "multiplier": 2,
    "layers": 1,
    "txtlayers": 2,
    "txtheads": 1,
    "txtkvheads": 1,
}
COSMOS_2 = {
    "max_img_h": 32,
    "max_img_w": 32,
    "max_frames": 16,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 64,
    "num_blocks": 1,
    "num_heads": 2,
    "crossattn_emb_channels": 32,
    "concat_padding_mask": True,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
}
COSMOS = COSMOS_2 | {
    "pos_emb_learnable": False,
    "block_x_format": "THWBD",
    "affline_emb_norm": True,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
LUMINA = {
    "in_channels": 16,
    "dim": 96,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 32,
    "cap_feat_dim": 32,
    "qk_norm": True,
    "axes_dims": [16, 16, 16],
    "axes_lens": [300, 512, 512],
}
Z_IMAGE = LUMINA | {
    "dim": 256,
    "axes_dims": [32, 48, 48],
    "n_kv_heads": 2,
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8 / 3,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
Z_IMAGE_OF_PIXELS = Z_IMAGE | {
    "in_channels": 3,
    "patch_size": 8,
    "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 1,
    "decoder_max_freqs": 4,
    "decoder_in_channels": 192,
}
PIXEL_DIT = {
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 32,
    "pixel_num_groups": 2,
    "patch_depth": 2,
    "pixel_depth": 1,
    "txt_embed_dim": 32,
}
OMNIGEN = {
    "hidden_size": 96,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "multiple_of": 32,
    "axes_dim_rope": [16, 16, 16],
    "axes_lens": [128, 128, 128],
}
OMNIGEN_2 = OMNIGEN | {"text_feat_dim": 32, "timestep_scale": 1000.0}
HIDREAM = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 64,
    "num_attention_heads": 1,
    "caption_channels": [32, 32],
    "text_emb_dim": 32,
    "axes_dims_rope": [32, 16, 16],
    "max_resolution": [32, 32],
    "llama_layers": [0, 1],
}
SMALL_QWEN = {"hidden_size": 64, "intermediate_size": 64}
HIDREAM_O1 = {
    "text_config_overrides": SMALL_QWEN
    | {"vocab_size": 151936, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1},
    "vision_config_overrides": SMALL_QWEN | {"num_heads": 1, "depth": 1, "deepstack_visual_indexes": (0,)},
}
KANDINSKY = {
    "in_text_dim": 32,
    "in_text_dim2": 32,
    "time_dim": 32,
    "model_dim": 64,
    "ff_dim": 128,
    "num_text_blocks": 1,
    "num_visual_blocks": 1,
    "axes_dims": (16, 24, 24),
}
HUNYUAN = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24],
    "theta": 256,
    "patch_size": [1, 2, 2],
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
HUNYUAN_IMAGE = HUNYUAN | {"in_channels": 64, "out_channels": 64, "vec_in_dim": None}
HUNYUAN_IMAGE |= {"patch_size": [1, 1], "axes_dim": [32, 32], "byt5": True}
REFINER = HUNYUAN | {"in_channels": 128, "out_channels": 64, "patch_size": [1, 1, 1], "vec_in_dim": None}
LETTERS = {"conditioning_byt5small": Normal((1, 5, 1472))}

PICTURES = [
    Family(
        "Stable_Cascade_C",
        {
            "stable_cascade_stage": "c",
            "c_cond": 64,
            "c_hidden": [64, 64],
            "nhead": [2, 2],
            "blocks": [[1, 1], [1, 1]],
            "c_clip_text": 32,
            "c_clip_text_pooled": 32,
        },
        IMAGE_16,
        pooled=(1, 32),
    ),
    Family(
        "Stable_Cascade_B",
        {
            "stable_cascade_stage": "b",
            "c_cond": 32,
            "c_hidden": [32, 32, 64, 64],
            "nhead": [-1, -1, 2, 2],
            "blocks": [[1] * 4] * 2,
            "block_repeat": [[1] * 4] * 2,
            "c_clip": 32,
        },
        (1, 4, 16, 16),
        pooled=(1, 32),
        told={"stable_cascade_prior": Normal((1, 16, 2, 2))},
    ),
    Family("SD3", SD3, IMAGE_16, pooled=(32,)),
    Family(
        "AuraFlow",
        {
            "dim": 64,
            "n_layers": 2,
            "n_double_layers": 1,
            "n_heads": 2,
            "global_conddim": 64,
            "cond_seq_dim": 32,
            "max_seq": 64,
        },
    ),
    Family(
        "PixArtAlpha",
        PIXART | {"micro_condition": True},
        (1, 4, 40, 40),
        told={"width": 64, "height": 64},
        scheduler="normal",
    ),
    Family("PixArtSigma", PIXART | {"micro_condition": False}, (1, 4, 40, 40), scheduler="normal"),
    Family("HunyuanDiT", HUNYUAN_DIT, told=TWO_TEXTS, masked=0, scheduler="normal"),
    Family(
        "HunyuanDiT1",
        HUNYUAN_DIT | {"size_cond": True, "use_style_cond": True},
        told=TWO_TEXTS,
        masked=0,
        scheduler="normal",
    ),
    Family("Flux", FLUX, IMAGE_16, **DISTILLED),
    Family("FluxSchnell", FLUX | {"guidance_embed": False}, IMAGE_16, **WITH_POOLED),
    Family("Flux Kontext", FLUX, IMAGE_16, **DISTILLED | {"told": references(1, 16, 6, 8)}),
    Family(
        "Flux Fill",
        FLUX | {"in_channels": 96},
        IMAGE_16,
        of="FluxInpaint",
        **DISTILLED | {"told": beside(*IMAGE_16) | left_half(1, 1, 64, 64)},
    ),
    Family("LongCatImage", FLUX | {"vec_in_dim": None, "guidance_embed": False, "txt_ids_dims": [1, 2]}, IMAGE_16),
    Family("Flux2", FLUX_2, IMAGE_128, **DISTILLED),
    Family("Flux2 Klein", FLUX_2 | {"guidance_embed": False}, IMAGE_128),
    Family("Flux2 edit", FLUX_2, IMAGE_128, **DISTILLED | {"told": references(1, 128, 4, 6)}),
    Family("Chroma", CHROMA, IMAGE_16),
    Family("ChromaRadiance", RADIANCE, PIXELS),
    Family("Lens", LENS, IMAGE_128, (TOKENS, 64), **WITH_MASK),
    Family("MageFlow", QWEN, IMAGE_128, **WITH_MASK),
    Family("Ideogram4", IDEOGRAM, IMAGE_128),
    Family("Ideogram4 padded", IDEOGRAM, IMAGE_128, **PADDED),
    Family("ErnieImage", ERNIE, IMAGE_128),
    Family("QwenImage", QWEN, FRAME, **WITH_MASK),
    Family("QwenImage padded", QWEN, FRAME, **PADDED),
    Family("QwenImage edit", QWEN, FRAME, told=references(1, 16, 1, 6, 8)),
    Family(
        "QwenImage edit 2511",
        QWEN | {"default_ref_method": "index_timestep_zero"},
        FRAME,
        told=references(1, 16, 1, 6, 8),
    ),
    Family(
        "QwenImage layered",
        QWEN | {"use_additional_t_cond": True, "default_ref_method": "negative_index"},
        VIDEO,
        told=references(1, 16, 1, 8, 8),
    ),
    Family("JoyImage", JOY, FRAME),
    Family("Krea2", KREA, FRAME, (TOKENS, 64)),
    Family("Krea2 edit", KREA | {"default_ref_method": "index"}, FRAME, (TOKENS, 64), told=references(1, 16, 1, 6, 8)),
    Family(
        "Anima",
        COSMOS_2 | {"crossattn_emb_channels": 1024},
        FRAME,
        (TOKENS, 1024),
        told={"t5xxl_ids": Ids((9,)), "t5xxl_weights": torch.ones(9)},
    ),
    Family("Lumina2", LUMINA, IMAGE_16, **WITH_MASK),
    Family("Lumina2 padded", LUMINA, IMAGE_16, **PADDED),
    Family("Lumina2 NewBie", LUMINA | {"clip_text_dim": 32}, IMAGE_16, pooled=(32,), **WITH_MASK),
    Family("ZImage", Z_IMAGE, IMAGE_16, **WITH_MASK),
    Family("ZImage omni", Z_IMAGE | {"siglip_feat_dim": 32}, IMAGE_16, told=references(1, 16, 6, 8)),
    Family("ZImagePixelSpace", Z_IMAGE_OF_PIXELS, (1, 3, 32, 32), **WITH_MASK),
    Family("PixelDiTT2I", PIXEL_DIT, (1, 3, 32, 32), **WITH_MASK),
    Family(
        "PiD",
        PIXEL_DIT | {"lq_hidden_dim": 32, "lq_num_res_blocks": 1},
        PIXELS,
        told={"lq_latent": Normal((1, 16, 2, 2)), "degrade_sigma": torch.zeros(1)},
    ),
    Family("Omnigen2", OMNIGEN_2, IMAGE_16, **WITH_MASK),
    Family("Omnigen2 edit", OMNIGEN_2, IMAGE_16, told=references(1, 16, 6, 8), **WITH_MASK),
    Family("Boogu", OMNIGEN | {"instruction_feat_dim": 32, "num_double_stream_layers": 1}, IMAGE_16, **WITH_MASK),
    Family("HiDream", HIDREAM, IMAGE_16, pooled=(32,), told={"conditioning_llama3": Normal((1, 2, TOKENS, 32))}),
    Family("HiDreamO1", HIDREAM_O1, PIXELS, told={"text_input_ids": Ids((1, 9))}),
    Family(
        "Kandinsky5Image",
        KANDINSKY | {"visual_embed_dim": 64, "rope_scale_factor": (1.0, 1.0, 1.0)},
        IMAGE_16,
        pooled=(32,),
    ),
    Family("HunyuanImage21", HUNYUAN_IMAGE, (1, 64, 6, 6), told=LETTERS),
    Family(
        "HunyuanImage21Refiner",
        REFINER,
        (1, 32, 1, 6, 6),
        told=beside(1, 32, 1, 6, 6),
        refused="folds latents .* that this refines",
    ),
]

# --- Video ------------------------------------------------------------------------------------------------------------

HUNYUAN_15 = HUNYUAN | {
    "out_channels": 32,
    "patch_size": [1, 1, 1],
    "vec_in_dim": None,
    "guidance_embed": False,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
    "meanflow_sum": True,
    "byt5": True,
}
MOCHI = {
    "hidden_size_x": 64,
    "hidden_size_y": 32,
    "depth": 1,
    "num_heads": 2,
    "t5_feat_dim": 32,
    "t5_token_length": TOKENS,
    "learn_sigma": False,
    "in_channels": 12,
    "mlp_ratio_x": 192,
    "mlp_ratio_y": 192,
    "qk_norm": True,
    "qkv_bias": False,
    "out_bias": True,
    "timestep_scale": 1000.0,
    "use_t5": True,
    "posenc_preserve_area": True,
}
LTX = {
    "num_layers": 1,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "cross_attention_dim": 64,
    "caption_channels": 32,
}
LTX_WITH_SOUND = LTX | {
    "audio_cross_attention_dim": 32,
    "audio_attention_head_dim": 16,
    "audio_num_attention_heads": 2,
    "connector_attention_head_dim": 32,
    "connector_num_attention_heads": 1,
}
MINIMAX = {
    "hidden_size": 64,
    "num_layers": 1,
    "token_refiner_num_layers": 1,
    "num_attention_heads": 1,
    "attention_head_dim": 128,
    "ffn_hidden_size": 64,
    "text_dim": 32,
    "time_embed_hidden_size": 64,
    "time_embed_dim": 32,
}
WAN = {"dim": 64, "ffn_dim": 128, "num_heads": 2, "num_layers": 1, "text_dim": 32, "in_dim": 16, "out_dim": 16}
COG = {
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "time_embed_dim": 32,
    "text_embed_dim": 32,
    "num_layers": 1,
    "use_rotary_positional_embeddings": True,
}
SEED_VR = {
    "norm_eps": 1e-5,
    "num_layers": 2,
    "mlp_type": "swiglu",
    "vid_dim": 64,
    "heads": 1,
    "head_dim": 64,
    "rope_dim": 32,
    "mm_layers": 1,
    "vid_out_norm": True,
}
TWO_PARTS = "has 2 parts, of shapes"


def wan(name: str, kind: str, latent: tuple[int, ...] = VIDEO, of: str = "", **fields: Any) -> Family:
    """A Wan of a kind; the fields that are no `Family`'s are its network's."""
    own = {key: fields.pop(key) for key in ("told", "kept_frames", "refused") if key in fields}
    return Family(name, WAN | {"model_type": kind} | fields, latent, of=of, **own)


VIDEOS = [
    Family("HunyuanVideo", HUNYUAN, VIDEO, pooled=(32,), cfg=1.0),
    Family("HunyuanVideo padded", HUNYUAN, VIDEO, pooled=(32,), cfg=1.0, **PADDED),
    Family("HunyuanVideoSkyreelsI2V", HUNYUAN | {"in_channels": 32}, VIDEO, pooled=(32,), told=beside(*VIDEO)),
    Family("HunyuanVideoI2V", HUNYUAN | {"in_channels": 33}, VIDEO, pooled=(32,), told=beside(*VIDEO)),
    Family("HunyuanVideo15", HUNYUAN_15 | {"in_channels": 65}, VIDEO_32, pooled=(32,), told=LETTERS),
    Family("HunyuanVideo15_SR_Distilled", HUNYUAN_15 | {"in_channels": 98}, VIDEO_32, pooled=(32,), told=LETTERS),
    Family("GenmoMochi", MOCHI, (1, 12, 3, 8, 8), **WITH_MASK),
    Family("LTXV", LTX, (1, 128, 3, 4, 4), **WITH_MASK),
    Family("LTXAV", LTX_WITH_SOUND, ((1, 128, 3, 4, 4), (1, 8, 5, 16)), refused=TWO_PARTS),
    Family("LTXAV video alone", LTX_WITH_SOUND, (1, 128, 3, 4, 4)),
    Family("MiniMaxH3", MINIMAX, ((1, 24, 2, 4, 4), (1, 32, 2, 8)), refused=TWO_PARTS),
    Family("CosmosT2V", COSMOS, VIDEO, **EDM),
    Family("CosmosI2V", COSMOS | {"in_channels": 17}, VIDEO, **EDM),
    Family("CosmosT2IPredict2", COSMOS_2, FRAME, **EDM),
    Family("CosmosI2VPredict2", COSMOS_2 | {"in_channels": 17}, VIDEO, **EDM),
    wan("WAN21_T2V", "t2v"),
    wan("WAN22_T2V", "t2v", VIDEO_48, in_dim=48, out_dim=48),
    wan("WAN22_T2V first frame kept", "t2v", VIDEO_48, in_dim=48, out_dim=48, kept_frames=1),
    wan("WAN21_CausalAR_T2V", "t2v"),
    wan("WAN21_I2V", "i2v", in_dim=36, told=beside(*VIDEO) | left_half(1, 1, 3, 8, 8)),
    wan("WAN22_I2V A14B", "t2v", of="WAN21_I2V", in_dim=36, told=beside(*VIDEO)),
    wan("WAN21_FunControl2V", "i2v", in_dim=48, told=beside(1, 32, 3, 8, 8)),
    wan(
        "WAN21_Vace",
        "vace",
        vace_layers=1,
        vace_in_dim=96,
        told={
            "vace_frames": [Normal((1, 32, 3, 8, 8))],
            "vace_mask": [torch.ones(1, 64, 3, 8, 8)],
            "vace_strength": [1.0],
        },
    ),
    wan("WAN21_Camera", "camera", in_dim=32, told={"camera_conditions": Normal((1, 24, 3, 64, 64))}),
    wan("WAN22_Camera", "camera_2.2", in_dim=36, told={"camera_conditions": Normal((1, 24, 3, 64, 64))}),
    wan(
        "WAN22_S2V",
        "s2v",
        audio_dim=16,
        audio_inject_layers=[0],
        told={"audio_embed": Normal((1, 25, 16, 12))} | references(1, 16, 1, 8, 8),
    ),
    wan("WAN21_HuMo", "humo", in_dim=36, told={"audio_embed": Normal((1, 3, 8, 5, 1280))}),
    wan("WAN22_Animate", "animate", in_dim=36, told={"pose_video_latent": Normal((1, 16, 2, 8, 8))}),
    wan("WAN_Animate2", "animate2", in_dim=36),
    wan("WAN21_FlowRVS", "flow_rvs", refused="without noise .as FlowRVS does"),
    wan(
        "WAN21_SCAIL",
        "scail",
        in_dim=20,
        told={"pose_video_latent": Normal((1, 16, 3, 4, 4))} | references(1, 16, 1, 8, 8),
    ),
    wan(
        "WAN21_SCAIL2",
        "scail2",
        in_dim=20,
        told={"pose_video_latent": Normal((1, 16, 3, 4, 4))} | references(1, 16, 1, 8, 8),
    ),
    wan(
        "WAN22_WanDancer",
        "wandancer",
        in_dim=36,
        audio_inject_layers=[0],
        music_dim=32,
        music_heads=2,
        music_latent_dim=32,
    ),
    Family("Kandinsky5", KANDINSKY, VIDEO, pooled=(32,)),
    Family("CogVideoX_T2V", COG | {"in_channels": 16}, VIDEO, scheduler="normal"),
    Family("CogVideoX_I2V", COG | {"in_channels": 32}, VIDEO, scheduler="normal", told=beside(1, 16, 3, 8, 8)),
    Family("CogVideoX_Inpaint", COG | {"in_channels": 48}, VIDEO, scheduler="normal", told=beside(1, 32, 3, 8, 8)),
    Family("SeedVR2", SEED_VR, VIDEO, (TOKENS, 5120), told={"condition": Normal((1, 17, 3, 8, 8))}),
]

# --- Sound and shapes -------------------------------------------------------------------------------------------------

STABLE_AUDIO = {
    "io_channels": 64,
    "embed_dim": 768,
    "cond_token_dim": 768,
    "global_cond_dim": 1536,
    "depth": 1,
    "num_heads": 12,
    "timestep_features_type": "learned",
}
STABLE_AUDIO_3 = STABLE_AUDIO | {
    "io_channels": 256,
    "global_cond_dim": 768,
    "timestep_features_type": "expo",
    "local_add_cond_dim": 257,
    "global_cond_shared_embed": True,
    "global_cond_type": "adaLN",
}
ACE_STEP = {
    "attention_head_dim": 32,
    "inner_dim": 64,
    "num_attention_heads": 2,
    "num_layers": 1,
    "max_width": 64,
    "max_position": 64,
    "text_embedding_dim": 32,
    "lyric_encoder_vocab_size": 100,
    "lyric_hidden_size": 1024,
}
ACE_STEP_15 = {
    "hidden_size": 64,
    "text_hidden_dim": 32,
    "num_dit_layers": 1,
    "num_lyric_layers": 1,
    "num_timbre_layers": 1,
    "num_tokenizer_layers": 1,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 32,
    "intermediate_size": 64,
    "fsq_dim": 64,
    "encoder_hidden_size": 64,
    "encoder_intermediate_size": 64,
    "encoder_num_heads": 2,
}
HUNYUAN_3D = {"context_in_dim": 32, "hidden_size": 64, "num_heads": 1, "depth": 1, "depth_single_blocks": 1}
HUNYUAN_3D_21 = {
    "hidden_size": 64,
    "context_dim": 32,
    "depth": 2,
    "num_heads": 1,
    "num_moe_layers": 1,
    "num_experts": 2,
    "guidance_cond_proj_dim": None,
}
SPLAT = {
    "q_token_length": 64,
    "model_channels": 64,
    "cond_channels": 32,
    "num_blocks": 1,
    "num_refiner_blocks": 1,
}
TRELLIS = {"resolution": 8, "model_channels": 144, "cond_channels": 32, "num_blocks": 1}
EMBEDS = {"embeds": Normal((1, TOKENS, 32))}
POINTS = torch.stack([torch.zeros(20), torch.arange(20) % 8, torch.arange(20) // 8, torch.arange(20) % 3], dim=1)


def seconds(what: str, inputs: int, learned: bool) -> dict[str, Any]:
    """The weights with which Stable Audio reads a number of seconds."""
    stem = f"conditioner.conditioners.seconds_{what}.embedder.embedding"
    linear = {f"{stem}.1.weight": Normal((768, inputs)), f"{stem}.1.bias": Normal((768,))}
    return linear | ({f"{stem}.0.weights": Normal((inputs // 2,))} if learned else {})


SOUNDS_AND_SHAPES = [
    Family(
        "StableAudio",
        STABLE_AUDIO,
        (1, 64, 32),
        (TOKENS, 768),
        weights=seconds("start", 257, learned=True) | seconds("total", 257, learned=True),
        **EDM,
    ),
    Family("StableAudio3", STABLE_AUDIO_3, (1, 256, 32), (TOKENS, 768), weights=seconds("total", 256, learned=False)),
    Family("ACEStep", ACE_STEP, (1, 8, 16, 20), told={"conditioning_lyrics": Ids((1, 3))}),
    Family("ACEStep15", ACE_STEP_15, (1, 64, 20), told={"conditioning_lyrics": Normal((1, 9, 32))}),
    Family(
        "MiniMaxMusic3",
        {},
        (1, 128, 20),
        (9, 32768),
        told={"conditioning_scale": torch.ones(1, 1, 1)},
        cut="diffusion_model.diffusion_transformer.transformer.layers",
    ),
    Family("Hunyuan3Dv2", HUNYUAN_3D, (1, 64, 20)),
    Family("Hunyuan3Dv2mini", HUNYUAN_3D, (1, 64, 20)),
    Family("Hunyuan3Dv2_1", HUNYUAN_3D_21, (1, 64, 20)),
    Family("TripoSplat", SPLAT, ((1, 64, 16), (1, 1, 5)), refused=TWO_PARTS),
    Family("Trellis2 structure", TRELLIS, (1, 32, 16, 16, 16), told=EMBEDS, refused="3 axes beside batch and channels"),
    Family(
        "Trellis2 shape",
        TRELLIS,
        (1, 32, 20, 1),
        told=EMBEDS
        | {
            "trellis2_coords": POINTS.int(),
            "trellis2_coord_counts": torch.tensor([20]),
            "trellis2_generation_mode": "shape_generation",
        },
    ),
]

FAMILIES = {family.name: family for family in [*UNETS, *PICTURES, *VIDEOS, *SOUNDS_AND_SHAPES]}
