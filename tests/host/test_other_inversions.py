"""What is particular to the other inversions, native maps, null-text and guidance schedules in real ComfyUI."""

import contextlib
import random

import pytest
import torch

EXACT = 1e-5

CASES = [
    # kind, weights, scheduler, steps
    ("sd15", torch.float32, "ddim_uniform", 20),
    ("v", torch.float16, "karras", 5),
    ("sdxl", torch.bfloat16, "normal", 5),
    ("flow", torch.float32, "simple", 8),
]


@pytest.mark.parametrize(("kind", "dtype", "scheduler", "steps"), CASES, ids=str)
def test_a_generated_image_comes_again_from_its_maps(
    random_model, latent, run_node, sample, kind, dtype, scheduler, steps
):
    model, empty = random_model(kind, dtype), {"samples": torch.zeros_like(latent(kind, batch=2)["samples"])}
    image, noise_maps = run_node(
        "EditFriendlySampleWithNoiseMaps", model, kind, latent_image=empty, scheduler=scheduler, steps=steps
    )
    assert image["samples"].std() > 0.1
    assert not torch.equal(image["samples"][0], image["samples"][1])
    assert torch.equal(sample(model, noise_maps, kind), image["samples"])


def test_a_seed_does_not_meet_the_noise_that_it_generated_with(random_model, latent, run_node):
    """The same seed on both nodes, as by default, is no hint for an inversion."""
    model, image = random_model("sd15"), latent("sd15", height=32, width=32)
    image, native = run_node("EditFriendlySampleWithNoiseMaps", model, latent_image=image, seed=0)
    for node_id in ("EditFriendlyInvert", "EditFriendlyCycleDiffusionInvert"):
        (maps,) = run_node(node_id, model, latent_image=image, seed=0)
        noise = maps.states[0] - maps.image  # the scale of noise does not matter to a correlation
        both = torch.stack([noise.flatten(), native.states[0].flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < 0.1, node_id


@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_true_predictions_of_a_generation_with_eta_0(random_model, latent, run_node, count_calls, kind):
    model, settings = random_model(kind), {"scheduler": "simple", "steps": 8, "cfg": 2.0}
    image, native = run_node(
        "EditFriendlySampleWithNoiseMaps", model, kind, latent_image=latent(kind), eta=0.0, **settings
    )
    count_calls.clear()
    inputs = {"latent_image": image, "native_noise_maps": native, "keep_residuals": False, **settings}
    (some,) = run_node("EditFriendlyDDIMInvert", model, kind, true_prediction_steps=3, **inputs)
    assert len(count_calls) == 5
    assert torch.equal(some.states[5:-1], native.states[5:-1])
    assert not torch.equal(some.states[0], native.states[0])
    (all_steps,) = run_node("EditFriendlyDDIMInvert", model, kind, true_prediction_steps=8, **inputs)
    assert torch.equal(all_steps.states[0], native.states[0])


def test_true_predictions_of_another_run_are_refused(random_model, latent, run_node):
    model = random_model("sd15")
    image, native = run_node("EditFriendlySampleWithNoiseMaps", model, eta=0.0)
    for inputs, message in (
        ({"latent_image": image}, "connect those of Generate Image with Noise Maps"),
        ({"native_noise_maps": native}, "of other images or other levels"),
        ({"latent_image": image, "native_noise_maps": native, "steps": 4}, "with the same steps and scheduler"),
    ):
        with pytest.raises(ValueError, match=message):
            run_node("EditFriendlyDDIMInvert", model, true_prediction_steps=2, **inputs)


def test_eta_0_is_offered_where_steps_need_no_noise(pack):
    """Eq. 5 divides by the noise of each step; an edit in one pass and a generation do not."""
    least = {
        node_id: next(part.min for part in getattr(pack, node_id).GET_SCHEMA().inputs if part.id == "eta")
        for node_id in (
            "EditFriendlyInvert",
            "EditFriendlyCycleDiffusionInvert",
            "EditFriendlyEdit",
            "EditFriendlySampleWithNoiseMaps",
        )
    }
    assert least.pop("EditFriendlyEdit") == least.pop("EditFriendlySampleWithNoiseMaps") == 0
    assert all(minimum > 0 for minimum in least.values())


def test_ddim_drifts_without_residuals_and_says_what_it_is(random_model, latent, run_node, sample):
    model, image = random_model("sd15"), latent("sd15")
    (textbook,) = run_node("EditFriendlyDDIMInvert", model, latent_image=image, keep_residuals=False)
    assert (sample(model, textbook) - image["samples"]).abs().max() > 1000 * EXACT
    (exact,) = run_node("EditFriendlyDDIMInvert", model, latent_image=image)
    assert torch.equal(textbook.states, exact.states)
    assert (textbook.origin.method.value, exact.origin.method.value) == ("DDIM", "DDIM with residuals")


def test_calls_of_ddim(random_model, run_node, count_calls):
    model = random_model("sd15")
    for warm_start in (False, True):
        run_node("EditFriendlyDDIMInvert", model, steps=10, keep_residuals=False, warm_start=warm_start)
        assert len(count_calls) == 10
        count_calls.clear()
    run_node("EditFriendlyDDIMInvert", model, steps=10, keep_residuals=False, replay_source=True)
    assert len(count_calls) == 10 + 10
    count_calls.clear()
    run_node("EditFriendlyDDIMInvert", model, steps=10, forward_noise_steps=3, fixed_point_iterations=1)
    assert len(count_calls) == 7 * 2 + 10


@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_substeps_lie_between_the_levels_of_the_schedule(random_model, latent, run_node, count_calls, pack, kind):
    """Plug-and-Play's 1000 steps for 50, in small; they end in the state of one inversion in as many steps."""
    model = random_model(kind)
    scheduler = "ddim_uniform" if kind == "sd15" else "simple"
    given = {"latent_image": latent(kind), "scheduler": scheduler, "keep_residuals": False}
    (maps,) = run_node("EditFriendlyDDIMInvert", model, kind, steps=5, substeps=4, **given)
    assert len(count_calls) == 4 * 4 + 1
    assert maps.steps == 5 and maps.notes["substeps"] == "4"
    fine = pack.modules("host").with_substeps(model, maps.schedule, 4)
    (whole,) = run_node("EditFriendlyDDIMInvert", model, kind, sigmas=fine.sigmas, **given)
    torch.testing.assert_close(maps.states[:-1], whole.states[:-1][::4], atol=EXACT, rtol=EXACT)


def test_substeps_of_fifty_are_the_timesteps_that_stable_diffusion_was_trained_with(random_model, pack):
    model, host = random_model("sd15"), pack.modules("host")
    settings, _ = pack.run("EditFriendlyEditPreset", model=model, preset="Plug-and-Play (paper)")
    schedule = host.schedule_for(model, settings.sigmas, 0.0)
    finer = host.with_substeps(model, schedule, settings.preset.substeps)
    table = model.get_model_object("model_sampling").sigmas.double()
    torch.testing.assert_close(finer.sigmas[:-1], table[1:982].flip(0), rtol=1e-5, atol=0)


def test_a_replayed_source_is_what_sampling_goes_through(random_model, latent, run_node, sample):
    model = random_model("sd15")
    given = {"latent_image": latent("sd15"), "steps": 5, "keep_residuals": False}
    (maps,) = run_node("EditFriendlyDDIMInvert", model, **given)
    (replayed,) = run_node("EditFriendlyDDIMInvert", model, replay_source=True, **given)
    assert torch.equal(replayed.states[0], maps.states[0]) and torch.equal(replayed.image, maps.image)
    assert (replayed.states[1:-1] - maps.states[1:-1]).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3
    assert torch.equal(sample(model, replayed), sample(model, maps))


def test_regularized_noise_is_whiter(random_model, latent, run_node):
    model, image = random_model("sd15"), latent("sd15", height=16, width=16)
    image = {"samples": torch.nn.functional.avg_pool2d(image["samples"], 5, 1, 2)}
    found = {}
    for weight in (0.0, 20.0):
        given = {"latent_image": image, "steps": 10, "keep_residuals": False}
        (maps,) = run_node("EditFriendlyDDIMInvert", model, regularization=weight, **given)
        unit = (maps.states[0] - maps.states[0].mean()) / maps.states[0].std()
        found[weight] = (unit * unit.roll(1, -1)).mean().item()
    assert abs(found[20.0]) < abs(found[0.0])


def test_cycle_diffusion_takes_several_timesteps_a_call(random_model, run_node, count_calls):
    run_node("EditFriendlyCycleDiffusionInvert", random_model("sd15"), steps=10, timesteps_per_call=4)
    assert count_calls == [4, 1, 4, 2]  # the second is the check of the first


@pytest.fixture
def demo(pack):
    """The demo model as the host runs it: loaded in inference mode, with prompts and an image."""
    with torch.inference_mode():
        model, clip, vae = pack.run("EditFriendlyLoadDemoModel")
        pixels, _, caption = pack.run("EditFriendlyLoadDemoImage", scene="a red house by the sea", seed=1)
        prompts = {
            name: [[clip.encode_from_tokens(clip.tokenize(text)), {}]]
            for name, text in (("positive", caption), ("negative", ""))
        }
        image = {"samples": vae.encode(pixels)}
    return model, prompts, image


def test_null_text_leaves_the_model_alone(demo, run_node, sample):
    model, prompts, image = demo
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    with_gradients = [weight.requires_grad for weight in model.model.parameters()]
    with torch.inference_mode():
        settings = {"latent_image": image, "cfg": 7.5, "steps": 4, "inner_steps": 2, "early_stop": 0.0}
        (found,) = run_node("EditFriendlyNullTextInvert", model, **settings, **prompts)
        assert torch.is_inference_mode_enabled()
        assert sample(model, found, cfg=7.5, **prompts).isfinite().all()
    assert found.uncond.shape == (4, 1, 20, 96)
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [weight.requires_grad for weight in model.model.parameters()] == with_gradients


def test_gradients_of_what_is_changed_in_place_are_its_own(pack):
    """d/dw of the sum of (c w)^2, each changed in place afterwards, while memory comes and goes."""
    chance, wrong = random.Random(0), []
    for _ in range(100):
        w, total, expected, others = torch.ones(64, requires_grad=True), 0.0, 0.0, []
        with torch.enable_grad(), pack.host.run.gradients([]):
            for _ in range(200):
                c = chance.uniform(0.5, 1.5)
                x = w * c
                total, expected = total + (x * x).sum(), expected + 2 * c * c
                if chance.random() < 0.7:
                    x += 1
                if chance.random() < 0.3:
                    others.append(torch.empty(64))
                elif others and chance.random() < 0.4:
                    others.pop(chance.randrange(len(others)))
                del x
            (gradient,) = torch.autograd.grad(total, w)
        wrong.append((gradient - expected).abs().max().item())
    assert max(wrong) < 1e-2


@pytest.mark.parametrize("fails", [False, True])
def test_gradients_give_the_host_its_own_weights_back(demo, pack, run_node, fails):
    """The same objects at the same addresses, which newer hosts have pinned; also after an error."""
    model, prompts, image = demo
    network = model.model.diffusion_model

    def weights():
        named = [*network.named_parameters(), *network.named_buffers()]
        return {name: (id(weight), weight.data_ptr(), weight.is_inference()) for name, weight in named}

    before = weights()
    assert all(inference for *_, inference in before.values())
    with torch.inference_mode(), contextlib.suppress(KeyError):
        with pack.host.run.gradients([network]):
            inside = weights()
            assert not any(inference for *_, inference in inside.values())
            assert {name: address for name, (_, address, _) in inside.items()} == {
                name: address for name, (_, address, _) in before.items()
            }  # no copy
            x = torch.randn(1, 4, 8, 8, requires_grad=True)
            context = torch.randn(1, 20, 96)
            (gradient,) = torch.autograd.grad(network(x, torch.ones(1), context).square().sum(), x)
            assert gradient.isfinite().all() and gradient.any()
            if fails:
                raise KeyError
    assert weights() == before


def test_an_embedding_belongs_to_its_level_however_often_a_guider_is_asked(demo, run_node, sample):
    """As under patches that call the model twice a step: not the next embedding at each call."""
    import comfy.patcher_extension as patches

    model, prompts, image = demo
    (maps,) = run_node("EditFriendlyNullTextInvert", model, latent_image=image, cfg=5.0, steps=3, **prompts)
    expected = sample(model, maps, cfg=5.0, **prompts)
    twice = model.clone()

    def again(executor, *arguments):
        executor(*arguments)
        return executor(*arguments)

    twice.add_wrapper(patches.WrappersMP.PREDICT_NOISE, again)
    assert torch.equal(sample(twice, maps, cfg=5.0, **prompts), expected)


def test_null_text_searches_for_the_guidance_of_each_step(demo, run_node):
    """Under a schedule whose last scale is 1, where the embedding has no say, the last one stays as it was."""
    model, prompts, image = demo
    settings = {"latent_image": image, "steps": 3, "cfg": 7.5, "inner_steps": 2, "early_stop": 0.0, **prompts}
    with torch.inference_mode():
        (constant,) = run_node("EditFriendlyNullTextInvert", model, **settings)
        (falling,) = run_node("EditFriendlyNullTextInvert", model, **settings, cfg_schedule="linear", end_cfg=1.0)
    assert not torch.equal(constant.uncond[-1], constant.uncond[-2])
    torch.testing.assert_close(falling.uncond[0], constant.uncond[0])
    torch.testing.assert_close(falling.uncond[-1], falling.uncond[-2])


def test_ddim_inversion_with_a_schedule_comes_back_with_it(random_model, latent, run_node, sample):
    model, image = random_model("sd15"), latent("sd15")
    schedule = {"cfg": 5.0, "cfg_schedule": "cosine", "end_cfg": 1.5}
    (maps,) = run_node("EditFriendlyDDIMInvert", model, latent_image=image, **schedule)
    assert (sample(model, maps, **schedule) - image["samples"]).abs().max() <= EXACT
    assert (sample(model, maps, cfg=5.0) - image["samples"]).abs().max() > 1000 * EXACT


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("sd15", torch.float32), ("sd15", torch.float16), ("sdxl", torch.bfloat16), ("flow", torch.float32)],
    ids=str,
)
def test_null_text_moves_the_embeddings_of_every_kind_of_model(random_model, latent, run_node, sample, kind, dtype):
    model, image = random_model(kind, dtype), latent(kind, batch=2)
    settings = {"steps": 3, "scheduler": "simple", "inner_steps": 3, "early_stop": 0.0}
    (maps,) = run_node("EditFriendlyNullTextInvert", model, kind, latent_image=image, **settings)
    assert maps.uncond.shape[:2] == (3, 2)
    assert ((maps.uncond[-1] - maps.uncond[0]).flatten(1).abs().amax(dim=1) > 0).all()
    assert sample(model, maps, kind).isfinite().all()


