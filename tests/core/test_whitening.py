"""Noise drawn towards white noise: its gradients, what they do, and that each row is moved by itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_core import trajectories
from ddpm_core.whitening import COARSEST, correlation_gradient, divergence_gradient, whitened


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def correlated(rows: int, *, height: int = 32, width: int = 32) -> torch.Tensor:
    """Noise of half the size, and half as large, as a plain image leaves in a prediction."""
    drawn = torch.randn(rows, 4, height, width, generator=torch.Generator().manual_seed(0))
    return 0.5 * F.avg_pool2d(drawn, 3, 1, 1) / F.avg_pool2d(drawn, 3, 1, 1).std() + 0.1


def correlation_with_neighbours(noise: torch.Tensor) -> float:
    unit = (noise - noise.mean()) / noise.std()
    return float((unit * unit.roll(1, -1)).mean() + (unit * unit.roll(1, -2)).mean()) / 2


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 20), (8, 8), (2, 3), (24, 1)])
def test_gradients_are_those_of_the_losses_of_the_paper(height, width):
    """pix2pix-zero's two losses written out; the moves are those that the generator gives."""
    shifts, rows = [], height
    moves = generator(7)
    while True:
        shifts.append(int(moves.integers(rows // 2)))
        if rows <= COARSEST or width == 1:
            break
        rows //= 2
    with torch.enable_grad():
        noise = torch.randn(4, height, width, dtype=torch.float64, requires_grad=True)
        loss, level = 0, noise
        for shift in shifts:
            for axis in (-2, -1):
                loss = loss + (level * level.roll(shift, axis)).mean(dim=(-2, -1)).square().sum()
            if level.shape[-2] > COARSEST and width > 1:
                level = F.avg_pool2d(level[None], 2)[0]
        (expected,) = torch.autograd.grad(loss, noise)
        divergence = noise.var() + noise.mean().square() - 1 - (noise.var() + 1e-7).log()
        (of_divergence,) = torch.autograd.grad(divergence, noise)
    torch.testing.assert_close(correlation_gradient(noise.detach(), generator(7)), expected)
    torch.testing.assert_close(divergence_gradient(noise.detach()), of_divergence)


def test_what_is_correlated_and_small_becomes_whiter_and_larger():
    before = correlated(1, height=16, width=16)
    after = before
    for seed in range(50):  # the steps of an inversion
        after = whitened(after, 20.0, [generator(seed)])
    assert correlation_with_neighbours(after) < 0.8 * correlation_with_neighbours(before)
    assert abs(after.std() - 1) < 0.8 * abs(before.std() - 1)
    assert whitened(before, 0.0, [generator()]) is before


def test_a_latent_of_the_papers_size_goes_down_by_the_papers_weight():
    """Five times five steps of a fifth of the weight down the correlations, and one down the divergence."""
    noise, moves = correlated(1, height=64, width=64), generator(1)
    expected = noise[0]
    for _ in range(5):
        for _ in range(5):
            expected = expected - 20 / 5 * correlation_gradient(expected, moves)
        expected = expected - 20 * divergence_gradient(expected)
    torch.testing.assert_close(whitened(noise, 20.0, [generator(1)])[0], expected)


def test_each_row_is_moved_by_itself():
    both = whitened(correlated(2), 20.0, [generator(1), generator(2)])
    assert torch.equal(both[1:], whitened(correlated(2)[1:], 20.0, [generator(2)]))


def test_an_inversion_with_it_ends_in_whiter_noise(family, denoiser):
    schedule, image = family(8, 0.0), 2 * correlated(2, height=16, width=16)
    plain, regular = (
        trajectories.ddim(denoiser, image, schedule, [3, 4], regularization=weight) for weight in (0.0, 20.0)
    )
    assert correlation_with_neighbours(regular[0]) < correlation_with_neighbours(plain[0])
    assert torch.equal(regular[-1], image)
    alone = trajectories.ddim(denoiser, image[1:], schedule, [4], regularization=20.0)
    torch.testing.assert_close(alone, regular[:, 1:])


@pytest.mark.parametrize(("weight", "shape"), [(-1.0, (1, 4, 8, 8)), (20.0, (1, 64, 32)), (20.0, (1, 4, 1, 8))])
def test_it_is_refused_where_it_says_nothing(family, denoiser, weight, shape):
    with pytest.raises(ValueError, match=f"regularization is {weight:g}, of a latent of shape"):
        trajectories.ddim(denoiser, torch.zeros(shape), family(5, 0.0), [0], regularization=weight)
