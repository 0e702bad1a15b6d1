"""Two models, each for its part of the noise levels, as Wan 2.2 14B has them; and a run split over two samplers."""

from __future__ import annotations

import logging

import pytest
import torch

BOUNDARY = 0.7
STEPS = 6
KINDS = ("wan", "sd15")


@pytest.fixture
def switch(pack):
    """switch(high, low, boundary): both as one MODEL."""

    def make(high, low, boundary: float = BOUNDARY):
        return pack.run("EditFriendlySwitchModels", high_noise_model=high, low_noise_model=low, boundary=boundary)[0]

    return make


@pytest.fixture
def both(random_model, switch):
    """both(kind): a model for high noise, one for low noise, and the two as one."""

    def make(kind: str):
        high, low = random_model(kind), random_model(kind, seed=2)
        return high, low, switch(high, low)

    return make


@pytest.fixture
def invert(invert):
    """invert(model, kind, **inputs): the NOISE_MAPS of `STEPS` levels, as `parts` has them."""
    return lambda model, kind="sd15", **inputs: invert(model, kind, **{"steps": STEPS, "scheduler": "simple"} | inputs)


@pytest.fixture
def parts(pack, host_node):
    """parts(model): SIGMAS of the whole run, those down to the boundary, and the rest."""

    def make(model):
        sigmas = host_node("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)[0]
        sampling = model.get_model_object("model_sampling")
        noise, image = torch.ones(()), torch.ones(())
        shares = [sampling.noise_scaling(s, noise, 0 * image) / sampling.noise_scaling(s, noise, image) for s in sigmas]
        first_low = next(i for i, share in enumerate(shares) if share < BOUNDARY)
        assert 1 < first_low < STEPS
        return sigmas, sigmas[: first_low + 1], sigmas[first_low:]

    return make


@pytest.fixture
def advanced(host_node, conditioning):
    """advanced(model, sampler, sigmas, latent, kind, prompt): the LATENT of SamplerCustomAdvanced."""

    def run(model, sampler, sigmas, latent: dict, kind: str, noise: str = "DisableNoise", prompt: int = 9, **inputs):
        prompts = {"positive": conditioning(kind, prompt), "negative": conditioning(kind, 2)}
        (guider,) = host_node("CFGGuider", model=model, cfg=3.5, **prompts)
        (noise,) = host_node(noise, **inputs)
        common = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
        return host_node("SamplerCustomAdvanced", **common)[0]

    return run


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2s_ancestral"])
def test_the_hosts_own_samplers_run_on_both_as_split_over_two(host_node, both, parts, advanced, latent, kind, sampler):
    high, low, one = both(kind)
    whole, first, second = parts(high)
    image = latent(kind)
    (made,) = host_node("KSamplerSelect", sampler_name=sampler)
    noise = {"noise": "RandomNoise", "noise_seed": 5}
    together = advanced(one, made, whole, image, kind, **noise)["samples"]
    torch.manual_seed(0)
    half = advanced(high, made, first, image, kind, **noise)
    if sampler == "euler":  # the others draw anew in each part
        apart = advanced(low, made, second, half, kind)["samples"]
        assert off(together, apart) <= 1e-5
    assert off(together, advanced(high, made, whole, image, kind, **noise)["samples"]) > 0.01
    assert off(together, advanced(low, made, whole, image, kind, **noise)["samples"]) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_each_model_is_asked_at_its_own_levels_alone(both, parts, invert, sample, monkeypatch, kind):
    high, low, one = both(kind)
    asked = {"high": [], "low": []}
    for name, model in (("high", high), ("low", low)):
        network = model.model

        def seen(x, t, *args, _run=network.apply_model, _name=name, **kwargs):
            asked[_name] += t.tolist()
            return _run(x, t, *args, **kwargs)

        monkeypatch.setattr(network, "apply_model", seen)
    whole, first, second = parts(high)
    sample(one, invert(one, kind), kind)
    assert sorted(set(asked["high"]), reverse=True) == pytest.approx(first[:-1].tolist())
    assert sorted(set(asked["low"]), reverse=True) == pytest.approx(second[:-1].tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"eta": 0.5}, {"order": 2}, {"variations": 2}, {"timesteps_per_call": 4}])