def test_null_text_embeddings_reach_any_guider_with_a_negative_prompt(demo, host_node, run_node, run_custom, sample):
    model, prompts, image = demo
    (maps,) = run_node(
        "EditFriendlyNullTextInvert", model, latent_image=image, cfg=5.0, steps=3, learning_rate=0.1, **prompts
    )
    ours = sample(model, maps, cfg=5.0, **prompts)
    (guider,) = host_node("CFGGuider", model=model, cfg=5.0, **prompts)
    assert torch.equal(run_custom(guider, maps, image), ours)
    other = sample(model, maps, cfg=5.0, positive=prompts["positive"], negative=prompts["positive"])
    assert torch.equal(other, ours), "the negative prompt should have been replaced at every step"
    (basic,) = host_node("BasicGuider", model=model, conditioning=prompts["positive"])
    with pytest.raises(ValueError, match="one negative conditioning, this guider has 0"):
        run_custom(basic, maps, image)


def test_null_text_without_guidance_is_refused(random_model, run_node):
    with pytest.raises(ValueError, match="cfg 1 has nothing to search for"):
        run_node("EditFriendlyNullTextInvert", random_model("sd15"), cfg=1.0)


def recorded_scales(model) -> tuple:
    """A MODEL that notes the scale of each call of its guidance, and the notes."""
    seen = []

    def note(args):
        seen.append(round(args["cond_scale"], 4))
        return args["uncond"] + (args["cond"] - args["uncond"]) * args["cond_scale"]

    patched = model.clone()
    patched.set_model_sampler_cfg_function(note)
    return patched, seen


