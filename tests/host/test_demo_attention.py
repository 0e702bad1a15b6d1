"""Attention edits of a scene of the demo model, which has learned what the words mean."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from support.attention_edits import MASACTRL, close

RED, GREEN = "a red circle left on a blue ground", "a green circle left on a blue ground"
HELD = {"cross_steps": 0.6, "self_steps": 0.2}


@pytest.fixture(scope="module")
def demo(demo_model, demo_scene, run_node):
    """The demo model, and a scene with noise maps under its caption: both in one."""
    scene, empty = demo_scene(RED, seed=1), demo_model.prompt("")
    settings = {"latent_image": scene.latent, "positive": scene.prompt, "negative": empty, "steps": 25, "cfg": 1.0}
    (maps,) = run_node("EditFriendlyInvert", demo_model.model, **settings)
    return SimpleNamespace(**vars(demo_model) | vars(scene) | {"negative": empty, "maps": maps})


def test_a_real_image_comes_back_under_its_own_caption(demo, prompts, sample):
    p = prompts(RED, RED, clip=demo.clip, cross_steps=1.0, self_steps=1.0, self_size=1.0)
    back = sample(
        demo.model,
        demo.maps,
        positive=p.target,
        negative=demo.negative,
        cfg=1.0,
        attention=p.edit,
    )
    assert close(back, demo.latent["samples"])


def test_prompt_to_prompt_keeps_more_of_a_real_image(demo, prompts, sample):
    p = prompts(RED, GREEN, clip=demo.clip, **HELD)
    maps, run = demo.maps, {"positive": p.target, "negative": demo.negative, "cfg": 4.0}
    x, outside = demo.latent["samples"], 1 - demo.mask[:, None]

    def moved(result: torch.Tensor, where: torch.Tensor) -> float:
        return ((result - x).abs() * where).sum().item() / where.sum().item()

    plain, edited = (sample(demo.model, maps, attention=edit, **run) for edit in (None, p.edit))
    assert moved(edited, outside) < 0.95 * moved(plain, outside)
    assert moved(edited, 1 - outside) > 0.5 * moved(plain, 1 - outside)  # the object has another color in both


def test_a_color_word_finds_its_object(pack, demo):
    maps = demo.maps
    settings = {"model": demo.model, "clip": demo.clip, "noise_maps": maps, "caption": RED}
    settings |= {"threshold": 0.3, "levels": 7, "start": 0.2, "end": 0.8, "grow": 0}
    mask, preview = pack.run("EditFriendlyWordMask", words="red", image=demo.image, **settings)
    assert mask.shape == demo.mask.shape and preview.shape == (1, 32, 64, 3)
    both = (mask > 0.5) & (demo.mask > 0.5)
    assert both.sum() > 0.9 * (demo.mask > 0.5).sum()
    assert (mask > 0.5).sum() < 3 * (demo.mask > 0.5).sum()
    ground, _ = pack.run("EditFriendlyWordMask", words="blue", **settings)
    assert ((ground > 0.5) & (demo.mask > 0.5)).sum() < 0.2 * (demo.mask > 0.5).sum()
    with pytest.raises(ValueError, match="'green' is not in the caption; these words are: a, red, circle"):
        pack.run("EditFriendlyWordMask", words="green", **settings)
    with pytest.raises(ValueError, match="no words to look for"):
        pack.run("EditFriendlyWordMask", words=" , ", **settings)


def test_a_method_that_finds_no_layer(demo, prompts, sample, share):
    """The demo model has attention at a quarter of the side alone, and MasaCtrl acts at half of it and more."""
    p = prompts(RED, GREEN, clip=demo.clip, **HELD)
    run = {"positive": p.target, "negative": demo.negative, "cfg": 2.0}
    with pytest.raises(ValueError, match="does nothing with this model"):
        sample(demo.model, demo.maps, attention=share(p.source, MASACTRL), **run)
