"""Sound: latents (B, C, L) of Stable Audio and ACE-Step 1.5, and (B, 8, 16, L) of ACE-Step, in the nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

KINDS = ["stable_audio", "ace", "ace15"]
CELLS = 32  # of the fixtures' latents, so a cell lasts a quarter of a second
SECONDS = 8.0
AUDIO = {"waveform": torch.zeros(1, 2, int(SECONDS * 1000)), "sample_rate": 1000}
EXACT, SAME_EDIT = 1e-5, 1e-4  # of the largest value


@pytest.fixture
def by_seconds(pack):
    """by_seconds(start, end, fade, audio): the MASK of Mask by Seconds."""

    def make(start: float, end: float, fade: float = 0.0, audio=AUDIO) -> torch.Tensor:
        return pack.run("EditFriendlyMaskSeconds", audio=audio, start=start, end=end, fade=fade)[0]

    return make


@pytest.fixture
def maps_of_sound(random_model, invert):
    """maps_of_sound(kind, **inputs): a MODEL and NOISE_MAPS of a random sound."""

    def make(kind: str, **inputs):
        model = random_model(kind)
        return model, invert(model, kind, **({"scheduler": "simple"} | inputs))

    return make


@pytest.fixture
def differ(pack, conditioning):
    """differ(model, noise_maps, kind, **inputs): MASK and preview of Mask from two Prompts."""

    def run(model, noise_maps, kind: str, **inputs):
        found = {"threshold": 0.5, "levels": 3, "start": 0.1, "end": 0.9, "grow": 0} | inputs
        prompts = {"source": conditioning(kind, 1), "target": conditioning(kind, 9)}
        return pack.run("EditFriendlyDifferenceMask", model=model, noise_maps=noise_maps, **prompts, **found)

    return run


def moved(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(L,) the largest difference at each moment, of the largest value."""
    return (a - b).abs().flatten(0, -2).amax(dim=0) / b.abs().max()


