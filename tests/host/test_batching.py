"""Several timesteps in one call of the host's guider; source and target prompt in one call."""

import logging
import math

import pytest
import torch


def close(batched, exact) -> bool:
    """To the rounding that the random network leaves (measured: 7e-7 of the largest residual)."""
    return (batched.residuals - exact.residuals).abs().max() <= 1e-4 * exact.residuals.abs().max()


@pytest.mark.parametrize("kind", ["sd15", "flow"])
@pytest.mark.parametrize("timesteps_per_call", [1, 3, 8])
def test_an_inversion_takes_one_call_for_every_k_timesteps(
    random_model, latent, invert, count_calls, kind, timesteps_per_call
):
    image = latent(kind, batch=2)
    settings = {"latent_image": image, "steps": 10, "scheduler": "simple"}
    exact = invert(random_model(kind), kind, **settings)
    count_calls.clear()
    batched = invert(random_model(kind), kind, **settings, timesteps_per_call=timesteps_per_call)
    check = timesteps_per_call > 1  # the first shared call is checked
    assert len(count_calls) == math.ceil(10 / timesteps_per_call) + check
    assert sum(count_calls) == (10 + check) * 2
    assert torch.equal(batched.states, exact.states)
    assert close(batched, exact)


def test_the_papers_edit_takes_73_calls_of_8_timesteps(random_model, conditioning, latent, invert, sample, count_calls):
    model, image = random_model("sd15"), latent("sd15", height=4, width=4)
    noise_maps = invert(model, latent_image=image, steps=100, skip_steps=36, timesteps_per_call=8)
    sample(model, noise_maps, positive=conditioning("sd15", 9), cfg=15.0, skip_steps=36)
    assert len(count_calls) == 64 / 8 + 1 + 64


def test_conditionings_that_start_and_end_are_never_straddled(
    comfy, random_model, random_control_net, conditioning, latent, invert, count_calls
):
    """start_percent and end_percent of a prompt, and of a ControlNet on it, split the batch where they change."""
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    (early,) = nodes["ConditioningSetTimestepRange"]().set_range(conditioning("sd15", 1), 0.0, 0.5)
    (late,) = nodes["ConditioningSetTimestepRange"]().set_range(conditioning("sd15", 5), 0.5, 1.0)
    hint = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    positive, negative = nodes["ControlNetApplyAdvanced"]().apply_controlnet(
        early + late, conditioning("sd15", 2), random_control_net, hint, 1.0, 0.2, 0.8
    )
    settings = {"positive": positive, "negative": negative, "steps": 20}
    exact = invert(random_model("sd15"), **settings)
    count_calls.clear()
    batched = invert(random_model("sd15"), **settings, timesteps_per_call=20)
    assert 4 <= len(count_calls) <= 8  # four spans, and a step on a bound may stand alone
    assert close(batched, exact)


def test_patches_that_may_look_at_the_timestep_get_one_at_a_time(random_model, invert, count_calls, caplog):
    model = random_model("sd15").clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * float(args["sigma"][0] < 5))
    with caplog.at_level(logging.INFO):
        batched = invert(model, timesteps_per_call=5)
    assert count_calls == [1] * 5
    assert "one timestep a call, because of model patches (sampler_post_cfg_function)" in caplog.text
    assert torch.equal(batched.residuals, invert(model).residuals)


def test_hooks_on_a_prompt_get_one_at_a_time(random_lora, random_model, conditioning, invert, count_calls):
    from comfy.hooks import create_hook_lora

    hooks = create_hook_lora(random_lora(random_model("sd15")), 0.5, 0.0)
    hooked = [[conditioning("sd15", 1)[0][0], {"pooled_output": None, "hooks": hooks}]]
    invert(random_model("sd15"), positive=hooked, timesteps_per_call=5)
    assert count_calls == [1] * 5


