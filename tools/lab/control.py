"""Attention edits in the demo's own network, by the core's equations: the source's rows beside the target's.

Shapes: R rows, C channels, H x W pixels, L = 8 tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from ddpm_core import attention
from ddpm_core.attention import CrossEdit, Edit, Halves, LocalBlend, Method, Part, Place, Prompt, Share, WordMaps
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.schedule import NoiseSchedule
from demo.model import DemoModel
from demo.network import (
    BasicTransformerBlock,
    CrossAttention,
    Downsample,
    ResBlock,
    SpatialTransformer,
    UNet,
    Upsample,
    denoise,
)
from demo.text import VOCABULARY, tokenize

from .settings import PromptToPrompt


def prompt_of(caption: str) -> Prompt:
    """A caption as the core reads it: each word is one token, and what follows is padding."""
    ids = tokenize(caption)
    words = [(position, VOCABULARY[token]) for position, token in enumerate(ids) if token]
    return Prompt(tuple(ids), tuple((position,) for position, _ in words), tuple(text for _, text in words), len(ids))


def prompt_to_prompt(source: str, target: str, settings: PromptToPrompt, blend: Sequence[str] = ()) -> Edit:
    """What the node Prompt-to-Prompt makes of two captions.

    Args:
        blend: the words of either that a local blend goes by; without a threshold there is none.
    """
    prompts = prompt_of(source), prompt_of(target)
    alignment = attention.align(*prompts, changed_words_share=not settings.own_map)
    gain = torch.ones(len(prompts[1].tokens), dtype=torch.float64)
    gain[alignment.changed] = settings.gain
    masks = [torch.tensor([VOCABULARY[token] in blend for token in tokenize(text)]) for text in (source, target)]
    threshold = settings.blend_threshold
    return Edit(
        cross=CrossEdit(alignment.matrix, alignment.shared, gain, ((0.0, settings.cross_steps),) * len(gain)),
        shares=(
            Share(
                frozenset(("queries", "keys")),
                attention.coarse(settings.self_size),
                (0.0, settings.self_steps),
                all_prompts=False,
            ),
        ),
        blend=None if threshold is None or not blend else LocalBlend(masks[0], masks[1], threshold),
    )


def sharing(method: Method) -> Edit:
    """What the node Share Self-Attention makes of a method."""
    return attention.shared_by(method, (method.start, method.end), method.features_end)


@dataclass(frozen=True)
class Sites:
    """A network's transformers, and where they stand.

    Args:
        of_self, of_cross: each attention's place.
        branches: of the residual blocks that transformers follow, the places of those.
    """

    of_self: dict[CrossAttention, Place] = field(default_factory=dict)
    of_cross: dict[CrossAttention, Place] = field(default_factory=dict)
    branches: dict[ResBlock, set[Place]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: UNet) -> Sites:
        """Found by what the modules are."""
        sites, level = cls(), 0
        parts: tuple[tuple[Part, Iterable[nn.Module]], ...] = (
            ("input", network.input_blocks),
            ("middle", [network.middle_block]),
            ("output", network.output_blocks),
        )
        for part, stages in parts:
            for number, stage in enumerate(stages):
                for layer in stage.children():
                    if isinstance(layer, ResBlock):
                        branch = layer
                    elif isinstance(layer, SpatialTransformer):
                        for index, block in enumerate(layer.transformer_blocks):
                            assert isinstance(block, BasicTransformerBlock)
                            place = Place(part, number, index, level)
                            sites.of_self[block.attn1] = sites.of_cross[block.attn2] = place
                            sites.branches.setdefault(branch, set()).add(place)
                    level += isinstance(layer, Downsample) - isinstance(layer, Upsample)
        return sites

    @property
    def places(self) -> tuple[Place, ...]:
        """All of them."""
        return tuple(self.of_self.values())


class _Call:
    """An edit in one call of the network."""

    def __init__(
        self,
        sites: Sites,
        edit: Edit,
        step: int,
        steps: int,
        captioned: Halves,
        every: Halves,
        maps: WordMaps | None,
    ):
        self._sites = sites
        self._blend_level = attention.blend_level(sites.places)
        self._captioned = captioned
        self._every = every
        self._maps = maps
        places = sites.places
        self._shares = [(share, share.where(places)) for share in edit.shares_at(step, steps)]
        self._features = set[Place]().union(*(part.where(places) for part in edit.features_at(step, steps)))
        cross = edit.cross_at(step, steps)
        self._weights = None if cross is None else partial(cross.at, step, steps)

    def attend(self, at: CrossAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        place = self._sites.of_self.get(at)
        if place is not None:
            for share, where in self._shares:
                if place in where:
                    halves = self._every if share.all_prompts else self._captioned
                    q, k, v = attention.share(q, k, v, halves, share.takes)
            return at.attend(q, k, v)
        place = self._sites.of_cross[at]
        if (
            self._maps is not None
            and place.part != "middle"
            and place.level == attention.blend_level(self._sites.places)
        ):
            for half in self._captioned:
                self._maps.see(q, k, at.heads, _size(q), half)
        if self._weights is None:
            return at.attend(q, k, v)
        weights = self._weights(k.shape[1]).to(v)
        return attention.cross_attention(at.attend, at.attend, q, k, v, self._captioned, weights)

    def features(self, at: ResBlock, h: Tensor) -> Tensor:
        acts = self._sites.branches.get(at, set()) & self._features
        return attention.take_features(h, self._every) if acts else h


class EditedDenoiser:
    """The predictor of x_0 under the target's captions, with the source at its own states beside it.

    For `sample(denoiser, noise_maps, skip_steps=..., mask_after=denoiser.mask_after)`.

    Args:
        model: the demo model.
        edit: what the target takes over.
        sources, targets: captions, one a row.
        cfg: of the target; the guidance of the source has no part in it, for the source's states are known.
        noise_maps: of the source, R rows.
        skip_steps: with which they are sampled; None starts with the first step that the maps hold.
    """

    def __init__(
        self,
        model: DemoModel,
        edit: Edit,
        sources: list[str],
        targets: list[str],
        cfg: float,
        noise_maps: NoiseMaps,
        skip_steps: int | None = None,
    ):
        self._network, self._edit, self._cfg = model.network, edit, cfg
        self._plain = model.denoiser(targets, cfg)
        self._source, self._target = model.encode(sources), model.encode(targets)
        self._uncond = model.encode([""]).expand(len(targets), -1, -1)
        first = noise_maps.first_step(noise_maps.skipped if skip_steps is None else skip_steps)
        self._states, self._steps = noise_maps.states[first:], noise_maps.full_steps
        self._levels = noise_maps.schedule.sigmas[first:-1]
        self._sites = Sites.of(model.network)
        self._maps = None if edit.blend is None else WordMaps(edit.blend.source, edit.blend.target)

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (R, C, H, W) at one level sigma (R,) -> predicted x_0 (R, C, H, W)."""
        # looked up, not counted: nothing says that a step is one call
        step = int((self._levels - sigma[0].item()).abs().argmin())
        if not self._edit.is_open(step, self._steps):
            return self._plain(x, sigma)
        state, r = self._states[step].to(x), len(x)
        rows, contexts = [state, x], [self._source, self._target]
        captioned = every = [(slice(0, r), slice(r, 2 * r))]
        if self._cfg != 1 and self._edit.of_all_prompts(step, self._steps):
            rows, contexts = [state, x] * 2, [*contexts, self._uncond, self._uncond]
            every = [*captioned, (slice(2 * r, 3 * r), slice(3 * r, 4 * r))]
        elif self._cfg != 1:
            rows, contexts = [state, x, x], [*contexts, self._uncond]
        call = _Call(self._sites, self._edit, step, self._steps, captioned, every, self._maps)
        network = partial(self._network, control=call)
        x_0 = denoise(network, torch.cat(rows), sigma.repeat(len(rows)), torch.cat(contexts)).split(r)
        return x_0[1] if self._cfg == 1 else x_0[-1] + self._cfg * (x_0[1] - x_0[-1])

    def mask_after(self, step: int, x: Tensor) -> Tensor | None:
        """(R, 1, H, W) what of the edit is kept after a step, counted from the first that runs; None for all of it."""
        blend = self._edit.blend
        if blend is None or not self._edit.blends(step, self._steps):
            return None
        assert self._maps is not None
        return blend.mask(self._maps.sum, x.shape)


