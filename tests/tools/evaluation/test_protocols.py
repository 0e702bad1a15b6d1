"""The columns of each protocol: what the two masking conventions mean, and which pair has which value."""

import math

import numpy as np
import pytest
import torch
from skimage import metrics as oracle

from tools.evaluation.protocols import BY_NAME, METRICS, Pair

SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 2}


def in_one(picture) -> np.ndarray:
    return picture.numpy().astype(np.float64) / 255


@pytest.mark.parametrize("seed", range(2))
def test_pie_bench_is_the_same_of_blackened_pictures(picture, mask, seed):
    pair = Pair(picture(seed), picture(seed + 100), mask)
    a, b = (in_one(part) * ~mask.numpy()[..., None] for part in (pair.source, pair.edited))
    for name, value in (
        ("mse", oracle.mean_squared_error(a, b)),
        ("psnr", oracle.peak_signal_noise_ratio(a, b, data_range=1.0)),
        ("ssim", oracle.structural_similarity(a, b, **SSIM)),
    ):
        assert BY_NAME[f"pie-bench.{name}"].value(pair, {}) == pytest.approx(value, abs=1e-5)


def test_masked_counts_the_background_alone(picture, mask):
    source, edited = picture(1), picture(2)
    by_hand = ((in_one(source) - in_one(edited)) ** 2)[~mask.numpy()].mean()
    pair = Pair(source, edited, mask)
    assert BY_NAME["masked.mse"].value(pair, {}) == pytest.approx(by_hand, rel=1e-9)
    share = (~mask).double().mean().item()
    assert BY_NAME["pie-bench.mse"].value(pair, {}) == pytest.approx(share * by_hand, rel=1e-9)
    gained = BY_NAME["pie-bench.psnr"].value(pair, {}) - BY_NAME["masked.psnr"].value(pair, {})
    assert gained == pytest.approx(-10 * math.log10(share), abs=1e-9)


def test_what_lies_within_the_mask_has_no_part_in_the_background(picture, mask, networks):
    """Nor in the windows and receptive fields beside it."""
    source, edited = picture(1), picture(2)
    other = torch.where(mask[..., None], picture(3), edited)
    for name in ("psnr", "mse", "ssim", "lpips"):
        for protocol in ("pie-bench", "masked"):
            metric = BY_NAME[f"{protocol}.{name}"]
            first, second = (metric.value(Pair(source, edit, mask), networks) for edit in (edited, other))
            assert first == pytest.approx(second, abs=1e-9), metric.name


def test_without_an_edited_part_both_conventions_are_the_whole(picture, networks):
    source, edited = picture(1), picture(2)
    pair = Pair(source, edited, torch.zeros(40, 48, dtype=torch.bool))
    for name in ("psnr", "mse", "ssim"):
        values = [BY_NAME[f"{protocol}.{name}"].value(pair, {}) for protocol in ("pie-bench", "masked", "whole")]
        assert values == pytest.approx([values[0]] * 3, rel=1e-9)


def test_the_identity(picture, mask, networks):
    """0, 0, 0, 1 and infinity, for all conventions and networks."""
    pair = Pair(picture(1), picture(1), mask, "a cat", "a cat", others=(picture(1),))
    expected = {"structure": 0, "structure_01": 0, "lpips": 0, "mse": 0, "ssim": 1, "psnr": math.inf, "diversity": 0}
    for metric in METRICS:
        short = metric.name.partition(".")[2]
        if short in expected:
            assert metric.value(pair, networks) == pytest.approx(expected[short], abs=1e-12), metric.name
    assert BY_NAME["whole.clip_pictures"].value(pair, networks) == pytest.approx(1)


def test_what_has_no_background_or_no_mask_has_no_such_value(picture, networks):
    everything = torch.ones(40, 48, dtype=torch.bool)
    for mask in (None, everything):
        pair = Pair(picture(1), picture(2), mask, "a cat", "a dog")
        for metric in METRICS:
            background = metric.name.split(".")[1] in ("psnr", "mse", "ssim", "lpips")
            if background and metric.name.startswith(("pie-bench", "masked")):
                assert math.isnan(metric.value(pair, networks)), metric.name
    nothing = Pair(picture(1), picture(2), ~everything, "a cat", "a dog")
    assert math.isnan(BY_NAME["pie-bench.clip_edited"].value(nothing, networks))