@pytest.mark.parametrize(
    ("schedule", "scales"),
    [
        ("constant", [9, 9, 9, 9, 9]),
        ("linear", [9, 7.5, 6, 4.5, 3]),
        ("cosine", [9, 8.1213, 6, 3.8787, 3]),
    ],
)
def test_guidance_follows_its_schedule(
    comfy, pack, random_model, conditioning, latent, invert, sample, schedule, scales, run_node
):
    model, seen = recorded_scales(random_model("sd15"))
    prompts = conditioning("sd15", 1), conditioning("sd15", 2)
    (guider,) = pack.run(
        "EditFriendlyCFGScheduleGuider",
        model=model,
        positive=prompts[0],
        negative=prompts[1],
        cfg=9.0,
        cfg_schedule=schedule,
        end_cfg=3.0,
    )
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    (noise,) = nodes["RandomNoise"]().get_noise(1)
    (euler,) = nodes["KSamplerSelect"]().get_sampler("euler")
    sigmas = pack.host.levels.levels(model, "karras", 5)
    nodes["SamplerCustomAdvanced"]().sample(noise, guider, euler, sigmas, latent("sd15"))
    assert seen == scales

    seen.clear()
    options = {"cfg_schedule": schedule, "end_cfg": 3.0}
    run_node("EditFriendlySampleWithNoiseMaps", model, scheduler="karras", cfg=9.0, **options)
    assert seen == scales

    noise_maps = invert(model, scheduler="karras", steps=7, skip_steps=2)
    seen.clear()
    sample(model, noise_maps, cfg=9.0, cfg_schedule=schedule, end_cfg=3.0)
    assert seen == scales


