"""Attention edits of a scene of the demo model, with any weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from support.attention_edits import MASACTRL, close

BLUE = "a blue clay vase with two lemons on a wooden table by day"
GREEN = BLUE.replace("blue", "green")


@pytest.fixture(scope="module")
def demo(demo_model, demo_scene, run_node):
    """The demo model, and a scene with noise maps under its caption: both in one."""
    scene, empty = demo_scene(BLUE, seed=2), demo_model.prompt("")
    settings = {"latent_image": scene.latent, "positive": scene.prompt, "negative": empty, "steps": 8, "cfg": 1.0}
    (maps,) = run_node("EditFriendlyInvert", demo_model.model, **settings)
    return SimpleNamespace(**vars(demo_model) | vars(scene) | {"negative": empty, "maps": maps})


def test_a_real_image_comes_back_under_its_own_caption(demo, prompts, sample):
    p = prompts(BLUE, BLUE, clip=demo.clip, cross_steps=1.0, self_steps=1.0, self_size=1.0)
    back = sample(demo.model, demo.maps, positive=p.target, negative=demo.negative, cfg=1.0, attention=p.edit)
    assert close(back, demo.latent["samples"])


def test_masactrl_finds_layers_of_this_model(demo, prompts, sample, share):
    """It acts at half the latent's side and more, where the demo model has attention, too."""
    p = prompts(BLUE, GREEN, clip=demo.clip)
    run = {"positive": p.target, "negative": demo.negative, "cfg": 2.0}
    plain, shared = (sample(demo.model, demo.maps, attention=e, **run) for e in (None, share(p.source, MASACTRL)))
    assert not close(plain, shared)


def test_words_of_the_caption_have_a_mask_in_the_size_of_the_image(pack, demo):
    settings = {"model": demo.model, "clip": demo.clip, "noise_maps": demo.maps, "caption": BLUE}
    settings |= {"threshold": 0.3, "levels": 3, "start": 0.2, "end": 0.8, "grow": 0}
    mask, preview = pack.run("EditFriendlyWordMask", words="blue", image=demo.image, **settings)
    assert mask.shape == demo.mask.shape and preview.shape == (1, 128, 256, 3)
    with pytest.raises(ValueError, match="'green' is not in the caption; these words are: a, blue, clay"):
        pack.run("EditFriendlyWordMask", words="green", **settings)
    with pytest.raises(ValueError, match="no words to look for"):
        pack.run("EditFriendlyWordMask", words=" , ", **settings)
