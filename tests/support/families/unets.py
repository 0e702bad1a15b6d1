"""UNets, made tiny."""

from __future__ import annotations

from typing import Any

import torch

from support.families.common import EDM, IMAGE, beside, left_half
from support.families.family import Family, Normal

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
