"""Zero-shot image-to-image in real ComfyUI: its gradients, what it leaves behind, what it refuses, what it does."""

import copy
import dataclasses

import pytest
import torch

from tools.benchmarks.random_weights import SD15_UNET
from tools.lab.edits import choose_edits, source_images

EXACT = 1e-5


@pytest.fixture
def zero_shot(pack, conditioning):
    """zero_shot(model, noise_maps, kind="sd15", **inputs): from conditioning 1 to 9."""

    def run(model, noise_maps, kind: str = "sd15", **inputs) -> torch.Tensor:
        defaults = {
            "source": conditioning(kind, 1),
            "target": conditioning(kind, 9),
            "negative": conditioning(kind, 2),
            "cfg": 3.5,
            "guidance_weight": 0.1,
            "skip_steps": 1,
        }
        (found,) = pack.run(
            "EditFriendlyZeroShotImageToImage", model=model, noise_maps=noise_maps, **(defaults | inputs)
        )
        return found["samples"]

    return run


@pytest.fixture
def guided(comfy, pack, conditioning):
    """guided(model, x, sigma, inspect, cfg=3.5): inspect(a HostGuidance, x, sigma) in a run of the host."""

    def run(model, x: torch.Tensor, sigma: float, inspect, cfg: float = 3.5):
        host, guide = pack.host, pack.host.guiders.cfg_guide(cfg)

        def loop(run):
            with host.run.gradients([run.guider.inner_model]):
                guidance = host.zero_shot.HostGuidance(run.guider, run.extra_args)
                return inspect(guidance, x.clone(), torch.full((len(x),), sigma))

        prompts = {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 2)}
        guider = host.guiders.ImagesGuider(model, prompts | {"source": conditioning("sd15", 1)}, guide)
        return host.run.run(guider, loop, torch.zeros(x.shape), torch.tensor([sigma, 0.0]), 0, images=len(x))

    return run


@pytest.mark.parametrize("kind", ["sd15", "v", "sdxl", "inpaint"])
@pytest.mark.parametrize("cfg", [7.5, 1.0])
def test_weight_0_is_the_sampler_with_fixed_noise(
    random_model, conditioning, latent, invert, sample, zero_shot, kind, cfg
):
    model = random_model(kind)
    noise_maps = invert(model, kind, latent_image=latent(kind, batch=2))
    plain = sample(model, noise_maps, kind, positive=conditioning(kind, 9), cfg=cfg, skip_steps=1)
    assert (zero_shot(model, noise_maps, kind, cfg=cfg, guidance_weight=0.0) - plain).abs().max() <= EXACT
    moved = zero_shot(model, noise_maps, kind, cfg=cfg)
    assert moved.isfinite().all()
    assert (moved - plain).abs().max() > 100 * EXACT


def test_the_scale_follows_its_schedule(random_model, conditioning, latent, invert, sample, zero_shot):
    model, falling = random_model("sd15"), {"cfg": 7.5, "cfg_schedule": "linear", "end_cfg": 1.0}
    noise_maps = invert(model, latent_image=latent("sd15", batch=2))
    plain = sample(model, noise_maps, positive=conditioning("sd15", 9), skip_steps=1, **falling)
    assert (zero_shot(model, noise_maps, guidance_weight=0.0, **falling) - plain).abs().max() <= EXACT
    constant = zero_shot(model, noise_maps, guidance_weight=0.0, cfg=7.5)
    assert (constant - plain).abs().max() > 100 * EXACT


@pytest.fixture
def demo(pack):
    """Held-out edits of the demo model, their latents, and run(weight, rows), which edits them in 5 steps.

    In inference mode, as the host runs nodes. With from_source the prompt stays the source's.
    """
    edits = choose_edits(1, kinds=("color", "material"))
    with torch.inference_mode():
        model, clip, vae = pack.run("EditFriendlyLoadDemoModel")
        images = vae.encode((source_images(edits).movedim(1, -1) + 1) / 2)

        def encode(texts: list[str]):
            return [[torch.cat([clip.encode_from_tokens(clip.tokenize(text)) for text in texts]), {}]]

        def run(weight: float, rows=slice(None), from_source: bool = False, cfg: float = 3.5) -> torch.Tensor:
            source, target = ([getattr(edit, side).caption for edit in edits[rows]] for side in ("source", "target"))
            prompts = {"source": encode(source), "negative": encode([""])}
            settings = {"steps": 5, "eta": 1.0, "scheduler": "ddim_uniform", "seed": 3, "variations": 1}
            (noise_maps,) = pack.run(
                "EditFriendlyInvert",
                model=model,
                positive=prompts["source"],
                negative=prompts["negative"],
                latent_image={"samples": images[rows]},
                cfg=3.5,
                skip_steps=0,
                **settings,
            )
            (edited,) = pack.run(
                "EditFriendlyZeroShotImageToImage",
                model=model,
                target=encode(source if from_source else target),
                noise_maps=noise_maps,
                cfg=cfg,
                guidance_weight=weight,
                skip_steps=0,
                **prompts,
            )
            return edited["samples"]

        yield edits, images, run


