"""Several edits at once: LEDITS++'s formula written out, and what each part of it is for."""

from __future__ import annotations

import pytest
import torch

from ddpm_core.several import Term, combined


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_published_sum_of_predictions_of_the_noise():
    """eps_0 + sum_c s_c m_c (eps_c - eps_0), quantiles and painted mask as the official code has them, read as x_0."""
    a, b = 0.8, 0.6
    x = randn(2, 4, 8, 8, seed=9)
    eps = [randn(2, 4, 8, 8, seed=k) for k in range(3)]
    painted = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    painted[..., 2:7, 1:6] = 1
    guided = eps[0].clone()
    for scale, quantile, mask, eps_c in ((5.0, 0.9, 1.0, eps[1]), (-3.0, 0.7, painted, eps[2])):
        term = scale * (eps_c - eps[0]) * mask
        size = term.abs().sum(dim=1, keepdim=True)
        least = torch.quantile(size.flatten(1), quantile, dim=1).view(-1, 1, 1, 1)
        guided += torch.where(size >= least, term, 0.0)

    base, *predictions = ((x - b * part) / a for part in eps)
    ours, masks = combined(base, predictions, [Term(5.0), Term(-3.0, quantile=0.7, mask=painted)])
    torch.testing.assert_close(ours, (x - b * guided) / a, rtol=1e-6, atol=1e-6)
    assert [mask.shape for mask in masks] == [(2, 1, 8, 8)] * 2


def test_no_edit_is_the_base():
    base = randn(1, 4, 8, 8)
    assert torch.equal(combined(base, [], [])[0], base)


def test_each_row_has_its_own_quantile():
    difference = torch.cat([randn(1, 4, 16, 16), 100 * randn(1, 4, 16, 16, seed=1)])
    share = Term(1.0, quantile=0.75).support(difference).flatten(1).mean(dim=1)
    assert share.tolist() == pytest.approx([0.25, 0.25], abs=0.01)


def test_quantile_0_is_everywhere():
    assert Term(1.0, quantile=0.0).support(randn(1, 4, 8, 8)).min() == 1


def test_nothing_acts_outside_what_was_painted():
    painted = torch.zeros(1, 1, 8, 8)
    painted[..., 3:5, 3:5] = 1
    for quantile in (0.0, 0.9):
        support = Term(1.0, quantile=quantile, mask=painted).support(randn(1, 4, 8, 8))
        assert (support * (1 - painted)).max() == 0
        assert support.max() == 1


def test_a_video_has_masks_of_its_frames():
    painted = torch.zeros(1, 1, 3, 8, 8)
    painted[:, :, 1] = 1
    support = Term(1.0, quantile=0.0, mask=painted).support(randn(2, 4, 3, 8, 8))
    assert support.shape == (2, 1, 3, 8, 8)
    assert support.mean(dim=(0, 1, 3, 4)).tolist() == [0, 1, 0]


def test_it_acts_within_its_window():
    term = Term(1.0, (0.2, 0.5))
    assert [term.is_open(step, 10) for step in range(10)] == [False] * 2 + [True] * 3 + [False] * 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": float("nan")}, "scale of an edit is nan"),
        ({"scale": float("inf")}, "scale of an edit is inf"),
        ({"scale": 1.0, "quantile": 1.0}, "quantile of an edit is 1: use 0"),
        ({"scale": 1.0, "window": (0.6, 0.5)}, "window of an edit goes from 0.6 to 0.5"),
    ],
)
def test_bad_terms_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Term(**values)
