"""What the nodes promise in a graph: batches, masks, manipulation, other samplers of the host, interrupts."""

import pytest
import torch

from support.node_ids import NODE_IDS
from support.rounding import relative, rounding


def test_a_batch_with_variations_is_its_images_alone(random_model, latent, invert, sample):
    """States bit for bit; residuals and edit to the rounding of the network's batch size."""
    model, image = random_model("sd15"), latent("sd15", batch=2)
    batch = invert(model, latent_image=image, variations=2, seed=3)
    edited = sample(model, batch, cfg=7.0, skip_steps=2)
    for v in range(2):
        for k in range(2):
            row = 2 * v + k
            alone = invert(model, latent_image={"samples": image["samples"][k : k + 1]}, seed=3 + v)
            assert torch.equal(batch.states[:, row], alone.states[:, 0])
            # measured: 1.5e-6 of the largest residual, 1.1e-5 of the edit, where the random network amplifies rounding
            assert (batch.residuals[:, row] - alone.residuals[:, 0]).abs().max() < 2e-5 * alone.residuals.abs().max()
            apart = (edited[row] - sample(model, alone, cfg=7.0, skip_steps=2)[0]).abs().max()
            assert apart < 1e-4 * edited[row].abs().max()


def test_outside_the_mask_an_edit_returns_the_source(random_model, conditioning, latent, invert, sample):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    noise_maps = invert(model, latent_image=image)
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    edit = sample(model, noise_maps, positive=conditioning("sd15", 9), mask=mask, cfg=10.0)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    difference = (edit - image["samples"]).abs()
    assert difference[..., ~inside].max() <= 1e-5
    assert difference[..., inside].mean() > 0.1


def test_sampler_fixed_noise_is_the_fixed_noise_sampler(
    comfy, pack, random_model, conditioning, latent, invert, sample
):
    model, image = random_model("sd15"), latent("sd15", batch=2)
    noise_maps = invert(model, latent_image=image)
    prompts = conditioning("sd15", 9), conditioning("sd15", 2)
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=2)
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS
    (guider,) = nodes["CFGGuider"]().get_guider(model, *prompts, 7.0)
    (noise,) = nodes["RandomNoise"]().get_noise(99)
    for noise_mask in (None, mask):
        start = image if noise_mask is None else image | {"noise_mask": noise_mask}
        for _ in range(2):  # a cached SAMPLER runs again when something else in the graph changes
            advanced, _ = nodes["SamplerCustomAdvanced"]().sample(noise, guider, sampler, sigmas, start)
            ours = sample(
                model, noise_maps, positive=prompts[0], negative=prompts[1], cfg=7.0, skip_steps=2, mask=noise_mask
            )
            assert torch.equal(advanced["samples"], ours)


def test_the_sampler_is_the_hosts_euler_ancestral_when_its_noise_is(comfy, pack, random_model, conditioning, latent):
    """Maps whose residuals are sigma_up times the noise that euler_ancestral draws sample to its image."""
    model, kind, seed = random_model("sd15"), "sd15", 7
    sigmas = pack.host.levels.levels(model, "karras", 5)
    schedule = pack.host.levels.schedule_for(model, sigmas, 1.0)
    prompts = conditioning(kind, 1), conditioning(kind, 2)
    start = latent(kind)["samples"] * 0.18215 * float(sigmas[0])

    drawn = []

    def recorded(x, seed=None):
        def noise_sampler(sigma, sigma_next):
            drawn.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(len(drawn))))
            return drawn[-1].to(x)

        return noise_sampler

    def euler_ancestral(model_k, x, sigmas, **kwargs):
        from comfy.k_diffusion.sampling import sample_euler_ancestral

        return sample_euler_ancestral(model_k, start.to(x), sigmas, noise_sampler=recorded(x), **kwargs)

    nothing = torch.zeros_like(start)
    guider = pack.host.guiders.guider_for(model, *prompts, 3.5)
    expected = guider.sample(nothing, nothing, comfy.samplers.KSAMPLER(euler_ancestral), sigmas, seed=seed)

    drawn.append(nothing)  # the last step adds none
    residuals = torch.stack([schedule.step(i).sigma_t * drawn[i] for i in range(schedule.steps)])

    def ours(start: dict) -> torch.Tensor:
        states = torch.cat([start["samples"][None], torch.zeros_like(residuals)])
        maps = pack.core.NoiseMaps(schedule, states, residuals)
        settings = {"positive": prompts[0], "negative": prompts[1], "cfg": 3.5, "skip_steps": 0}
        return pack.run("FixedNoiseSampler", model=model, noise_maps=maps, **settings)[0]["samples"]

    assert relative(ours({"samples": start}), expected) <= rounding(ours, {"samples": start})


