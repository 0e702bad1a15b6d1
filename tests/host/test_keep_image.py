"""Keep Image: the anchor in any sampler of the host, beside plain loops, other patches, batches and noise maps."""

from __future__ import annotations

import pytest
import torch

from ddpm_core.anchor import Anchor

KINDS = ("sd15", "flow", "wan")
STEPS = 5


@pytest.fixture
def keep(pack):
    """keep(model, latent, **inputs): the MODEL that keeps the latent."""

    def make(model, latent: dict, **inputs):
        defaults = {"where": "where it agrees", "amount": 1.0, "tolerance": 2.0}
        defaults |= {"start_percent": 0.0, "end_percent": 1.0}
        return pack.run("EditFriendlyKeepImage", model=model, latent_image=latent, **(defaults | inputs))[0]

    return make


@pytest.fixture
def k_sample(host_node, conditioning):
    """k_sample(model, latent, kind, sampler): the latent of KSampler at denoise .8."""

    def run(model, latent: dict, kind: str, sampler: str = "euler", **inputs) -> torch.Tensor:
        common = {"positive": conditioning(kind, 9), "negative": conditioning(kind, 2), "latent_image": latent}
        settings = {"seed": 4, "steps": STEPS, "cfg": 4.0, "scheduler": "simple", "denoise": 0.8}
        return host_node("KSampler", model=model, sampler_name=sampler, **(common | settings | inputs))[0]["samples"]

    return run


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def euler(predict, x, sigmas):
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (x - predict(x, now)) / now * (after - now)
    return x


def heun(predict, x, sigmas):
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        slope = (x - predict(x, now)) / now
        guess = x + slope * (after - now)
        if after > 0:
            slope = (slope + (guess - predict(guess, after)) / after) / 2
        x = x + slope * (after - now)
    return x


def dpm_2(predict, x, sigmas):
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        slope = (x - predict(x, now)) / now
        if after > 0:
            middle = (now * after).sqrt()
            guess = x + slope * (middle - now)
            slope = (guess - predict(guess, middle)) / middle
        x = x + slope * (after - now)
    return x


def dpmpp_2m(predict, x, sigmas):
    before = last = None
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        denoised = seen = predict(x, now)
        if before is not None and after > 0:
            ratio = (before / now).log() / (now / after).log()
            seen = (1 + 1 / (2 * ratio)) * denoised - 1 / (2 * ratio) * last
        x = after / now * x + (1 - after / now) * seen
        before, last = now, denoised
    return x


@pytest.mark.parametrize("loop", [euler, heun, dpm_2, dpmpp_2m])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hosts_sampler_is_a_plain_loop_over_the_pulled_prediction(
    comfy, random_model, conditioning, latent, keep, k_sample, kind, loop
):
    from comfy.sample import prepare_noise

    model, image = random_model(kind), latent(kind, batch=2)
    anchor = Anchor(1.0, 2.0)

    class Plain(comfy.samplers.Sampler):
        def sample(self, guider, sigmas, extra_args, callback, noise, latent_image, *_):
            def predict(x, sigma):
                denoised = guider(x, sigma.expand(len(x)), **extra_args)
                return anchor(denoised, latent_image)

            start = guider.inner_model.model_sampling.noise_scaling(sigmas[0], noise, latent_image)
            return loop(predict, start, sigmas)

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(kind, 9), conditioning(kind, 2))
    guider.set_cfg(4.0)
    steps, discarded = int(STEPS / 0.8), loop is dpm_2  # the host leaves out the last level but one for this
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps + discarded)
    sigmas = torch.cat([sigmas[: -2 if discarded else -1], sigmas[-1:]])
    plain = guider.sample(prepare_noise(image["samples"], 4), image["samples"], Plain(), sigmas[-STEPS - 1 :], seed=4)
    found = k_sample(keep(model, image), image, kind, loop.__name__)
    assert off(found, plain) <= 1e-5
    assert off(found, k_sample(model, image, kind, loop.__name__)) > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m_sde", "uni_pc"])
def test_held_everywhere_it_is_the_image_and_with_no_amount_the_run_without(
    random_model, latent, keep, k_sample, kind, sampler
):
    model, image = random_model(kind), latent(kind)
    held = k_sample(keep(model, image, where="everywhere"), image, kind, sampler)
    assert off(held, image["samples"]) <= (1e-5 if sampler != "uni_pc" else 1e-2)
    free = k_sample(model, image, kind, sampler)
    assert torch.equal(k_sample(keep(model, image, amount=0.0), image, kind, sampler), free)
    assert off(free, image["samples"]) > 0.05


@pytest.mark.parametrize("node_id", ["RescaleCFG", "PerturbedAttentionGuidance", "SelfAttentionGuidance"])
def test_patches_of_guidance_act_before_it_in_either_order(host_node, random_model, latent, keep, k_sample, node_id):
    model, image = random_model("sd15"), latent("sd15")
    inputs = {
        "RescaleCFG": {"multiplier": 0.7},
        "PerturbedAttentionGuidance": {"scale": 3.0},
        "SelfAttentionGuidance": {"scale": 0.5, "blur_sigma": 2.0},
    }[node_id]

    def patched(given):
        return host_node(node_id, model=given, **inputs)[0]

    first, last = (k_sample(made, image, "sd15") for made in (patched(keep(model, image)), keep(patched(model), image)))
    assert torch.equal(first, last)
    assert off(first, k_sample(keep(model, image), image, "sd15")) > 1e-3


