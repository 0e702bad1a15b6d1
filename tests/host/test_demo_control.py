"""Parity: attention edits in the demo's own network are those of the pack's nodes in the host's."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from ddpm_core.attention import METHODS, fine_output
from ddpm_core.sampling import sample as sample_core
from ddpm_core.zero_shot import zero_shot
from demo.model import load_model
from tools.lab.control import EditedDenoiser, Sites, prompt_to_prompt, sharing
from tools.lab.settings import PromptToPrompt
from tools.lab.zero_shot import DemoGuidance

SOURCE, TARGET = "a red circle left on a blue ground", "a green circle left on a blue ground"
STEPS, SKIP, CFG = 20, 2, 3.0
COARSE = "MasaCtrl at 1/4"  # the published rule of layers selects none of this model, which the node refuses


@pytest.fixture(scope="module")
def in_host(demo_model, demo_scene, invert, sample):
    """run(attention) -> (1, 3, 32, 32), a color edit by the nodes; its noise maps, CLIP and source."""
    model, scene = demo_model.model, demo_scene(SOURCE, seed=1)
    target, negative = (demo_model.prompt(text) for text in (TARGET, ""))
    prompts = {"positive": scene.prompt, "negative": negative}
    maps = invert(model, latent_image=scene.latent, steps=STEPS, cfg=1.0, skip_steps=SKIP, **prompts)

    def run(attention):
        return sample(model, maps, positive=target, negative=negative, cfg=CFG, attention=attention)

    return run, maps, demo_model.clip, scene.prompt


def by_the_core(edit, maps):
    denoiser = EditedDenoiser(load_model(), edit, [SOURCE], [TARGET], CFG, maps)
    return sample_core(denoiser, maps, mask_after=denoiser.mask_after)


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        ({}, PromptToPrompt()),
        ({"reweight": "green: 2"}, PromptToPrompt(gain=2.0)),
        (
            {"changed_words": "own map", "cross_steps": 0.3, "self_steps": 0.5, "self_size": 0.125},
            PromptToPrompt(0.3, 0.5, self_size=0.125, own_map=True),
        ),
        ({"blend_words": "red, green", "blend_threshold": 0.5}, PromptToPrompt(blend_threshold=0.5)),
    ],
    ids=["plain", "reweight", "own map", "local blend"],
)
def test_prompt_to_prompt_is_the_nodes(pack, in_host, inputs, settings):
    run, maps, clip, _ = in_host
    defaults = {"mode": "auto", "cross_steps": settings.cross_steps, "self_steps": settings.self_steps}
    edit, *_ = pack.run(
        "EditFriendlyPromptToPrompt", clip=clip, source_text=SOURCE, target_text=TARGET, **(defaults | inputs)
    )
    ours = by_the_core(prompt_to_prompt(SOURCE, TARGET, settings, ("red", "green")), maps)
    torch.testing.assert_close(ours, run(edit), atol=1e-4, rtol=0)
    assert (ours - run(None)).abs().mean() > 1e-3, "it should do something"


@pytest.mark.parametrize("name", ["Plug-and-Play", "values only", COARSE])
def test_shared_self_attention_is_the_nodes(pack, in_host, monkeypatch, name):
    run, maps, _, source = in_host
    method = METHODS.get(name) or replace(METHODS["MasaCtrl"], where=fine_output(0.25))
    if name == COARSE:
        in_pack = sys.modules[f"{pack.root}.ddpm_core.attention"]
        monkeypatch.setitem(
            in_pack.METHODS, name, replace(in_pack.METHODS["MasaCtrl"], where=in_pack.fine_output(0.25))
        )
    (edit,) = pack.run("EditFriendlyShareAttention", source=source, method=name)
    ours = by_the_core(sharing(method), maps)
    torch.testing.assert_close(ours, run(edit), atol=1e-4, rtol=0)
    assert (ours - run(None)).abs().max() > 1e-4


@pytest.mark.parametrize("cfg", [CFG, 1.0])
def test_zero_shot_guidance_is_the_nodes(pack, demo_model, in_host, cfg):
    _, maps, _, source = in_host
    prompts = {"source": source, "target": demo_model.prompt(TARGET), "negative": demo_model.prompt("")}
    inputs = {"model": demo_model.model, "noise_maps": maps, "cfg": cfg, **prompts}
    host, without = (
        pack.run("EditFriendlyZeroShotImageToImage", **inputs, guidance_weight=weight, skip_steps=SKIP)[0]["samples"]
        for weight in (0.3, 0.0)
    )
    ours = zero_shot(DemoGuidance(load_model(), [SOURCE], [TARGET], cfg), maps, weight=0.3)
    torch.testing.assert_close(ours, host, atol=1e-4, rtol=0)
    assert (ours - without).abs().mean() > 1e-3, "it should do something"


def test_transformers_stand_where_the_host_finds_them(pack, demo_model):
    blocks = sys.modules[f"{pack.root}.nodes.attention"].Blocks.of(demo_model.model.model.diffusion_model)
    ours = Sites.of(load_model().network)
    assert [vars(place) for place in ours.places] == [vars(place) for place in blocks.places]
    assert {(p.part, p.block) for places in ours.branches.values() for p in places} == set(blocks.branches)
