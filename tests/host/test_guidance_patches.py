"""Nodes of the host that patch a MODEL act in every node of the pack as they act in the host's own sampling.

The patches are found from the host: each that KSampler runs with, and by which it gives another picture.
"""

from __future__ import annotations

import logging

import pytest
import torch

from support.host_patches import patch_nodes, throughout

KINDS = ["sd15", "flow"]
STEPS = 3
CFG = 3.5
CLOSE = 1e-4  # of the largest value: what rounding may come to, and a hundredth of what the least of the patches does


@pytest.fixture(scope="session")
def by_ksampler(host_node, conditioning, latent):
    """by_ksampler(model, kind): what KSampler gives."""

    def run(model, kind: str) -> torch.Tensor:
        prompts = {"positive": conditioning(kind, 9), "negative": conditioning(kind, 1)}
        settings = {"seed": 3, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple"}
        return host_node("KSampler", model=model, latent_image=latent(kind), denoise=1.0, **prompts, **settings)[0][
            "samples"
        ]

    return run


@pytest.fixture(scope="module")
def patched(comfy, host_node, random_model, by_ksampler):
    """patched(kind): by the ids of their nodes, the MODELs with one patch that change KSampler's picture.

    What compiles a network leaves it as it is here, for the compiler takes a minute.
    """
    import torch._dynamo

    known = {}

    def find(kind: str) -> dict:
        if kind in known:
            return known[kind]
        plain, found = by_ksampler(random_model(kind), kind), {}
        for node_id, specs in patch_nodes(comfy.nodes.NODE_CLASS_MAPPINGS).items():
            try:
                (model,) = host_node(node_id, model=random_model(kind), **throughout(specs))
                picture = by_ksampler(model, kind)
            except Exception:  # not for this model
                continue
            if picture.isfinite().all() and off(picture, plain) > 100 * CLOSE:
                found[node_id] = model
        known[kind] = found
        return found

    with torch._dynamo.config.patch(disable=True):
        yield find


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def differing(patched: dict, both) -> dict[str, float]:
    """Which patches make the two results of both(model) differ, and by how much."""
    found = {node_id: off(*both(model)) for node_id, model in patched.items()}
    return {node_id: by for node_id, by in found.items() if not by <= CLOSE}


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_patches_of_each_part_of_the_guidance(patched, kind):
    """Around the guider, in place of its call, before its sum, in it and behind it; and none to begin with."""
    parts = {part for model in patched(kind).values() for part in (*model.model_options, *model.wrappers)}
    sums = {"sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function"}
    assert sums <= parts
    assert len(patched(kind)) > 10


@pytest.mark.parametrize("guidance", ["classifier-free", "source as negative", "h-Edit"])
@pytest.mark.parametrize("kind", KINDS)
def test_guidance_from_a_source_that_is_the_negative_is_the_hosts(
    pack, host_node, conditioning, latent, patched, by_ksampler, kind, guidance
):
    """Under a sampler of the host, from its first step to its last."""
    negative = conditioning(kind, 1)
    prompts = {"source": negative, "target": conditioning(kind, 9), "negative": negative}

    def both(model):
        settings = {"guidance": guidance, "cfg": CFG, "source_cfg": 2.0}
        (guider,) = pack.run("EditFriendlyEditGuider", model=model, **prompts, **settings)
        (sigmas,) = host_node("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)
        (sampler,) = host_node("KSamplerSelect", sampler_name="euler")
        (noise,) = host_node("RandomNoise", noise_seed=3)
        run = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent(kind)}
        return host_node("SamplerCustomAdvanced", **run)[0]["samples"], by_ksampler(model, kind)

    assert differing(patched(kind), both) == {}


@pytest.mark.parametrize(
    ("node_id", "numbers"),
    [("VideoLinearCFGGuidance", {"min_cfg": 0.0}), ("APG", {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.0})],
)
def test_what_reads_both_predictions_is_shown_both_beside_a_patch_in_blocks(
    pack, host_node, random_model, conditioning, latent, invert, run_custom, node_id, numbers
):
    """VideoLinearCFGGuidance takes its least scale for one picture, 0: the negative prediction, not nothing."""
    (model,) = host_node("FreeU", model=random_model("sd15"), b1=1.1, b2=1.2, s1=0.9, s2=0.2)
    (model,) = host_node(node_id, model=model, **numbers)
    image, prompts = latent("sd15"), {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 2)}
    maps = invert(model, latent_image=image, steps=STEPS, scheduler="simple", skip_steps=1)
    (of_host,) = host_node("CFGGuider", model=model, **prompts, cfg=7.0)
    inputs = {"source": prompts["negative"], "target": prompts["positive"], "negative": prompts["negative"]}
    settings = {"guidance": "h-Edit", "cfg": 7.0, "source_cfg": 5.0}
    (of_edit,) = pack.run("EditFriendlyEditGuider", model=model, **inputs, **settings)
    ours, hosts = (run_custom(guider, maps, image, skip_steps=1) for guider in (of_edit, of_host))
    assert off(ours, hosts) <= CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_noise_one_edit_and_no_edit_are_the_hosts(
    pack, host_node, conditioning, latent, invert, sample, run_custom, patched, kind
):
    """Sample with Fixed Noise; Sample Several Edits with one edit everywhere, and with one whose scale is 0."""
    image, prompts = latent(kind), {"positive": conditioning(kind, 9), "negative": conditioning(kind, 1)}

    def edited(model, maps, scale: float) -> torch.Tensor:
        edit = {"direction": "add", "scale": scale, "quantile": 0.0, "start": 0.0, "end": 1.0}
        (edits,) = pack.run("EditFriendlyAddEdit", prompt=prompts["positive"], **edit)
        run = {"source": prompts["negative"], "edits": edits, "skip_steps": 0}
        return pack.run("EditFriendlySampleEdits", model=model, noise_maps=maps, **run)[0]["samples"]

    def of_all(model):
        maps = invert(model, kind, latent_image=image, cfg=1.0, steps=STEPS, scheduler="simple")
        (guider,) = host_node("CFGGuider", model=model, **prompts, cfg=CFG)
        hosts = run_custom(guider, maps, image)
        yield sample(model, maps, kind, **prompts, cfg=CFG), hosts
        yield edited(model, maps, CFG), hosts
        source = {name: prompts["negative"] for name in prompts}
        (guider,) = host_node("CFGGuider", model=model, **source, cfg=1.0)
        yield edited(model, maps, 0.0), run_custom(guider, maps, image)

    def both(model):
        pairs = list(of_all(model))
        return tuple(torch.cat(side) for side in zip(*pairs, strict=True))

    assert differing(patched(kind), both) == {}


