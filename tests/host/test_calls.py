"""Whose rows share a call: code of other nodes sees the rows that KSampler's calls have."""

from __future__ import annotations

import logging

import pytest
import torch

from support.rounding import relative, rounding

SETTINGS = {"steps": 5, "scheduler": "simple"}


@pytest.fixture
def image_prompts():
    """image_prompts(model, count): a MODEL whose attention to the text reads one embedding for each picture.

    As image prompt adapters have it: in each prompt row b reads the embedding of picture b, rows beyond them the last.
    """

    def make(model, count: int):
        model = model.clone()
        generator = torch.Generator().manual_seed(5)
        own = torch.randn(count, 1, 1, generator=generator)

        def replaced(q, k, v, extra_options):
            from comfy.ldm.modules.attention import optimized_attention

            out = optimized_attention(q, k, v, extra_options["n_heads"])
            prompts = len(extra_options["cond_or_uncond"])
            rows = len(out) // prompts
            held = torch.cat([own, own[-1:].expand(max(0, rows - count), 1, 1)])[:rows]
            return out + held.repeat(prompts, 1, 1)

        for part, numbers in (("input", (1, 2, 4, 5, 7, 8)), ("middle", (0,)), ("output", range(12))):
            for number in numbers:
                model.set_model_attn2_replace(replaced, part, number)
        return model

    return make


def mixing(model):
    """A MODEL that mixes the rows of each prompt, as motion modules do that take them for the frames of a clip."""
    model = model.clone()

    def mixed(n, extra_options):
        prompts = len(extra_options["cond_or_uncond"])
        clips = n.unflatten(0, (prompts, -1))
        return (clips + clips.mean(dim=1, keepdim=True)).flatten(0, 1)

    model.set_model_attn1_output_patch(mixed)
    return model


def in_two(model, latent_image, conditioning, invert, sample, kind="sd15", **inputs):
    """The result of inverting and sampling at the settings of `edit`."""
    noise_maps = invert(model, kind, latent_image=latent_image, **SETTINGS, **inputs)
    return sample(model, noise_maps, kind, positive=conditioning(kind, 9), cfg=7.0, skip_steps=1)


