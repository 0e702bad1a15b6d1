"""Edit Image by strength, and with the image itself as what is predicted of the source."""

from __future__ import annotations

import pytest
import torch

KINDS = ("sd15", "flow", "wan")
LEVELS = {"steps": 5, "scheduler": "simple"}


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_a_strength_of_0_is_the_image_and_of_1_the_edit_without_guidance(random_model, latent, edit, kind, eta):
    model, image = random_model(kind), latent(kind, batch=2)
    common = {"latent_image": image, "skip_steps": 0, "eta": eta}
    assert off(edit(model, kind, strength=0.0, **common), image["samples"]) <= 1e-5
    plain = edit(model, kind, source_cfg=1.0, target_cfg=1.0, **common)
    assert off(edit(model, kind, strength=1.0, **common), plain) <= 1e-5
    assert off(plain, image["samples"]) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_strength_is_the_guider_with_the_source_as_negative(
    pack, random_model, conditioning, latent, invert, edit, run_custom, kind
):
    model, image = random_model(kind), latent(kind)
    maps = invert(model, kind, latent_image=image, cfg=1.0, **LEVELS)
    prompts = {"source": conditioning(kind, 1), "target": conditioning(kind, 9), "negative": conditioning(kind, 2)}
    (guider,) = pack.run(
        "EditFriendlyEditGuider", model=model, guidance="source as negative", cfg=2.5, source_cfg=1.0, **prompts
    )
    found = edit(model, kind, latent_image=image, skip_steps=0, strength=2.5, target_cfg=9.0, source_cfg=4.0)
    assert off(found, run_custom(guider, maps, image)) <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_as_prediction_takes_no_call_and_is_eq_5(pack, random_model, latent, invert, count_calls, kind):
    model, image = random_model(kind), latent(kind, batch=2)
    maps = invert(model, kind, latent_image=image, variations=2, source_prediction="image", **LEVELS)
    assert not count_calls
    schedule = maps.schedule
    for i in range(schedule.steps):
        mean = schedule.step(i).mean_after(maps.states[i], maps.image, None)
        torch.testing.assert_close(maps.residuals[i], maps.states[i + 1] - mean, rtol=0, atol=1e-5)
    by_model = invert(model, kind, latent_image=image, variations=2, **LEVELS)
    assert torch.equal(maps.states, by_model.states) and maps.seeds == by_model.seeds


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_with_the_image_as_prediction_is_two_at_half_the_rows(
    random_model, conditioning, latent, invert, sample, edit, count_calls, kind
):
    model, image = random_model(kind), latent(kind, batch=2)
    by_image = {"latent_image": image, "variations": 2, "source_prediction": "image"}
    maps = invert(model, kind, **by_image, **LEVELS)
    edited = sample(model, maps, kind, positive=conditioning(kind, 9), cfg=7.0, skip_steps=1)
    count_calls.clear()
    found = edit(model, kind, skip_steps=1, **by_image)
    assert set(count_calls) == {4}
    assert off(found, edited) <= 1e-4
    assert off(found[:2], found[2:]) > 0.01  # each variation has its noise


def test_a_model_that_predicts_the_image_gives_it_back(pack, random_model, latent, invert, sample):
    image = latent("flow")
    model = pack.run(
        "EditFriendlyKeepImage",
        model=random_model("flow"),
        latent_image=image,
        **{"where": "everywhere", "amount": 1.0, "tolerance": 1.0, "start_percent": 0.0, "end_percent": 1.0},
    )[0]
    maps = invert(model, "flow", latent_image=image, source_prediction="image", **LEVELS)
    assert off(sample(model, maps, "flow", cfg=7.0), image["samples"]) <= 1e-5


def test_what_needs_the_models_prediction_of_the_source_is_refused(random_model, edit):
    with pytest.raises(ValueError, match="strength needs what the model predicts of the source.*set it to model"):
        edit(random_model("sd15"), strength=1.5, source_prediction="image")
