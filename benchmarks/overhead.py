"""What the pack adds to a step: its sampler and its inversion against the host's euler_ancestral, in one run.

    python -m benchmarks.overhead            a shallow SD1.5 layout, for a CPU
    python -m benchmarks.overhead --full     the whole SD1.5 layout, for a GPU

Needs the environment of `python run.py test` and ComfyUI. Every method makes the same number of calls of the same
network on the same latent; the methods take turns, and the ratios are taken turn by turn. The last line is the pack's
own share: the time of an inversion and of a sampling outside the host's model call.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from .random_host import machine, open_host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole SD1.5 layout")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()

    host = open_host("sd15", options.full)
    methods, network_seconds = prepare(host, options.size // 8, options.steps)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    shares: list[float] = []
    with torch.inference_mode():
        for turn in range(options.turns + 1):  # the first turn warms up
            for name, method in methods.items():
                network_seconds.clear()
                started = time.perf_counter()
                method()
                taken = time.perf_counter() - started
                if turn:
                    seconds[name].append(taken / options.steps)
                    if name != "euler_ancestral":
                        shares.append(1 - sum(network_seconds) / taken)

    print(f"\n{machine()}, {options.size} x {options.size}, {options.steps} steps, {options.turns} turns")
    print(f"{'method':20} {'s / step':>9} {'ratio to euler_ancestral: median (lowest to highest)':>54}")
    for name, taken in seconds.items():
        ratios = sorted(a / b for a, b in zip(taken, seconds["euler_ancestral"], strict=True))
        spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"{name:20} {statistics.median(taken):9.3f} {spread:>54}")
    print(f"outside the host's guider call: {100 * statistics.median(shares):.2f}% of the time of a run")


def prepare(host, cells: int, steps: int) -> tuple[dict, list[float]]:
    """A function without arguments for each method; and where the seconds of each guider call are collected."""
    prompts = {"model": host.model, "positive": host.prompt(1), "negative": host.prompt(2)}
    latent = {"samples": torch.randn(1, 4, cells, cells)}
    settings = {"steps": steps, "cfg": 3.5, "eta": 1.0, "scheduler": "ddim_uniform", "seed": 0}
    settings |= {"skip_steps": 0, "variations": 1}
    network_seconds: list[float] = []
    predict = host.comfy.samplers.CFGGuider.outer_predict_noise

    def timed(*args, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        started = time.perf_counter()
        out = predict(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        network_seconds.append(time.perf_counter() - started)
        return out

    host.comfy.samplers.CFGGuider.outer_predict_noise = timed

    def euler_ancestral():
        sigmas = host.seam.levels(host.model, "ddim_uniform", steps)
        sampler = host.comfy.samplers.sampler_object("euler_ancestral")
        noise = torch.randn(latent["samples"].shape)
        host.guide.guider_for(*prompts.values(), 3.5).sample(noise, latent["samples"], sampler, sigmas, seed=0)

    def invert():
        return host.run("EditFriendlyInvert", **prompts, latent_image=latent, **settings)

    with torch.inference_mode():
        noise_maps = invert()
    methods = {
        "euler_ancestral": euler_ancestral,
        "EditFriendlyInvert": invert,
        "FixedNoiseSampler": lambda: host.run(
            "FixedNoiseSampler", **prompts, noise_maps=noise_maps, cfg=3.5, skip_steps=0
        ),
    }
    return methods, network_seconds


if __name__ == "__main__":
    main()
