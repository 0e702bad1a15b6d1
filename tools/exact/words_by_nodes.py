"""Edits of attention by the pack's nodes, on a MODEL whose cross-attention is exact."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ddpm_core.noise_maps import NoiseMaps

from ..host import open_host
from .attention import CHANNELS, GROUNDS, OBJECTS, SIDES, Scenes, Words, run_of
from .by_nodes import ByNodes, ExactNoise
from .runs import Inversion, Run

VOCABULARY = [
    f"{name}{k}" for name, count in (("side", SIDES), ("object", OBJECTS), ("ground", GROUNDS)) for k in range(count)
]
PLACE = ("output", 0, 0)  # of the attention, as the host names it


class ExactWords(ExactNoise):
    """The noise that scenes expect, by a cross-attention in the place of one in Stable Diffusion's network.

    Args:
        sigmas: (1000,) of the timesteps.
    """

    def __init__(self, scenes: Scenes, sigmas: Tensor):
        super().__init__(scenes.mixture, sigmas)
        self._scenes = scenes
        residual, transformer = nn.Module(), nn.Module()
        residual.out_layers = nn.ModuleList([nn.Identity()])
        transformer.transformer_blocks = nn.ModuleList([nn.Identity()])
        self.input_blocks, self.middle_block = nn.ModuleList(), nn.ModuleList()
        self.output_blocks = nn.ModuleList([nn.ModuleList([residual, transformer])])

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: dict[str, Any] | None = None, **_: Any
    ) -> Tensor:
        """x (N, C, 1, cells) of unit variance, timesteps (N,), words as context (N, 3, 8), 0 for none -> eps."""
        from comfy.ldm.modules.attention import optimized_attention

        sigma = self._sigmas.to(x.device)[timesteps.long()]
        level = sigma.view(-1, 1, 1, 1)
        noisy = x.double() * (1 + level**2).sqrt()
        read = [
            self._scenes.read(row[None], of_row.item(), _words(tokens))
            for row, of_row, tokens in zip(noisy, sigma, context, strict=True)
        ]
        q, k, v = (torch.cat(part) for part in zip(*read, strict=True))
        q = q * CHANNELS**0.5  # which the host divides by
        options = {**(transformer_options or {}), "n_heads": 1, "dim_head": CHANNELS, "attn_precision": None}
        options |= {"block": PLACE[:2], "block_index": PLACE[2]}
        patches = options.get("patches_replace", {}).get("attn2", {})
        patch = patches.get(PLACE, patches.get(PLACE[:2]))
        attended = optimized_attention(q, k, v, heads=1) if patch is None else patch(q, k, v, options)
        denoised = self._mixture.predict(noisy, sigma, self._mixture.empty_prompt)
        for row in context.flatten(1).any(dim=1).nonzero().flatten().tolist():
            one = slice(row, row + 1)
            denoised[one] = self._scenes.predicted(noisy[one], sigma[row].item(), attended[one])
        return ((noisy - denoised) / level).to(x)


class WordsClip:
    """A CLIP whose tokens are the words of scenes, in the host's form."""

    def __init__(self) -> None:
        self.tokenizer = self

    def tokenize(self, text: str, **_: Any) -> dict[str, list[list[tuple[int, float, int]]]]:
        """Each word as (token, weight, word)."""
        return {"l": [[(VOCABULARY.index(word), 1.0, k + 1) for k, word in enumerate(text.split())]]}

    def untokenize(self, tokens: list[tuple[int, float]]) -> list[tuple[tuple[int, float], str]]:
        """Each token with its text."""
        return [(entry, f"{VOCABULARY[entry[0]]}</w>") for entry in tokens]

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[list[tuple[int, float, int]]]]) -> list[list[Any]]:
        """A CONDITIONING with a vector for each word."""
        return [[_vectors(VOCABULARY[token] for token, *_ in tokens["l"][0])[None], {}]]


class WordsByNodes:
    """As `attention.Pack` has it, by the nodes."""

    def __init__(self, scenes: Scenes, abar: Tensor):
        self._host, self._clip = open_host(), WordsClip()
        empty = torch.zeros(3, len(VOCABULARY))
        self._nodes = ByNodes(scenes.mixture, abar, partial(ExactWords, scenes), empty)

    def invert(self, images: Tensor, words: Words, cfg: float, method: Inversion = "edit friendly") -> NoiseMaps:
        """As `attention.Pack` has it."""
        return self._nodes.invert(method, images, _vectors(words.names), run_of(method, cfg))

    def edit(self, maps: NoiseMaps, source: Words, target: Words, share: float, cfg: float, skip: int) -> Tensor:
        """As `attention.Pack` has it."""
        edit, *_ = self._host.outputs(
            "EditFriendlyPromptToPrompt",
            clip=self._clip,
            source_text=" ".join(source.names),
            target_text=" ".join(target.names),
            mode="replace",
            cross_steps=share,
            self_steps=0.0,
        )
        return self._nodes.sample(maps, _vectors(target.names), Run(cfg=cfg, skip=skip), edit).double()


def _vectors(words: Iterable[str]) -> Tensor:
    """(words, 8)."""
    return one_hot(torch.tensor([VOCABULARY.index(word) for word in words]), len(VOCABULARY)).float()


def _words(tokens: Tensor) -> Words:
    """Of vectors (3, 8)."""
    side, thing, ground = (part.argmax().item() for part in (tokens[0, :2], tokens[1, 2:5], tokens[2, 5:]))
    return Words(int(side), int(thing), int(ground))
