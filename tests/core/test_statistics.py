"""Statistics on maps and latents whose numbers are known."""

import dataclasses
import math

import pytest
import torch

from ddpm_core import NoiseMaps, NoiseSchedule, generate, invert, pure_noise, statistics, trajectories


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def maps_of_z(z: torch.Tensor) -> NoiseMaps:
    """Maps (T = len(z) + 1 steps) whose z are the given ones."""
    steps = len(z) + 1
    schedule = NoiseSchedule.variance_exploding(torch.linspace(steps, 0, steps + 1))
    residuals = torch.stack([schedule.step(i).sigma_t * z[i] for i in range(len(z))] + [torch.zeros_like(z[0])])
    states = torch.zeros((steps + 1, *z.shape[1:]))
    return NoiseMaps(schedule, states, residuals)


def test_size_correlation_and_angle_of_z():
    first, second = normal(2, 4, 64, 64), normal(2, 4, 64, 64, seed=1)
    z = torch.stack([2 * first, -3 * first, second, (first + second) / math.sqrt(2)])
    maps = maps_of_z(z)
    assert statistics.z_std(maps).tolist() == pytest.approx([2, 3, 1, 1], rel=0.02)
    assert statistics.z_correlation(maps).tolist() == pytest.approx([-1, 0, math.sqrt(0.5)], abs=0.03)
    angles = statistics.z_angles(maps)
    assert angles.shape == (3, 2)
    assert angles.mean(dim=1).tolist() == pytest.approx([180, 90, 45], abs=1.5)


def test_the_correlation_of_rows_with_two_elements_is_pooled_over_them():
    """Row by row it would be the mean sign of two numbers, (2 / pi) arcsin(-1 / 2) = -1/3."""
    first, second = normal(5000, 2), normal(5000, 2, seed=1)
    maps = maps_of_z(torch.stack([first, -0.5 * first + 0.75**0.5 * second]))
    assert statistics.z_correlation(maps).item() == pytest.approx(-0.5, abs=0.03)


def test_rows_are_pooled_around_a_mean_each():
    """Variances of 1 and 49 have a mean of 25; offsets that rows keep from step to step are no correlation."""
    sizes, offsets = torch.tensor([1.0, 7.0]).view(2, 1, 1, 1), torch.tensor([10.0, -5.0]).view(2, 1, 1, 1)
    maps = maps_of_z(torch.stack([sizes * normal(2, 4, 64, 64, seed=k) + offsets for k in range(2)]))
    assert statistics.z_std(maps).tolist() == pytest.approx([5, 5], rel=0.02)
    assert statistics.z_correlation(maps).item() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_size_and_correlation_of_a_perfect_predictor_are_the_schedules_alone(eta):
    schedule = NoiseSchedule.variance_exploding(torch.linspace(9, 0, 10), eta)
    x_0 = normal(1, 4, 64, 64)
    maps = invert(lambda x, sigma: x_0, trajectories.edit_friendly(x_0, schedule, [0]), schedule)
    deviation, correlation = statistics.z_of_perfect_predictor(schedule)
    torch.testing.assert_close(statistics.z_std(maps), deviation, rtol=0.03, atol=0)
    torch.testing.assert_close(statistics.z_correlation(maps), correlation, rtol=0, atol=0.03)
    with pytest.raises(ValueError, match="so there is no z"):
        statistics.z_of_perfect_predictor(schedule.with_eta(0))


def test_edit_friendly_noise_turns_back_on_itself(gaussian):
    """Fig. 5: on data N((10, 10), I), 40 steps, angles of consecutive z crowd at 180 degrees; native ones do not."""
    schedule = NoiseSchedule.variance_preserving(torch.cat([torch.linspace(0.006, 0.999, 40), torch.ones(1)]))
    posterior_mean, _ = gaussian(schedule, 10.0, 1.0)
    seeds, x_0 = list(range(400)), 10 + normal(400, 2)
    friendly = invert(posterior_mean, trajectories.edit_friendly(x_0, schedule, seeds), schedule)
    native = generate(posterior_mean, pure_noise(x_0, schedule, seeds), schedule, seeds)
    bins = [0, 30, 60, 90, 120, 150, 180.001]
    shares = {}
    for name, maps in (("friendly", friendly), ("native", native)):
        counts = torch.histogram(statistics.z_angles(maps).flatten(), torch.tensor(bins, dtype=torch.float64)).hist
        shares[name] = counts / counts.sum()
    assert shares["friendly"].argmax() == 5
    assert shares["friendly"][5] > 0.3
    assert (shares["native"] - 1 / 6).abs().max() < 0.02  # in the plane, independent directions are uniform


def test_only_what_a_shift_brought_from_within_the_image_counts():
    """Fig. 11: off by 0.2 of a range of 2, that is 0.1 of 1, whatever stands in the columns that came free."""
    images = normal(3, 2, 4, 8)
    moved = images.roll(3, -1) + 0.2
    moved[..., :3] = 100.0
    assert statistics.shift_errors(images, moved, 3).tolist() == pytest.approx([0.01] * 3)
    assert statistics.shift_errors(images, images + 2, 0).tolist() == pytest.approx([1.0] * 3)