def test_images_of_a_batch_are_held_each_or_all_to_one(random_model, latent, keep, k_sample):
    model, two = random_model("sd15"), latent("sd15", batch=2)
    each = k_sample(keep(model, two, where="everywhere"), two, "sd15")
    assert off(each, two["samples"]) <= 1e-5
    one = {"samples": two["samples"][:1]}
    all_one = k_sample(keep(model, one, where="everywhere"), two, "sd15")
    assert off(all_one, one["samples"].expand_as(all_one)) <= 1e-5


def test_outside_the_mask_the_image_stays(random_model, latent, keep, k_sample):
    model, image = random_model("sd15"), latent("sd15")
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    found = k_sample(keep(model, image, tolerance=0.01, mask=mask), image, "sd15")
    assert off(found[..., 4:], image["samples"][..., 4:]) <= 1e-5
    assert off(found[..., :4], image["samples"][..., :4]) > 0.05


def test_it_acts_between_its_percents_alone(random_model, latent, keep, k_sample):
    model, image = random_model("flow"), latent("flow")
    late = k_sample(keep(model, image, where="everywhere", start_percent=0.5), image, "flow")
    assert off(late, image["samples"]) <= 1e-5  # the last step's prediction is the result
    early = k_sample(keep(model, image, where="everywhere", end_percent=0.5), image, "flow")
    free = k_sample(model, image, "flow")
    assert min(off(early, image["samples"]), off(early, free)) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_with_noise_maps_the_same_prompt_gives_the_image_back_and_one_pass_is_two(
    random_model, conditioning, latent, keep, invert, sample, edit, kind
):
    image = latent(kind, batch=2)
    model = keep(random_model(kind), image)
    settings = {"scheduler": "simple", "steps": STEPS, "latent_image": image}
    maps = invert(model, kind, variations=2, **settings)
    assert off(sample(model, maps, kind), torch.cat([image["samples"]] * 2)) <= 1e-5
    edited = sample(model, maps, kind, positive=conditioning(kind, 9), cfg=7.0)
    found = edit(model, kind, skip_steps=0, variations=2, **settings)
    assert off(found, edited) <= 1e-4
    assert off(edited, torch.cat([image["samples"]] * 2)) > 0.05


def test_it_takes_no_call_and_no_row(random_model, latent, keep, edit, count_calls):
    image = latent("sd15", batch=2)
    edit(random_model("sd15"), latent_image=image, variations=2)
    without = [*count_calls]
    count_calls.clear()
    edit(keep(random_model("sd15"), image), latent_image=image, variations=2)
    assert [*count_calls] == without


def test_it_is_in_the_model_that_it_gave_alone(random_model, latent, keep, k_sample):
    model, image = random_model("sd15"), latent("sd15")
    before = k_sample(model, image, "sd15")
    kept = keep(model, image)
    held = k_sample(kept, image, "sd15")
    assert torch.equal(k_sample(kept.clone(), image, "sd15"), held)
    assert torch.equal(k_sample(model, image, "sd15"), before)


def test_what_it_cannot_hold_is_refused(random_model, latent, keep, k_sample):
    from comfy.nested_tensor import NestedTensor

    model, image = random_model("sd15"), latent("sd15")
    larger = latent("sd15", height=16)
    with pytest.raises(ValueError, match=r"Keep Image has a latent of shape \(1, 4, 8, 8\), the run has \(1, 4, 16, 8"):
        k_sample(keep(model, image), larger, "sd15")
    with pytest.raises(ValueError, match="Keep Image has a latent of shape.*3, 4, 8, 8.*2, 4, 8, 8"):
        k_sample(keep(model, latent("sd15", batch=3)), latent("sd15", batch=2), "sd15")
    with pytest.raises(ValueError, match="the latent has 16 channels, this model takes 4"):
        keep(model, latent("flow"))
    with pytest.raises(ValueError, match="the latent has 2 parts"):
        keep(model, {"samples": NestedTensor([image["samples"], image["samples"]])})
    with pytest.raises(ValueError, match="the mask is empty"):
        keep(model, image, mask=torch.zeros(1, 64, 64))
    with pytest.raises(ValueError, match="the mask is 40 x 40 pixels, the inverted image is 64 x 64"):
        keep(model, image, mask=torch.ones(1, 40, 40))
    with pytest.raises(ValueError, match=r"acts from 0.6 to 0.3 of the run: use 0 <= start < end <= 1"):
        keep(model, image, start_percent=0.6, end_percent=0.3)


def test_in_a_call_of_several_levels_each_is_held_by_its_own(pack, random_model, latent, invert, sample):
    image = latent("sd15")
    settings = {"where": "everywhere", "amount": 0.9, "tolerance": 0.15, "start_percent": 0.0, "end_percent": 0.7}
    (model,) = pack.run("EditFriendlyKeepImage", model=random_model("sd15"), latent_image=image, **settings)
    maps = invert(model, latent_image=image, steps=8, scheduler="simple", timesteps_per_call=4)
    back = sample(model, maps)
    assert (back - image["samples"]).abs().max() <= 1e-5 * maps.states.abs().max()