def test_the_image_comes_back_from_the_maps_of_both(both, latent, invert, sample, kind, settings):
    *_, one = both(kind)
    image = latent(kind, batch=2)
    maps = invert(one, kind, latent_image=image, **settings)
    found = sample(one, maps, kind)
    assert off(found[:2], image["samples"]) <= (1e-5 if "timesteps_per_call" not in settings else 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_is_an_inversion_and_a_sampling(both, conditioning, latent, invert, sample, edit, kind):
    *_, one = both(kind)
    maps = invert(one, kind)
    found = edit(one, kind, latent_image=latent(kind), steps=STEPS, skip_steps=0)
    assert off(found, sample(one, maps, kind, positive=conditioning(kind, 9), cfg=7.0)) <= 1e-4


@pytest.mark.parametrize("node_id", ["EditFriendlyCycleDiffusionInvert", "EditFriendlyDDIMInvert"])
def test_other_inversions_are_exact_with_both(both, latent, run_node, sample, node_id):
    *_, one = both("wan")
    image = latent("wan")
    special = {"keep_residuals": True, "fixed_point_iterations": 0, "forward_noise_steps": 0}
    inputs = special if node_id == "EditFriendlyDDIMInvert" else {}
    (maps,) = run_node(node_id, one, "wan", latent_image=image, cfg=3.5, scheduler="simple", steps=STEPS, **inputs)
    assert off(sample(one, maps, "wan"), image["samples"]) <= 1e-5


def test_timesteps_of_two_models_share_no_call(both, invert):
    *_, one = both("sd15")
    alone = invert(one, "sd15")
    shared = invert(one, "sd15", timesteps_per_call=STEPS)
    assert off(shared.residuals, alone.residuals) <= 1e-4


def test_what_is_put_on_one_acts_at_its_levels_and_what_is_put_on_both_at_all(host_node, both, switch, invert, sample):
    high, low, one = both("sd15")

    def rescaled(model):
        return host_node("RescaleCFG", model=model, multiplier=0.7)[0]

    maps = invert(one, "sd15")
    on_both = sample(rescaled(one), maps)
    assert off(sample(switch(rescaled(high), rescaled(low)), maps), on_both) == 0
    on_low = sample(switch(high, rescaled(low)), maps)
    on_high = sample(switch(rescaled(high), low), maps)
    results = [on_both, on_low, on_high, sample(one, maps)]
    assert min(off(a, b) for i, a in enumerate(results) for b in results[:i]) > 1e-3


def test_a_lora_is_on_both_or_on_one(comfy, both, switch, random_lora, invert, sample):
    high, low, one = both("sd15")

    def with_lora(model):
        return comfy.sd.load_lora_for_models(model, None, random_lora(model), 1.0, 0.0)[0]

    maps = invert(one, "sd15")
    on_both = sample(with_lora(one), maps)
    assert off(sample(switch(with_lora(high), with_lora(low)), maps), on_both) <= 1e-6
    on_low = sample(switch(high, with_lora(low)), maps)
    assert min(off(on_low, other) for other in (on_both, sample(one, maps))) > 1e-3
    assert off(sample(one, maps), sample(switch(high, low), maps)) == 0  # nothing stays


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variations", [1, 2])
def test_a_run_split_over_two_samplers_is_that_of_both_in_one(
    pack, both, parts, advanced, conditioning, latent, invert, sample, kind, variations
):
    high, low, one = both(kind)
    image = latent(kind, batch=2)
    maps = invert(one, kind, latent_image=image, variations=variations)
    made, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=1)
    cut = len(parts(high)[1]) - 2
    half = advanced(high, made, sigmas[: cut + 1], image, kind)
    whole = advanced(low, made, sigmas[cut:], half, kind)["samples"]
    assert off(whole, sample(one, maps, kind, skip_steps=1, positive=conditioning(kind, 9))) <= 1e-5


@pytest.mark.parametrize("cut", range(1, STEPS))
@pytest.mark.parametrize("order", [1, 2])
def test_a_run_split_anywhere_gives_the_image_back(pack, random_model, advanced, latent, invert, cut, order):
    model, image = random_model("flow"), latent("flow")
    maps = invert(model, "flow", latent_image=image, order=order)
    made, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)
    half = advanced(model, made, sigmas[: cut + 1], image, "flow", prompt=1)
    assert off(advanced(model, made, sigmas[cut:], half, "flow", prompt=1)["samples"], image["samples"]) <= 1e-5


def test_an_edit_of_second_order_that_is_split_is_near_the_whole_one(pack, random_model, advanced, latent, invert):
    """The second sampler is not handed the edit's last prediction, and takes the change of the image's own."""
    model, image = random_model("flow"), latent("flow")
    maps = invert(model, "flow", latent_image=image, order=2)
    made, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)
    whole = advanced(model, made, sigmas, image, "flow", prompt=9)["samples"]
    for cut in range(1, STEPS):
        half = advanced(model, made, sigmas[: cut + 1], image, "flow", prompt=9)
        two = advanced(model, made, sigmas[cut:], half, "flow", prompt=9)["samples"]
        assert off(two, whole) <= 0.2 * off(whole, image["samples"])


def test_what_a_noise_mask_keeps_is_kept_over_two_samplers(pack, random_model, advanced, latent, invert):
    model, image = random_model("sd15"), latent("sd15")
    maps = invert(model, "sd15", latent_image=image)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    masked = {**image, "noise_mask": mask}
    made, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)
    half = advanced(model, made, sigmas[:4], masked, "sd15")
    found = advanced(model, made, sigmas[3:], half, "sd15")["samples"]
    assert off(found[..., 4:], image["samples"][..., 4:]) <= 1e-6
    assert off(found[..., :4], image["samples"][..., :4]) > 0.01
    assert off(found, advanced(model, made, sigmas, masked, "sd15")["samples"]) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_latent_without_the_noise_of_the_maps_is_refused(pack, random_model, advanced, latent, invert, kind):
    model, image = random_model(kind), latent(kind)
    maps = invert(model, kind, latent_image=image)
    others = invert(model, kind, latent_image=image, seed=8)
    made, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)
    strange, _ = pack.run("EditFriendlySamplerFixedNoise", noise_maps=others, skip_steps=0)
    half = advanced(model, strange, sigmas[:3], image, kind, prompt=1)
    for given in (image, {"samples": torch.zeros_like(image["samples"])}, half):
        with pytest.raises(ValueError, match="has not the noise of the noise maps.*same noise maps.*skip_steps to 2"):
            advanced(model, made, sigmas[2:], given, kind)
    with pytest.raises(ValueError, match=r"steps from sigma .* connect the SIGMAS output .* whole or split in two"):
        advanced(model, made, sigmas[::2], image, kind)


