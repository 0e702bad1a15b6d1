"""Edits of scenes by the pack's own nodes in a ComfyUI in this process, one scene at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from demo.model import DemoModel

from ..host import Host, open_host
from .edits import Edit
from .settings import LabSettings

Inversion = Literal["EditFriendlyInvert", "EditFriendlyDDIMInvert"]


class DemoNodes:
    """The pack's nodes on a demo model.

    Args:
        host: with the pack loaded.
        demo: whose weights are put into the host's own classes.
    """

    def __init__(self, host: Host, demo: DemoModel):
        self.run, self.outputs = host.run, host.outputs
        loader = host.module("nodes.host.demo")
        weights = demo.weights()
        self.model, self.clip = loader.diffusion_model(weights), loader.text_model(weights)

    @property
    def network(self) -> nn.Module:
        """The host's, with the weights of the demo model."""
        return self.model.model.diffusion_model

    def prompt(self, text: str) -> Any:
        """The CONDITIONING of a text."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def invert(
        self, edit: Edit, latent: Tensor, settings: LabSettings, by: Inversion = "EditFriendlyInvert", **more: Any
    ) -> Any:
        """NOISE_MAPS of the source's latent (C, H, W) under its caption; `more` are inputs of the node."""
        if by == "EditFriendlyDDIMInvert":
            more |= {"keep_residuals": False, "fixed_point_iterations": 0, "forward_noise_steps": 0}
        else:
            more |= {"eta": settings.eta}
        return self.run(
            by,
            model=self.model,
            positive=self.prompt(edit.source.caption),
            negative=self.prompt(""),
            latent_image={"samples": latent[None]},
            steps=settings.steps,
            cfg=settings.cfg_source,
            scheduler="simple" if settings.flow else "ddim_uniform",
            seed=edit.seed,
            skip_steps=settings.skip_steps,
            variations=1,
            order=settings.order,
            **more,
        )

    def sample(
        self, edit: Edit, noise_maps: Any, settings: LabSettings, attention: Any = None, mask: Tensor | None = None
    ) -> Tensor:
        """(1, C, H, W) under the target's caption."""
        return self.run(
            "FixedNoiseSampler",
            model=self.model,
            positive=self.prompt(edit.target.caption),
            negative=self.prompt(""),
            noise_maps=noise_maps,
            cfg=settings.cfg_target,
            skip_steps=settings.skip_steps,
            attention=attention,
            mask=mask,
        )["samples"]

    def prompt_to_prompt(self, edit: Edit, noise_maps: Any, settings: LabSettings) -> Tensor:
        """The same with Prompt-to-Prompt (arXiv 2208.01626)."""
        p2p, captions = settings.p2p, (edit.source.caption, edit.target.caption)
        changed = [new for old, new in zip(*(text.split() for text in captions), strict=False) if old != new]
        attention = self.run(
            "EditFriendlyPromptToPrompt",
            clip=self.clip,
            source_text=captions[0],
            target_text=captions[1],
            mode="auto",
            cross_steps=p2p.cross_steps,
            self_steps=p2p.self_steps,
            self_size=p2p.self_size,
            reweight="" if p2p.gain == 1 else ", ".join(f"{word}: {p2p.gain:g}" for word in changed),
            changed_words="own map" if p2p.own_map else "source map",
            blend_words="" if p2p.blend_threshold is None else ", ".join(color_words(edit)),
            blend_threshold=p2p.blend_threshold or 0.0,
        )
        return self.sample(edit, noise_maps, settings, attention)

    def share(self, edit: Edit, noise_maps: Any, settings: LabSettings, *, method: str) -> Tensor:
        """The same with the source's self-attention."""
        source, shared = self.prompt(edit.source.caption), asdict(settings.shared)
        attention = self.run("EditFriendlyShareAttention", source=source, method=method, **shared)
        return self.sample(edit, noise_maps, settings, attention)

    def keep_background(self, edit: Edit, noise_maps: Any, settings: LabSettings) -> Tensor:
        """The same within the mask from two prompts, with the source's keys and values outside (arXiv 2502.17363)."""
        source, target = self.prompt(edit.source.caption), self.prompt(edit.target.caption)
        found = {"source": source, "target": target, "noise_maps": noise_maps, "grow": 0}
        mask, _ = self.outputs("EditFriendlyDifferenceMask", model=self.model, **found, **asdict(settings.mask))
        shared = {"method": "keys and values", "mask": mask, **asdict(settings.shared)}
        attention = self.run("EditFriendlyShareAttention", source=source, **shared)
        return self.sample(edit, noise_maps, settings, attention, mask)

    def zero_shot(
        self, edit: Edit, noise_maps: Any, settings: LabSettings, *, source_as_negative: bool = False
    ) -> Tensor:
        """(1, C, H, W) the same with cross-attention guidance (pix2pix-zero, arXiv 2302.03027)."""
        return self.run(
            "EditFriendlyZeroShotImageToImage",
            model=self.model,
            source=self.prompt(edit.source.caption),
            target=self.prompt(edit.target.caption),
            negative=self.prompt(edit.source.caption if source_as_negative else ""),
            noise_maps=noise_maps,
            cfg=settings.cfg_target,
            guidance_weight=settings.guidance_weight,
            skip_steps=settings.skip_steps,
        )["samples"]

    def word_heat(self, caption: str, words: str, noise_maps: Any, levels: int) -> Tensor:
        """(H, W) how bright the preview of Mask from Words is: the more, the more a place attends to the words."""
        _, preview = self.outputs(
            "EditFriendlyWordMask",
            model=self.model,
            clip=self.clip,
            noise_maps=noise_maps,
            caption=caption,
            words=words,
            threshold=0.3,
            levels=levels,
            start=0.2,
            end=0.8,
            grow=0,
        )
        return preview[0].chunk(2, dim=1)[1].sum(dim=-1)  # beside the image


@lru_cache(maxsize=2)
def nodes_of(demo: DemoModel) -> DemoNodes:
    """The nodes on a demo model.

    Raises:
        NeedsComfyUI: there is none.
    """
    return DemoNodes(open_host(), demo)


@dataclass(frozen=True)
class ByNodes:
    """A method of editing: an inversion, and how its maps are sampled, `(nodes, edit, noise_maps, settings)`.

    Args:
        inverted: further inputs of the inversion.
    """

    inversion: Inversion
    sampled: Callable[[DemoNodes, Edit, Any, LabSettings], Tensor]
    inverted: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, model: DemoModel, edits: Sequence[Edit], latents: Tensor, settings: LabSettings) -> Tensor:
        """(B, C, H, W) edited latents of sources (B, C, H, W)."""
        nodes = nodes_of(model)
        results = [
            self.sampled(nodes, edit, nodes.invert(edit, latent, settings, self.inversion, **self.inverted), settings)
            for edit, latent in zip(edits, latents, strict=True)
        ]
        return torch.cat(results)


def color_words(edit: Edit) -> tuple[str, ...]:
    """The words of the color of what is edited, before and after: the words of a caption whose maps are an object's."""
    name = "color"
    return tuple(getattr(scene, name) for scene in (edit.source, edit.target) if name in scene.attributes)
