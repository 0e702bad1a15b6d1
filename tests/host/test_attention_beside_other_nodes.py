"""Attention edits beside what the host and other packs put into a graph: guiders, LoRA, ControlNet, patches."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch

from support.attention_edits import ROUNDING, SKIP, SOURCE, VALUES, close, rows_of_calls

# --- guiders ----------------------------------------------------------------------------------------------------------


def test_any_guider_of_the_host(random_model, conditioning, prompts, maps_of, sample, small, host_node, run_custom):
    """CFGGuider lists the positive prompt first, DualCFGGuider last, BasicGuider has no other."""
    model, negative = random_model("sd15_tall"), conditioning("sd15_tall", 2)
    p = prompts()
    maps = maps_of(model, p)
    common = {"positive": p.target, "skip_steps": SKIP, "attention": p.edit}
    cfg = host_node("CFGGuider", model=model, positive=p.target, negative=negative, cfg=7.0)[0]
    expected = sample(model, maps, "sd15_tall", cfg=7.0, **common)
    assert torch.equal(run_custom(cfg, maps, small(), skip_steps=SKIP, attention=p.edit), expected)
    (basic,) = host_node("BasicGuider", model=model, conditioning=p.target)
    expected = sample(model, maps, "sd15_tall", cfg=1.0, **common)
    assert close(run_custom(basic, maps, small(), skip_steps=SKIP, attention=p.edit), expected)
    (dual,) = host_node(
        "DualCFGGuider",
        model=model,
        cond1=p.target,
        cond2=negative,
        negative=negative,
        cfg_conds=7.0,
        cfg_cond2_negative=3.0,
        style="regular",
    )
    # with its second prompt the negative, what it does is plain guidance
    expected = sample(model, maps, "sd15_tall", cfg=7.0, **common)
    assert close(run_custom(dual, maps, small(), skip_steps=SKIP, attention=p.edit), expected)


def test_a_guider_that_goes_its_own_way(comfy, random_model, prompts, maps_of, small, run_custom):
    model = random_model("sd15_tall")
    p = prompts()

    class Own(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            return 0.5 * x

    guider = Own(model)
    guider.set_conds(p.target, p.target)
    with pytest.raises(ValueError, match="guider calls the model in a way of its own"):
        run_custom(guider, maps_of(model, p), small(), skip_steps=SKIP, attention=p.edit)


def test_a_patch_that_looks_for_both_prompts_in_a_call(comfy, host_node, random_model, prompts, maps_of, sample, small):
    """Normalized Attention Guidance acts in the steps of Prompt-to-Prompt as in those of the inversion."""
    if "NAGuidance" not in comfy.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no Normalized Attention Guidance")
    (model,) = host_node("NAGuidance", model=random_model("sd15_tall"), nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
    same = prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, same, cfg=3.0)
    run = {"positive": same.target, "attention": same.edit, "cfg": 3.0}
    assert close(sample(model, maps, "sd15_tall", **run), small()["samples"], 100 * ROUNDING)


def test_a_guider_that_calls_the_target_in_a_mean_with_others(
    pack, host_node, random_model, conditioning, prompts, maps_of, small, run_custom
):
    """Where a patch acts on the host's own guidance, which has two prompts, h-Edit at cfg 1 is one mean of two."""
    plain = random_model("sd15_tall")
    (model,) = host_node("RescaleCFG", model=plain, multiplier=0.7)
    p = prompts()
    maps = maps_of(plain, p, cfg=1.0)
    inputs = {"source": p.source, "target": p.target, "negative": conditioning("sd15_tall", 2)}
    of = {cfg: {**inputs, "guidance": "h-Edit", "cfg": cfg, "source_cfg": 3.0} for cfg in (1.0, 2.0)}
    (guider,) = pack.run("EditFriendlyEditGuider", model=model, **of[1.0])
    with pytest.raises(ValueError, match="h-Edit at cfg 1 .*remove those, or use another cfg"):
        run_custom(guider, maps, small(), skip_steps=SKIP, attention=p.edit)
    (guider,) = pack.run("EditFriendlyEditGuider", model=model, **of[2.0])
    edited, without = (run_custom(guider, maps, small(), skip_steps=SKIP, attention=a) for a in (p.edit, None))
    assert not close(edited, without, 100 * ROUNDING)


# --- models that were changed -----------------------------------------------------------------------------------------