# --- inversion, sampling, the edit in one pass ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_comes_back_and_one_pass_is_what_two_are(maps_of_sound, latent, sample, edit, conditioning, kind):
    sounds = latent(kind, batch=2)
    model, noise_maps = maps_of_sound(kind, latent_image=sounds, variations=2)
    assert moved(sample(model, noise_maps, kind), sounds["samples"].repeat_interleave(2, 0)[[0, 2, 1, 3]]).max() < EXACT
    target = {"positive": conditioning(kind, 9), "cfg": 7.0}
    model, noise_maps = maps_of_sound(kind)
    two = sample(model, noise_maps, kind, **target)
    assert moved(two, noise_maps.image).max() > 0.1
    assert moved(edit(model, kind, latent_image=latent(kind), skip_steps=0), two).max() < SAME_EDIT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("EditFriendlyCycleDiffusionInvert", {}),
        ("EditFriendlyDDIMInvert", {}),
        ("EditFriendlyTurboInvert", {"skip_steps": 0, "clip_last": 1e6}),
        ("EditFriendlyInvert", {"order": 2, "timesteps_per_call": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_inversion_gives_the_sound_back(random_model, run_node, sample, latent, kind, node_id, inputs):
    settings = {"scheduler": "simple", "cfg": 1.0, **inputs}
    (noise_maps,) = run_node(node_id, random_model(kind), kind, **settings)
    back = sample(random_model(kind), noise_maps, kind, cfg=1.0)
    assert moved(back, latent(kind)["samples"]).max() < EXACT


@pytest.mark.parametrize("kind", KINDS)
def test_null_text_comes_nearer_than_ddim_alone(random_model, run_node, sample, latent, kind):
    settings = {"scheduler": "simple", "cfg": 3.5, "steps": 3, "inner_steps": 4}
    plain = {"keep_residuals": False, "cfg": 1.0, "scheduler": "simple", "steps": 3}
    errors = []
    for node_id, inputs in (("EditFriendlyDDIMInvert", plain), ("EditFriendlyNullTextInvert", settings)):
        (noise_maps,) = run_node(node_id, random_model(kind), kind, **inputs)
        errors.append(moved(sample(random_model(kind), noise_maps, kind), latent(kind)["samples"]).square().mean())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_sound_comes_again_from_a_file(pack, run_node, random_model, sample, latent, tmp_path, kind):
    empty = {"samples": torch.zeros_like(latent(kind)["samples"]), "type": "audio"}
    generated, noise_maps = run_node(
        "EditFriendlySampleWithNoiseMaps", random_model(kind), kind, latent_image=empty, scheduler="simple"
    )
    assert generated["type"] == "audio" and generated["samples"].std() > 0.1
    pack.core.storage.save(noise_maps, tmp_path / "sound.noisemaps.safetensors")
    loaded = pack.core.storage.load(tmp_path / "sound.noisemaps.safetensors")
    assert torch.equal(loaded.states, noise_maps.states) and torch.equal(loaded.residuals, noise_maps.residuals)
    assert loaded.space.cell == 0  # pixels
    assert torch.equal(sample(random_model(kind), loaded, kind), generated["samples"])


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_sound_are_finite(pack, maps_of_sound, kind):
    plots, table = pack.run("EditFriendlyNoiseMapsStatistics", noise_maps=maps_of_sound(kind)[1])
    assert plots.isfinite().all()
    numbers = dict(line.rsplit(maxsplit=1) for line in table.splitlines()[1:])
    for name in ("std of z", "correlation of z", "angle of z", "KL of latent"):
        assert np.isfinite(float(numbers[name])), name


# --- masks that are given ---------------------------------------------------------------------------------------------


def test_a_mask_by_seconds_in_closed_form(host_node, by_seconds):
    mask = by_seconds(2.0, 5.0)
    assert mask.shape == (1, 1, 800)
    assert torch.equal(mask.flatten().nonzero().flatten(), torch.arange(200, 500))
    assert torch.equal(by_seconds(-6.0, -3.0), mask)
    assert by_seconds(0.0, 0.0).eq(1).all() and by_seconds(0.0, 100.0).eq(1).all()
    faded = by_seconds(2.0, 5.0, fade=1.0).flatten()
    assert faded.sum() / 100 == pytest.approx(2.0, abs=0.01)  # a trapezoid
    assert faded[300:400].eq(1).all() and faded[:200].max() == 0 == faded[500:].max()
    assert faded[250] == pytest.approx(0.5, abs=0.01)
    assert by_seconds(0.0, 5.0, fade=1.0)[..., :400].eq(1).all()  # a sound's own start opens nothing
    assert by_seconds(6.0, 0.0, fade=1.0)[..., 700:].eq(1).all()
    (outside,) = host_node("InvertMask", mask=mask)
    (whole,) = host_node("MaskComposite", destination=outside, source=mask, x=0, y=0, operation="add")
    assert outside.mean() == 5 / 8 and whole.shape == mask.shape and whole.min() == 1


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (5.0, 2.0, "from 5 to 2 seconds there is nothing of a sound of 8 seconds"),
        (8.0, 0.0, "from 8 to 8 seconds"),
        (-9.0, 0.0, "from -1 to 8 seconds"),
        (0.0, -8.0, "from 0 to 0 seconds"),
    ],
)
def test_seconds_that_a_sound_does_not_have(by_seconds, start, end, message):
    with pytest.raises(ValueError, match=message):
        by_seconds(start, end)


@pytest.mark.parametrize("audio", [None, {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44100}])
def test_a_video_without_sound(by_seconds, audio):
    with pytest.raises(ValueError, match="there is no sound in audio"):
        by_seconds(0.0, 1.0, audio=audio)