def test_mean_and_its_standard_error():
    assert statistics.mean_and_sem(torch.tensor([1.0, 3.0, 5.0, 7.0])) == pytest.approx((4, math.sqrt(20 / 3) / 2))
    mean, error = statistics.mean_and_sem(torch.tensor([2.0]))
    assert mean == 2
    assert math.isnan(error)


def test_diversity_is_over_all_pairs():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4)
    assert statistics.diversity(images) == pytest.approx((0.25 + 0.5 + 0.25) / 3)
    assert statistics.diversity(images[:1].expand(4, 3, 4, 4)) == 0
    assert math.isnan(statistics.diversity(images[:1]))


def test_kl_is_the_closed_form():
    x = torch.stack([normal(4, 64, 64), 0.5 + 2 * normal(4, 64, 64, seed=1)])
    expected = 0.5 * (0.25 + 4 - 1 - math.log(4))
    assert statistics.kl_to_standard_normal(x).tolist() == pytest.approx([0, expected], abs=0.02)


def test_patch_correlation_sees_elements_that_go_together_over_the_images():
    """Within a patch, whatever their channels; an offset that all images share is none."""
    noise = normal(600, 3, 8, 16)
    by_chance = statistics.top_patch_correlation(noise)
    assert by_chance < 0.2
    tied = noise.clone()
    tied[:, 2] = -0.6 * noise[:, 0] + 0.8 * tied[:, 2]
    of_tied = statistics.top_patch_correlation(tied)
    assert of_tied == pytest.approx(0.65, abs=0.06)  # the largest of 64 of 0.6
    one = torch.cat([tied[..., :8], noise[..., 8:]], dim=-1)  # of two patches
    assert statistics.top_patch_correlation(one) == pytest.approx((of_tied + by_chance) / 2, abs=0.02)
    assert statistics.top_patch_correlation(noise + normal(3, 8, 16, seed=1)) == pytest.approx(by_chance, abs=1e-6)
    with pytest.raises(ValueError, match="8 x 8 do not fit maps of 4 x 8"):
        statistics.top_patch_correlation(noise[..., :4])
    with pytest.raises(ValueError, match="needs 3 of them at least, these are 2"):
        statistics.top_patch_correlation(noise[:2])


def test_plain_is_by_the_next_row_and_the_next_column():
    """Eqs. 13 and 14 of arXiv 2410.23530, App. C, at the edges of their threshold; past the last, differences are 0."""
    image = torch.full((1, 2, 4, 6), 0.5)
    image[0, 0, 1, 2] += 0.0501  # differs from its next row and column; those before it have one such neighbour
    image[0, 1, 3, 5] += 0.0501  # has no next row or column; those before it have one such neighbour
    image[0, 0, 3, 0] += 0.0499
    other = torch.zeros(4, 6, dtype=torch.bool)
    other[1, 2] = other[0, 2] = other[1, 1] = other[2, 5] = other[3, 4] = True
    assert torch.equal(statistics.plain_mask(image)[0], ~other)
    assert (~statistics.plain_mask(image, threshold=0.026)).sum() == 1


def test_plain_areas():
    image = 0.06 * torch.arange(16.0).expand(1, 3, 8, 16).clone()  # steps of 0.03 in [0, 1], to one of two neighbours
    image[..., 8:] = torch.rand((8, 8), generator=torch.Generator().manual_seed(0)) / 2 + torch.arange(8) % 2 / 2
    mask = statistics.plain_mask((image + 1) / 2)
    assert mask.shape == (1, 8, 16)
    assert mask[..., :7].all()
    assert mask[..., 8:].float().mean() < 0.1
    schedule = NoiseSchedule.variance_exploding(torch.tensor([3.0, 0.0]))
    x_t = math.hypot(1, 3) * torch.where(mask[:, None], 0.5, 2.0) * normal(1, 3, 8, 16)
    maps = NoiseMaps(schedule, torch.stack([x_t, image]), image[None])
    plain, other = statistics.plain_and_other_std(maps)
    assert plain == pytest.approx(0.5, rel=0.15)
    assert other == pytest.approx(2.0, rel=0.15)


def test_plain_areas_of_a_latent_do_not_depend_on_its_scale():
    image = normal(2, 4, 8, 16) * torch.linspace(0, 1, 16) ** 2  # differences of every size
    scales = torch.tensor([7.0, 0.25]).view(2, 1, 1, 1)
    schedule = NoiseSchedule.variance_exploding(torch.tensor([3.0, 0.0]))
    of_image, of_scaled = (
        statistics.plain_and_other_std(NoiseMaps(schedule, torch.stack([normal(2, 4, 8, 16), x]), x[None]))
        for x in (image, scales * image + 2)
    )
    assert of_image == of_scaled


