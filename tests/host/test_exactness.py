"""Replay is exact in real ComfyUI, whatever the model, precision, schedule or patch."""

import pytest
import torch

EXACT = 1e-5
INVERSIONS = ("EditFriendlyInvert", "EditFriendlyCycleDiffusionInvert", "EditFriendlyDDIMInvert")

# A covering selection: every kind of model, precision, scheduler, length and eta is there, not every product of them.
CASES = [
    # kind, weights, scheduler, steps, eta
    ("sd15", torch.float32, "ddim_uniform", 100, 1.0),
    ("sd15", torch.float16, "karras", 20, 0.5),
    ("sd15", torch.bfloat16, "simple", 4, 1.0),
    ("sd15", torch.float32, "kl_optimal", 4, 0.25),
    ("v", torch.float32, "sgm_uniform", 20, 0.25),
    ("v", torch.float16, "exponential", 4, 1.0),
    ("v", torch.bfloat16, "ddim_uniform", 20, 1.0),
    ("sdxl", torch.float32, "beta", 20, 1.0),
    ("sdxl", torch.float16, "normal", 4, 0.5),
    ("sdxl", torch.bfloat16, "linear_quadratic", 20, 1.0),
    ("flow", torch.float32, "simple", 20, 1.0),
    ("flow", torch.float16, "beta", 4, 0.5),
    ("flow", torch.bfloat16, "normal", 20, 0.25),
    ("flux", torch.float32, "simple", 8, 1.0),
    ("flux", torch.bfloat16, "beta", 4, 0.5),
    ("wan", torch.float32, "simple", 8, 1.0),
    ("wan", torch.float16, "beta", 4, 0.5),
]


def test_the_cases_cover_every_scheduler_of_the_host(comfy):
    assert {case[2] for case in CASES} == set(comfy.samplers.SCHEDULER_NAMES)


@pytest.mark.parametrize("node_id", INVERSIONS)
@pytest.mark.parametrize(("kind", "dtype", "scheduler", "steps", "eta"), CASES, ids=str)
def test_replay_returns_the_latent(random_model, latent, run_node, sample, node_id, kind, dtype, scheduler, steps, eta):
    model, image = random_model(kind, dtype), latent(kind, batch=2, width=12)
    noise = {} if node_id == "EditFriendlyDDIMInvert" else {"eta": eta}
    (noise_maps,) = run_node(node_id, model, kind, latent_image=image, scheduler=scheduler, steps=steps, **noise)
    assert (sample(model, noise_maps, kind) - image["samples"]).abs().max() <= EXACT


@pytest.mark.parametrize("node_id", INVERSIONS)
def test_replay_after_an_inversion_that_skips(random_model, latent, run_node, sample, node_id):
    model, image = random_model("sd15"), latent("sd15")
    (noise_maps,) = run_node(node_id, model, latent_image=image, steps=10, skip_steps=4)
    assert noise_maps.steps == 6
    assert (sample(model, noise_maps, skip_steps=4) - image["samples"]).abs().max() <= EXACT


@pytest.mark.parametrize("node_id", INVERSIONS)
def test_replay_on_given_sigmas(random_model, latent, run_node, sample, node_id):
    model, image = random_model("sd15"), latent("sd15")
    sigmas = torch.tensor([14.0, 7.0, 3.0, 1.0, 0.2, 0.0])
    (noise_maps,) = run_node(node_id, model, latent_image=image, sigmas=sigmas)
    assert noise_maps.schedule.sigmas.tolist() == pytest.approx(sigmas.tolist())
    assert (sample(model, noise_maps) - image["samples"]).abs().max() <= EXACT


@pytest.mark.parametrize("node_id", INVERSIONS)
@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_replay_of_an_all_zero_latent(random_model, latent, run_node, sample, node_id, kind):
    """The host scales an all-zero latent on the way out only; with a latent format that shifts, the two differ."""
    image = {"samples": torch.zeros_like(latent(kind)["samples"])}
    (noise_maps,) = run_node(node_id, random_model(kind), kind, latent_image=image, scheduler="simple")
    assert sample(random_model(kind), noise_maps, kind).abs().max() <= EXACT


@pytest.mark.parametrize("node_id", INVERSIONS)
def test_replay_with_a_lora(comfy, random_lora, random_model, latent, run_node, sample, node_id):
    model, image = random_model("sd15"), latent("sd15")
    lora = random_lora(model)
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 0.7, 0)
    assert patched.patches, "the host took no key of the LoRA"
    (noise_maps,) = run_node(node_id, patched, latent_image=image)
    assert (sample(patched, noise_maps) - image["samples"]).abs().max() <= EXACT
    assert (sample(model, noise_maps) - image["samples"]).abs().max() > 1000 * EXACT, "the LoRA did nothing"


@pytest.mark.parametrize("node_id", INVERSIONS)
def test_replay_with_a_control_net(
    random_control_net, comfy, random_model, conditioning, latent, run_node, sample, node_id
):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    hint = torch.rand((2, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet
    positive, negative = apply(
        conditioning("sd15", 1), conditioning("sd15", 2), random_control_net, hint, 0.8, 0.2, 0.9
    )
    prompts = {"positive": positive, "negative": negative}
    (noise_maps,) = run_node(node_id, model, latent_image=image, variations=2, **prompts)
    expected = image["samples"].repeat(2, 1, 1, 1)
    assert (sample(model, noise_maps, **prompts) - expected).abs().max() <= EXACT
    assert (sample(model, noise_maps) - expected).abs().max() > 1000 * EXACT, "the ControlNet did nothing"


def test_each_image_keeps_its_own_control_hint(random_control_net, comfy, random_model, conditioning, latent, invert):
    """Per-image conditioning meets the image it belongs to when the batch is repeated for variations."""
    model, image = random_model("sd15"), latent("sd15", batch=2)
    hints = torch.rand((2, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet

    def inverted(k: slice, **inputs):
        positive, negative = apply(
            conditioning("sd15", 1), conditioning("sd15", 2), random_control_net, hints[k], 1.0, 0.0, 1.0
        )
        chosen = {"samples": image["samples"][k]}
        return invert(model, latent_image=chosen, positive=positive, negative=negative, **inputs)

    together = inverted(slice(0, 2), variations=2)
    second_alone = inverted(slice(1, 2), seed=4)
    row = 1 * 2 + 1  # variation 1 of image 1
    assert torch.equal(together.states[:, row], second_alone.states[:, 0])
    assert torch.allclose(together.denoised[0, row], second_alone.denoised[0, 0], rtol=1e-3, atol=1e-3)