def test_the_source_prompt_gives_the_image_back(demo):
    _, images, run = demo
    assert (run(0.1, from_source=True) - images).abs().max() <= EXACT


def test_images_of_a_batch_do_not_touch(demo):
    *_, run = demo
    singles = [run(0.1, slice(k, k + 1)) for k in range(2)]
    assert (run(0.1, slice(2)) - torch.cat(singles)).abs().max() <= 10 * EXACT


def test_variations_are_edited_as_the_batch_is(random_model, latent, invert, zero_shot):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    varied, both = (zero_shot(model, invert(model, latent_image=image, variations=k)) for k in (2, 1))
    assert varied.shape[0] == 4
    assert (varied[:2] - both).abs().max() <= 1e-3 * both.abs().max()  # a random network blows rounding up


def test_the_gradient_is_that_of_the_loss(random_model, guided):
    """Against central differences, all in float64 but for the host's own timesteps."""
    model = random_model.__wrapped__("sd15")  # one that no other test shares
    network = model.model.diffusion_model.double()
    network.dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    x, state, away = (torch.randn((2, 4, 8, 8), generator=generator, dtype=torch.float64) for _ in range(3))

    def inspect(guidance, x, sigma):
        found = []
        for half, gradient in enumerate(guidance.gradients(x, state, sigma)):
            assert gradient.dtype == torch.float64
            losses = [guidance.loss(half, x + side * 1e-5 * away, state, sigma) for side in (1, -1)]
            slope = (gradient * away).flatten(1).sum(dim=1)
            found.append((slope, (losses[0] - losses[1]) / 2e-5))
        return found

    found = guided(model, x, 2.0, inspect)
    assert len(found) == 2
    for slope, difference in found:
        assert (slope.abs() > 1e-9).all()
        assert torch.allclose(slope, difference, rtol=1e-5)


def test_the_loss_is_0_at_the_source_alone(random_model, guided, latent):
    def inspect(guidance, x, sigma):
        at_source = guidance.loss(1, x, x, sigma)
        away = guidance.loss(1, x + 0.1, x, sigma)
        other_prompt = guidance.loss(0, x, x, sigma)
        return at_source, away, other_prompt

    at_source, away, other_prompt = guided(random_model("sd15"), latent("sd15")["samples"], 2.0, inspect)
    assert at_source == 0
    assert away > 0
    assert other_prompt > 0


def test_half_precision_keeps_small_gradients(random_model, guided, latent):
    x = latent("sd15")["samples"]
    state = x + 0.05 * latent("sd15", seed=1)["samples"]
    half = random_model.__wrapped__("sd15", torch.float16)
    half.model.manual_cast_dtype = None  # in half precision even where the host would not
    exact, rounded = (
        guided(model, x, 2.0, lambda guidance, x, sigma: guidance.gradients(x, state, sigma))
        for model in (random_model("sd15"), half)
    )
    for a, b in zip(exact, rounded, strict=True):
        assert (a - b).norm() < 0.05 * a.norm()


def test_prompts_of_other_lengths_are_repeated(random_model, conditioning, invert, zero_shot):
    model, (embedding, options) = random_model("sd15"), conditioning("sd15", 9)[0]
    noise_maps, doubled = invert(model), [[embedding.repeat(1, 2, 1), options]]
    once, twice = (zero_shot(model, noise_maps, guidance_weight=0.0, **prompt) for prompt in ({}, {"target": doubled}))
    assert (once - twice).abs().max() <= 1e-4 * once.abs().max()
    assert zero_shot(model, noise_maps, target=doubled).isfinite().all()


