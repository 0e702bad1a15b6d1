"""Transformers of video, made tiny."""

from __future__ import annotations

from typing import Any

import torch

from support.families.common import (
    EDM,
    FRAME,
    LETTERS,
    PADDED,
    TWO_PARTS,
    VIDEO,
    VIDEO_32,
    VIDEO_48,
    WITH_MASK,
    beside,
    left_half,
    references,
)
from support.families.family import TOKENS, Family, Normal
from support.families.pictures import COSMOS, COSMOS_2, HUNYUAN, KANDINSKY

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