def test_a_model_at_the_levels_of_the_other_is_refused(both, invert, sample, pack, advanced, latent):
    high, low, one = both("wan")
    maps = invert(one, "wan")
    for model in (high, low):
        with pytest.raises(ValueError, match="made with two models.*Switch Models by Noise Level"):
            sample(model, maps, "wan")
    assert pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)


def test_maps_of_another_model_are_sampled_with_a_word(random_model, invert, sample, caplog):
    high, low = random_model("wan"), random_model("wan", seed=2)
    maps = invert(high, "wan")
    with caplog.at_level(logging.WARNING):
        sample(high, maps, "wan")
        assert "other weights" not in caplog.text
        sample(low, maps, "wan")
    assert caplog.text.count("made with a model of other weights") == 1


def test_a_model_is_known_again_in_half_precision_and_with_a_lora(
    comfy, random_model, random_lora, invert, sample, caplog
):
    model = random_model("sd15")
    with caplog.at_level(logging.WARNING):
        sample(random_model("sd15", torch.bfloat16), invert(model, "sd15"))
        patched, _ = comfy.sd.load_lora_for_models(model, None, random_lora(model), 1.0, 0.0)
        sample(patched, invert(model, "sd15"))
    assert "other weights" not in caplog.text


def test_a_file_remembers_both(pack, both, invert, sample, tmp_path):
    high, _, one = both("wan")
    maps = invert(one, "wan")
    pack.core.storage.save(maps, tmp_path / "maps.safetensors")
    again = pack.core.storage.load(tmp_path / "maps.safetensors")
    assert again.origin == maps.origin and len(again.origin.networks) == 2
    with pytest.raises(ValueError, match="made with two models"):
        sample(high, again, "wan")


def test_models_that_are_no_pair_are_refused(pack, host_node, random_model, both, switch, invert, conditioning):
    high, low, one = both("sd15")
    with pytest.raises(ValueError, match="high_noise_model has family BaseModel, low_noise_model has WAN21"):
        switch(high, random_model("wan"))
    with pytest.raises(ValueError, match="noise an image in different ways"):
        switch(high, host_node("ModelSamplingSD3", model=low, shift=3.0)[0])
    with pytest.raises(ValueError, match="is two by itself"):
        switch(one, low)
    with pytest.raises(ValueError, match="around a whole run"):
        switch(
            high,
            host_node("EasyCache", model=low, reuse_threshold=0.2, start_percent=0.1, end_percent=0.9, verbose=False)[
                0
            ],
        )
    with pytest.raises(ValueError, match="a share of noise"):
        switch(high, low, 0.0)


def test_attention_of_a_network_alone_is_not_looked_for_in_two(pack, both, conditioning, invert, sample, latent):
    *_, one = both("wan")
    maps = invert(one, "wan", latent_image=latent("wan"))
    (attention,) = pack.run("EditFriendlyShareAttention", source=conditioning("wan", 1), method="values only")
    with pytest.raises(ValueError, match="two models by level.*connect one of the two"):
        sample(one, maps, "wan", positive=conditioning("wan", 9), attention=attention)


def test_gradients_through_two_models_are_refused(pack, both, invert, conditioning, latent):
    *_, one = both("sd15")
    common = {"negative": conditioning("sd15", 2), "model": one}
    with pytest.raises(ValueError, match="gradients go through one model"):
        pack.run(
            "EditFriendlyNullTextInvert",
            **common,
            positive=conditioning("sd15", 1),
            latent_image=latent("sd15"),
            **{"steps": 4, "cfg": 7.5, "scheduler": "simple", "skip_steps": 0, "inner_steps": 1},
            **{"learning_rate": 0.01, "early_stop": 0.0},
        )


def test_what_acts_on_each_prediction_is_put_behind_the_two(pack, random_model, latent):
    """On the model for high noise it would act at the levels of the other, too."""
    high, low = random_model("sd15"), random_model("sd15", seed=2)
    settings = {"where": "everywhere", "amount": 0.9, "tolerance": 0.15, "start_percent": 0.0, "end_percent": 1.0}
    (kept,) = pack.run("EditFriendlyKeepImage", model=high, latent_image=latent("sd15"), **settings)
    with pytest.raises(ValueError, match="high_noise_model to act on each prediction.*put that node after this one"):
        pack.run("EditFriendlySwitchModels", high_noise_model=kept, low_noise_model=low, boundary=0.7)