def test_an_edit_that_a_patch_switches_off_still_shows_both_predictions_to_other_patches(
    comfy, pack, host_node, random_model, conditioning, latent, invert, run_custom
):
    """As CFG Override at 0 after a patch that mixes both, such as TCFG."""
    from comfy.patcher_extension import WrappersMP

    def mixed(args):
        cond, uncond, *others = args["conds_out"]
        return [cond, (cond + uncond) / 2, *others]

    def switched_off(executor, *args, **kwargs):
        before, executor.class_obj.cfg = executor.class_obj.cfg, 0.0
        try:
            return executor(*args, **kwargs)
        finally:
            executor.class_obj.cfg = before

    model = random_model("sd15").clone()
    model.set_model_sampler_pre_cfg_function(mixed)
    model.add_wrapper(WrappersMP.PREDICT_NOISE, switched_off)
    image, prompts = latent("sd15"), {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 1)}
    maps = invert(random_model("sd15"), latent_image=image, cfg=1.0, steps=STEPS)
    (guider,) = host_node("CFGGuider", model=model, **prompts, cfg=CFG)
    edit = {"direction": "add", "scale": CFG, "quantile": 0.0, "start": 0.0, "end": 1.0}
    (edits,) = pack.run("EditFriendlyAddEdit", prompt=prompts["positive"], **edit)
    run = {"source": prompts["negative"], "edits": edits, "skip_steps": 0}
    ours = pack.run("EditFriendlySampleEdits", model=model, noise_maps=maps, **run)[0]["samples"]
    assert off(ours, run_custom(guider, maps, image)) <= CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_gives_what_inverting_and_sampling_give(conditioning, latent, invert, sample, edit, patched, kind):
    """With patches that keep something from step to step too, as momentum and step caches do."""
    image = latent(kind)

    def both(model):
        settings = {"latent_image": image, "steps": STEPS, "scheduler": "simple", "skip_steps": 1}
        maps = invert(model, kind, **settings)
        target = {"positive": conditioning(kind, 9), "cfg": 7.0, "skip_steps": 1}
        return edit(model, kind, **settings), sample(model, maps, kind, **target)

    assert differing(patched(kind), both) == {}


