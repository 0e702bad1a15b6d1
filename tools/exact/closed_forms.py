"""What the oracles are held to, worked out from the papers' equations apart from the core: abar (T+1,) in, numbers out.

For data N(m, s^2) the prediction is D = m + g (x - a m), g = a s^2 / (a^2 s^2 + b^2), so each step keeps
c = x_weight + denoised_weight g of a difference between two states, and all that follows is sums over steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Coefficients(NamedTuple):
    """Eqs. 2 to 4 of arXiv 2304.06140 with eta of arXiv 2010.02502: level t = a[:-1] to s = a[1:] of T steps."""

    a: Floats
    b: Floats
    v: Floats  # variance of a step's noise over that of the state it leads to
    sigma: Floats
    x_weight: Floats
    denoised_weight: Floats


def coefficients(abar: Floats, eta: float = 1.0) -> Coefficients:
    """From the levels alone, where a^2 + b^2 = 1."""
    a, b = abar**0.5, (1 - abar) ** 0.5
    a_t, a_s, b_t, b_s = a[:-1], a[1:], b[:-1], b[1:]
    v = eta**2 * (1 - (a_t / a_s * b_s / b_t) ** 2)
    x_weight = b_s / b_t * (1 - v) ** 0.5
    return Coefficients(a, b, v, b_s * v**0.5, x_weight, a_s - x_weight * a_t)


def kept(abar: Floats, std: float, eta: float = 1.0) -> Floats:
    """(T,) c of each step for data N(m, std^2)."""
    of = coefficients(abar, eta)
    return of.x_weight + of.denoised_weight * of.a[:-1] * std**2 / (of.a[:-1] ** 2 * std**2 + of.b[:-1] ** 2)


def z_of_gaussian(abar: Floats, std: float) -> tuple[Floats, Floats]:
    """(T-1,) the deviation of edit-friendly z on data N(m, std^2), and (T-2,) the correlation of neighbours.

    sigma_t z_t = (a_s - c a_t) x_0 + b_s eps_s - c b_t eps_t.
    """
    of, c = coefficients(abar), kept(abar, std)
    of_image = of.a[1:] - c * of.a[:-1]
    variance = (of.b[1:] ** 2 + c**2 * of.b[:-1] ** 2 + std**2 * of_image**2)[:-1]
    shared = std**2 * of_image[:-2] * of_image[1:-1] - c[1:-1] * of.b[1:-2] ** 2
    return variance**0.5 / of.sigma[:-1], shared / (variance[:-1] * variance[1:]) ** 0.5


def angle_density(correlation: float, bins: int = 3600) -> tuple[Floats, Floats]:
    """Degrees from 0 to 180 and their shares: angles between vectors of the plane of correlated Gaussian elements.

    The phase difference of two complex Gaussians of that correlation.
    """
    degrees = (np.arange(bins) + 0.5) * 180 / bins
    beta = correlation * np.cos(np.deg2rad(degrees))
    density = (1 + beta * (np.pi / 2 + np.arcsin(beta)) / (1 - beta**2) ** 0.5) / (1 - beta**2)
    return degrees, density / density.sum()


def reached(abar: Floats, std: float, skip: int, eta: float = 1.0) -> float:
    """How much of the difference of two prompts an edit that leaves out `skip` steps arrives at, on data N(m_c, std^2).

    1 - a_skip prod c: for std 1 it is 1 - abar_skip with eta 1, and 1 - sqrt(abar_skip) with eta 0.
    """
    return float(1 - abar[skip] ** 0.5 * kept(abar, std, eta)[skip:].prod())


def weights_of_paint(abar: Floats, std: float, strength: float, start: float, end: float) -> Floats:
    """(T,) s sigma_i prod_{j > i} c_j: what M - P of each step of Eq. 7 is in the image, on data N(m, std^2)."""
    of, c, steps = coefficients(abar), kept(abar, std), len(abar) - 1
    weights = [strength * of.sigma[i] * c[i + 1 :].prod() for i in range(steps)]
    inside = [round(start * steps) <= i <= round(end * steps) for i in range(steps)]
    return np.where(inside, weights, 0.0)


def generated(abar: Floats, std: float) -> float:
    """The deviation of what DDPM generates of data N(m, std^2): with few steps less than std, for a step's is beta~."""
    variance = 1.0
    for c, sigma in zip(kept(abar, std), coefficients(abar).sigma, strict=True):
        variance = c**2 * variance + sigma**2
    return float(variance**0.5)


class Latent(NamedTuple):
    """Textbook DDIM inversion of pixels N(m, std^2) that the same steps generated from N(0, 1)."""

    std: float
    in_first_tenth: float  # of the sum of the steps' errors
    image: float  # the pixel's deviation, before the inversion


def ddim_latent(abar: Floats, std: float, true: int = 0) -> Latent:
    """By the scalars that each step multiplies with: eps = k x, exactly.

    Args:
        true: so many of the first (cleanest) steps by true predictions.
    """
    a, b, steps = abar**0.5, (1 - abar) ** 0.5, len(abar) - 1
    k = b[:-1] / (abar[:-1] * std**2 + b[:-1] ** 2)
    x = [1.0]
    for i in range(steps):
        x.append(a[i + 1] * (x[-1] - b[i] * k[i] * x[-1]) / a[i] + b[i + 1] * k[i] * x[-1])
    y = x[-1]
    for i in reversed(range(steps)):
        y = x[i] if steps - 1 - i < true else a[i] / a[i + 1] * (y - b[i + 1] * k[i] * y) + b[i] * k[i] * y
    errors = [abs(k[i] * (x[i + 1] - x[i])) for i in reversed(range(steps))]
    return Latent(y, sum(errors[: steps // 10]) / sum(errors), x[-1])


class Triangle(NamedTuple):
    """Of noise, image and latent: degrees at each, and the sides at the latent over the one between noise and image."""

    at_noise: float
    at_image: float
    at_latent: float
    to_noise: float
    to_image: float


def triangle(abar: Floats, stds: Sequence[float], shares: Sequence[float]) -> Triangle:
    """What many pixels come to, of which `shares` are N(m, std^2): noise, image and latent of each are one number."""
    of_kinds = [ddim_latent(abar, std) for std in stds]
    corners = [np.ones(len(stds)), np.array([of.image for of in of_kinds]), np.array([of.std for of in of_kinds])]

    def product(k: int, i: int, j: int) -> float:
        return float((np.array(shares) * (corners[i] - corners[k]) * (corners[j] - corners[k])).sum())

    def angle(k: int, i: int, j: int) -> float:
        return float(np.rad2deg(np.arccos(product(k, i, j) / (product(k, i, i) * product(k, j, j)) ** 0.5)))

    to_noise, to_image = ((product(2, k, k) / product(0, 1, 1)) ** 0.5 for k in (0, 1))
    return Triangle(angle(0, 1, 2), angle(1, 2, 0), angle(2, 0, 1), to_noise, to_image)
