"""One edit at the paper's setting: the official algorithm's call pattern against this pack, on the same network.

    python -m tools.benchmarks.against_official                                   a shallow layout, small, for a CPU
    python -m tools.benchmarks.against_official --full --size 512 --steps 100 --skip 36 --turns 3    on a GPU

Needs the environment of `python run.py test` and ComfyUI. Prints a table and writes JSON to `--out`. The official
algorithm is written out from the paper's pseudo-code (Alg. 1 and the sampling of Sec. 3) with the call pattern of its
authors' code: conditional and unconditional prediction in calls of their own, one row a call, all T steps inverted
whatever the skip. Only its last noise map, which the authors set to zero, is kept here, so that results compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path

import psutil
import torch

from .random_host import machine, random_host

SOURCE_CFG, TARGET_CFG = 3.5, 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=("sd15", "sdxl", "sd3"), default="sd15")
    parser.add_argument("--full", action="store_true", help="the whole layout, not a shallow one")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="of the weights; default: the host's"
    )
    parser.add_argument("--size", type=int, default=256, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--skip", type=int, default=9)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    options = parser.parse_args()

    dtype = getattr(torch, options.dtype) if options.dtype else None
    host = random_host(options.layout, options.full, dtype)
    bench = Bench(host, options.size // 8, options.steps, options.skip)
    with torch.inference_mode():
        rows = measure(bench.methods(), bench, options.turns)
    setting = {name: value for name, value in vars(options).items() if name != "out"}
    result = {"machine": machine(), "torch": torch.__version__, **setting, "dtype": str(host.dtype), "methods": rows}
    print(table(result))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


class Bench:
    """The methods, each a function that returns an edited latent, and the count of their network calls."""

    def __init__(self, host, cells: int, steps: int, skip: int):
        self.host, self.steps, self.skip = host, steps, skip
        self.latent = {
            "samples": torch.randn((1, host.channels, cells, cells), generator=torch.Generator().manual_seed(0))
        }
        self.source, self.target, self.negative = (host.prompt(seed) for seed in (1, 2, 3))
        self.calls: list[int] = []
        network = host.model.model.diffusion_model
        network.register_forward_pre_hook(lambda _, args: self.calls.append(len(args[0])))

    def methods(self) -> dict:
        methods = {"official": self.official}
        for k in (1, 4, 8, 16):
            methods[f"invert k={k} + sample"] = lambda k=k: self.sample(self.invert(k))
        methods["EditFriendlyEdit"] = self.one_pass
        kept = self.invert(1)
        methods["another edit of the same maps"] = lambda: self.sample(kept)
        # what follows makes other pictures, so there is nothing to compare
        methods["EditFriendlyEdit, order 2"] = lambda: without_result(self.one_pass(order=2))
        methods["TurboInvert + sample, 4 steps"] = self.few_steps
        methods["euler_ancestral, T steps"] = self.euler_ancestral
        return methods

    def official(self) -> torch.Tensor:
        host = self.host

        class Official(host.comfy.samplers.Sampler):
            def sample(_, model_wrap, sigmas, extra_args, callback, noise, latent_image, *__):
                def x_0(x, i, prompt, cfg):
                    conds, options = model_wrap.conds, extra_args["model_options"]
                    level = sigmas[i : i + 1].to(x)
                    predict = host.comfy.samplers.calc_cond_batch
                    (uncond,) = predict(model_wrap.inner_model, [conds["negative"]], x, level, options)
                    (cond,) = predict(model_wrap.inner_model, [conds[prompt]], x, level, options)
                    return uncond + cfg * (cond - uncond)

                schedule = host.seam.schedule_for(host.model, sigmas, 1.0)
                a, b = schedule.signal.tolist(), schedule.noise.tolist()

                def up(i):  # sigma_t of Eq. 3
                    return b[i + 1] * (1 - (a[i] * b[i + 1] / (a[i + 1] * b[i])) ** 2) ** 0.5

                def mean(x, denoised, i):  # Eq. 4
                    eps = (x - a[i] * denoised) / b[i]
                    return a[i + 1] * denoised + (b[i + 1] ** 2 - up(i) ** 2) ** 0.5 * eps

                states = host.core.trajectories.edit_friendly(latent_image, schedule, [0]).to(latent_image.device)
                zs = [
                    (states[i + 1] - mean(states[i], x_0(states[i], i, "source", SOURCE_CFG), i)) / (up(i) or 1.0)
                    for i in range(self.steps)
                ]
                x = states[self.skip]
                for i in range(self.skip, self.steps):
                    x = mean(x, x_0(x, i, "positive", TARGET_CFG), i) + (up(i) or 1.0) * zs[i]
                return x

        guider = host.comfy.samplers.CFGGuider(host.model)
        guider.inner_set_conds({"positive": self.target, "source": self.source, "negative": self.negative})
        sigmas = host.seam.levels(host.model, self.host.scheduler, self.steps)
        noise = torch.zeros_like(self.latent["samples"])
        return guider.sample(noise, self.latent["samples"], Official(), sigmas, seed=0)

    def invert(self, timesteps_per_call: int):
        return self.host.run(
            "EditFriendlyInvert",
            model=self.host.model,
            positive=self.source,
            negative=self.negative,
            latent_image=self.latent,
            steps=self.steps,
            cfg=SOURCE_CFG,
            eta=1.0,
            scheduler=self.host.scheduler,
            seed=0,
            skip_steps=self.skip,
            variations=1,
            timesteps_per_call=timesteps_per_call,
        )

    def sample(self, noise_maps) -> torch.Tensor:
        return self.host.run(
            "FixedNoiseSampler",
            model=self.host.model,
            positive=self.target,
            negative=self.negative,
            noise_maps=noise_maps,
            cfg=TARGET_CFG,
            skip_steps=self.skip,
        )["samples"]

    def one_pass(self, order: int = 1) -> torch.Tensor:
        return self.host.run(
            "EditFriendlyEdit",
            model=self.host.model,
            source=self.source,
            target=self.target,
            negative=self.negative,
            latent_image=self.latent,
            steps=self.steps,
            source_cfg=SOURCE_CFG,
            target_cfg=TARGET_CFG,
            eta=1.0,
            scheduler=self.host.scheduler,
            seed=0,
            skip_steps=self.skip,
            variations=1,
            order=order,
        )["samples"]

    def few_steps(self) -> None:
        """TurboEdit's setting: 4 steps, guidance away from the source prompt."""
        prompts = {"model": self.host.model, "negative": self.source}
        settings = {"steps": 5, "cfg": 1.0, "eta": 1.0, "scheduler": "sgm_uniform", "seed": 0, "skip_steps": 1}
        maps = self.host.run(
            "EditFriendlyTurboInvert",
            **prompts,
            positive=self.source,
            latent_image=self.latent,
            **settings,
            variations=1,
            noise_shift=1,
            clip_last=0.121,
        )
        self.host.run("FixedNoiseSampler", **prompts, positive=self.target, noise_maps=maps, cfg=1.5, skip_steps=1)

    def euler_ancestral(self) -> None:
        guider = self.host.guide.guider_for(self.host.model, self.target, self.negative, TARGET_CFG)
        sampler = self.host.comfy.samplers.sampler_object("euler_ancestral")
        sigmas = self.host.seam.levels(self.host.model, self.host.scheduler, self.steps)
        samples = self.latent["samples"]
        guider.sample(torch.randn(samples.shape), samples, sampler, sigmas, seed=0)


