"""The host's own transformers, and their attention written out with explicit maps."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import pytest
import torch

from support.attention_edits import close
from support.families import FAMILIES
from support.families.family import TOKENS

STEPS, CFG = 3, 3.5
VALUES, KEYS_AND_VALUES = "values only", "keys and values"
# where each of the host's files calls its attention, and more blocks and heads than the families have
DEEP = {
    "Flux": ("comfy.ldm.flux.math.optimized_attention", {"depth": 2, "depth_single_blocks": 2, "hidden_size": 128}),
    "Flux2 Klein": (
        "comfy.ldm.flux.math.optimized_attention",
        {"depth": 2, "depth_single_blocks": 2, "hidden_size": 128},
    ),
    "QwenImage": ("comfy.ldm.qwen_image.model.optimized_attention_masked", {"num_layers": 3}),
    "CosmosT2IPredict2": ("comfy.ldm.cosmos.predict2.optimized_attention", {"num_blocks": 3}),
    "WAN21_T2V": ("comfy.ldm.wan.model.optimized_attention", {"num_layers": 3}),
    # as 3.5 medium, in the first blocks of which the picture attends to itself a second time
    "SD3": (
        "comfy.ldm.modules.diffusionmodules.mmdit.optimized_attention",
        {"num_blocks": 3, "x_block_self_attn_layers": [0, 1]},
    ),
    "Lumina2": ("comfy.ldm.lumina.model.optimized_attention_masked", {"n_layers": 3}),
    "ZImage": ("comfy.ldm.lumina.model.optimized_attention_masked", {"n_layers": 3}),
    "AuraFlow": ("comfy.ldm.aura.mmdit.optimized_attention", {"n_layers": 4, "n_double_layers": 2}),
    "HiDream": (
        "comfy.ldm.hidream.model.optimized_attention",
        {"num_layers": 2, "num_single_layers": 2, "llama_layers": [0, 1, 0, 1]},
    ),
}
HEADS = {"Flux": {"num_heads": 2}, "Flux2 Klein": {"num_heads": 2}, "QwenImage": {"num_attention_heads": 2}}
JOINT = ("Flux", "Flux2 Klein", "QwenImage", "SD3", "Lumina2", "ZImage", "AuraFlow", "HiDream")
TWICE = ("HiDream",)  # these read a prompt by several encoders, so a word has no one place
REGISTERS = {"AuraFlow": 8}  # tokens of the network's own before those of text
FOUR_BLOCKS = ("Flux", "Flux2 Klein", "AuraFlow", "HiDream")
MARK = {"AuraFlow": 1e-4}  # what its random attention does at least, where that of others does 1e-3
MULTIPLE = {"ZImage": 32}  # to which a network pads the tokens of text, and those of the picture


class Deep:
    """A family with some blocks and heads, its prompts, and noise maps under the first."""

    def __init__(
        self,
        pack,
        comfy,
        name: str,
        cfg: float = 1.0,
        *,
        dtype=torch.float32,
        latent=None,
        images=1,
        variations=1,
        **inputs,
    ):
        self.told = FAMILIES[name] if latent is None else replace(FAMILIES[name], latent=latent)
        if name in DEEP:
            self.told = replace(self.told, network=self.told.network | DEEP[name][1] | HEADS.get(name, {}))
        if not self.told.is_in(comfy):
            pytest.skip(f"this ComfyUI has no {name}")
        self.name, self.cfg, self.run = name, cfg, pack.run
        self.model = inputs.pop("model", None) or self.told.model(comfy, dtype)
        self.source, self.target, self.negative = (self.told.prompt(seed) for seed in (1, 2, 3))
        self.source, self.image = inputs.pop("source", self.source), self.told.image(self.model, images)
        self.settings = {"steps": STEPS, "scheduler": self.told.scheduler, "seed": 1, "skip_steps": 0, "eta": 1.0}
        self.settings |= {"model": self.model, "latent_image": self.image, "negative": self.negative} | inputs
        inverted = {"positive": self.source, "cfg": cfg, "variations": variations}
        self.maps = pack.run("EditFriendlyInvert", **self.settings | inverted)[0]

    def share(self, method: str, **inputs):
        whole = {"start": 0.0, "end": 1.0}
        return self.run("EditFriendlyShareAttention", source=self.source, method=method, **whole | inputs)[0]

    def sampled(self, attention=None, target=None, **inputs) -> torch.Tensor:
        told = {"positive": self.target if target is None else target, "negative": self.negative, "cfg": self.cfg}
        told |= {"model": self.model, "noise_maps": self.maps, "skip_steps": 0, "attention": attention}
        return self.run("FixedNoiseSampler", **told | inputs)[0]["samples"]

    def mask(self, count: int = 1) -> torch.Tensor:
        """An empty MASK of the picture's size."""
        cell = self.model.get_model_object("latent_format").spacial_downscale_ratio
        return torch.zeros(count, *(cell * side for side in self.image["samples"].shape[-2:]))

    @cached_property
    def plain(self) -> torch.Tensor:
        """The run without attention."""
        return self.sampled()

    def in_one_pass(self, attention=None, target=None) -> torch.Tensor:
        pair = {"source": self.source, "target": self.target if target is None else target, "attention": attention}
        pair |= {"source_cfg": self.cfg, "target_cfg": self.cfg, "variations": 1}
        return self.run("EditFriendlyEdit", **self.settings | pair)[0]["samples"]

    def explicit(self, monkeypatch, edit, shared=()) -> torch.Tensor:
        """The target sampled beside the source, every map of every head written out.

        Args:
            edit: (number of the attention in the network, maps (R, H, N, M), values (R, H, M, D)) -> maps, values; the
                rows are source and target, under a negative prompt first those of its own.
            shared: (number, q, k) -> q, k, before the scores.
        """
        network, count = self.model.model, [0]
        prompts = [self.source, self.target] if self.cfg == 1 else [self.negative] * 2 + [self.source, self.target]

        def attention(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, **_):
            if not skip_reshape:
                q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
            if shared:
                q, k = shared(count[0], q, k)
            scores = q @ k.mT * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores + mask.view(len(mask), 1, *mask.shape[-2:])
            maps, v = edit(count[0], scores.softmax(dim=-1), v)
            count[0] += 1
            return (maps @ v).transpose(1, 2).flatten(-2)

        states, x = self.maps.states, self.maps.states[0].repeat(2, *[1] * (self.maps.image.ndim - 1))
        with monkeypatch.context() as patch:
            patch.setattr(DEEP[self.name][0], attention)
            for step in range(STEPS):
                at = self.maps.schedule.step(step)
                assert close(x[:1], states[step], 1e-4)  # the source's row comes along
                rows = x.repeat(len(prompts) // 2, *[1] * (x.ndim - 1))
                sigma = torch.full((len(rows),), at.sigma, dtype=torch.float32)
                count[0] = 0
                denoised = network.apply_model(rows, sigma, **self.told_to_the_network(prompts))
                if len(prompts) > 2:
                    without, under = denoised.chunk(2)
                    denoised = without + self.cfg * (under - without)
                x = at.mean(x, denoised) + self.maps.residuals[step]
        return network.process_latent_out(x[1:])

    def told_to_the_network(self, prompts) -> dict:
        """What the host makes of some prompts, each a row."""
        rows, like = [], self.maps.states[0]
        for ((text, more),) in prompts:
            conds = self.model.model.extra_conds(noise=like, device=like.device, cross_attn=text, **more)
            rows.append({name: cond.cond for name, cond in conds.items() if isinstance(cond.cond, torch.Tensor | int)})
        parts = {name: [row[name] for row in rows] for name in rows[0]}
        return {name: torch.cat(part) if isinstance(part[0], torch.Tensor) else part[0] for name, part in parts.items()}

    @property
    def text(self) -> int:
        """Tokens of text before those of the picture in an attention."""
        length = self.told_to_the_network([self.source])["c_crossattn"].shape[1] if self.name in JOINT else 0
        return length + -length % MULTIPLE.get(self.name, 1) + REGISTERS.get(self.name, 0)

    @property
    def words(self) -> slice:
        """The tokens of a prompt of `TOKENS` among those of text: behind Flux 2's padding, or AuraFlow's registers."""
        last = self.name in ("Flux2 Klein", *REGISTERS)
        return slice(self.text - TOKENS, self.text) if last else slice(TOKENS)

    @property
    def attentions(self) -> list[tuple[int, str]]:
        """The block of each in the order of the network, and what its queries read; -1 for what refines one of both."""
        blocks = range(4)
        if self.name == "SD3":
            return [(0, "both"), (0, "picture"), (1, "both"), (1, "picture"), (2, "both")]
        if self.name in JOINT:
            refining = [(-1, "")] * 2 if self.name in ("Lumina2", "ZImage") else []
            return refining + [(block, "both") for block in blocks]
        return [(block, reads) for block in blocks for reads in ("picture", "text")]

    def picture(self, number: int) -> slice:
        """Its tokens among the queries of an attention."""
        if self.attentions[number][1] != "both":
            return slice(None)
        *_, height, width = self.image["samples"].shape
        picture = height * width // 4
        if self.name in TWICE:
            return slice(picture)
        return slice(self.text, self.text + picture if self.name in MULTIPLE else None)

    def taking(self, takes: str, blocks, background=slice(None)) -> dict:
        """`explicit`'s edits that put the source's values, or keys and values, into the target's rows.

        Args:
            background: of the picture's tokens, bool (n,) or a slice.
        """
        at = {n for n, (block, reads) in enumerate(self.attentions) if block in blocks and reads != "text"}

        def taken(part, number):
            part, tokens = part.clone(), self.picture(number)
            for target in range(1, len(part), 2):
                part[target, :, tokens][:, background] = part[target - 1, :, tokens][:, background]
            return part

        return {
            "edit": lambda number, maps, v: (maps, taken(v, number) if number in at else v),
            "shared": lambda number, q, k: (q, taken(k, number) if number in at and takes == KEYS_AND_VALUES else k),
        }


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    """By which fraction of b's norm they differ."""
    return ((a - b).norm() / b.norm()).item()


def edit_of_words(seed: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random edit of 7 words: (7, 7) the mixture of the source's maps, which words take one, how much each counts."""
    draw = torch.Generator().manual_seed(seed)
    matrix, gain = (torch.rand(shape, generator=draw, dtype=torch.float64) for shape in ((TOKENS, TOKENS), (TOKENS,)))
    return matrix, torch.arange(TOKENS) != 2, gain + 0.5


def p2p(pack, of: Deep, matrix, shared, gain, **more):
    core = pack.core.attention
    cross = core.CrossEdit(matrix, shared, gain, ((0.0, 1.0),) * len(gain))
    return pack.host.attention_runs.AttentionEdit(of.source, "the source", core.AttentionControl(cross, **more))
