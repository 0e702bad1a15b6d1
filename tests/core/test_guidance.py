"""Guidance: each published form written out, and what each part of several edits is for."""

from __future__ import annotations

import pytest
import torch

from ddpm_core.guidance import Guidance, OfTwo, Term, classifier_free, from_source, guided, several


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_published_sum_of_predictions_of_the_noise():
    """eps_0 + sum_c s_c m_c (eps_c - eps_0), quantiles and painted mask as the official code has them, read as x_0."""
    a, b = 0.8, 0.6
    x = randn(2, 4, 8, 8, seed=9)
    eps = [randn(2, 4, 8, 8, seed=k) for k in range(3)]
    painted = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    painted[..., 2:7, 1:6] = 1
    expected = eps[0].clone()
    for scale, quantile, mask, eps_c in ((5.0, 0.9, 1.0, eps[1]), (-3.0, 0.7, painted, eps[2])):
        term = scale * (eps_c - eps[0]) * mask
        size = term.abs().sum(dim=1, keepdim=True)
        least = torch.quantile(size.flatten(1), quantile, dim=1).view(-1, 1, 1, 1)
        expected += torch.where(size >= least, term, 0.0)

    base, *predictions = ((x - b * part) / a for part in eps)
    guidance = Guidance("base", terms=(("first", Term(5.0)), ("second", Term(-3.0, quantile=0.7, mask=painted))))
    assert guidance.prompts == ("base", "first", "second")
    ours, masks = guidance.combined(dict(zip(guidance.prompts, [base, *predictions], strict=True)))
    torch.testing.assert_close(ours, (x - b * expected) / a, rtol=1e-6, atol=1e-6)
    assert {name: mask.shape for name, mask in masks.items()} == dict.fromkeys(("first", "second"), (2, 1, 8, 8))


def test_no_edit_is_the_base():
    base = randn(1, 4, 8, 8)
    assert torch.equal(Guidance("base").combined({"base": base})[0], base)


PREDICTIONS = dict(zip(("positive", "source", "negative"), (randn(2, 4, 8, 8, seed=k) for k in range(3)), strict=True))


@pytest.mark.parametrize(("w", "w_source"), [(7.5, 5.0), (7.5, 7.5), (1.5, 1.0), (1.0, 1.0), (0.0, 3.0), (1.0, 5.0)])
def test_guidance_from_a_source_is_what_the_papers_print(w, w_source):
    """TurboEdit and FlowAlign, classifier-free guidance, h-Edit (arXiv 2503.02187), each as published."""
    target, source, empty = PREDICTIONS.values()
    expected = {
        "source as negative": source + w * (target - source),
        "classifier-free": empty + w * (target - empty),
        "h-Edit": source + w * (target - empty) - w_source * (source - empty),
    }
    for kind, printed in expected.items():
        (guidance,) = from_source(kind, [w], w_source)
        told = {name: PREDICTIONS[name] for name in guidance.prompts}  # no others are needed
        torch.testing.assert_close(guidance.combined(told)[0], printed, rtol=1e-12, atol=1e-12)
    assert len(from_source("h-Edit", [7.5], 5.0)[0].prompts) == 3
    assert all(len(from_source("h-Edit", [7.5], scale)[0].prompts) == 2 for scale in (1.0, 7.5))


def test_guidance_of_scale_1_asks_one_prompt_and_a_schedule_has_a_value_for_each_scale():
    one, two, again = classifier_free([1.0, 3.0, 1.0])
    assert one.prompts == ("positive",) and two.prompts == ("positive", "negative") and again is one
    assert torch.equal(one.combined({"positive": PREDICTIONS["positive"]})[0], PREDICTIONS["positive"])