def test_one_pass_edits_follow_the_schedule_too(pack, random_model, conditioning, latent, invert, sample):
    model, prompts = random_model("sd15"), {"negative": conditioning("sd15", 2)}
    schedule = {"cfg_schedule": "linear", "end_cfg": 2.0}
    one_pass, _ = pack.run(
        "EditFriendlyEdit",
        model=model,
        source=conditioning("sd15", 1),
        target=conditioning("sd15", 9),
        latent_image=latent("sd15"),
        steps=5,
        source_cfg=3.5,
        target_cfg=9.0,
        eta=1.0,
        scheduler="ddim_uniform",
        seed=3,
        skip_steps=1,
        variations=1,
        **prompts,
        **schedule,
    )
    two = sample(model, invert(model, skip_steps=1), positive=conditioning("sd15", 9), cfg=9.0, **prompts, **schedule)
    assert (one_pass["samples"] - two).abs().max() <= 1e-3 * two.abs().max()


def test_one_pass_with_eta_0_follows_the_core(pack, random_model, conditioning, latent, sample, invert):
    """On a flow model, where it is FlowEdit; by the residuals of eta 0, which the inversion's node does not offer."""
    model, schedulers = random_model("flow"), {"scheduler": "simple", "steps": 5, "eta": 0.0, "seed": 3}
    prompts = {name: conditioning("flow", k) for name, k in (("source", 1), ("negative", 2), ("target", 9))}
    one_pass, _ = pack.run(
        "EditFriendlyEdit",
        model=model,
        latent_image=latent("flow"),
        source_cfg=3.5,
        target_cfg=9.0,
        skip_steps=1,
        variations=1,
        **prompts,
        **schedulers,
    )
    noise_maps = invert(model, "flow", latent_image=latent("flow"), skip_steps=1, **schedulers)
    two = sample(model, noise_maps, "flow", positive=prompts["target"], cfg=9.0)
    assert (one_pass["samples"] - two).abs().max() <= 1e-3 * two.abs().max()
    with pytest.raises(ValueError, match="there is no z"):
        _ = noise_maps.z