def test_lora(comfy, random_model, random_lora, prompts, maps_of, sample, small):
    plain = random_model("sd15_tall")
    model, _ = comfy.sd.load_lora_for_models(plain, None, random_lora(plain), 1.0, 0.0)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p, cfg=1.0)
    run = {"positive": same.target, "attention": same.edit, "cfg": 1.0}
    assert close(sample(model, maps, "sd15_tall", **run), small()["samples"], ROUNDING)
    assert not close(sample(plain, maps, "sd15_tall", **run), small()["samples"], 100 * ROUNDING)


def test_control_net(comfy, random_model, random_control_net, conditioning, prompts, maps_of, sample, small, edit):
    """On the target's prompt it guides the source's rows too, as it did when the image was inverted."""
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet
    model, negative = random_model("sd15"), conditioning("sd15", 2)
    hint = torch.rand((1, 128, 128, 3), generator=torch.Generator().manual_seed(0))
    p = prompts(kind="sd15")
    same = prompts(target=SOURCE, kind="sd15", cross_steps=1.0, self_steps=1.0)

    def controlled(positive, strength: float = 1.0) -> dict:
        return dict(
            zip(
                ("positive", "negative"),
                apply(positive, negative, random_control_net, hint, strength, 0.0, 0.8),
                strict=True,
            )
        )

    maps = maps_of(model, p, "sd15", **controlled(p.source))
    back = sample(model, maps, "sd15", attention=same.edit, **controlled(same.target))
    assert close(back, small("sd15")["samples"], ROUNDING)
    run = {"cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15", attention=p.edit, **run, **controlled(p.target))
    assert not close(edited, sample(model, maps, "sd15", **run, **controlled(p.target)), 1e-3)
    target = controlled(p.target)
    with pytest.raises(ValueError, match="attention needs source and target in one call"):
        edit(model, "sd15", source=p.source, target=target["positive"], attention=p.edit, latent_image=small("sd15"))


def test_an_adapter_of_another_node_is_still_called(random_model, prompts, maps_of, sample, small, monkeypatch):
    """As IP-Adapter does: attention to the text, and a picture's on top, each by its own rows."""
    plain, seen = random_model("sd15_tall"), []

    def adapter(q, k, v, options):  # the host gives it by place
        import comfy.ldm.modules.attention as host

        picture = torch.randn(1, 4, k.shape[-1], generator=torch.Generator().manual_seed(6)).repeat(len(q), 1, 1)
        seen.append(len(q))
        text = host.optimized_attention(q, k, v, options["n_heads"])
        return text + 0.3 * host.optimized_attention(q, picture, picture, options["n_heads"])

    model = plain.clone()
    for block in (("middle", 0), ("output", 0), ("output", 2, 0)):
        model.set_model_attn2_replace(adapter, *block)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    calls = rows_of_calls(model, monkeypatch)
    seen.clear()
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert len(seen) == 3 * len(calls)
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)


@pytest.mark.parametrize("node", ["FreeU_V2", "PerturbedAttentionGuidance", "HyperTile", "RescaleCFG"])
def test_patches_of_the_host(host_node, random_model, prompts, maps_of, sample, small, node):
    inputs = {
        "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        "PerturbedAttentionGuidance": {"scale": 2.0},
        "HyperTile": {"tile_size": 64, "swap_size": 1, "max_depth": 0, "scale_depth": False},
        "RescaleCFG": {"multiplier": 0.7},
    }[node]
    plain = random_model("sd15_tall")
    (model,) = host_node(node, model=plain, **inputs)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)
    assert not close(edited, sample(plain, maps, "sd15_tall", attention=p.edit, **run), 1e-3)


# --- what cannot share ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("TomePatchModel", {"ratio": 0.3}, "Tome Patch Model"),
        ("SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}, "Self-Attention Guidance"),
    ],
)
def test_what_cannot_share_is_refused_by_name(
    host_node, random_model, prompts, maps_of, sample, share, node, inputs, message
):
    plain = random_model("sd15_tall")
    (model,) = host_node(node, model=plain, **inputs)
    p = prompts()
    with pytest.raises(ValueError, match=message):
        sample(model, maps_of(plain, p), "sd15_tall", positive=p.target, attention=everywhere(p, share))


def everywhere(p, share):
    """Prompt-to-Prompt, and values shared at all sizes: Tome merges pixels at the largest alone."""
    return p.edit.and_also(share(p.source, VALUES, start=0.0, end=1.0))