def test_each_row_may_have_a_scale_of_its_own():
    cond, uncond = PREDICTIONS["positive"], PREDICTIONS["negative"]
    both = guided(uncond, cond, torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
    for row, scale in enumerate((2.0, 3.0)):
        torch.testing.assert_close(both[row], uncond[row] + scale * (cond[row] - uncond[row]))


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance("positive", "negative", 1.0, (("source", Term(-4.0, quantile=0.0)),)),
        Guidance("positive", "negative", 7.5),
        Guidance("positive"),
        Guidance("positive", "negative", 7.5, (("source", Term(-4.0, quantile=0.0)),)),
        Guidance(
            "positive", "negative", 0.5, (("source", Term(2.0, quantile=0.0)), ("other", Term(1.0, quantile=0.0)))
        ),
        Guidance("positive", terms=(("source", Term(-3.0, quantile=0.0)),)),
        Guidance("positive", terms=(("source", Term(0.0, quantile=0.0)), ("other", Term(2.0, quantile=0.0)))),
    ],
)
def test_guidance_of_two_predictions_is_the_same_sum(guidance):
    """Of means of what takes part everywhere: what a host that sums two predictions can be told."""
    predictions = PREDICTIONS | {"other": randn(2, 4, 8, 8, seed=7)}
    two = guidance.of_two()
    towards, away = (
        sum(weight * predictions[name] for name, weight in side.items()) for side in (two.positives, two.negatives)
    )
    assert [sum(side.values()) for side in (two.positives, two.negatives)] == pytest.approx([1, 1])
    expected, _ = guidance.combined(predictions)
    torch.testing.assert_close(guided(away, towards, two.scale), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance("positive", "negative", 7.5, (("source", Term(-4.0)),)),  # in the places of its quantile
        Guidance("positive", terms=(("source", Term(1.0, quantile=0.0, mask=torch.zeros(1, 1, 8, 8))),)),
        Guidance("positive", terms=tuple((name, Term(2.0, quantile=0.0)) for name in ("source", "other"))),
    ],
)
def test_other_guidances_are_not_of_two_predictions(guidance):
    assert guidance.of_two() is None


def test_a_scale_from_elsewhere_is_that_of_the_pair_or_of_each_edit():
    term = ("source", Term(-4.0))
    pair = Guidance("positive", "negative", 7.5, (term,)).with_scale(2.0)
    assert (pair.scale, pair.terms) == (2.0, (term,))
    edits = Guidance("positive", terms=(term, ("other", Term(3.0)), ("off", Term(0.0)))).with_scale(2.0)
    assert [(name, edit.scale) for name, edit in edits.terms] == [("source", -2.0), ("other", 2.0)]


def test_a_scale_of_0_from_elsewhere_still_asks_for_both_prompts():
    """As the host's guidance at cfg 0, whose patches look at both; an edit that is switched off asks for nothing."""
    edit = Guidance("positive", terms=(("edit", Term(3.0, quantile=0.0)),))
    assert edit.with_scale(0.0).of_two() == OfTwo({"edit": 1.0}, {"positive": 1.0}, 0.0)
    off = Guidance("positive", terms=(("edit", Term(0.0, quantile=0.0)),))
    assert off.of_two() == OfTwo({"positive": 1.0}, {"positive": 1.0}, 1.0)


def test_edits_act_in_their_windows_and_are_asked_there_alone():
    terms = {"early": Term(1.0, (0.0, 0.5)), "late": Term(1.0, (0.5, 1.0)), "never": Term(1.0, (0.3, 0.3))}
    guidances = several(terms, steps=4, full_steps=8)  # the first four of eight
    assert [guidance.prompts for guidance in guidances] == [("positive", "early")] * 4
    assert [guidance.prompts[1:] for guidance in several(terms, steps=4)] == [("early",)] * 2 + [("late",)] * 2
    assert len(set(map(id, guidances))) == 1


def test_a_scale_without_a_negative_is_refused():
    with pytest.raises(ValueError, match="guidance with a scale of 2 needs a negative prompt"):
        Guidance("positive", scale=2.0)


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