def assert_close(edited, expected):
    assert (edited - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_each_picture_of_a_batch_sees_its_own_image_prompt(
    random_model, conditioning, latent, invert, sample, edit, image_prompts, caplog
):
    model, image = image_prompts(random_model("sd15"), 2), latent("sd15", batch=2)
    expected = in_two(model, image, conditioning, invert, sample)
    with caplog.at_level(logging.INFO):
        assert_close(edit(model, latent_image=image), expected)
    assert "a run for each prompt, because of model patches (patches_replace)" in caplog.text
    plain = in_two(random_model("sd15"), image, conditioning, invert, sample)
    assert all((a - b).abs().max() > 0.01 for a, b in zip(plain, expected, strict=True))


@pytest.mark.parametrize("guider", ["ours", "host's"])
def test_so_does_each_variation_of_it(
    random_model, conditioning, latent, invert, sample, edit, image_prompts, run_custom, host_node, guider, caplog
):
    model, image = image_prompts(random_model("sd15"), 2), latent("sd15", batch=2)
    first = in_two(model, image, conditioning, invert, sample, seed=3)
    second = in_two(model, image, conditioning, invert, sample, seed=4)
    expected = torch.cat([first, second])
    assert_close(edit(model, latent_image=image, variations=2), expected)
    with caplog.at_level(logging.INFO):
        maps = invert(model, latent_image=image, **SETTINGS, variations=2)
    assert "A call for each variation, because of model patches (patches_replace)" in caplog.text
    if guider == "ours":
        assert_close(sample(model, maps, positive=conditioning("sd15", 9), cfg=7.0, skip_steps=1), expected)
    else:
        prompts = {"positive": conditioning("sd15", 9), "negative": conditioning("sd15", 2)}
        (own,) = host_node("CFGGuider", model=model, **prompts, cfg=7.0)
        assert_close(run_custom(own, maps, image, skip_steps=1), expected)


def test_masks_of_two_prompts_are_those_of_each_image_prompt(
    pack, random_model, conditioning, latent, invert, image_prompts
):
    """A picture alone gets the first embedding, so the first of the batch has the mask that it has alone."""
    images = latent("sd15", batch=2)["samples"]
    prompts = conditioning("sd15", 1), conditioning("sd15", 9)

    def heat(count: int) -> torch.Tensor:
        model = image_prompts(random_model("sd15"), 2)
        maps = invert(model, latent_image={"samples": images[:count]}, **SETTINGS)
        return pack.host.masks.heat_of_maps(model, *prompts, maps, 3, 0.1, 0.8)

    assert_close(heat(2)[:1], heat(1))


def test_modules_that_mix_the_rows_of_a_prompt(random_model, conditioning, latent, invert, sample, edit):
    model, image = mixing(random_model("sd15")), latent("sd15", batch=2)
    expected = in_two(model, image, conditioning, invert, sample)
    assert_close(edit(model, latent_image=image), expected)
    alone = in_two(model, {"samples": image["samples"][:1]}, conditioning, invert, sample)
    assert (alone - expected[:1]).abs().max() > 0.01  # so the batch was one clip


def test_context_windows_over_the_frames_of_a_video(comfy, random_model, conditioning, invert, sample, edit):
    from comfy.context_windows import (
        IndexListContextHandler,
        create_prepare_sampling_wrapper,
        get_matching_context_schedule,
        get_matching_fuse_method,
    )

    image = {"samples": torch.randn(1, 16, 9, 8, 8, generator=torch.Generator().manual_seed(0))}
    model = random_model("wan").clone()
    model.model_options["context_handler"] = IndexListContextHandler(
        context_schedule=get_matching_context_schedule("standard_static"),
        fuse_method=get_matching_fuse_method("pyramid"),
        context_length=4,
        context_overlap=2,
        dim=2,
    )
    create_prepare_sampling_wrapper(model)
    expected = in_two(model, image, conditioning, invert, sample, "wan")
    assert_close(edit(model, "wan", latent_image=image), expected)


def test_attention_beside_code_that_takes_its_rows_as_one_is_refused(
    pack, random_model, conditioning, latent, invert, sample, edit, image_prompts
):
    source = conditioning("sd15", 1)
    (attention,) = pack.run("EditFriendlyShareAttention", source=source, method="Plug-and-Play")
    model, image = image_prompts(random_model("sd15"), 2), latent("sd15", batch=2)
    maps = invert(model, latent_image=image, **SETTINGS)
    with pytest.raises(ValueError, match=r"\(patches_replace\) take the rows of a call as one.*one picture at a time"):
        sample(model, maps, positive=conditioning("sd15", 9), attention=attention)
    with pytest.raises(ValueError, match=r"\(patches_replace\) take the rows of a call as one.*one picture at a time"):
        edit(model, latent_image=image, attention=attention)
    one = {"samples": image["samples"][:1]}
    model = image_prompts(random_model("sd15"), 1)
    both = edit(model, latent_image=one, attention=attention)
    maps = invert(model, latent_image=one, **SETTINGS)
    target = {"positive": conditioning("sd15", 9), "cfg": 7.0, "skip_steps": 1, "attention": attention}
    expected = sample(model, maps, **target)
    assert_close(both, expected)

    def beside_another(image: dict) -> torch.Tensor:
        return sample(model, invert(model, latent_image=image, **SETTINGS, variations=2), **target)[:1]

    assert relative(beside_another(one), expected) <= rounding(beside_another, one)


def test_a_network_that_takes_one_prompt_alone(
    random_model, conditioning, latent, invert, sample, edit, monkeypatch, caplog
):
    """As one does whose attention mask is for one row."""
    model, image = random_model("sd15"), latent("sd15")
    network = model.model.diffusion_model
    forward = network.forward

    def of_one_row(x, *args, **kwargs):
        if len(x) > 1:
            raise RuntimeError("a mask for one row")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(network, "forward", of_one_row)
    inputs = {"latent_image": image, "source_cfg": 1.0, "target_cfg": 1.0}
    edited = edit(model, **inputs)
    assert "a call for each prompt, because one for both ended in: a mask for one row" in caplog.text
    maps = invert(model, latent_image=image, **SETTINGS, cfg=1.0)
    assert_close(edited, sample(model, maps, positive=conditioning("sd15", 9), cfg=1.0, skip_steps=1))


def test_rows_of_a_network_that_takes_one_alone(
    random_model, conditioning, latent, invert, sample, edit, monkeypatch, caplog
):
    """A batch with variations, each row with its own picture beside it."""
    model, images = random_model("inpaint"), latent("sd15", batch=2)
    network = model.model.diffusion_model
    forward, seen = network.forward, []

    def of_one_row(x, *args, **kwargs):
        seen.append(len(x))
        if len(x) > 1:
            raise RuntimeError("a mask for one row")
        return forward(x, *args, **kwargs)

    pictures = {
        "concat_latent_image": latent("sd15", batch=2, seed=5)["samples"],
        "concat_mask": torch.ones(1, 1, 8, 8),
    }
    prompts = [[[conditioning("sd15", k)[0][0], dict(pictures)]] for k in (1, 9)]
    one_cfg = {"positive": prompts[0], "cfg": 1.0, **SETTINGS}
    expected = invert(model, "inpaint", latent_image=images, variations=2, **one_cfg)
    edited = sample(model, expected, "inpaint", positive=prompts[1], cfg=1.0, skip_steps=1)
    monkeypatch.setattr(network, "forward", of_one_row)
    maps = invert(model, "inpaint", latent_image=images, variations=2, **one_cfg)
    assert seen == [4] + [1] * 20 and "a call for each row, because one for all ended in: a mask" in caplog.text
    assert (maps.residuals - expected.residuals).abs().max() <= 1e-4 * expected.residuals.abs().max()
    assert_close(sample(model, maps, "inpaint", positive=prompts[1], cfg=1.0, skip_steps=1), edited)
    same = {"source": prompts[0], "target": prompts[1], "latent_image": images, "variations": 2}
    assert_close(edit(model, "inpaint", **same, source_cfg=1.0, target_cfg=1.0), edited)


def test_what_no_row_can_be_taken_with_says_so(random_model, latent, invert, monkeypatch):
    """And what is no matter of rows is not tried row by row."""
    network, seen = random_model("sd15").model.diffusion_model, []

    def fails(x, *args, **kwargs):
        seen.append(len(x))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(network, "forward", fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        invert(random_model("sd15"), latent_image=latent("sd15", batch=2), cfg=1.0)
    assert seen == [2, 1]


@pytest.mark.parametrize("guider", ["ours", "host's", "ours in the host's sampler"])
def test_variations_of_a_network_to_which_rows_are_not_independent(
    pack, random_model, conditioning, latent, invert, sample, edit, run_custom, host_node, monkeypatch, guider, caplog
):
    """As ACE-Step's: the first call shows it, and each variation is what it is with its own seed."""
    model, image = random_model("flow"), latent("flow")
    network = model.model.diffusion_model
    forward = network.forward

    def mixing(x, *args, **kwargs):
        out = forward(x, *args, **kwargs)
        prompts = len(kwargs["transformer_options"]["cond_or_uncond"])
        clips = out.unflatten(0, (prompts, -1))
        return (clips + 0.1 * clips.mean(dim=1, keepdim=True)).flatten(0, 1)

    monkeypatch.setattr(network, "forward", mixing)
    expected = torch.cat([in_two(model, image, conditioning, invert, sample, "flow", seed=seed) for seed in (3, 4)])
    with caplog.at_level(logging.INFO):
        maps = invert(model, "flow", latent_image=image, **SETTINGS, variations=2)
    assert "a call for each variation, because rows are not independent to its network" in caplog.text
    if guider == "ours":
        assert_close(sample(model, maps, "flow", positive=conditioning("flow", 9), cfg=7.0, skip_steps=1), expected)
        assert_close(edit(model, "flow", latent_image=image, variations=2), expected)
    else:
        prompts = {"positive": conditioning("flow", 9), "negative": conditioning("flow", 2), "cfg": 7.0}
        if guider == "host's":
            (own,) = host_node("CFGGuider", model=model, **prompts)
        else:
            constant = {"cfg_schedule": "constant", "end_cfg": 1.0}
            (own,) = pack.run("EditFriendlyCFGScheduleGuider", model=model, **prompts, **constant)
        assert_close(run_custom(own, maps, image, skip_steps=1), expected)


def test_each_prompt_of_one_pass_is_tried_by_itself(
    random_model, conditioning, latent, invert, sample, edit, monkeypatch
):
    """As Hunyuan3D 2.1's, whose rows are independent where a call holds two prompts, and not where it holds one."""
    model, image = random_model("flow"), latent("flow")
    network = model.model.diffusion_model
    forward = network.forward

    def mixing(x, *args, **kwargs):
        out = forward(x, *args, **kwargs)
        one = len(kwargs["transformer_options"]["cond_or_uncond"]) == 1
        return out + 0.1 * out.mean(dim=0, keepdim=True) if one else out

    monkeypatch.setattr(network, "forward", mixing)
    maps = [invert(model, "flow", latent_image=image, **SETTINGS, seed=seed) for seed in (3, 4)]
    target = {"positive": conditioning("flow", 9), "cfg": 1.0, "skip_steps": 1}
    expected = torch.cat([sample(model, of_seed, "flow", **target) for of_seed in maps])
    assert_close(edit(model, "flow", latent_image=image, variations=2, target_cfg=1.0), expected)


def test_variations_of_any_other_network_share_their_calls(random_model, latent, invert, count_calls):
    """After a first one that is tried both ways."""
    rows, network = [], random_model("flow").model.diffusion_model
    handle = network.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    try:
        invert(random_model("flow"), "flow", latent_image=latent("flow"), **SETTINGS, variations=3, cfg=1.0)
    finally:
        handle.remove()
    assert rows == [3, 1, 1, 1] + [3] * 4


def test_code_of_others_is_seen_however_it_came_into_the_model(random_model, conditioning, latent, invert, sample):
    """A wrapper that the host adds to the options of a run only: it mixes the rows of each prompt."""
    from comfy.patcher_extension import WrappersMP

    def mixed(executor, x, *args, **kwargs):
        out = executor(x, *args, **kwargs)
        prompts = len(args[4]["cond_or_uncond"] if len(args) > 4 else kwargs["transformer_options"]["cond_or_uncond"])
        clips = out.unflatten(0, (prompts, -1))
        return (clips + 0.1 * clips.mean(dim=1, keepdim=True)).flatten(0, 1)

    model, image = random_model("sd15").clone(), latent("sd15")
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "motion", mixed)
    expected = torch.cat([in_two(model, image, conditioning, invert, sample, seed=seed) for seed in (3, 4)])
    maps = invert(model, latent_image=image, **SETTINGS, variations=2)
    assert_close(sample(model, maps, positive=conditioning("sd15", 9), cfg=7.0, skip_steps=1), expected)


def test_text_that_is_not_read_by_cross_attention_alone_is_not_repeated(pack, random_model, conditioning):
    """Where a network joins text to the picture, a prompt that is repeated to another's length is another prompt."""
    assert pack.host.calls.reads_text_by_cross_attention_alone(random_model("sd15").model.diffusion_model)
    assert not pack.host.calls.reads_text_by_cross_attention_alone(random_model("flow").model.diffusion_model)
    from comfy.conds import CONDCrossAttn

    short, long = ([{"model_conds": {"c_crossattn": CONDCrossAttn(torch.randn(1, n, 8))}}] for n in (77, 154))
    joined = pack.host.conds.joined
    assert joined(short, long, 1, "equal") is None
    assert joined(short, long, 1, "repeated")[0]["model_conds"]["c_crossattn"].cond.shape == (2, 154, 8)


def test_both_prompts_are_told_the_shape_of_the_latent(random_model, latent, edit, monkeypatch):
    """As models of several parts need it, which are given one: what the host tells the target, the source is told."""
    model, told = random_model("sd15"), []
    extra_conds = model.model.extra_conds

    def watched(**kwargs):
        told.append([tuple(shape) for shape in kwargs["latent_shapes"]])
        return extra_conds(**kwargs)

    monkeypatch.setattr(model.model, "extra_conds", watched)
    edit(model, latent_image=latent("sd15"), steps=2)
    assert told == [[(1, 4, 8, 8)]] * 4  # two prompts with a negative each
