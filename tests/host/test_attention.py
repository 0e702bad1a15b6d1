"""Attention edits in the host's own UNet."""

from __future__ import annotations

import pytest

SOURCE, TARGET = "a red circle left on a blue ground", "a green circle left on a blue ground"


@pytest.fixture(scope="module")
def demo(pack):
    """The demo model, its CLIP, and an image of the source prompt as a LATENT."""
    model, clip, vae = pack.run("LoadDemoModel")
    image, _, caption = pack.run("LoadDemoImage", scene=SOURCE, seed=1)
    assert caption == SOURCE
    return model, clip, {"samples": vae.encode(image)}


def p2p(pack, clip, source=SOURCE, target=TARGET, **inputs):
    defaults = {"mode": "auto", "cross_steps": 0.6, "self_steps": 0.2}
    return pack.run("PromptToPrompt", clip=clip, source_text=source, target_text=target, **(defaults | inputs))


def test_quick(pack, demo, run_node, sample):
    model, clip, latent = demo
    edit, source, target = p2p(pack, clip)
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    maps = run_node(
        "EditFriendlyInvert",
        model,
        positive=source,
        negative=negative,
        latent_image=latent,
        steps=50,
        cfg=1.0,
        skip_steps=6,
    )[0]
    plain = sample(model, maps, positive=target, negative=negative, cfg=2.0)
    edited = sample(model, maps, positive=target, negative=negative, cfg=2.0, attention=edit)
    x = latent["samples"]
    print((plain - x).abs().mean(), (edited - x).abs().mean(), (plain - edited).abs().mean())
    same, source, target = p2p(pack, clip, target=SOURCE, cross_steps=1.0, self_steps=1.0)
    back = sample(model, maps, positive=target, negative=negative, cfg=1.0, attention=same)
    print((back - x).abs().max())
    assert 0