def test_a_control_net_guides_both(comfy, random_model, random_control_net, conditioning, invert, zero_shot):
    model = random_model("sd15")
    noise_maps = invert(model)
    hint = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet
    source, negative = apply(conditioning("sd15", 1), conditioning("sd15", 2), random_control_net, hint, 1.0, 0.0, 1.0)
    target, _ = apply(conditioning("sd15", 9), conditioning("sd15", 2), random_control_net, hint, 1.0, 0.0, 1.0)
    prompts = {"source": source, "target": target, "negative": negative}
    plain = zero_shot(model, noise_maps, guidance_weight=0.0, **prompts)
    moved = zero_shot(model, noise_maps, **prompts)
    assert moved.isfinite().all()
    assert (moved - plain).abs().max() > 100 * EXACT


def test_patches_of_the_guidance_are_minded(comfy, random_model, conditioning, invert, sample, zero_shot):
    model = random_model("sd15")
    noise_maps = invert(model)
    (patched,) = comfy.nodes.NODE_CLASS_MAPPINGS["RescaleCFG"]().patch(model, 0.7)
    plain = sample(patched, noise_maps, positive=conditioning("sd15", 9), skip_steps=1)
    assert (zero_shot(patched, noise_maps, guidance_weight=0.0) - plain).abs().max() <= EXACT
    assert (zero_shot(model, noise_maps, guidance_weight=0.0) - plain).abs().max() > 100 * EXACT


def test_the_network_is_told_which_half_it_sees(random_model, pack, invert, zero_shot):
    model, seen = random_model("sd15").clone(), []

    def note(x, options):
        seen.append(tuple(options["cond_or_uncond"]))
        return x

    model.set_model_patch(note, "attn1_output_patch")
    zero_shot(model, invert(random_model("sd15")), skip_steps=4)
    layers = len(pack.host.blocks.Blocks.of(model.model.diffusion_model, {}).keys)
    assert seen == [(0,)] * (2 * layers) + [(1,)] * (2 * layers) + [(0,)] * layers + [(1,)] * layers


@pytest.fixture
def untouched(random_model, sample):
    """untouched(noise_maps): a MODEL, and a function that fails if anything stays of what ran since."""

    def watch(noise_maps):
        model = random_model("sd15")
        before, options = sample(model, noise_maps, cfg=7.0), copy.deepcopy(model.model_options)
        weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}

        def check():
            assert model.model_options == options
            assert all(torch.equal(weights[name], weight) for name, weight in model.model.state_dict().items())
            assert not any(weight.requires_grad for weight in model.model.parameters())
            assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.model.modules())
            assert torch.equal(sample(model, noise_maps, cfg=7.0), before)

        return model, check

    return watch


def test_nothing_stays_after_a_run(random_model, invert, untouched, zero_shot):
    noise_maps = invert(random_model("sd15"))
    model, check = untouched(noise_maps)
    first = zero_shot(model, noise_maps)
    check()
    assert torch.equal(zero_shot(model, noise_maps), first)


