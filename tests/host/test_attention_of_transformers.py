"""Attention edits in the host's own transformers, beside the same written out with explicit maps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from support.attention_edits import close
from support.families import FAMILIES

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
}
HEADS = {"Flux": {"num_heads": 2}, "Flux2 Klein": {"num_heads": 2}, "QwenImage": {"num_attention_heads": 2}}
JOINT = ("Flux", "Flux2 Klein", "QwenImage")


class Deep:
    """A family with some blocks and heads, its prompts, and noise maps under the first."""

    def __init__(self, pack, comfy, name: str, cfg: float = 1.0, images: int = 1):
        self.told = FAMILIES[name]
        self.told = replace(self.told, network=self.told.network | DEEP[name][1] | HEADS.get(name, {}))
        if not self.told.is_in(comfy):
            pytest.skip(f"this ComfyUI has no {name}")
        self.name, self.cfg, self.run = name, cfg, pack.run
        self.model = self.told.model(comfy)
        self.source, self.target, self.negative = (self.told.prompt(seed) for seed in (1, 2, 3))
        self.image = self.told.image(self.model, images)
        self.maps = pack.run(
            "EditFriendlyInvert",
            model=self.model,
            latent_image=self.image,
            positive=self.source,
            negative=self.negative,
            steps=STEPS,
            scheduler=self.told.scheduler,
            seed=1,
            cfg=cfg,
            skip_steps=0,
            variations=1,
            eta=1.0,
        )[0]

    def share(self, method: str, **inputs):
        whole = {"start": 0.0, "end": 1.0}
        return self.run("EditFriendlyShareAttention", source=self.source, method=method, **whole | inputs)[0]

    def sampled(self, attention=None, target=None, **inputs) -> torch.Tensor:
        told = {"positive": self.target if target is None else target, "negative": self.negative, "cfg": self.cfg}
        return self.run(
            "FixedNoiseSampler",
            model=self.model,
            noise_maps=self.maps,
            skip_steps=0,
            **told | {"attention": attention} | inputs,
        )[0]["samples"]

    def explicit(self, monkeypatch, edit, shared=()) -> torch.Tensor:
        """The target sampled beside the source, every map of every head written out.

        Args:
            edit: (number of the attention in the network, scores (R, H, N, M), values (R, H, M, D)) -> maps, values; the
                rows are source and target, under a negative prompt first those of its own.
            shared: (number, q, k) -> q, k, before the scores.
        """
        network, count = self.model.model, [0]
        prompts = [self.source, self.target] if self.cfg == 1 else [self.negative] * 2 + [self.source, self.target]

        def attention(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, **_):
            if not skip_reshape:
                q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
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
            told = {name: value for name, value in more.items() if value is not None}
            conds = self.model.model.extra_conds(noise=like, device=like.device, cross_attn=text, **told)
            rows.append({name: cond.cond for name, cond in conds.items() if isinstance(cond.cond, torch.Tensor)})
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    @property
    def text(self) -> int:
        """Tokens of text before those of the picture in an attention."""
        return self.told_to_the_network([self.source])["c_crossattn"].shape[1] if self.name in JOINT else 0

    def of_the_picture(self, numbers) -> set[int]:
        """Of attentions in the order of the blocks, their numbers in the network: others read the text alone."""
        return set(numbers) if self.name in JOINT else {2 * number for number in numbers}

    def taking(self, takes: str, blocks, background=slice(None)) -> dict:
        """`explicit`'s edits that put the source's values, or keys and values, into the target's rows.

        Args:
            background: of the picture's tokens, bool (n,) or a slice.
        """
        at, text = self.of_the_picture(blocks), self.text

        def taken(part):
            part = part.clone()
            for target in range(1, len(part), 2):
                part[target, :, text:][:, background] = part[target - 1, :, text:][:, background]
            return part

        return {
            "edit": lambda number, maps, v: (maps, taken(v) if number in at else v),
            "shared": lambda number, q, k: (q, taken(k) if number in at and takes == KEYS_AND_VALUES else k),
        }


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("method", [VALUES, KEYS_AND_VALUES])
@pytest.mark.parametrize("family", DEEP)
def test_parity_of_sharing_with_maps_written_out(pack, comfy, monkeypatch, family, method, cfg):
    deep = Deep(pack, comfy, family, cfg)
    expected = deep.explicit(monkeypatch, **deep.taking(method, range(4)))
    out = deep.sampled(deep.share(method))
    print(family, cfg, ((out - expected).norm() / expected.norm()).item(), ((out - deep.sampled()).norm() / expected.norm()).item())
    assert close(out, expected)
    assert not close(out, deep.sampled(), 1e-4)