def test_automatic_takes_what_fits_the_free_memory(comfy, pack, random_model, latent, invert, count_calls, monkeypatch):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    one = model.model.memory_required([4, 4, 8, 8])
    for room, timesteps in ((100.0, 16), (3.9, 3), (0.1, 1)):
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, room=room, **__: room * one / 0.8)
        assert pack.host.calls.timesteps_that_fit(model, image["samples"].shape) == timesteps
    monkeypatch.undo()


def test_a_host_that_counts_what_weights_would_make_room_is_asked(comfy, pack, random_model, latent, monkeypatch):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    one = model.model.memory_required([4, 4, 8, 8])
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 0.0)
    monkeypatch.setattr(type(model), "get_free_memory", lambda self, device: 3.9 * one / 0.8, raising=False)
    assert pack.host.calls.timesteps_that_fit(model, image["samples"].shape) == 3


def test_out_of_memory_halves_the_call_and_goes_on(comfy, pack):
    asked = []

    def guider(x, sigma):
        asked.append(len(x))
        if len(x) > 6:
            raise comfy.model_management.OOM_EXCEPTION("out of memory")
        return x + sigma.view(-1, 1)

    denoiser = pack.host.calls.SplittingDenoiser(guider, rows=2, rounding=1e-3)
    x, sigma = torch.randn(16, 3), torch.arange(16.0)
    assert torch.equal(denoiser(x, sigma), x + sigma.view(-1, 1))
    assert asked == [16, 8, 4, 2, 4, 4, 4]  # whole timesteps only, what failed is not tried again, one check
    asked.clear()
    assert torch.equal(denoiser(x[:10], sigma[:10]), (x + sigma.view(-1, 1))[:10])
    assert asked == [4, 4, 2]

    def hopeless(x, sigma):
        raise comfy.model_management.OOM_EXCEPTION("out of memory")

    with pytest.raises(comfy.model_management.OOM_EXCEPTION):
        pack.host.calls.SplittingDenoiser(hopeless, rows=2, rounding=1e-3)(x, sigma)


def test_out_of_memory_in_the_words_of_a_newer_host(comfy, pack, monkeypatch):
    """Errors of other classes, which the host knows by what they say; others are not taken for it."""

    class AcceleratorError(RuntimeError):
        pass

    monkeypatch.setattr(
        comfy.model_management, "is_oom", lambda error: isinstance(error, AcceleratorError), raising=False
    )
    asked = []

    def failing(error):
        def guider(x, sigma):
            asked.append(len(x))
            if len(x) > 4:
                raise error
            return x

        return pack.host.calls.SplittingDenoiser(guider, rows=2, rounding=1e-3)

    x, sigma = torch.randn(8, 3), torch.arange(8.0)
    full = AcceleratorError("CUDA error: out of memory")
    assert torch.equal(failing(full)(x, sigma), x)
    assert asked == [8, 4, 2, 4]
    asked.clear()
    assert torch.equal(failing(RuntimeError("another"))(x, sigma), x)
    assert asked == [8, 2, 2, 2, 2]  # not halved


def both_ways(kind, model, conditioning, latent, invert, sample, edit, mask=None, **prompts):
    """The result of EditFriendlyEdit and of inverting and sampling."""
    settings = {"latent_image": latent(kind, batch=2), "scheduler": "simple", "variations": 2}
    source, target = prompts.get("source", conditioning(kind, 1)), prompts.get("target", conditioning(kind, 9))
    noise_maps = invert(model, kind, positive=source, **settings)
    expected = sample(model, noise_maps, kind, positive=target, cfg=7.0, skip_steps=1, mask=mask)
    return edit(model, kind, source=source, target=target, mask=mask, variations=2), expected


@pytest.mark.parametrize("kind", ["sd15", "v", "sdxl", "flow"])
def test_one_pass_gives_what_inverting_and_sampling_give(
    random_model, conditioning, latent, invert, sample, edit, count_calls, kind
):
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    for case in (None, mask):
        edited, expected = both_ways(kind, random_model(kind), conditioning, latent, invert, sample, edit, mask=case)
        assert (edited - expected).abs().max() <= 1e-4 * expected.abs().max()
    count_calls.clear()
    edit(random_model(kind), kind)
    assert count_calls == [4] * 4  # one call a step: two images, two prompts