@pytest.mark.parametrize("call", [0, 1, 3, 4])
def test_nothing_stays_after_an_error(random_model, invert, untouched, zero_shot, monkeypatch, call):
    noise_maps = invert(random_model("sd15"))
    model, check = untouched(noise_maps)
    block, calls = model.model.diffusion_model.output_blocks[0], []
    forward = block[0].forward

    def fail(*args, **kwargs):
        calls.append(1)
        if len(calls) > call:
            raise RuntimeError("in the middle")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(block[0], "forward", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            zero_shot(model, noise_maps)
    assert len(calls) == call + 1
    check()


@pytest.mark.parametrize("kind", ["flow", "flux", "wan"])
def test_models_without_cross_attention_maps_are_refused(random_model, invert, zero_shot, kind):
    model = random_model(kind)
    noise_maps = invert(model, kind, scheduler="simple", cfg=1.0)
    with pytest.raises(ValueError, match=r"this model's network \(\w+\) has no cross-attention to a prompt"):
        zero_shot(model, noise_maps, kind)


def test_unets_of_every_make_are_known_or_refused(comfy, pack):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.ops import disable_weight_init

    narrow = SD15_UNET | {"model_channels": 32, "num_heads": 2, "operations": disable_weight_init}
    temporal = {"use_temporal_attention": True, "use_temporal_resblock": True, "video_kernel_size": [3, 1, 1]}
    temporal |= {"merge_strategy": "learned_with_images", "merge_factor": 0.0}
    with pytest.raises(ValueError, match="a model of video frames"):
        pack.host.blocks.Blocks.of(UNetModel(**(narrow | temporal)), {})
    no_middle = UNetModel(**(narrow | {"transformer_depth_middle": -2}))
    assert {part for part, _, _ in pack.host.blocks.Blocks.of(no_middle, {}).keys} == {"input", "output"}
    plain = {"transformer_depth": [0, 0], "transformer_depth_output": [0, 0, 0, 0], "transformer_depth_middle": -1}
    with pytest.raises(ValueError, match="reads no prompt by cross-attention"):
        pack.host.blocks.Blocks.of(UNetModel(**(narrow | plain)), {})


def test_blocks_are_named_as_the_host_names_them(random_model, pack):
    seen = []
    model = random_model("sd15").clone()

    def note(n, context, value, options):
        seen.append((*options["block"], options["block_index"]))
        return n, context, value

    model.set_model_attn2_patch(note)
    network = model.model.diffusion_model
    network(
        torch.zeros((1, 4, 8, 8)),
        torch.zeros(1),
        torch.zeros((1, 77, 768)),
        transformer_options=model.model_options["transformer_options"],
    )
    assert seen == pack.host.blocks.Blocks.of(network, {}).keys


def test_prompts_that_are_not_one_for_the_whole_picture_are_refused(
    comfy, random_model, conditioning, invert, zero_shot
):
    model = random_model("sd15")
    noise_maps = invert(model)
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    plain, other = conditioning("sd15", 1), conditioning("sd15", 3)
    mask = torch.ones((1, 64, 64))
    (area,) = nodes["ConditioningSetArea"]().append(plain, 32, 32, 0, 0, 1.0)
    (masked,) = nodes["ConditioningSetMask"]().append(plain, mask, "default", 1.0)
    (timed,) = nodes["ConditioningSetTimestepRange"]().set_range(plain, 0.0, 0.5)
    for prompt, message in (
        ([*plain, *other], "the {} prompt has 2 entries"),
        (masked, "the {} prompt has .*mask"),
        (timed, "the {} prompt has .*end_percent"),
        (area, "prompt has 2 entries|prompt has .*area"),
    ):
        for name in ("source", "target", "negative"):
            with pytest.raises(ValueError, match=message.format(name)):
                zero_shot(model, noise_maps, **{name: prompt})


def test_prompts_too_far_apart_in_length_are_refused(random_model, conditioning, invert, zero_shot):
    model, (embedding, options) = random_model("sd15"), conditioning("sd15", 9)[0]
    with pytest.raises(ValueError, match="have 76 and 77 tokens"):
        zero_shot(model, invert(model), target=[[embedding[:, :76], options]])


def test_patches_that_take_its_place_are_refused(random_model, invert, zero_shot):
    noise_maps = invert(random_model("sd15"))
    replaced, called = random_model("sd15").clone(), random_model("sd15").clone()
    replaced.set_model_attn2_replace(lambda q, k, v, options: q, "middle", 0)
    called.set_model_sampler_calc_cond_batch_function(lambda args: [args["input"]] * 2)
    for model, name in ((replaced, "attn2 replacement"), (called, "sampler_calc_cond_batch_function")):
        with pytest.raises(ValueError, match=f"patched the MODEL with {name}"):
            zero_shot(model, noise_maps)


def test_maps_with_null_text_embeddings_are_refused(random_model, invert, zero_shot):
    model = random_model("sd15")
    noise_maps = invert(model)
    tuned = dataclasses.replace(noise_maps, uncond=torch.zeros((5, 1, 77, 768)))
    with pytest.raises(ValueError, match="carry embeddings of null-text inversion"):
        zero_shot(model, tuned)


def test_outside_the_mask_the_image_comes_back(random_model, latent, invert, zero_shot):
    model, image = random_model("sd15"), latent("sd15")
    mask = torch.zeros((1, 64, 64))
    mask[..., 32:] = 1
    edited = zero_shot(model, invert(model, latent_image=image), mask=mask)
    assert (edited - image["samples"])[..., :4].abs().max() <= EXACT
    assert (edited - image["samples"])[..., 4:].abs().max() > 100 * EXACT
