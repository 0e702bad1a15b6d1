"""Shift, flip, recolor and mix."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_core import Facts, LatentSpace, NoiseMaps, NoiseSchedule, invert, manipulation, sample, trajectories

PARTS = ("states", "residuals")


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in PARTS)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (-3, 0), (0, 2), (5, -4)])
def test_shift_moves_all_parts_together(noise_maps, x, y):
    moved = manipulation.shift(noise_maps, x, y)
    for part in PARTS:
        before, after = getattr(noise_maps, part), getattr(moved, part)
        height, width = before.shape[-2:]
        valid = after[..., max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
        source = before[..., max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
        assert torch.equal(valid, source), part


def test_copy_fills_as_appendix_a_says():
    """d new columns are the columns {50, ..., 50 + d - 1} of a map 256 pixels wide; rows likewise."""
    schedule = NoiseSchedule.variance_exploding(torch.tensor([2.0, 1.0, 0.0]))
    x_0 = torch.arange(256.0 * 256).view(1, 1, 256, 256)
    noise_maps = invert(lambda x, sigma: x, trajectories.edit_friendly(x_0, schedule, [0]), schedule)
    right = manipulation.shift(noise_maps, 6, 0)
    left = manipulation.shift(noise_maps, -6, 0)
    down = manipulation.shift(noise_maps, 0, 6)
    for part in PARTS:
        before = getattr(noise_maps, part)
        assert torch.equal(getattr(right, part)[..., :6], before[..., 50:56])
        assert torch.equal(getattr(left, part)[..., -6:], before[..., 50:56])
        assert torch.equal(getattr(down, part)[..., :6, :], before[..., 50:56, :])


@settings(max_examples=20, deadline=None)
@given(x=st.integers(-23, 23), y=st.integers(-15, 15))
def test_wrap_can_be_undone(wrapped_maps, x, y):
    assert same(manipulation.shift(manipulation.shift(wrapped_maps, x, y, "wrap"), -x, -y, "wrap"), wrapped_maps)


@pytest.fixture(scope="module")
def wrapped_maps():
    schedule = NoiseSchedule.variance_exploding(torch.tensor([2.0, 1.0, 0.0]))
    x_0 = torch.randn((1, 2, 16, 24), generator=torch.Generator().manual_seed(0))
    return invert(lambda x, sigma: 0.5 * x, trajectories.edit_friendly(x_0, schedule, [0]), schedule)


def test_gaussian_fills_with_standard_normal_z():
    schedule = NoiseSchedule.variance_exploding(torch.tensor([4.0, 2.0, 1.0, 0.0]))
    states = trajectories.edit_friendly(torch.full((1, 4, 64, 64), 3.0), schedule, [0])
    noise_maps = invert(lambda x, sigma: 0.5 * x, states, schedule)
    moved = manipulation.shift(noise_maps, 32, 0, "gaussian", [1])
    new = moved.z[..., :32]
    assert new.std(dim=(1, 2, 3, 4)).allclose(torch.ones(2), atol=0.03)
    assert new.mean(dim=(1, 2, 3, 4)).abs().max() < 0.03
    assert torch.equal(moved.z[..., 32:], noise_maps.z[..., :32])
    fresh = (moved.states[:-1, ..., :32] - 3.0).std(dim=(1, 2, 3, 4))
    assert fresh.allclose(torch.tensor([4.0, 2.0, 1.0]), rtol=0.03)
    drawn = torch.cat([moved.states[:-1, ..., :32], new]).flatten(1)  # each with noise of its own
    assert (torch.corrcoef(drawn) - torch.eye(len(drawn))).abs().max() < 0.05
    assert same(manipulation.shift(noise_maps, 32, 0, "gaussian", [1]), moved)
    assert not same(manipulation.shift(noise_maps, 32, 0, "gaussian", [2]), moved)


def test_gaussian_fill_noises_the_image_to_the_level_of_each_state():
    """a_t x_0 + b_t eps, where a is not 1: on a flow the signal fades as the noise grows."""
    schedule = NoiseSchedule.flow(torch.tensor([0.9, 0.5, 0.25, 0.0]))
    states = trajectories.edit_friendly(torch.full((1, 4, 64, 64), 3.0), schedule, [0])
    noise_maps = invert(lambda x, sigma: 0.5 * x, states, schedule)
    fresh = manipulation.shift(noise_maps, 32, 0, "gaussian").states[..., :32]
    assert fresh.mean(dim=(1, 2, 3, 4)).allclose(torch.tensor([0.3, 1.5, 2.25, 3.0]), atol=0.05)
    assert fresh.std(dim=(1, 2, 3, 4)).allclose(torch.tensor([0.9, 0.5, 0.25, 0.0]), atol=0.03)


def test_gaussian_fill_draws_each_row_as_if_alone(noise_maps):
    both = manipulation.shift(noise_maps, 5, 0, "gaussian", [7, 8])
    for row, seed in enumerate((7, 8)):
        alone = manipulation.shift(with_rows(noise_maps, slice(row, row + 1)), 5, 0, "gaussian", [seed])
        assert same(alone, with_rows(both, slice(row, row + 1)))
    with pytest.raises(ValueError, match="2 rows need as many seeds, got 1"):
        manipulation.shift(noise_maps, 5, 0, "gaussian", [7])


def test_shifted_maps_sample_to_the_shifted_image(wrapped_maps):
    """A denoiser that commutes with shifts commutes through the sampler."""
    moved = manipulation.shift(wrapped_maps, 5, -3, "wrap")
    replayed = sample(lambda x, sigma: 0.5 * x, moved)
    assert torch.allclose(replayed, wrapped_maps.image.roll((-3, 5), (-2, -1)), atol=1e-6)


def test_flip(noise_maps):
    mirrored = manipulation.flip(noise_maps, horizontal=True)
    for part in PARTS:
        assert torch.equal(getattr(mirrored, part), getattr(noise_maps, part).flip(-1))
    upside_down = manipulation.flip(noise_maps, vertical=True)
    assert torch.equal(upside_down.image, noise_maps.image.flip(-2))
    both = manipulation.flip(noise_maps, horizontal=True, vertical=True)
    assert same(manipulation.flip(both, horizontal=True, vertical=True), noise_maps)
    assert same(manipulation.flip(noise_maps), noise_maps)


def test_recolor_is_equation_7(noise_maps):
    mask = torch.zeros(2, 1, 16, 24)
    mask[..., 4:8, 4:8] = 1
    color = torch.full((2, 4, 16, 24), 2.0)
    edited = manipulation.recolor(noise_maps, mask, color, strength=0.05, start=0.3, end=0.8)
    for i in range(9):  # z of the last step is not defined
        expected = noise_maps.z[i]
        if 3 <= i <= 8:  # T2 = 7 to T1 = 2 of 10
            expected = expected + 0.05 * mask * (color - noise_maps.denoised[i])
        assert torch.allclose(edited.z[i], expected, atol=1e-4), i
    assert torch.equal(edited.states, noise_maps.states)
    assert torch.equal(edited.residuals[..., 8:, :], noise_maps.residuals[..., 8:, :])


def test_recolor_draws_the_image_towards_the_color(noise_maps, denoiser):
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., 4:8, 4:8] = 1
    color = torch.full((1, 4, 16, 24), 2.0)
    errors = []
    for strength in (0.0, 0.1, 0.3):
        edited = manipulation.recolor(noise_maps, mask, color, strength, start=0.3, end=0.8)
        errors.append((sample(denoiser, edited) - color)[..., 4:8, 4:8].abs().mean().item())
    assert errors[0] > errors[1] > errors[2]


def test_percents_count_the_skipped_steps_too(noise_maps, denoiser):
    """A range means the same steps whether or not the inversion left out the first ones."""
    schedule, x_0 = noise_maps.schedule, noise_maps.image
    tail = schedule.after(4)
    short = invert(denoiser, trajectories.edit_friendly(x_0, tail, [5, 6]), tail, skipped=4)
    everywhere, color = torch.ones(1), torch.zeros(1)
    changed = manipulation.recolor(short, everywhere, color, 0.1, start=0.5, end=0.7)
    differs = [not torch.equal(a, b) for a, b in zip(changed.residuals, short.residuals, strict=True)]
    assert differs == [False, True, True, True, False, False]  # steps 5, 6, 7 of 10


def test_inputs_stay(noise_maps):
    kept = {part: getattr(noise_maps, part).clone() for part in PARTS}
    manipulation.shift(noise_maps, 3, 2, "gaussian")
    manipulation.flip(noise_maps, True, True)
    manipulation.recolor(noise_maps, torch.ones(1), torch.zeros(1), 1.0, 0.0, 1.0)
    assert all(torch.equal(getattr(noise_maps, part), kept[part]) for part in PARTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: manipulation.shift(maps, 24, 0), "24 x 16 cells"),
        (lambda maps: manipulation.shift(maps, 0, -16), "24 x 16 cells"),
        (lambda maps: manipulation.shift(maps, 1, 0, "mirror"), "copy, wrap, gaussian"),
        (lambda maps: manipulation.recolor(maps, torch.ones(1), torch.ones(1), 1, 0.8, 0.3), "start 0.8 and end 0.3"),
        (lambda maps: manipulation.recolor(maps, torch.ones(1), torch.ones(1), 1, 0.3, 1.2), "start 0.3 and end 1.2"),
        (lambda maps: manipulation.recolor(maps, torch.ones(5, 5), torch.ones(1), 1, 0, 1), "mask has shape"),
        (lambda maps: manipulation.recolor(maps, torch.ones(1), torch.ones(0), 1, 0, 1), "color has shape"),
    ],
)
def test_refuses(noise_maps, change, message):
    with pytest.raises(ValueError, match=message):
        change(noise_maps)


@pytest.fixture
def waves(denoiser):
    """Maps of two sounds of 32 cells, with rows (8, 32)."""
    schedule = NoiseSchedule.variance_exploding(torch.tensor([4.0, 2.0, 1.0, 0.0]))
    x_0 = torch.randn((2, 8, 32), generator=torch.Generator().manual_seed(4))
    mask = (torch.arange(32) < 9).float().expand(2, 1, 32)
    return invert(denoiser, trajectories.edit_friendly(x_0, schedule, [3, 4]), schedule, mask=mask)


@pytest.mark.parametrize("name", ["states", "residuals", "mask"])
def test_sound_moves_in_time(waves, name):
    part = getattr(waves, name)
    assert torch.equal(getattr(manipulation.shift(waves, 5, 0, "wrap"), name), part.roll(5, -1))
    assert torch.equal(getattr(manipulation.shift(waves, -5, 0, "wrap"), name), part.roll(-5, -1))
    assert torch.equal(getattr(manipulation.flip(waves, horizontal=True), name), part.flip(-1))
    copied = getattr(manipulation.shift(waves, 3, 0), name)
    assert torch.equal(copied[..., 3:], part[..., :-3]) and torch.equal(copied[..., :3], part[..., 6:9])


def test_what_comes_free_of_sound_gets_fresh_noise_row_by_row(waves):
    fresh = manipulation.shift(waves, 8, 0, "gaussian", [7, 8])
    assert torch.equal(fresh.states[..., 8:], waves.states[..., :-8])
    noise = (fresh.states[0] - fresh.image)[..., :8] / waves.schedule.noise[0].item()
    assert 0.7 < noise.std() < 1.3
    alone = manipulation.shift(waves.rows([1]), 8, 0, "gaussian", [8])
    assert torch.equal(fresh.states[:, 1], alone.states[:, 0])
    kept = manipulation.shift(fresh, 8, 0, "gaussian", [7, 8])  # its predictions move along
    assert kept.kept_denoised.shape == waves.residuals.shape


def test_sound_has_no_height_to_move_along(waves):
    with pytest.raises(ValueError, match=r"y 1 cells leaves nothing of maps that are 32 x 1 cells"):
        manipulation.shift(waves, 0, 1)
    with pytest.raises(ValueError, match=r"rows of \(8, 32\), such as sound, have no top and bottom: set vertical off"):
        manipulation.flip(waves, vertical=True)


def test_shift_and_flip_refuse_maps_without_width(denoiser):
    schedule = NoiseSchedule.variance_exploding(torch.tensor([2.0, 1.0, 0.0]))
    vectors = invert(denoiser, trajectories.edit_friendly(torch.ones(1, 8), schedule, [0]), schedule)
    for change in (lambda: manipulation.shift(vectors, 1, 0), lambda: manipulation.flip(vectors, horizontal=True)):
        with pytest.raises(ValueError, match=r"images and sound have a width.*\(8,\)"):
            change()


def other_maps(noise_maps, denoiser):
    x_0 = torch.randn(noise_maps.image.shape, generator=torch.Generator().manual_seed(9))
    states = trajectories.edit_friendly(x_0, noise_maps.schedule, [50, 51])
    return invert(denoiser, states, noise_maps.schedule, facts=noise_maps.facts)


@pytest.mark.parametrize("kind", ["spherical", "linear"])
def test_interpolation_runs_from_one_to_the_other(noise_maps, denoiser, kind):
    other = other_maps(noise_maps, denoiser)
    for weight, end in ((0.0, noise_maps), (1.0, other)):
        assert torch.equal(manipulation.interpolate(noise_maps, other, weight, kind).residuals, end.residuals)
    there = manipulation.interpolate(noise_maps, other, 0.3, kind)
    back = manipulation.interpolate(other, noise_maps, 0.7, kind)
    for name in ("states", "residuals", "denoised"):
        assert torch.allclose(getattr(there, name), getattr(back, name), atol=1e-5)
    same = manipulation.interpolate(noise_maps, noise_maps, 0.5, kind)
    assert torch.allclose(same.residuals, noise_maps.residuals, atol=1e-5)


def test_a_spherical_mixture_keeps_the_size_of_noise():
    """Two independent N(0, I): slerp has deviation 1 all the way, the plain mean sqrt((1 - w)^2 + w^2)."""
    noise = [torch.randn((1, 4, 64, 64), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    schedule = NoiseSchedule.variance_exploding(torch.tensor([2.0, 1.0, 0.0]))
    a, b = (NoiseMaps(schedule, torch.stack([2 * x, x, 0 * x]), torch.stack([x, x])) for x in noise)
    for w in (0.3, 0.5):
        for kind, size in (("spherical", 1.0), ("linear", math.hypot(1 - w, w))):
            found = manipulation.interpolate(a, b, w, kind).residuals
            assert found.std().item() == pytest.approx(size, rel=0.02)


def test_interpolation_refuses_maps_that_differ(noise_maps):
    schedule = noise_maps.schedule
    with pytest.raises(ValueError, match="weight is 1.5"):
        manipulation.interpolate(noise_maps, noise_maps, 1.5)
    with pytest.raises(ValueError, match="kind is 'round'"):
        manipulation.interpolate(noise_maps, noise_maps, 0.5, "round")
    with pytest.raises(ValueError, match="first noise maps have rows of shape"):
        manipulation.interpolate(noise_maps, with_rows(noise_maps, slice(1)), 0.5)
    with pytest.raises(ValueError, match="at different noise levels"):
        other = NoiseSchedule.variance_exploding(schedule.sigmas * 1.5)
        manipulation.interpolate(noise_maps, replace(noise_maps, schedule=other), 0.5)
    with pytest.raises(ValueError, match="have eta 1.0, the second have 0.5"):
        manipulation.interpolate(noise_maps, replace(noise_maps, schedule=schedule.with_eta(0.5)), 0.5)
    with pytest.raises(ValueError, match="model family SD15, the second have SDXL"):
        manipulation.interpolate(noise_maps, replace(noise_maps, facts=Facts(space=LatentSpace("SDXL"))), 0.5)


def with_rows(noise_maps, rows: slice):
    return noise_maps.rows(range(len(noise_maps.image))[rows])


def test_maps_without_noise_cannot_be_recolored(noise_maps):
    still = replace(noise_maps, schedule=noise_maps.schedule.with_eta(0.0))
    with pytest.raises(ValueError, match="eta 0"):
        manipulation.recolor(still, torch.ones(1, 1, 16, 24), torch.zeros(1, 4, 16, 24), 0.05, 0.3, 0.8)
