"""Numbers that tell inversions apart: of noise maps over the steps, of their noisiest state, and of their results.

Source: arXiv 2304.06140, Figs. 5, 6, 12 (size of z, correlation and angles of consecutive z), App. A (shifts), Sec. 6
(diversity); arXiv 2410.23530v2, "There and Back Again", for the noisiest state of a DDIM inversion, which should be
Gaussian and is not where the image is plain.

Shapes: `B` rows, `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise_maps import NoiseMaps
from .schedule import NoiseSchedule


def z_std(noise_maps: NoiseMaps) -> Tensor:
    """(T-1,) the standard deviation of z_t over its elements, pooled over the rows; 1 for native maps (Fig. 6)."""
    return _rows(noise_maps.z).var(dim=-1).mean(dim=-1).sqrt()


def z_correlation(noise_maps: NoiseMaps) -> Tensor:
    """(T-2,) the Pearson correlation of z_t and the z of the next step over their elements, pooled over the rows.

    0 for native maps, negative for edit-friendly ones (Figs. 6, 12). Pooled, because that of one row with few elements
    says little: with two it is 1 or -1.
    """
    z = _rows(_z_of_two_steps(noise_maps))
    z = (z - z.mean(dim=-1, keepdim=True)).flatten(1)
    return F.cosine_similarity(z[:-1], z[1:], dim=-1)


def z_of_perfect_predictor(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """(T-1,) the deviation of edit-friendly z, and (T-2,) the correlation of neighbours, if D is x_0 at every step.

    z_t = (eps_s - sqrt(1 - v) eps_t) / sqrt(v), with v the share of a step's noise in the noise of the level that it
    leads to (with eta 1, 1 - SNR_t / SNR_s): numbers of the schedule alone, which any model near to its image has.

    Raises:
        ValueError: eta 0, whose steps have no noise.
    """
    if schedule.eta == 0:
        raise ValueError("a schedule of eta 0 (DDIM) adds no noise, so there is no z")
    sigma_t = torch.tensor([step.sigma_t for step in schedule.step_table[:-1]], dtype=torch.float64)
    v = (sigma_t / schedule.noise[1:-1]) ** 2
    return ((2 - v) / v).sqrt(), -((1 - v[1:]) / ((2 - v[:-1]) * (2 - v[1:]))).sqrt()


def z_angles(noise_maps: NoiseMaps) -> Tensor:
    """(T-2, B) degrees between z_t and the z of the next step, as vectors: 90 for independent noise (Fig. 5)."""
    z = _rows(_z_of_two_steps(noise_maps))
    return _degrees(z[:-1], z[1:])


def shift_errors(images: Tensor, moved: Tensor, by: int) -> Tensor:
    """(B,) mean squared error of what was sampled from maps moved `by` columns to the right, over the valid pixels.

    Source: App. A, Fig. 11. Valid are those that the shift brought from within the image.

    Args:
        images, moved: (B, C, H, W) in [-1, 1]; the error is of a range of 1.
        by: columns, 0 to W - 1.
    """
    valid = images[..., : images.shape[-1] - by]
    return ((moved[..., by:] - valid) / 2).square().flatten(1).mean(dim=1)


def mean_and_sem(values: Tensor) -> tuple[float, float]:
    """The mean of values (N,) and its standard error (Fig. 11), which is NaN of a single one."""
    return values.mean().item(), values.std().item() / len(values) ** 0.5 if len(values) > 1 else float("nan")


def diversity(images: Tensor) -> float:
    """Mean over all pairs of images (N, *S) in [-1, 1] of their mean absolute difference, of a range of 1.

    Source: Sec. 6, which takes the LPIPS distance of the pairs of 8 results of one edit. Deviation: pixels.
    NaN of a single image.
    """
    first, second = torch.triu_indices(len(images), len(images), offset=1)
    return ((images[first] - images[second]).abs() / 2).mean().item()


def latent(noise_maps: NoiseMaps) -> Tensor:
    """(B, *S) the noisiest state in the scale where a diffusion model expects N(0, I)."""
    return noise_maps.states[0] / noise_maps.schedule.scale(0)


def kl_to_standard_normal(x: Tensor) -> Tensor:
    """(B,) KL(N(mean, var) || N(0, 1)) in nats an element, with the mean and variance over the elements of each row.

    Deviation: the code of arXiv 2410.23530 has KL(noise, latent) of each element over the set of images, too, which
    sees a place that is plain in all of them.
    """
    elements = x.flatten(1).double()
    mean, var = elements.mean(dim=1), elements.var(dim=1)
    return 0.5 * (mean**2 + var - 1 - var.log())


def top_patch_correlation(x: Tensor, top: int = 20, patch: int = 8) -> float:
    """Mean of the `top` largest absolute correlations within a patch of x (B, C, H, W), averaged over the patches.

    Source: arXiv 2410.23530, Sec. 3.2 and Tab. 2. The variables are the C x patch x patch elements of one patch, their
    samples are the B images. Independent noise gives what chance gives, which falls with B; a latent that still shows
    its image gives more.

    Raises:
        ValueError: x is smaller than a patch, or holds fewer than three images.
    """
    height, width = x.shape[-2:]
    if min(height, width) < patch:
        raise ValueError(
            f"patches of {patch} x {patch} do not fit maps of {width} x {height} cells: use a larger image"
        )
    if len(x) < 3:
        raise ValueError(f"a correlation over images needs 3 of them at least, these are {len(x)}: use a larger batch")
    patches = F.unfold(x.double(), patch, stride=patch)  # (B, C * patch^2, patches)
    first, second = torch.triu_indices(patches.shape[1], patches.shape[1], offset=1)
    tops = []
    for k in range(patches.shape[2]):
        correlation = torch.corrcoef(patches[..., k].T).nan_to_num()
        tops.append(correlation[first, second].abs().topk(top).values.mean())
    return torch.stack(tops).mean().item()


def plain_mask(image: Tensor, threshold: float = 0.025) -> Tensor:
    """(B, H, W) True where image (B, C, H, W), with values in [0, 1], is plain.

    Source: arXiv 2410.23530, App. C, Eqs. 13 and 14: the mean of the absolute differences to the next row and to the
    next column, which are 0 past the last, is at most the threshold in every channel.
    """
    down = F.pad((image[..., 1:, :] - image[..., :-1, :]).abs(), (0, 0, 0, 1))
    across = F.pad((image[..., :, 1:] - image[..., :, :-1]).abs(), (0, 1, 0, 0))
    return ((down + across) / 2 <= threshold).all(dim=1)


def plain_and_other_std(noise_maps: NoiseMaps, threshold: float = 0.025) -> tuple[float, float]:
    """Standard deviation of the noisiest state where the image is plain and where it is not; both 1 for true noise.

    Deviation: the paper knows pixels; a latent of other than three channels has none here, and is brought to [0, 1]
    by the least and the largest value of each of its rows.

    NaN where no part of the images is plain (or none is not), or where maps have no height and width.
    """
    if noise_maps.image.ndim != 4:
        return float("nan"), float("nan")
    plain, other = _parts(latent(noise_maps), noise_maps.image, threshold)
    return _std(plain), _std(other)


def plain_and_other_error(noise_maps: NoiseMaps, native: NoiseMaps, threshold: float = 0.025) -> tuple[float, float]:
    """Mean absolute error of the noisiest state, for the noise of native maps, where the image is plain and where not.

    Source: arXiv 2410.23530v2, Tab. 5. NaN as in plain_and_other_std.

    Args:
        native: the maps of eta 0 that generated the images.
    """
    plain, other = _parts((latent(noise_maps) - latent(native)).abs(), noise_maps.image, threshold)
    return plain.mean().item(), other.mean().item()


def step_errors(true: Tensor, taken: Tensor, image: Tensor, threshold: float = 0.025) -> tuple[Tensor, Tensor]:
    """The errors of `trajectories.ddim_noises` step by step, where the image is plain and where it is not.

    Source: arXiv 2410.23530v2, App. D, Eqs. 15 and 16: absolute errors over the mean absolute prediction of their step.
    Their sum over a range of steps is its Eq. 17.

    Args:
        true, taken: (T, B, C, H, W).
        image: (B, C, H, W).

    Returns:
        Two (T,); NaN where no part of the images is plain, or none is not.
    """
    sizes = true.abs().flatten(1).mean(dim=1)
    parts = [_parts(error, image, threshold) for error in (taken - true).abs()]
    plain, other = (torch.stack([part.mean() for part in each]) for each in zip(*parts, strict=True))
    return plain / sizes, other / sizes


def _parts(values: Tensor, image: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The values (B, C, H, W) where the image is plain, and the others."""
    values, plain = values.movedim(1, -1), plain_mask(unit_range(image), threshold)
    return values[plain], values[~plain]


