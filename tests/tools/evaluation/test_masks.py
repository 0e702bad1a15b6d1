"""Run-length lists against the loop of the official evaluator, and masks that cannot be meant."""

import numpy as np
import pytest
import torch

from tools.evaluation import EvaluationError, masks, pictures
from tools.evaluation.cases import Picture


def official(runs: list[int], height: int, width: int) -> np.ndarray:
    """The loop as it is described: each run is written out, cut at the end; then the border is set."""
    flat = np.zeros(height * width)
    for k in range(0, len(runs), 2):
        for pixel in range(runs[k], min(runs[k] + runs[k + 1], len(flat))):
            flat[pixel] = 1
    mask = flat.reshape(height, width)
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = 1
    return mask


def test_200_random_masks():
    """With runs that overlap, touch, are empty or too long."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(3, 30, 2)
        starts = rng.integers(0, height * width, rng.integers(0, 12))
        lengths = rng.integers(0, 2 * height * width, len(starts)) // rng.integers(1, 20)
        runs = np.stack([starts, lengths], axis=1).ravel().tolist()
        ours = masks.of_runs(tuple(runs), int(width), int(height), "a case")
        assert np.array_equal(np.array(ours) / 255, official(runs, height, width))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ((3,), "the mask of 7 is no list of starts and lengths"),
        ((-1, 3), "no list of starts"),
        ((1, -3), "no list of starts"),
        ((64, 1), "the mask of 7 starts a run at pixel 64, and its picture is 8 x 8: it is of another size"),
    ],
)
def test_lists_that_are_none(runs, message):
    with pytest.raises(EvaluationError, match=message):
        masks.of_runs(runs, 8, 8, "7")


def test_a_mask_that_is_a_picture(tmp_path, picture):
    from PIL import Image

    levels = np.array([[0, 127], [128, 255]], dtype=np.uint8).repeat(20, 0).repeat(24, 1)
    Image.fromarray(levels).save(tmp_path / "mask.png")
    mask = pictures.mask_of_case(Picture.of_file("mask.png", tmp_path / "mask.png"), picture(1), "7")
    assert torch.equal(mask, torch.from_numpy(levels > 127))
    with pytest.raises(EvaluationError, match="the mask mask.png is 48 x 40 pixels, its picture 32 x 32"):
        pictures.mask_of_case(Picture.of_file("mask.png", tmp_path / "mask.png"), picture(1, 32, 32), "7")