def test_merged_pixels_are_no_matter_where_nothing_is_shared(host_node, random_model, prompts, maps_of, sample):
    """Prompt-to-Prompt shares maps of a quarter of the latent's side and less, which Tome leaves alone."""
    plain, p = random_model("sd15_tall"), prompts()
    (model,) = host_node("TomePatchModel", model=plain, ratio=0.3)
    assert sample(model, maps_of(plain, p), "sd15_tall", positive=p.target, attention=p.edit).isfinite().all()


def test_a_mask_has_no_place_among_tiles(host_node, random_model, prompts, maps_of, sample, share):
    """Of HyperTile; without it, all of the picture under the mask is the run without attention."""
    plain, p = random_model("sd15_tall"), prompts()
    (model,) = host_node("HyperTile", model=plain, tile_size=64, swap_size=1, max_depth=0, scale_depth=False)
    maps, mask = maps_of(plain, p), torch.ones(1, 128, 128)
    edit = share(p.source, VALUES, start=0.0, end=1.0, mask=mask)
    run = {"positive": p.target, "cfg": 7.0}
    with pytest.raises(ValueError, match="parts of each picture as rows of their own, as HyperTile does"):
        sample(model, maps, "sd15_tall", attention=edit, **run)
    edited, without = (sample(plain, maps, "sd15_tall", attention=a, **run) for a in (edit, None))
    assert close(edited, without, ROUNDING)


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("TomePatchModel", {"ratio": 0.3}, "Tome Patch Model"),
        ("SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}, "Self-Attention Guidance"),
    ],
)
def test_it_is_known_by_what_it_does_not_by_its_makers_name(
    host_node, random_model, prompts, maps_of, sample, share, node, inputs, message
):
    """As after a rename upstream."""
    plain = random_model("sd15_tall")
    (model,) = host_node(node, model=plain, **inputs)
    options = model.model_options["transformer_options"]
    patches = [patch for patches in options.get("patches", {}).values() for patch in patches]
    patches += options.get("patches_replace", {}).get("attn1", {}).values()
    assert patches
    for patch in patches:
        patch.__qualname__ = patch.__name__ = "renamed"
    p = prompts()
    with pytest.raises(ValueError, match=message):
        sample(model, maps_of(plain, p), "sd15_tall", positive=p.target, attention=everywhere(p, share))


def test_perturbed_attention_guidance_is_not_taken_for_it(host_node, random_model, prompts, maps_of, sample):
    plain, p = random_model("sd15_tall"), prompts()
    (model,) = host_node("PerturbedAttentionGuidance", model=plain, scale=2.0)
    assert sample(model, maps_of(plain, p), "sd15_tall", positive=p.target, attention=p.edit).isfinite().all()


def test_several_gpus_are_refused_wherever_attention_is_read(pack, prompts, share, conditioning):
    """ComfyUI then runs prompts on clones of the model, in threads: hooks would sit on one of them."""
    host, options = pack.host, {"multigpu_clones": {"cuda:1": object()}}
    core = pack.core.attention
    edits = [prompts().edit.edit, share(conditioning("sd15", 1), "Plug-and-Play").edit, core.AttentionControl()]
    for edit in edits:
        for run in (host.attention_runs.EditedRun, host.attention_runs.PairedRun):
            with pytest.raises(ValueError, match="on several GPUs"):
                run(edit, None, options, torch.ones(2), 1)
    with pytest.raises(ValueError, match="on several GPUs"):
        host.loops.word_maps(None, [0], torch.ones(8))(SimpleNamespace(model_options=options))
    with pytest.raises(ValueError, match="multigpu_clones"):
        host.zero_shot._check_options(options)


def test_context_windows(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall").clone()
    p = prompts()
    maps = maps_of(model, p)
    model.model_options["context_handler"] = SimpleNamespace(should_use_context=lambda *_: False)
    with pytest.raises(ValueError, match="context windows"):
        sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit)


def test_the_pack_uses_what_the_host_makes_public(pack):
    """The signatures that the mechanism stands on."""
    import comfy.patcher_extension
    import comfy.samplers

    assert list(inspect.signature(comfy.samplers.calc_cond_batch).parameters) == [
        "model",
        "conds",
        "x_in",
        "timestep",
        "model_options",
    ]
    assert comfy.patcher_extension.WrappersMP.CALC_COND_BATCH and comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