def _size(q: Tensor) -> tuple[int, int]:
    """Height and width of the square picture that queries (R, N, C) are of."""
    side = round(q.shape[1] ** 0.5)
    return side, side


class _Look:
    """Sees each word's maps in calls that it does not change."""

    def __init__(self, sites: Sites, maps: WordMaps):
        self._sites = sites
        self._maps = maps

    def attend(self, at: CrossAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if at in self._sites.of_cross:
            self._maps.see(q, k, at.heads, _size(q), [slice(None)] * k.shape[1])
        return at.attend(q, k, v)

    def features(self, at: ResBlock, h: Tensor) -> Tensor:
        return h


@torch.no_grad()
def find_words(
    model: DemoModel, captions: list[str], states: Tensor, schedule: NoiseSchedule, steps: Sequence[int]
) -> Tensor:
    """(L, R, h, w) how much each place of the source attends to each token of its caption.

    Args:
        captions: one a row.
        states: (T+1, R, C, H, W) of the source.
        schedule: T steps.
        steps: at whose states to look.

    Returns:
        Probabilities, as a mean over steps and over all transformers.
    """
    context, sites = model.encode(captions), Sites.of(model.network)
    maps = WordMaps(*torch.eye(context.shape[1], dtype=torch.bool))
    network = partial(model.network, control=_Look(sites, maps))
    for step in steps:
        x = states[step].to(context)
        denoise(network, x, schedule.sigmas[step].float().expand(len(x)), context)
    return maps.sum / (len(steps) * len(sites.places))
