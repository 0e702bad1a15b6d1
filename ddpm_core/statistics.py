"""Numbers that tell inversions apart: of noise maps over the steps, and of their noisiest state.

Source: arXiv 2304.06140, Figs. 5, 6, 12 (size of z, correlation and angles of consecutive z); arXiv 2410.23530, "There
and Back Again", for the noisiest state of a DDIM inversion, which should be Gaussian and is not where the image is
plain.

Shapes: `B` rows, `T` steps, `*S` sample axes, such as (C, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .noise_maps import NoiseMaps


def z_std(noise_maps: NoiseMaps) -> Tensor:
    """(T-1,) the standard deviation of z_t over its elements, pooled over the rows; 1 for native maps (Fig. 6)."""
    return _rows(noise_maps.z).var(dim=-1).mean(dim=-1).sqrt()


def z_correlation(noise_maps: NoiseMaps) -> Tensor:
    """(T-2,) the Pearson correlation of z_t and the z of the next step over their elements, averaged over the rows.

    0 for native maps, negative for edit-friendly ones (Figs. 6, 12).
    """
    z = _rows(_z_of_two_steps(noise_maps))
    z = z - z.mean(dim=-1, keepdim=True)
    return F.cosine_similarity(z[:-1], z[1:], dim=-1).mean(dim=-1)


def z_angles(noise_maps: NoiseMaps) -> Tensor:
    """(T-2, B) degrees between z_t and the z of the next step, as vectors: 90 for independent noise (Fig. 5)."""
    z = _rows(_z_of_two_steps(noise_maps))
    return _degrees(z[:-1], z[1:])


def latent(noise_maps: NoiseMaps) -> Tensor:
    """(B, *S) the noisiest state in the scale where a diffusion model expects N(0, I)."""
    return noise_maps.states[0] / noise_maps.schedule.scale(0)


def kl_to_standard_normal(x: Tensor) -> Tensor:
    """(B,) KL(N(mean, var) || N(0, 1)) in nats an element, with the mean and variance over the elements of each row."""
    elements = x.flatten(1).double()
    mean, var = elements.mean(dim=1), elements.var(dim=1)
    return 0.5 * (mean**2 + var - 1 - var.log())


def top_patch_correlation(x: Tensor, top: int = 20, patch: int = 8) -> float:
    """Mean of the `top` largest absolute correlations between pixels at two places of a patch of x (B, C, H, W).

    The correlation of two places is taken over all patches, rows and channels. Independent noise gives what chance
    gives, which shrinks with the number of patches; a latent that still shows its image gives more.

    Raises:
        ValueError: x is smaller than a patch, or holds fewer than two of them.
    """
    height, width = x.shape[-2:]
    if min(height, width) < patch:
        raise ValueError(
            f"patches of {patch} x {patch} do not fit maps of {width} x {height} cells: use a larger image"
        )
    blocks = F.unfold(x.flatten(0, 1)[:, None].double(), patch, stride=patch)  # (B * C, patch^2, patches)
    samples = blocks.movedim(1, 0).flatten(1)
    if samples.shape[1] < 2:
        raise ValueError("a correlation needs two patches at least: use a larger image or a batch")
    correlation = torch.corrcoef(samples).nan_to_num()
    first, second = torch.triu_indices(patch**2, patch**2, offset=1)
    return correlation[first, second].abs().topk(top).values.mean().item()


def plain_mask(image: Tensor, threshold: float = 0.025) -> Tensor:
    """(B, H, W) True where image (B, C, H, W) is plain: no neighbour, of four, differs by more than the threshold.

    Args:
        threshold: of the range of the image, as arXiv 2410.23530 App. C has it for pixels in [0, 1]; the range of a
            latent is that of its own values.
    """
    low, high = image.flatten(1).amin(dim=1), image.flatten(1).amax(dim=1)
    scaled = image / (high - low).clamp(min=1e-12).view(-1, *[1] * (image.ndim - 1))
    padded = F.pad(scaled, (1, 1, 1, 1), mode="replicate")
    height, width = image.shape[-2:]
    neighbours = [padded[..., y : y + height, x : x + width] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2))]
    differences = torch.stack([(scaled - neighbour).abs().amax(dim=1) for neighbour in neighbours])
    return differences.amax(dim=0) <= threshold


def plain_and_other_std(noise_maps: NoiseMaps, threshold: float = 0.025) -> tuple[float, float]:
    """Standard deviation of the noisiest state where the image is plain and where it is not; both 1 for true noise.

    NaN where no part of the images is plain (or none is not), or where maps have no height and width.
    """
    if noise_maps.image.ndim != 4:
        return float("nan"), float("nan")
    x, plain = latent(noise_maps).movedim(1, -1), plain_mask(noise_maps.image, threshold)
    return _std(x[plain]), _std(x[~plain])


def triangle_angles(noise: Tensor, image: Tensor, inverted: Tensor) -> Tensor:
    """(3, B) degrees in the triangle of the noise that made an image, the image, and the latent of its inversion.

    Order: at the noise, at the image, at the latent. An inversion that finds the noise again makes the angle at the
    image 0; arXiv 2410.23530 finds the latent of DDIM between noise and image.
    """
    corners = [part.flatten(1) for part in (noise, image, inverted)]
    return torch.stack([_degrees(corners[k - 1] - corners[k], corners[k - 2] - corners[k]) for k in range(3)])


def angles_to_noise(noise_maps: NoiseMaps, native: NoiseMaps) -> tuple[float, float, float]:
    """The triangle_angles of an inversion, averaged over the rows, with the noise of native maps of the same images.

    NaN where the two are of other images or start at other levels, and where they are the same maps.
    """
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
    fits = noise_maps.image.ndim == 4 and min(noise_maps.image.shape[-2:]) >= 16
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