def test_interpolated_maps_lie_between(pack, random_model, latent, invert, sample):
    model = random_model("sd15")
    a, b = invert(model), invert(model, latent_image=latent("sd15", seed=5), seed=4)
    (mixed,) = pack.run(
        "EditFriendlyNoiseMapsInterpolate", noise_maps_a=a, noise_maps_b=b, weight=0.5, kind="spherical"
    )
    assert torch.isfinite(sample(model, mixed)).all()
    assert mixed.residuals.std() == pytest.approx(a.residuals.std().item(), rel=0.3)
    with pytest.raises(ValueError, match="the first noise maps have steps 5, the second have 10"):
        other = invert(model, steps=10)
        pack.run("EditFriendlyNoiseMapsInterpolate", noise_maps_a=a, noise_maps_b=other, weight=0.5, kind="spherical")


def test_null_text_goes_on_where_guidance_ends_at_1(random_model, run_node, host_node):
    """There the negative prompt has no part in the step, whatever patch of guidance there is."""
    (model,) = host_node("RescaleCFG", model=random_model("sd15"), multiplier=0.7)
    falling = {"cfg": 7.5, "cfg_schedule": "linear", "end_cfg": 1.0, "early_stop": 0.0}
    (maps,) = run_node("EditFriendlyNullTextInvert", model, steps=4, inner_steps=2, **falling)
    assert torch.equal(maps.uncond[-1], maps.uncond[-2])
    assert not torch.equal(maps.uncond[-2], maps.uncond[-3])
