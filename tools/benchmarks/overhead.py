"""Overhead of the pack for a step of the host's sampling.

    python -m tools.benchmarks.overhead            a shallow SD1.5 layout, for a CPU
    python -m tools.benchmarks.overhead --full     the whole SD1.5 layout, for a GPU

Needs the environment of `python run.py test` and ComfyUI. Each way calls the same network on the same latent, some of
them with more rows a call, by design. So only the time outside the network is compared, for a step: that of the way
less that of the host's euler_ancestral in the same turn, as a fraction of a whole step of the host's with as many
rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from .random_host import machine, random_host

CFG = 3.5
HOST = "euler_ancestral"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole SD1.5 layout")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()

    host = random_host("sd15", options.full)
    network_seconds: list[float] = []
    _time_network(host.model.model, network_seconds)
    with torch.inference_mode():
        rows = measure(prepare(host, options.size // 8, options.steps), network_seconds, options.turns)
    print(f"\n{machine()}, {options.size} x {options.size}, {options.steps} steps, {options.turns} turns")
    print(f"{'way':40} {'s / step':>9} {'outside the network':>20} {'added, of a step: median (least to most)':>44}")
    for name, (step, outside, added) in rows.items():
        spread = f"{statistics.median(added):.2%} ({min(added):.2%} to {max(added):.2%})"
        print(f"{name:40} {step:9.3f} {outside:20.2%} {spread:>44}")


def measure(
    ways: dict[str, Callable[[], object]], network_seconds: list[float], turns: int
) -> dict[str, tuple[float, float, list[float]]]:
    """For each way: median seconds a step, median fraction outside the network, and the overhead in each turn."""
    steps: dict[str, list[float]] = {name: [] for name in ways}
    outside: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first turn warms up
        for name, way in ways.items():
            network_seconds.clear()
            started = time.perf_counter()
            way()
            taken, calls = time.perf_counter() - started, len(network_seconds)
            if turn:
                steps[name].append(taken / calls)
                outside[name].append((taken - sum(network_seconds)) / calls)
    return {
        name: (
            statistics.median(steps[name]),
            statistics.median(own / step for own, step in zip(outside[name], steps[name], strict=True)),
            [
                (own - theirs) / (step - own + theirs)
                for own, theirs, step in zip(outside[name], outside[HOST], steps[name], strict=True)
            ],
        )
        for name in ways
    }


def _time_network(model, seconds: list[float]) -> None:
    """Collect the seconds of each call of the network."""
    call = model.diffusion_model.forward

    def timed(*args, **kwargs):
        _wait_for_device()
        started = time.perf_counter()
        out = call(*args, **kwargs)
        _wait_for_device()
        seconds.append(time.perf_counter() - started)
        return out

    model.diffusion_model.forward = timed


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def prepare(host, cells: int, steps: int) -> dict[str, Callable[[], object]]:
    """Each way as a function without arguments."""
    model, source, target, negative = host.model, host.prompt(1), host.prompt(3), host.prompt(2)
    latent = {"samples": torch.randn(1, host.channels, cells, cells)}
    plain = {"model": model, "positive": source, "negative": negative}
    settings = {"steps": steps, "cfg": CFG, "eta": 1.0, "scheduler": "ddim_uniform", "seed": 0}
    settings |= {"skip_steps": 0, "variations": 1}

    def euler_ancestral(model=model):
        sigmas = host.seam.levels(model, "ddim_uniform", steps)
        sampler = host.comfy.samplers.sampler_object("euler_ancestral")
        noise = torch.randn(latent["samples"].shape)
        guider = host.guide.guider_for(*(plain | {"model": model}).values(), CFG)
        guider.sample(noise, latent["samples"], sampler, sigmas, seed=0)

    def kept():
        anchor = {"where": "where it agrees", "amount": 1.0, "tolerance": 0.15}
        throughout = {"start_percent": 0.0, "end_percent": 1.0}
        return host.run("EditFriendlyKeepImage", model=model, latent_image=latent, **anchor, **throughout)

    def invert(order: int = 1):
        return host.run("EditFriendlyInvert", **plain, latent_image=latent, **settings, order=order)

    def sample(noise_maps):
        host.run("FixedNoiseSampler", **plain, noise_maps=noise_maps, cfg=CFG, skip_steps=0)

    def one_pass(**more):
        scales = {"source_cfg": CFG, "target_cfg": CFG}
        rest = {name: value for name, value in settings.items() if name != "cfg"}
        prompts = {"model": model, "source": source, "target": target, "negative": negative}
        host.run("EditFriendlyEdit", **prompts, latent_image=latent, **scales, **rest, **more)

    def guided(noise_maps, guidance: str):
        prompts = {"model": model, "source": source, "target": target, "negative": negative}
        guider = host.run("EditFriendlyEditGuider", **prompts, guidance=guidance, cfg=7.5, source_cfg=5.0)
        sampler, sigmas = host.outputs("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=0)
        guider.sample(torch.zeros_like(latent["samples"]), latent["samples"], sampler, sigmas, seed=0)

    def several(noise_maps):
        edits = ()
        for prompt in (target, negative):
            term = {"direction": "add", "scale": 5.0, "quantile": 0.9, "start": 0.0, "end": 1.0}
            edits = host.run("EditFriendlyAddEdit", prompt=prompt, edits=edits, **term)
        host.run(
            "EditFriendlySampleEdits", model=model, source=source, edits=edits, noise_maps=noise_maps, skip_steps=0
        )

    def few_steps():
        shifted = {"noise_shift": 1, "clip_last": 0.121}
        host.run("EditFriendlyTurboInvert", **plain, latent_image=latent, **settings | shifted)

    with torch.inference_mode():
        first, second = invert(), invert(order=2)
    return {
        HOST: euler_ancestral,
        f"{HOST}, Keep Image": lambda: euler_ancestral(kept()),
        "EditFriendlyInvert": invert,
        "FixedNoiseSampler": lambda: sample(first),
        "EditFriendlyEdit": one_pass,
        "EditFriendlyInvert, order 2": lambda: invert(order=2),
        "FixedNoiseSampler, order 2": lambda: sample(second),
        "EditFriendlyEdit, order 2": lambda: one_pass(order=2),
        "EditGuider, source as negative": lambda: guided(first, "source as negative"),
        "EditGuider, h-Edit": lambda: guided(first, "h-Edit"),
        "SampleEdits, two": lambda: several(first),
        "EditFriendlyTurboInvert": few_steps,
    }


if __name__ == "__main__":
    main()
