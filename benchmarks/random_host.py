"""A ComfyUI in this process with the pack loaded and a random SD1.5- or SDXL-layout model, for the benchmarks."""

from __future__ import annotations

import asyncio
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from pipeline.comfyui import PACK, find_comfyui

from .random_weights import SD15_UNET, SDXL_UNET, randomize

# Last, not first: the pack's folder `nodes` must not hide the host's nodes.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != PACK] + [str(PACK)]

SHALLOW = {"sd15": SD15_UNET, "sdxl": SDXL_UNET}
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
}
CONTEXT = {"sd15": 768, "sdxl": 2048}
POOLED = {"sd15": None, "sdxl": 1280}


def open_host(layout: str, full: bool, dtype: torch.dtype | None = None) -> SimpleNamespace:
    """The host's modules, our nodes by id, a MODEL, and prompt(seed) for a random CONDITIONING.

    Args:
        dtype: of the weights; None for what the host would choose on this machine.
    """
    comfyui = find_comfyui() or sys.exit("needs ComfyUI: set COMFYUI_PATH to its folder")
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.model_management
    import comfy.model_patcher
    import comfy.samplers
    import comfy.supported_models
    import comfy.utils

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    asyncio.run(nodes.load_custom_node(str(PACK)))
    pack = sys.modules[str(PACK).replace(".", "_x_")]
    classes = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())

    device = comfy.model_management.get_torch_device()
    dtype = dtype or comfy.model_management.unet_dtype(device=device)
    family = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[layout]
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
        pooled = torch.randn((1, POOLED[layout]), generator=generator) if POOLED[layout] else None
        return [[torch.randn((1, 77, CONTEXT[layout]), generator=generator), {"pooled_output": pooled}]]

    return SimpleNamespace(
        comfy=comfy,
        core=sys.modules[f"{pack.__name__}.ddpm_core"],
        seam=sys.modules[f"{pack.__name__}.nodes.host"],
        guide=sys.modules[f"{pack.__name__}.nodes.guide"],
        run=lambda node_id, **inputs: next(c for c in classes if c.__name__ == node_id).execute(**inputs).args[0],
        model=model,
        dtype=dtype,
        device=device,
        prompt=prompt,
    )


def machine() -> str:
    """The processor that the benchmark ran on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
