"""Networks of sound and of shapes, made tiny."""

from __future__ import annotations

from typing import Any

import torch

from support.families.common import EDM, TWO_PARTS
from support.families.family import TOKENS, Family, Ids, Normal

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
