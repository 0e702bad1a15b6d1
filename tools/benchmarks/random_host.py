"""A ComfyUI in this process with the pack loaded and a random model of SD1.5's, SDXL's or SD3's layout."""

from __future__ import annotations

import platform
from types import SimpleNamespace

import torch

from ..host import open_host
from .random_weights import CHANNELS, CONTEXT, POOLED, SD3_MMDIT, SD15_UNET, SDXL_UNET, randomize

SHALLOW = {"sd15": SD15_UNET, "sdxl": SDXL_UNET, "sd3": SD3_MMDIT}
FULL = {
    "sd15": SD15_UNET
    | {
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    },
    "sdxl": SDXL_UNET
    | {
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    },
    "sd3": SD3_MMDIT  # SD3 medium
    | {
        "depth": 24,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}},
    },
}
KINDS = {"sd15": "sd15", "sdxl": "sdxl", "sd3": "flow"}  # what `random_weights` calls them
SCHEDULERS = {"sd15": "ddim_uniform", "sdxl": "ddim_uniform", "sd3": "simple"}  # the paper's, and that of flow models


def random_host(layout: str, full: bool, dtype: torch.dtype | None = None) -> SimpleNamespace:
    """The host's modules, our nodes by id, a MODEL with its channels and scheduler, prompt(seed) for a CONDITIONING.

    Args:
        dtype: of the weights; None for what the host would choose on this machine.
    """
    host = open_host()
    import comfy.model_management
    import comfy.model_patcher
    import comfy.samplers
    import comfy.supported_models

    device = comfy.model_management.get_torch_device()
    dtype = dtype or comfy.model_management.unet_dtype(device=device)
    families = comfy.supported_models
    family, kind = {"sd15": families.SD15, "sdxl": families.SDXL, "sd3": families.SD3}[layout], KINDS[layout]
    config = family((FULL if full else SHALLOW)[layout])
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device))
    network = config.get_model({}, "", torch.device("cpu")).eval().requires_grad_(False)
    with torch.no_grad():
        randomize(network.diffusion_model, seed=1)
    model = comfy.model_patcher.ModelPatcher(
        network, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )

    def prompt(seed: int):
        generator = torch.Generator().manual_seed(seed)
        pooled = torch.randn((1, POOLED[kind]), generator=generator) if kind in POOLED else None
        return [[torch.randn((1, *CONTEXT[kind]), generator=generator), {"pooled_output": pooled}]]

    return SimpleNamespace(
        comfy=comfy,
        core=host.module("ddpm_core"),
        seam=host.module("nodes.host.levels"),
        guide=host.module("nodes.host.guiders"),
        outputs=host.outputs,
        run=host.run,
        model=model,
        channels=CHANNELS[kind],
        scheduler=SCHEDULERS[layout],
        dtype=dtype,
        device=device,
        prompt=prompt,
    )


def machine() -> str:
    """The processor that the benchmark ran on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
