"""Attention edits in the host's own UNet class: what they give, what remains of them, what they cost."""

from __future__ import annotations

import pytest
import torch

from support.attention_edits import (
    MASACTRL,
    PNP,
    ROUNDING,
    SKIP,
    SOURCE,
    STEPS,
    VALUES,
    close,
    every_edit,
    rows_of_calls,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["sd15_tall", "sdxl_tall"])
def test_the_same_text_twice_gives_the_image_back(
    random_model, prompts, maps_of, small, sample, edit, share, kind, dtype
):
    model = random_model(kind, dtype)
    p = prompts(target=SOURCE, kind=kind, cross_steps=1.0, self_steps=1.0, self_size=1.0)
    image = small(kind)["samples"]
    maps, guided = maps_of(model, p, kind, cfg=1.0), maps_of(model, p, kind)
    pair = {"source": p.source, "target": p.target, "latent_image": small(kind), "steps": STEPS}
    for name, attention in every_edit(p, share).items():
        assert close(sample(model, maps, kind, positive=p.target, cfg=1.0, attention=attention), image), name
        assert close(edit(model, kind, attention=attention, source_cfg=1.0, target_cfg=1.0, **pair), image), name
        assert close(sample(model, guided, kind, positive=p.target, attention=attention), image, ROUNDING), name