@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("APG", {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.5}),
        ("EasyCache", {"reuse_threshold": 1.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}),
        ("LazyCache", {"reuse_threshold": 1.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}),
    ],
)
def test_what_a_patch_keeps_from_step_to_step_it_keeps_of_each_prompt_alone(
    host_node, random_model, conditioning, latent, invert, sample, edit, node_id, inputs
):
    """Momentum and step caches, beside what KSampler makes of them."""
    (model,) = host_node(node_id, model=random_model("sd15"), **inputs)
    settings = {"latent_image": latent("sd15"), "steps": 6, "scheduler": "simple", "skip_steps": 1}
    target = {"positive": conditioning("sd15", 9), "cfg": 7.0, "skip_steps": 1}
    expected = sample(model, invert(model, **settings), **target)
    assert off(edit(model, **settings), expected) <= CLOSE
    plain = sample(random_model("sd15"), invert(random_model("sd15"), **settings), **target)
    assert off(plain, expected) > 100 * CLOSE


@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("TomePatchModel", {"ratio": 0.5}),
        ("HyperTile", {"tile_size": 1, "swap_size": 4, "max_depth": 0, "scale_depth": False}),
    ],
)
def test_what_a_patch_draws_at_random_it_draws_again(
    host_node, random_model, conditioning, small, invert, sample, edit, node_id, inputs
):
    """As KSampler with one seed gives one picture: so the image comes back, and an edit is the same twice."""
    kind, image = "sd15_tall", small()
    (model,) = host_node(node_id, model=random_model(kind), **inputs)
    maps = invert(model, kind, latent_image=image, scheduler="simple")
    target = {"positive": conditioning(kind, 9), "cfg": 7.0, "skip_steps": 1}
    for skip in (0, 2):
        assert off(sample(model, maps, kind, skip_steps=skip), image["samples"]) <= CLOSE
    edited = sample(model, maps, kind, **target)
    assert off(edited, sample(random_model(kind), maps, kind, **target)) > 100 * CLOSE
    torch.manual_seed(0)
    assert torch.equal(edited, sample(model, maps, kind, **target))
    assert off(edit(model, kind, latent_image=image), edited) <= CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_masks_from_two_prompts_are_of_the_hosts_predictions(
    pack, comfy, random_model, conditioning, latent, invert, patched, kind
):
    """The difference of what the host predicts for each prompt without guidance, at the same levels."""
    image, prompts = latent(kind), [conditioning(kind, seed) for seed in (1, 9)]
    maps = invert(random_model(kind), kind, latent_image=image, cfg=1.0, steps=STEPS, scheduler="simple")

    class Reading(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, *_, **__):
            rows = zip(maps.states, sigmas[:-1], strict=False)
            self.seen = torch.stack([model_wrap(x, sigma[None], **extra_args) for x, sigma in rows])
            return maps.image

    def predictions(model, prompt):
        guider, sampler = comfy.samplers.CFGGuider(model), Reading()
        guider.set_conds(prompt, prompt)
        guider.sample(torch.zeros_like(maps.image), maps.image, sampler, maps.schedule.sigmas.float(), seed=3)
        return sampler.seen

    def both(model):
        if "model_sampling" in model.object_patches:
            return maps.image, maps.image  # maps of another schedule are refused
        first, second = (predictions(model, prompt) for prompt in prompts)
        difference = (second - first).abs().sum(dim=2, keepdim=True).mean(dim=0)
        return pack.host.masks.heat_of_maps(model, *prompts, maps, STEPS, 0.0, 1.0), pack.core.masks.heat(difference)

    assert differing(patched(kind), both) == {}


def test_zero_shot_guidance_of_weight_0_is_the_sampler_with_fixed_noise(
    pack, conditioning, latent, invert, sample, patched
):
    prompts = {"target": conditioning("sd15", 9), "negative": conditioning("sd15", 2)}

    def both(model):
        maps = invert(model, latent_image=latent("sd15"), steps=STEPS, scheduler="simple")
        run = {"cfg": CFG, "skip_steps": 0}
        expected = sample(model, maps, positive=prompts["target"], negative=prompts["negative"], **run)
        run |= {"source": conditioning("sd15", 1), "guidance_weight": 0.0, "noise_maps": maps}
        return pack.run("EditFriendlyZeroShotImageToImage", model=model, **prompts, **run)[0]["samples"], expected

    assert differing(patched("sd15"), both) == {}