def unit_range(image: Tensor) -> Tensor:
    """Pixels in [-1, 1] as [0, 1]; each row of a latent of other than three channels by its own range."""
    if image.shape[1] == 3:  # pixels in [-1, 1]
        return (image + 1) / 2
    low, high = (part.view(-1, 1, 1, 1) for part in (image.flatten(1).amin(dim=1), image.flatten(1).amax(dim=1)))
    return (image - low) / (high - low).clamp(min=1e-12)


def triangle_angles(noise: Tensor, image: Tensor, inverted: Tensor) -> Tensor:
    """(3, B) degrees in the triangle of the noise that made an image, the image, and the latent of its inversion.

    Order: at the noise, at the image, at the latent. An inversion that finds the noise again makes the angle at the
    image 0; arXiv 2410.23530 finds the latent of DDIM between noise and image.
    """
    corners = [part.flatten(1) for part in (noise, image, inverted)]
    return torch.stack([_degrees(corners[k - 1] - corners[k], corners[k - 2] - corners[k]) for k in range(3)])


def most_probable_triangle(angles: Tensor) -> tuple[float, float, float]:
    """Of triangle_angles (3, B), the triangle whose corners are most probable.

    Source: arXiv 2410.23530v2, App. B.1, Eq. 12: whole degrees that add up to 180, with the largest product of the
    shares that each has in the histogram of its corner. NaN where no such triangle has a fraction of its own.
    """
    shares = [torch.bincount(corner.round().long(), minlength=181) / angles.shape[1] for corner in angles]
    first, second = torch.meshgrid(torch.arange(181), torch.arange(181), indexing="ij")
    third = 180 - first - second
    joint = shares[0][first] * shares[1][second] * shares[2][third.clamp(min=0)] * (third >= 0)
    if not joint.any():
        return (float("nan"),) * 3
    best = int(joint.argmax())
    return best // 181, best % 181, 180 - best // 181 - best % 181