def test_one_pass_with_equal_prompts_returns_the_image(random_model, conditioning, latent, edit):
    image = latent("sd15", batch=2)
    same = {"source": conditioning("sd15", 1), "target": conditioning("sd15", 1), "target_cfg": 3.5}
    assert (edit(random_model("sd15"), latent_image=image, **same) - image["samples"]).abs().max() <= 1e-5


def test_the_papers_edit_takes_64_calls_in_one_pass(random_model, latent, edit, count_calls):
    edit(random_model("sd15"), latent_image=latent("sd15", height=4, width=4), steps=100, skip_steps=36)
    assert len(count_calls) == 64


def sigma_of_first_row(x, sigma):
    """A model that reads one timestep for all rows."""
    return x - sigma[0] * x.square()


def test_a_model_that_reads_one_timestep_for_all_rows_is_found_out(pack, caplog):
    """The first shared call is checked, asked again one by one, and no other is shared."""
    asked = []

    def guider(x, sigma):
        asked.append(len(x))
        return sigma_of_first_row(x, sigma)

    denoiser = pack.host.calls.SplittingDenoiser(guider, rows=2, rounding=0.03)
    x, sigma = torch.randn(8, 3), torch.tensor([4.0, 4, 3.8, 3.8, 3.6, 3.6, 3.4, 3.4])
    expected = torch.cat([sigma_of_first_row(*part) for part in zip(x.split(2), sigma.split(2), strict=True)])
    assert torch.equal(denoiser(x, sigma), expected)
    assert asked == [8, 2, 2, 2, 2] and "this model predicts otherwise beside other timesteps" in caplog.text
    asked.clear()
    assert torch.equal(denoiser(x, sigma), expected) and asked == [2] * 4


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("object patch", "model patches (diffusion_model.time_embed)"),
        ("transformer option", "model patches (optimized_attention_override)"),
    ],
)
def test_code_that_may_look_at_one_timestep_gets_one(random_model, invert, count_calls, caplog, what, reason):
    model = random_model("sd15").clone()
    if what == "object patch":
        name = "diffusion_model.time_embed"
        model.add_object_patch(name, model.get_model_object(name))
    else:
        model.model_options["transformer_options"]["optimized_attention_override"] = lambda f, *a, **k: f(*a, **k)
    with caplog.at_level(logging.INFO):
        invert(model, timesteps_per_call=5)
    assert count_calls == [1] * 5
    assert f"one timestep a call, because of {reason}" in caplog.text


@pytest.mark.parametrize("what", ["network", "value on a prompt"])
def test_any_network_is_asked_for_several_timesteps(random_model, conditioning, invert, count_calls, monkeypatch, what):
    """The check of its first call decides, not its name; and not what a prompt carries that the host does not read."""
    model, positive = random_model("sd15"), conditioning("sd15", 1)
    exact = invert(model)
    if what == "network":
        network = model.model.diffusion_model
        monkeypatch.setattr(network, "__class__", type("Stranger", (type(network),), {}))
    else:
        positive = [[positive[0][0], {**positive[0][1], "strange": 1}]]
    count_calls.clear()
    batched = invert(model, positive=positive, timesteps_per_call=5)
    assert count_calls == [5, 1]
    assert close(batched, exact)


def test_a_network_that_fails_on_several_timesteps_gets_one(random_model, invert, count_calls, monkeypatch, caplog):
    model = random_model("sd15")
    exact = invert(model)
    network = model.model.diffusion_model
    forward = network.forward

    def of_two_rows(x, *args, **kwargs):
        if len(x) > 2:  # the two prompts of one timestep
            raise RuntimeError("a mask for one row")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(network, "forward", of_two_rows)
    count_calls.clear()
    assert close(invert(model, timesteps_per_call=5), exact)
    assert count_calls == [5] + [1] * 5
    assert "one timestep a call, because several ended in: a mask for one row" in caplog.text