@pytest.fixture
def three_edits(pack, conditioning, latent):
    """three_edits(model, maps): latent and masks of edits to the left, to the right, and of one that is taken away."""
    sides = torch.zeros(2, 1, 64, 64)
    sides[0, ..., :32], sides[1, ..., 32:] = 1, 1

    def run(model, maps):
        edits = ()
        for seed, scale, inputs in ((9, 3.0, {"mask": sides[0]}), (8, 5.0, {"mask": sides[1]}), (7, -2.0, {})):
            edit = {"direction": "add", "scale": scale, "quantile": 0.5, "start": 0.0, "end": 1.0} | inputs
            (edits,) = pack.run("EditFriendlyAddEdit", prompt=conditioning("sd15", seed), edits=edits, **edit)
        run = {"source": conditioning("sd15", 1), "edits": edits, "skip_steps": 0}
        latent, masks = pack.run("EditFriendlySampleEdits", model=model, noise_maps=maps, **run)
        return latent["samples"], masks

    return run


def test_several_edits_are_a_guidance_each(random_model, latent, invert, three_edits, caplog):
    """A patch that does nothing changes nothing, one that stops all guidance brings the image back; the log tells."""
    model, image = random_model("sd15"), latent("sd15")
    maps = invert(model, latent_image=image, cfg=1.0, steps=STEPS, scheduler="simple")

    def patched(cfg_function):
        model = random_model("sd15").clone()
        model.set_model_sampler_cfg_function(cfg_function, disable_cfg1_optimization=True)
        return three_edits(model, maps)

    edited, masks = three_edits(model, maps)
    assert off(edited, image["samples"]) > 100 * CLOSE
    with caplog.at_level(logging.INFO):
        also, its_masks = patched(lambda args: args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"]))
    assert off(also, edited) <= CLOSE and torch.equal(its_masks, masks)
    assert "A call for each edit, because of model patches (sampler_cfg_function)" in caplog.text
    assert off(patched(lambda args: args["uncond"])[0], image["samples"]) <= CLOSE


def test_h_edit_from_the_negative_prompt_is_the_hosts_guidance_where_blocks_take_prompts_in_pairs(
    comfy, host_node, pack, random_model, conditioning, latent, invert, run_custom
):
    """What reads the predictions acts on their sum once (Mahiro is bent by its scale), however many calls make them."""
    if "NAGuidance" not in comfy.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("needs a ComfyUI with Normalized Attention Guidance")
    (model,) = host_node("NAGuidance", model=random_model("sd15"), nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
    (model,) = host_node("PerturbedAttentionGuidance", model=model, scale=3.0)
    (model,) = host_node("Mahiro", model=model)
    image, target, negative = latent("sd15"), conditioning("sd15", 9), conditioning("sd15", 2)
    maps = invert(model, latent_image=image, steps=STEPS, scheduler="simple", skip_steps=1)
    prompts = {"source": negative, "target": target, "negative": negative}
    guidance = {"guidance": "h-Edit", "cfg": 7.0, "source_cfg": 5.0}
    (ours,) = pack.run("EditFriendlyEditGuider", model=model, **prompts, **guidance)
    (hosts,) = host_node("CFGGuider", model=model, positive=target, negative=negative, cfg=7.0)
    expected = run_custom(hosts, maps, image, skip_steps=1)
    assert off(run_custom(ours, maps, image, skip_steps=1), expected) <= CLOSE
    assert off(expected, image["samples"]) > 100 * CLOSE


def test_null_text_inversion_ends_where_sampling_ends(run_node, sample, patched, monkeypatch):
    """What it predicts under the embeddings that it has found, and what the sampler then predicts under them.

    What keeps something from call to call has no gradients, and is refused by what it has put into the MODEL.
    """
    import latent_preview

    predicted = []
    callback = lambda step, denoised, *_: predicted.append(denoised.clone())  # noqa: E731
    monkeypatch.setattr(latent_preview, "prepare_callback", lambda *_: callback)
    refused = []

    def both(model):
        search = {"steps": 2, "scheduler": "simple", "inner_steps": 2, "learning_rate": 0.01, "early_stop": 0.0}
        try:
            (maps,) = run_node("EditFriendlyNullTextInvert", model, **search)
        except ValueError as error:
            refused.append(str(error))
            return torch.ones(1), torch.ones(1)
        found = torch.stack(predicted[-6:][2::3])  # each step reports two searches, then its last
        sample(model, maps)
        return torch.stack(predicted[-2:]), found

    models = patched("sd15")
    assert differing(models, both) == {}
    assert len(refused) < len(models) / 2
    assert all("null-text inversion takes gradients through model patches of other nodes" in said for said in refused)