def test_shift_is_in_pixels_rounded_to_cells(pack, random_model, invert):
    noise_maps = invert(random_model("sd15"))
    for x, y in ((16, -8), (13, -5), (19, -11)):  # all nearest to 2 cells right, 1 up
        (moved,) = pack.run("LatentShift", noise_maps=noise_maps, x=x, y=y, fill="copy")
        for part in ("states", "residuals", "denoised"):
            assert torch.equal(getattr(moved, part)[..., :7, 2:], getattr(noise_maps, part)[..., 1:, :6])


@pytest.mark.parametrize("node_id", ["EditFriendlyInvert", "EditFriendlySampleWithNoiseMaps"])
def test_fresh_cells_of_a_row_are_those_that_it_has_alone(pack, random_model, latent, run_node, node_id):
    """Whichever seed a row has: that of its variation, or of its image where the images were generated."""
    model, batch = random_model("sd15"), latent("sd15", batch=2)
    if node_id == "EditFriendlyInvert":
        first = {"samples": batch["samples"][:1]}
        *_, together = run_node(node_id, model, latent_image=batch, variations=2)
        apart = [run_node(node_id, model, latent_image=first, seed=seed)[-1] for seed in (3, 4)]
        rows = 0, 2  # the first image of each variation
    else:
        *_, together = run_node(node_id, model, latent_image=batch)
        apart = [run_node(node_id, model, latent_image=latent("sd15"), seed=seed)[-1] for seed in (3, 4)]
        rows = 0, 1

    def fresh(noise_maps):
        (moved,) = pack.run("LatentShift", noise_maps=noise_maps, x=24, y=0, fill="gaussian")
        return moved.z[..., :3]

    for row, alone in zip(rows, apart, strict=True):
        assert torch.equal(fresh(together)[:, row], fresh(alone)[:, 0])
    assert not torch.equal(fresh(apart[0]), fresh(apart[1]))


def test_flip(pack, random_model, invert):
    noise_maps = invert(random_model("sd15"))
    (mirrored,) = pack.run("EditFriendlyNoiseMapsFlip", noise_maps=noise_maps, horizontal=True, vertical=False)
    assert torch.equal(mirrored.residuals, noise_maps.residuals.flip(-1))


@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_color_is_read_in_the_models_own_scaling(pack, random_model, latent, invert, kind):
    """Eq. 7 on a LATENT: the color latent of the image itself draws each prediction towards the image."""
    model, image = random_model(kind), latent(kind)
    noise_maps = invert(model, kind, latent_image=image, scheduler="simple")
    mask = torch.ones(1, 64, 64)
    (edited,) = pack.run(
        "MaskColorEdit",
        noise_maps=noise_maps,
        mask=mask,
        color=image,
        strength=0.5,
        start_percent=0.0,
        end_percent=1.0,
    )
    for i in range(noise_maps.steps):
        sigma_t = noise_maps.schedule.step(i).sigma_t
        expected = sigma_t * 0.5 * (noise_maps.image - noise_maps.denoised[i])
        assert torch.allclose(edited.residuals[i] - noise_maps.residuals[i], expected, atol=1e-3)