def without_result(_: torch.Tensor) -> None:
    """None, for an image that is not compared."""


def measure(methods: dict, bench: Bench, turns: int) -> dict[str, dict]:
    """Each method once a turn; a row of medians for each, ratios taken turn by turn."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    rows: dict[str, dict] = {}
    reference = None
    for turn in range(turns + 1):  # the first turn warms up, and counts
        for name, method in methods.items():
            bench.calls.clear()
            with PeakMemory() as memory:
                started = time.perf_counter()
                out = method()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                taken = time.perf_counter() - started
            if turn:
                seconds[name].append(taken)
                continue
            reference = out if reference is None else reference
            difference = None if out is None else ((out - reference).abs().max() / reference.abs().max()).item()
            rows[name] = {
                "network_calls": len(bench.calls),
                "network_rows": sum(bench.calls),
                "peak_memory_mb": memory.megabytes,
                "largest_relative_difference": difference,
            }
    for name, row in rows.items():
        row["seconds"] = statistics.median(seconds[name])
        row["rows_per_second"] = row["network_rows"] / row["seconds"]
        row["speedup"] = statistics.median(a / b for a, b in zip(seconds["official"], seconds[name], strict=True))
    return rows


class PeakMemory:
    """Peak memory beyond the start's: the device's on CUDA, otherwise this process's."""

    def __enter__(self) -> PeakMemory:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
        else:
            self._start = self._peak = psutil.Process().memory_info().rss
            self._done = threading.Event()
            self._thread = threading.Thread(target=self._watch)
            self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, psutil.Process().memory_info().rss)

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            self._peak = torch.cuda.max_memory_allocated()
        else:
            self._done.set()
            self._thread.join()
        self.megabytes = round((self._peak - self._start) / 2**20)


def table(result: dict) -> str:
    """The result as a Markdown table."""
    head = "{machine}; {layout}{depth}, {dtype}, {size} x {size}, T = {steps}, skip {skip}, {turns} turns"
    lines = [head.format(**result, depth="" if result["full"] else " (shallow)"), ""]
    lines.append("| method | calls | rows | s | rows / s | speedup | peak MB | largest difference |")
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, row in result["methods"].items():
        difference = row["largest_relative_difference"]
        lines.append(
            f"| {name} | {row['network_calls']} | {row['network_rows']} | {row['seconds']:.2f} | "
            f"{row['rows_per_second']:.1f} | {row['speedup']:.2f} | {row['peak_memory_mb']} | "
            f"{'' if difference is None else f'{difference:.0e}'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