def test_nothing_stays_of_an_edit(comfy, random_model, prompts, maps_of, sample, share, monkeypatch):
    """The next run without it is bit for bit the run before it: after a run, an error in the network, an interrupt."""
    model = random_model("sd15_tall")
    p = prompts()
    maps = maps_of(model, p)
    edit = p.edit.and_also(share(p.source, PNP))
    plain = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    before = sample(model, maps, "sd15_tall", **plain)
    edited = sample(model, maps, "sd15_tall", attention=edit, **plain)
    assert not close(edited, before, 1e-3)
    assert torch.equal(sample(model, maps, "sd15_tall", **plain), before)
    assert torch.equal(sample(model, maps, "sd15_tall", attention=edit, **plain), edited)

    network = model.model.diffusion_model
    with monkeypatch.context() as patch:
        patch.setattr(network.output_blocks[3][0].out_layers[0], "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample(model, maps, "sd15_tall", attention=edit, **plain)

    def stop(value, total, preview, **_):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    comfy.utils.set_progress_bar_global_hook(stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(model, maps, "sd15_tall", attention=edit, **plain)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert torch.equal(sample(model, maps, "sd15_tall", **plain), before)
    assert not any(module._forward_hooks for module in network.modules())
    assert model.model_options == {"transformer_options": {}}


@pytest.mark.parametrize("method", [None, PNP, MASACTRL, VALUES])
def test_one_call_or_several(random_model, prompts, maps_of, sample, share, monkeypatch, method):
    """With little memory the host calls each prompt by itself, the negative one last."""
    model = random_model("sd15_tall")
    p = prompts()
    edit = p.edit if method is None else share(p.source, method, start=0.0, end=1.0)
    maps = maps_of(model, p)
    calls = rows_of_calls(model, monkeypatch)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": edit}
    together, one = sample(model, maps, "sd15_tall", **run), len(calls)
    calls.clear()
    monkeypatch.setattr(type(model.model), "memory_required", lambda *_, **__: 1e18)
    assert close(sample(model, maps, "sd15_tall", **run), together)
    # Prompt-to-Prompt alone leaves the negative prompt out of the calls that it shares
    assert len(calls) > one if method is None else len(calls) == 2 * one


def test_cost_in_rows(random_model, prompts, maps_of, sample, share, edit, small, monkeypatch):
    """Of two images, three steps: what acts in the first half takes the source's rows in the first two (2 of 4)."""
    model = random_model("sd15_tall")
    p = prompts(cross_steps=0.5, self_steps=0.25)
    maps = maps_of(model, p, latent_image=small(batch=2))
    calls = rows_of_calls(model, monkeypatch)

    def rows(**inputs) -> list[int]:
        calls.clear()
        sample(model, maps, "sd15_tall", **({"positive": p.target, "cfg": 7.0, "skip_steps": SKIP} | inputs))
        return calls.copy()

    assert rows() == [4, 4, 4]
    assert rows(attention=p.edit) == [4, 2, 4, 2, 4]
    assert rows(attention=p.edit, cfg=1.0) == [4, 4, 2]
    assert rows(attention=share(p.source, MASACTRL, start=0.0, end=0.5)) == [8, 8, 4]
    assert rows(attention=share(p.source, PNP)) == [8, 8, 8]
    assert rows(attention=share(p.source, PNP, features_end=0.0)) == [8, 8, 4]
    calls.clear()
    pair = {"source": p.source, "target": p.target, "latent_image": small(batch=2), "steps": STEPS}
    edit(model, "sd15_tall", **pair)
    without = calls.copy()
    calls.clear()
    edit(model, "sd15_tall", attention=p.edit, **pair)
    assert calls == without == [8, 8, 8]


def test_variations_are_each_what_they_are_alone(random_model, prompts, maps_of, sample, small, share):
    model = random_model("sd15_tall")
    p = prompts()
    edit = p.edit.and_also(share(p.source, MASACTRL))
    both = small(batch=2)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": edit}
    rows = sample(model, maps_of(model, p, latent_image=both, variations=2), "sd15_tall", **run)
    for row in range(4):
        alone = {"samples": both["samples"][row % 2 :][:1]}
        maps = maps_of(model, p, latent_image=alone, seed=3 + row // 2)
        assert close(rows[row : row + 1], sample(model, maps, "sd15_tall", **run))


def test_a_guidance_schedule(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall")
    p = prompts()
    maps = maps_of(model, p)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": p.edit}
    constant = sample(model, maps, "sd15_tall", cfg_schedule="linear", end_cfg=7.0, **run)
    assert close(constant, sample(model, maps, "sd15_tall", **run))


def test_edit_in_one_pass_is_inversion_and_sampling(random_model, prompts, maps_of, sample, edit, small, share):
    model = random_model("sd15_tall")
    p = prompts()
    for attention in every_edit(p, share).values():
        maps = maps_of(model, p, skip_steps=SKIP, scheduler="simple")
        run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": attention}
        pair = {"source": p.source, "target": p.target, "latent_image": small(), "steps": STEPS}
        one = edit(model, "sd15_tall", attention=attention, **pair)
        assert close(one, sample(model, maps, "sd15_tall", **run))
        assert not close(one, edit(model, "sd15_tall", **pair), 1e-3)


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("EditFriendlyCycleDiffusionInvert", {}),
        ("EditFriendlyTurboInvert", {"clip_last": 0.0}),
        ("EditFriendlyTurboInvert", {}),
        ("EditFriendlyDDIMInvert", {}),
        ("EditFriendlyDDIMInvert", {"keep_residuals": False}),
        ("EditFriendlyNullTextInvert", {"inner_steps": 2}),
        ("EditFriendlySampleWithNoiseMaps", {}),
    ],
)
def test_maps_of_every_inversion(random_model, run_node, prompts, sample, small, node, inputs):
    """With the inversion's prompt on both sides an edit changes nothing, where the maps replay the image exactly."""
    model = random_model("sd15_tall")
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    settings = {"positive": p.source, "latent_image": small(), "steps": STEPS, "cfg": 1.5}
    *_, maps = run_node(node, model, "sd15_tall", **(settings | inputs))
    run = {"skip_steps": maps.skipped, "cfg": 1.5}
    plain = sample(model, maps, "sd15_tall", positive=p.source, **run)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit, **run)
    exact = close(plain, model.model.process_latent_out(maps.image), ROUNDING)
    near = [
        ("EditFriendlyDDIMInvert", {"keep_residuals": False}),
        ("EditFriendlyNullTextInvert", {"inner_steps": 2}),
        ("EditFriendlyTurboInvert", {}),
    ]
    assert exact == ((node, inputs) not in near)
    assert not exact or close(back, plain, ROUNDING)
    edited = sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit, **run)
    assert not close(edited, sample(model, maps, "sd15_tall", positive=p.target, **run), 100 * ROUNDING)


def test_a_local_blend_leaves_the_rest_of_the_image(random_model, prompts, maps_of, sample, small, edit):
    model = random_model("sd15_tall")
    run = {"cfg": 7.0, "skip_steps": SKIP}
    p = prompts(blend_words="cat, dog", blend_threshold=0.8)
    maps = maps_of(model, p)
    moved = (sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit, **run) - small()["samples"]).abs()
    kept = (moved.amax(dim=1) < 1e-5).float().mean()
    assert 0.2 < kept < 1
    everywhere = prompts(blend_words="cat, dog", blend_threshold=0.0)
    moved = sample(model, maps, "sd15_tall", positive=p.target, attention=everywhere.edit, **run) - small()["samples"]
    assert (moved.abs().amax(dim=1) < 1e-5).float().mean() < 0.1
    pair = {
        "source": p.source,
        "target": p.target,
        "latent_image": small(),
        "steps": STEPS,
        "scheduler": "ddim_uniform",
    }
    one = edit(model, "sd15_tall", attention=p.edit, **pair)
    again = maps_of(model, p, skip_steps=SKIP)
    assert close(one, sample(model, again, "sd15_tall", positive=p.target, attention=p.edit, **run))
