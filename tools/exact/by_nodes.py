"""The pack by its nodes, in a ComfyUI in this process, on a MODEL whose network is the exact predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_core.manipulation import Fill
from ddpm_core.noise_maps import NoiseMaps

from ..host import open_host
from . import levels
from .mixtures import Mixture
from .runs import PLAIN, Inversion, Run

NODES: dict[Inversion, str] = {
    "edit friendly": "EditFriendlyInvert",
    "CycleDiffusion": "EditFriendlyCycleDiffusionInvert",
    "DDIM": "EditFriendlyDDIMInvert",
}
CALLS = {"timesteps_per_call": 50}
TEXTBOOK = {"keep_residuals": False, "fixed_point_iterations": 0, "forward_noise_steps": 0}


class ExactNoise(nn.Module):
    """The noise that a mixture expects, where the host has the network of Stable Diffusion.

    Args:
        sigmas: (1000,) of the timesteps.
    """

    def __init__(self, mixture: Mixture, sigmas: Tensor):
        super().__init__()
        self.dtype, self._mixture, self._sigmas = torch.float32, mixture, sigmas.double()

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_: Any) -> Tensor:
        """x (N, *S) of unit variance, timesteps (N,), prompts as context (N, 1, K) -> eps (N, *S)."""
        sigma = self._sigmas.to(x.device)[timesteps.long()]
        level = sigma.view(-1, *[1] * (x.ndim - 1))
        noisy = x.double() * (1 + level**2).sqrt()
        return ((noisy - self._mixture.predict(noisy, sigma, context[:, 0].double())) / level).to(x)


def exact_model(channels: int, network: Callable[[Tensor], nn.Module]) -> Any:
    """A network of the sigmas of 1000 timesteps as a MODEL, on Stable Diffusion's schedule and without a latent space.

    Raises:
        NeedsComfyUI: there is none.
    """
    open_host()
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Cells(comfy.latent_formats.LatentFormat):
        latent_channels = channels
        spacial_downscale_ratio = 1

    class ExactMixture(comfy.supported_models_base.BASE):
        unet_extra_config: dict[str, Any] = {}
        latent_format = Cells
        supported_inference_dtypes = [torch.float32]

    config = ExactMixture({"disable_unet_model_creation": True})
    config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.BaseModel(config)
    model.diffusion_model = network(model.model_sampling.sigmas)
    return comfy.model_patcher.ModelPatcher(
        model.eval(),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


class ByNodes:
    """The pack by its nodes, with the same noise as `runs.ByCore`.

    Images that are inverted in one batch have the noise that each has alone. So for noise of its own each is inverted
    alone, with a seed of its own.
    """

    def __init__(
        self,
        mixture: Mixture,
        abar: Tensor,
        network: Callable[[Tensor], nn.Module] | None = None,
        empty: Tensor | None = None,
    ):
        """Args: network, of the sigmas of timesteps, and its empty prompt; None for those of the mixture."""
        self.abar, self._steps = abar, len(abar) - 1
        if not torch.equal(abar, levels.stable_diffusion(self._steps)):
            raise ValueError("a MODEL has Stable Diffusion's levels: use those of levels.stable_diffusion")
        self._host = open_host()
        self._model = exact_model(mixture.means.shape[1], network or partial(ExactNoise, mixture))
        self._empty = _conditioning(mixture.empty_prompt if empty is None else empty)

    def invert(
        self, method: Inversion, images: Tensor, prompt: Tensor, run: Run = PLAIN, native: NoiseMaps | None = None
    ) -> NoiseMaps:
        """As `runs.Pack` has it."""
        first = {"warm_start": run.warm_start, "true_prediction_steps": run.true_steps, "native_noise_maps": native}
        of_ddim = TEXTBOOK | _schedule(run) | first | {"replay_source": run.replay_source}
        more: dict[str, Any] = of_ddim if method == "DDIM" else CALLS | {"eta": run.eta}
        more |= {"variations": 1, "skip_steps": run.skip, "positive": _conditioning(prompt), "negative": self._empty}
        if method == "DDIM":
            return self._host.run(NODES[method], **self._given(images, run), **more)
        alone = [replace(run, seed=run.seed + row) for row in range(len(images))]
        each = zip(images.split(1), alone, strict=True)
        return _together([self._host.run(NODES[method], **self._given(*one), **more) for one in each])

    def generate(self, like: Tensor, prompt: Tensor, run: Run = PLAIN) -> NoiseMaps:
        """As `runs.Pack` has it."""
        given = self._given(like, run) | {"eta": run.eta}
        node = "EditFriendlySampleWithNoiseMaps"
        return self._host.outputs(node, positive=_conditioning(prompt), negative=self._empty, **given)[1]

    def sample(self, maps: NoiseMaps, prompt: Tensor, run: Run = PLAIN, attention: Any = None) -> Tensor:
        """As `runs.Pack` has it, with an edit of attention."""
        chosen = {"cfg": run.cfg, "skip_steps": run.skip, "attention": attention} | _schedule(run)
        prompts = {"positive": _conditioning(prompt), "negative": self._empty}
        return self._host.run("FixedNoiseSampler", model=self._model, noise_maps=maps, **prompts, **chosen)["samples"]

    def edit(self, images: Tensor, source: Tensor, target: Tensor, source_cfg: float, run: Run = PLAIN) -> Tensor:
        """As `runs.Pack` has it."""
        given = self._given(images, replace(run, cfg=1.0)) | {"variations": 1, "skip_steps": run.skip, "eta": run.eta}
        del given["cfg"]
        return self._host.run(
            "EditFriendlyEdit",
            source=_conditioning(source),
            target=_conditioning(target),
            negative=self._empty,
            source_cfg=source_cfg,
            target_cfg=run.cfg,
            **given,
        )["samples"]

    def shift(self, maps: NoiseMaps, by: int, fill: Fill = "copy") -> NoiseMaps:
        """As `runs.Pack` has it."""
        return self._host.run("LatentShift", noise_maps=maps, x=by, y=0, fill=fill, pixels_per_cell=1)

    def flip(self, maps: NoiseMaps) -> NoiseMaps:
        """As `runs.Pack` has it."""
        return self._host.run("EditFriendlyNoiseMapsFlip", noise_maps=maps, horizontal=True, vertical=False)

    def recolor(self, maps: NoiseMaps, color: Tensor, strength: float, start: float, end: float) -> NoiseMaps:
        """As `runs.Pack` has it."""
        return self._host.run(
            "MaskColorEdit",
            noise_maps=maps,
            mask=torch.ones(len(color), *color.shape[-2:]),
            color={"samples": color.float()},
            strength=strength,
            start_percent=start,
            end_percent=end,
        )

    def _given(self, images: Tensor, run: Run) -> dict[str, Any]:
        return {
            "model": self._model,
            "latent_image": {"samples": images.float()},
            "steps": self._steps,
            "cfg": run.cfg,
            "scheduler": "ddim_uniform",
            "seed": run.seed,
        }


def _together(parts: list[NoiseMaps]) -> NoiseMaps:
    """Maps of single images as the rows of one."""
    first = parts[0]
    seeds = tuple(seed for part in parts for seed in part.seeds)
    return replace(
        first,
        states=torch.cat([part.states for part in parts], dim=1),
        residuals=torch.cat([part.residuals for part in parts], dim=1),
        facts=replace(first.facts, seeds=seeds, images=len(parts)),
    )


def _conditioning(prompt: Tensor) -> list[list[Any]]:
    """A CONDITIONING of a prompt (K,), or of one with a vector for each token (L, K)."""
    return [[prompt.float().reshape(1, -1, prompt.shape[-1]), {}]]


def _schedule(run: Run) -> dict[str, Any]:
    return {"cfg_schedule": run.cfg_schedule, "end_cfg": 1.0}