def half_plain(rows: int) -> torch.Tensor:
    """(rows, 3, 8, 16) in [-1, 1]: one color on the left, stripes on the right; what touches both is not plain."""
    image = torch.zeros(rows, 3, 8, 16)
    image[..., 8::2] = 1.0
    return image


def test_errors_in_plain_and_in_other_areas():
    image, noise = half_plain(2), normal(2, 3, 8, 16)
    plain = statistics.plain_mask((image + 1) / 2)[:, None]
    schedule = NoiseSchedule.variance_exploding(torch.tensor([3.0, 0.0]), eta=0.0)
    native, found = (
        NoiseMaps(schedule, torch.stack([schedule.scale(0) * part, image]), torch.zeros(1, *image.shape))
        for part in (noise, noise + torch.where(plain, 0.25, -1.0))
    )
    assert statistics.plain_and_other_error(found, native) == pytest.approx((0.25, 1.0), rel=1e-5)


def test_errors_of_steps_are_in_units_of_the_size_of_their_prediction():
    """Eqs. 15 and 16 of arXiv 2410.23530v2; the second step has twice the predictions and twice the errors."""
    image, signs = half_plain(2), torch.sign(normal(2, 3, 8, 16))
    plain = statistics.plain_mask((image + 1) / 2)[:, None]
    true = torch.stack([signs, 2 * signs])
    wrong = torch.where(plain, 0.5, 0.1).expand_as(signs)
    of_plain, of_other = statistics.step_errors(true, true + torch.stack([wrong, -2 * wrong]), image)
    assert of_plain.tolist() == pytest.approx([0.5, 0.5])
    assert of_other.tolist() == pytest.approx([0.1, 0.1])


def test_the_most_probable_triangle_is_by_the_product_of_its_corners():
    """Eq. 12 of arXiv 2410.23530v2: 30, 60 and 90 each are the most frequent of their corner, in no row together."""
    rows = torch.tensor([[30.2, 61, 88.8], [29.8, 70, 80.2], [40, 60.3, 79.7], [42, 59.9, 78.1], [20, 69.6, 90.4]])
    assert statistics.most_probable_triangle(torch.cat([rows, torch.tensor([[25, 65.5, 89.5]])]).T) == (30, 60, 90)
    assert all(math.isnan(angle) for angle in statistics.most_probable_triangle(torch.tensor([[10.4, 20.4, 149.2]]).T))


def test_rows_are_assigned_to_the_nearest():
    a = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]).view(4, 1, 1, 2)
    assert statistics.fraction_assigned(a, a + 1) == 1
    assert statistics.fraction_assigned(a, a[[0, 2, 1, 3]]) == 0.5
    a, b = torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0], [3.5]])
    assert statistics.fraction_assigned(a, b) == 1
    assert statistics.fraction_assigned(b, a) == 0.5  # the first of b is nearer to the second of a


def test_triangle():
    corners = [torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])]
    assert statistics.triangle_angles(*corners)[:, 0].tolist() == pytest.approx([90, 45, 45])


def test_angles_to_the_noise_that_made_the_images():
    """Between native maps and an inversion of their images; orthogonal parts make every angle known."""
    schedule = NoiseSchedule.variance_exploding(torch.tensor([2.0, 0.0]), eta=0.0)
    image, apart = normal(2, 4, 16, 16), normal(2, 4, 16, 16, seed=1)

    def maps(x_0: torch.Tensor, noisiest: torch.Tensor) -> NoiseMaps:
        unused = torch.zeros((1, *x_0.shape))
        return NoiseMaps(schedule, torch.stack([schedule.scale(0) * noisiest, x_0]), unused)

    native, inversion = maps(image, image + apart), maps(image, image + 0.5 * apart)
    assert statistics.angles_to_noise(inversion, native) == pytest.approx((0, 0, 180), abs=0.1)
    report = statistics.report(inversion, native)
    assert report["angle at latent"] == pytest.approx(180, abs=0.1)
    assert all(math.isnan(angle) for angle in statistics.angles_to_noise(native, native))
    assert all(math.isnan(angle) for angle in statistics.angles_to_noise(maps(apart, apart + image), native))
    assert "angle at latent" not in statistics.report(inversion)
    noisy = dataclasses.replace(native, schedule=schedule.with_eta(1.0))
    assert all(math.isnan(angle) for angle in statistics.angles_to_noise(inversion, noisy)), "eta 1 hides the noise"


def test_a_report_of_maps_without_z(family, denoiser):
    states = trajectories.ddim(denoiser, normal(1, 4, 16, 16), family(5, 1.0), [0])
    report = statistics.report(NoiseMaps(family(5, 0.0), states, torch.zeros_like(states[:-1])))
    assert math.isnan(report["std of z"])
    assert report["KL of latent"] >= 0


def test_one_step_has_no_consecutive_z():
    with pytest.raises(ValueError, match="have 2 step.*need 3 steps"):
        statistics.z_correlation(maps_of_z(normal(1, 1, 4, 8, 8)))
