"""What the pack adds to a step: its sampler and its inversion against the host's euler_ancestral, in one run.

    python benchmarks/overhead.py            a shallow SD1.5 layout, for a CPU
    python benchmarks/overhead.py --full     the whole SD1.5 layout, for a GPU

Needs the environment of `python run.py test` and ComfyUI. Every method makes the same number of calls of the same
network on the same latent; the methods take turns, and the ratios are taken turn by turn.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT), str(ROOT / "tests")]

from random_weights import SD15_UNET, randomize  # noqa: E402
from run import find_comfyui  # noqa: E402

FULL_SD15_UNET = SD15_UNET | {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole SD1.5 layout")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()

    comfyui = find_comfyui() or sys.exit("needs ComfyUI: set COMFYUI_PATH to its folder")
    sys.path.insert(0, str(comfyui))
    seconds = {name: [] for name in ("euler_ancestral", "FixedNoiseSampler", "EditFriendlyInvert")}
    methods = prepare(FULL_SD15_UNET if options.full else SD15_UNET, options.size // 8, options.steps)
    with torch.inference_mode():
        for turn in range(options.turns + 1):  # the first turn warms up
            for name in seconds:
                started = time.perf_counter()
                methods[name]()
                if turn:
                    seconds[name].append((time.perf_counter() - started) / options.steps)

    print(f"\n{options.size} x {options.size}, {options.steps} steps, {options.turns} turns, {torch.__version__}")
    print(f"{'method':20} {'s / step':>9} {'ratio to euler_ancestral: median (lowest to highest)':>54}")
    for name, taken in seconds.items():
        ratios = sorted(a / b for a, b in zip(taken, seconds["euler_ancestral"], strict=True))
        spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"{name:20} {statistics.median(taken):9.3f} {spread:>54}")


def prepare(unet_config: dict, cells: int, steps: int) -> dict:
    """A function without arguments for each method, all on one random model."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.model_management
    import comfy.model_patcher
    import comfy.samplers
    import comfy.supported_models
    import comfy.utils

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    asyncio.run(nodes.load_custom_node(str(ROOT)))
    pack = sys.modules[str(ROOT).replace(".", "_x_")]
    extension = asyncio.run(pack.comfy_entrypoint())
    ours = {cls.__name__: cls for cls in asyncio.run(extension.get_node_list())}
    host = sys.modules[f"{pack.__name__}.nodes.host"]

    device = comfy.model_management.get_torch_device()
    dtype = comfy.model_management.unet_dtype(device=device)
    config = comfy.supported_models.SD15(unet_config)
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device))
    network = config.get_model({}, "", torch.device("cpu")).eval().requires_grad_(False)
    with torch.no_grad():
        randomize(network.diffusion_model, seed=1)
    model = comfy.model_patcher.ModelPatcher(
        network, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )
    prompt = [[torch.randn(1, 77, 768), {"pooled_output": None}]]
    prompts = {"model": model, "positive": prompt, "negative": [[torch.randn(1, 77, 768), {"pooled_output": None}]]}
    latent = {"samples": torch.randn(1, 4, cells, cells)}
    settings = {"steps": steps, "cfg": 3.5, "eta": 1.0, "scheduler": "ddim_uniform", "seed": 0}
    settings |= {"skip_steps": 0, "variations": 1}

    def euler_ancestral():
        sigmas = host.levels(model, "ddim_uniform", steps)
        sampler = comfy.samplers.sampler_object("euler_ancestral")
        noise = torch.randn(latent["samples"].shape)
        host.guider_for(*prompts.values(), 3.5).sample(noise, latent["samples"], sampler, sigmas, seed=0)

    def invert():
        return ours["EditFriendlyInvert"].execute(**prompts, latent_image=latent, **settings).args[0]

    with torch.inference_mode():
        noise_maps = invert()
    return {
        "euler_ancestral": euler_ancestral,
        "EditFriendlyInvert": invert,
        "FixedNoiseSampler": lambda: ours["FixedNoiseSampler"].execute(
            **prompts, noise_maps=noise_maps, cfg=3.5, skip_steps=0
        ),
    }


if __name__ == "__main__":
    main()