@pytest.mark.parametrize("shape", [(1, 64, CELLS), (1, 8, 16, CELLS)])
@pytest.mark.parametrize("columns", [CELLS, 4 * CELLS, 800, 3])
def test_a_cell_has_the_mean_of_its_time(pack, shape, columns):
    ramp = torch.arange(1.0, columns + 1).view(1, 1, -1)
    cells = pack.host.latents.mask_rows(torch.Size(shape), 0, ramp)
    assert cells.shape == (1, 1, *shape[2:])
    inside = [ramp[0, 0, k * columns // CELLS : -(-(k + 1) * columns // CELLS)].mean() for k in range(CELLS)]
    torch.testing.assert_close(cells.reshape(-1, CELLS), torch.stack(inside).expand(len(cells.reshape(-1, CELLS)), -1))


@pytest.mark.parametrize("kind", KINDS)
def test_outside_a_mask_by_seconds_the_sound_is_as_it_was(
    pack, maps_of_sound, latent, sample, edit, conditioning, by_seconds, kind
):
    """From second 4 of 8, in every node that takes a mask."""
    model, noise_maps = maps_of_sound(kind)
    mask, source, target = by_seconds(4.0, 0.0), conditioning(kind, 1), conditioning(kind, 9)
    link = {"direction": "add", "scale": 5.0, "quantile": 0.0, "start": 0.0, "end": 1.0}
    (whole,) = pack.run("EditFriendlyAddEdit", prompt=target, **link)
    (late,) = pack.run("EditFriendlyAddEdit", prompt=target, mask=mask, **link)
    several = {"model": model, "source": source, "noise_maps": noise_maps, "skip_steps": 0}
    color = {"color": latent(kind, seed=5), "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    (colored,) = pack.run("MaskColorEdit", noise_maps=noise_maps, mask=mask, **color)
    masked = pack.run("EditFriendlySampleEdits", edits=whole, mask=mask, **several)
    for samples in (
        sample(model, noise_maps, kind, positive=target, mask=mask),
        edit(model, kind, latent_image=latent(kind), mask=mask),
        masked[0]["samples"],
    ):
        change = moved(samples, latent(kind)["samples"])
        assert change[: CELLS // 2].max() < EXACT and change[CELLS // 2 :].min() > 1e-3
    _, seen = pack.run("EditFriendlySampleEdits", edits=late, **several)
    assert seen.shape[-1] == CELLS and seen[..., : CELLS // 2].max() == 0 and seen[..., CELLS // 2 :].min() == 1
    assert torch.equal(colored.residuals[..., : CELLS // 2], noise_maps.residuals[..., : CELLS // 2])
    assert not torch.equal(colored.residuals, noise_maps.residuals)


@pytest.mark.parametrize("kind", KINDS)
def test_a_noise_mask_by_seconds(host_node, maps_of_sound, latent, sample, conditioning, by_seconds, kind):
    """As Set Latent Noise Mask puts it on the LATENT, which the host's samplers take of ACE-Step alone."""
    (held,) = host_node("SetLatentNoiseMask", samples=latent(kind), mask=by_seconds(4.0, 0.0))
    model, noise_maps = maps_of_sound(kind, latent_image=held)
    assert noise_maps.mask.shape == (1, 1, *noise_maps.image.shape[2:])
    change = moved(sample(model, noise_maps, kind, positive=conditioning(kind, 9)), latent(kind)["samples"])
    assert change[: CELLS // 2 - 1].max() < EXACT and change[CELLS // 2 + 1 :].min() > 1e-3
    cells = torch.arange(CELLS) / CELLS
    for mask in (cells.view(1, -1), cells.view(1, 1, -1)):
        if kind != "ace":
            _, noise_maps = maps_of_sound(kind, latent_image=latent(kind) | {"noise_mask": mask})
            assert torch.equal(noise_maps.mask.flatten(), cells)
    with pytest.raises(ValueError, match="there are 2 masks for 1 image"):
        maps_of_sound(kind, latent_image=latent(kind) | {"noise_mask": held["noise_mask"].repeat(2, 1, 1, 1)})


def test_a_mask_of_a_picture_is_refused(maps_of_sound, sample):
    painted = torch.zeros(1, 64, 64)
    painted[:, :20] = 1
    for kind, message in (("ace15", "rows that differ.*Mask by Seconds"), ("ace", "of sound one from Mask by Seconds")):
        model, noise_maps = maps_of_sound(kind)
        with pytest.raises(ValueError, match=message):
            sample(model, noise_maps, kind, mask=painted)


# --- masks that are found ---------------------------------------------------------------------------------------------


@pytest.fixture
def late(random_model):
    """late(kind): a MODEL that hears its prompt in the second half alone."""

    def make(kind: str):
        model = random_model(kind).clone()

        def second_half(apply_model, args):
            out = apply_model(args["input"], args["timestep"], **args["c"])
            out[..., : CELLS // 2] = args["input"][..., : CELLS // 2]
            return out

        model.set_model_unet_function_wrapper(second_half)
        return model

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_found_mask_is_of_its_time_and_goes_in_again(
    pack, late, invert, sample, edit, differ, latent, conditioning, kind
):
    """One for each of two sounds, for both variations."""
    model, sounds = late(kind), latent(kind, batch=2)
    noise_maps = invert(model, kind, scheduler="simple", latent_image=sounds, variations=2)
    mask, _ = differ(model, noise_maps, kind, threshold=0.0)
    assert mask.shape == (2, 16 if kind == "ace" else 1, CELLS)
    assert mask[..., : CELLS // 2 - 1].max() == 0 and mask[..., CELLS // 2 :].min() == 1
    rows = pack.host.latents.mask_of_maps(noise_maps, mask)
    assert torch.equal(rows.view(2, *mask.shape), mask.expand(2, *mask.shape))
    edited = sample(model, noise_maps, kind, positive=conditioning(kind, 9), mask=mask)
    change = moved(edited, noise_maps.space.of_latent(noise_maps.image))
    assert change[: CELLS // 2 - 1].max() < EXACT and change[CELLS // 2 :].min() > 1e-3
    change = moved(edit(model, kind, latent_image=sounds, auto_mask=0.01), sounds["samples"])
    assert change[: CELLS // 2 - 1].max() < EXACT and change[CELLS // 2 :].max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_found_mask_lies_in_the_one_that_is_given(pack, random_model, conditioning, latent, by_seconds, kind):
    prompts = {name: conditioning(kind, seed) for name, seed in (("source", 1), ("target", 9), ("negative", 2))}
    settings = {"steps": 5, "source_cfg": 1.0, "target_cfg": 1.0, "eta": 1.0, "scheduler": "simple", "seed": 3}
    settings |= {"skip_steps": 0, "variations": 2, "latent_image": latent(kind, batch=2)}
    _, found = pack.run(
        "EditFriendlyEdit", model=random_model(kind), mask=by_seconds(6.0, 0.0), auto_mask=0.1, **prompts, **settings
    )
    assert found.shape == (2, 16 if kind == "ace" else 1, CELLS)
    assert found[..., : 3 * CELLS // 4].max() == 0 and found.max() == 1


# --- moved and mirrored -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_moved_by_seconds_and_turned_round(pack, maps_of_sound, random_model, invert, kind):
    _, noise_maps = maps_of_sound(kind)
    place = {"noise_maps": noise_maps, "x": 0, "y": 0, "fill": "wrap"}
    for seconds, cells in ((2.0, 8), (-1.5, -6), (0.3, 1)):
        (shifted,) = pack.run("LatentShift", seconds=seconds, audio=AUDIO, **place)
        assert torch.equal(shifted.states, noise_maps.states.roll(cells, -1))
    (turned,) = pack.run("EditFriendlyNoiseMapsFlip", noise_maps=noise_maps, horizontal=True, vertical=False)
    assert torch.equal(turned.residuals, noise_maps.residuals.flip(-1))
    with pytest.raises(ValueError, match="of sound, which has none, set seconds and connect audio"):
        pack.run("LatentShift", **place | {"x": 64})
    for moved_so in (place | {"x": 64}, place | {"noise_maps": invert(random_model("sd15"))}):
        with pytest.raises(ValueError, match="y 0 and seconds 1, .*: x and y move images, seconds moves sound"):
            pack.run("LatentShift", **moved_so, seconds=1.0, audio=AUDIO)
    with pytest.raises(ValueError, match="connect the sound"):
        pack.run("LatentShift", **place, seconds=1.0)


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(comfy, tmp_path, monkeypatch):
    """A folder for what the nodes show."""
    monkeypatch.setattr(comfy.folder_paths, "temp_directory", str(tmp_path))


@pytest.mark.parametrize("kind", ["stable_audio", "ace"])
def test_a_vae_shows_sound_as_waveform_and_spectrogram(pack, shown, maps_of_sound, sound_vae, conditioning, kind):
    model, noise_maps = maps_of_sound(kind)
    vae, core_sound = sound_vae(kind), pack.core.sound
    picture = pack.host.values.decode(vae, noise_maps.space.of_latent(noise_maps.image))
    heard = vae.decode(noise_maps.space.of_latent(noise_maps.image))
    assert heard.shape == (1, CELLS * (2048 if kind == "stable_audio" else 4096), 2)
    assert torch.equal(picture, core_sound.picture(heard[0].T)[None])
    without, sheet = (
        pack.run("EditFriendlyNoiseMapsPreview", noise_maps=noise_maps, columns=2, row=0, vae=given)[0]
        for given in (None, vae)
    )
    assert without.std() > 0.05 and sheet.std() > 0.05 and sheet.shape != without.shape
    grid, images = pack.run(
        "EditFriendlyEditGrid",
        **{"model": model, "positive": conditioning(kind, 1), "negative": conditioning(kind, 2)},
        **{"noise_maps": noise_maps, "vae": vae, "skips": "0", "cfgs": "3.5, 9", "row": 0},
    )
    assert images.shape == (2, core_sound.WAVE + core_sound.HEIGHT, core_sound.WIDTH, 3) and grid.std() > 0.05
    same, other = ((image - picture[0]).abs().mean() for image in images)
    assert 2 * same < other, (same, other)


@pytest.mark.parametrize("kind", ["stable_audio", "ace"])
@pytest.mark.parametrize("width", [CELLS, 600])
def test_a_found_mask_is_shown_above_what_it_was_cut_from(pack, maps_of_sound, differ, latent, kind, width):
    model, noise_maps = maps_of_sound(kind, latent_image=latent(kind, width=width // 4), steps=2)
    _, preview = differ(model, noise_maps, kind, end=1.0)
    assert preview.shape == (1, 128, min(width, 256), 3)
    assert 0 <= preview.min() and preview.max() <= 1 and preview[:, :64].std() > 0.01
    _, on_image = differ(model, noise_maps, kind, end=1.0, image=torch.rand(1, 100, 200, 3))
    assert on_image.shape == (1, 200, 200, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_reads_the_attention_of_unets_names_the_way_out(pack, maps_of_sound, conditioning, kind):
    model, noise_maps = maps_of_sound(kind)
    prompts = {"source": conditioning(kind, 1), "target": conditioning(kind, 9), "negative": conditioning(kind, 2)}
    with pytest.raises(ValueError, match="What works here: the edit without it, a mask, and Mask from two Prompts"):
        pack.run(
            "EditFriendlyZeroShotImageToImage",
            **{
                "model": model,
                "noise_maps": noise_maps,
                **prompts,
                "cfg": 7.5,
                "guidance_weight": 0.1,
                "skip_steps": 0,
            },
        )