def fraction_assigned(a: Tensor, b: Tensor) -> float:
    """The fraction of rows of a (B, *S) whose nearest row of b (B, *S) is their own.

    Source: arXiv 2410.23530v2, Sec. 4.3 and App. E.1: whether the noise of an image can be told from that of others.
    """
    nearest = torch.cdist(a.flatten(1).double(), b.flatten(1).double()).argmin(dim=1)
    return (nearest == torch.arange(len(a))).double().mean().item()


def angles_to_noise(noise_maps: NoiseMaps, native: NoiseMaps) -> tuple[float, float, float]:
    """The triangle_angles of an inversion, averaged over the rows, with the noise of native maps of the same images.

    The paper generates by DDIM: with eta 0 the noisiest state alone makes the image, and can be found again. NaN where
    the images were generated with another eta, where the two maps are of other images or start at other levels, and
    where they are the same maps.
    """
    if native.schedule.eta != 0:
        return (float("nan"),) * 3
    same_shape = noise_maps.image.shape == native.image.shape
    same_level = noise_maps.schedule.scale(0) == native.schedule.scale(0)
    if not (same_shape and same_level and torch.allclose(noise_maps.image, native.image, rtol=1e-3, atol=1e-3)):
        return (float("nan"),) * 3
    noise, inverted = latent(native), latent(noise_maps)
    if torch.equal(noise, inverted):
        return (float("nan"),) * 3
    at_noise, at_image, at_latent = triangle_angles(noise, native.image, inverted).mean(dim=1).tolist()
    return at_noise, at_image, at_latent


def report(noise_maps: NoiseMaps, native: NoiseMaps | None = None) -> dict[str, float]:
    """One number for each statistic, averaged over steps and rows; NaN where the maps do not allow one.

    Args:
        native: the maps of the run that generated the images, whose noise the inversion should find again; they add
            the angles_to_noise.
    """
    plain, other = plain_and_other_std(noise_maps)
    numbers = {"std of z": float("nan"), "correlation of z": float("nan"), "angle of z": float("nan")}
    if noise_maps.schedule.eta and noise_maps.steps > 1:
        numbers["std of z"] = z_std(noise_maps).mean().item()
    if noise_maps.schedule.eta and noise_maps.steps > 2:
        numbers["correlation of z"] = z_correlation(noise_maps).mean().item()
        numbers["angle of z"] = z_angles(noise_maps).mean().item()
    image = noise_maps.image
    fits = image.ndim == 4 and len(image) >= 3 and min(image.shape[-2:]) >= 8
    numbers |= {
        "KL of latent": kl_to_standard_normal(latent(noise_maps)).mean().item(),
        "top patch correlation": top_patch_correlation(latent(noise_maps)) if fits else float("nan"),
        "std of latent, plain": plain,
        "std of latent, other": other,
    }
    if native is not None:
        corners = ("angle at noise", "angle at image", "angle at latent")
        numbers |= dict(zip(corners, angles_to_noise(noise_maps, native), strict=True))
    return numbers


def _z_of_two_steps(noise_maps: NoiseMaps) -> Tensor:
    if noise_maps.steps < 3:
        raise ValueError(
            f"these noise maps have {noise_maps.steps} step(s), of which the last has no z: consecutive z need 3 steps "
            "at least"
        )
    return noise_maps.z


def _std(values: Tensor) -> float:
    return values.std().item() if values.numel() > 1 else float("nan")


def _rows(z: Tensor) -> Tensor:
    """(T, B, *S) -> (T, B, elements) in float64."""
    return z.flatten(2).double()


def _degrees(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.double(), b.double(), dim=-1).clamp(-1, 1).arccos().rad2deg()