def test_a_mask_is_averaged_over_cells_and_cropped_like_the_image(pack, random_model, invert):
    noise_maps = invert(random_model("sd15"))
    mask = torch.zeros(1, 67, 70)  # the VAE encodes the middle 64 x 64 of such an image
    mask[:, 1 : 1 + 8, 3 : 3 + 4] = 1
    cells = pack.host.latents.mask_rows(noise_maps.image.shape, 8, mask)
    assert cells.shape == (1, 1, 8, 8)
    assert cells[0, 0, 0, 0] == 0.5
    assert cells.sum() == 0.5


def test_a_run_can_be_interrupted_at_any_step(comfy, unthrottled, random_model, latent, invert, sample):
    """The host's interrupt ends the run; the next one gives what an undisturbed one gives."""
    model, image = random_model("sd15"), latent("sd15")
    undisturbed = invert(model, latent_image=image)
    edited = sample(model, undisturbed, cfg=7.0)
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}

    def stop_at(step: int):
        def hook(value, total, preview, **_):
            if value == step:
                comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()

        return hook

    try:
        for step in range(1, 6):
            comfy.utils.set_progress_bar_global_hook(stop_at(step))
            with pytest.raises(comfy.model_management.InterruptProcessingException):
                invert(model, latent_image=image)
            comfy.utils.set_progress_bar_global_hook(stop_at(step))
            with pytest.raises(comfy.model_management.InterruptProcessingException):
                sample(model, undisturbed, cfg=7.0)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert torch.equal(invert(model, latent_image=image).residuals, undisturbed.residuals)
    assert torch.equal(sample(model, undisturbed, cfg=7.0), edited)
    assert all(torch.equal(value, weights[name]) for name, value in model.model.state_dict().items())


def test_progress_and_previews_count_the_calls(comfy, unthrottled, random_model, invert, sample):
    reported = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: reported.append((value, total)))
    try:
        noise_maps = invert(random_model("sd15"), skip_steps=2)
        assert reported == [(k, 3) for k in range(1, 4)]
        reported.clear()
        sample(random_model("sd15"), noise_maps, skip_steps=3)
        assert reported == [(k, 2) for k in range(1, 3)]
    finally:
        comfy.utils.set_progress_bar_global_hook(None)


def test_progress_that_the_host_throttles_still_climbs_to_the_end(comfy, random_model, invert):
    reported = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: reported.append((value, total)))
    try:
        invert(random_model("sd15"), steps=20)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    values = [value for value, _ in reported]
    assert {total for _, total in reported} == {20}
    assert values == sorted(set(values)) and values[0] == 1 and values[-1] == 20


def test_other_nodes_keep_their_random_numbers(random_model, invert):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    invert(random_model("sd15"))
    assert torch.equal(torch.rand(3), expected)


def test_every_input_has_a_tooltip(pack):
    for node_id in NODE_IDS:
        schema = getattr(pack, node_id).GET_SCHEMA()
        assert schema.node_id == node_id
        assert schema.category.startswith("edit-friendly DDPM")
        assert schema.description
        assert all(part.tooltip for part in (*schema.inputs, *schema.outputs)), node_id


def test_a_patch_that_draws_draws_the_same_in_a_run_of_two_parts(
    pack, random_model, latent, invert, conditioning, host_node
):
    model = random_model("sd15").clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] + 0.1 * torch.randn_like(args["denoised"]))
    image = latent("sd15")
    maps = invert(model, latent_image=image, steps=6, scheduler="simple", cfg=1.0)
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=maps, skip_steps=0)
    prompts = {"positive": conditioning("sd15", 1), "negative": conditioning("sd15", 2)}
    run = {"noise": host_node("DisableNoise")[0], "guider": host_node("CFGGuider", model=model, cfg=1.0, **prompts)[0]}
    back = image
    for part in host_node("SplitSigmas", sigmas=sigmas, step=3):
        back = host_node("SamplerCustomAdvanced", sampler=sampler, sigmas=part, latent_image=back, **run)[0]
    assert (back["samples"] - image["samples"]).abs().max() <= 1e-5 * maps.states.abs().max()
