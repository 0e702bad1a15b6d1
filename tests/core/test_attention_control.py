"""What of an edit of the attention acts at a step and in a model, two edits at once, and rows of several images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ddpm_core.attention import (
    METHODS,
    AttentionControl,
    CrossEdit,
    LocalBlend,
    Place,
    Share,
    ShareFeatures,
    Window,
    WordMaps,
    attention_maps,
    everywhere,
    output_from_second,
    second_output_block,
    shared_by,
    take_source,
    word_maps,
)

STEPS = 10


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def words(*windows: Window) -> CrossEdit:
    n = len(windows)
    return CrossEdit(torch.eye(n).double(), torch.ones(n).bool(), torch.ones(n).double(), windows)


def shared(window: Window, where=everywhere, all_prompts: bool = False) -> Share:
    return Share(frozenset(("keys",)), where, window, all_prompts)


def blend(start: float) -> LocalBlend:
    return LocalBlend(torch.ones(1).bool(), torch.ones(1).bool(), start=start)


def steps(acts: Callable[[int, int], object]) -> list[int]:
    return [step for step in range(STEPS) if acts(step, STEPS)]


def test_each_part_acts_in_its_window():
    edit = AttentionControl(
        words((0, 0.3), (0.6, 0.8)), (shared((0.2, 0.5)),), (ShareFeatures(everywhere, (0.4, 0.5)),)
    )
    assert steps(edit.cross_at) == [0, 1, 2, 6, 7]
    assert steps(edit.shares_at) == [2, 3, 4]
    assert steps(edit.features_at) == [4]
    assert steps(edit.is_open) == [0, 1, 2, 3, 4, 6, 7]
    assert steps(edit.of_all_prompts) == [4]
    assert steps(edit.blends) == []
    assert steps(AttentionControl(shares=(shared((0.2, 0.5), all_prompts=True),)).of_all_prompts) == [2, 3, 4]
    kept = AttentionControl(blend=blend(0.5))
    assert steps(kept.blends) == [5, 6, 7, 8, 9]
    assert steps(kept.is_open) == list(range(STEPS))  # maps are added up before it begins
    assert steps(AttentionControl().is_open) == []


def test_both_have_the_parts_of_each():
    first, second = (AttentionControl(shares=(shared(window),)) for window in ((0.0, 0.2), (0.5, 0.7)))
    third = AttentionControl(words((0, 1)), features=(ShareFeatures(everywhere, (0.0, 0.1)),), blend=blend(0.2))
    for both in (first.and_also(second).and_also(third), third.and_also(first).and_also(second)):
        assert both.shares == first.shares + second.shares
        assert (both.cross, both.features, both.blend) == (third.cross, third.features, third.blend)
    with pytest.raises(ValueError, match=r"both attention edits come from Prompt-to-Prompt"):
        third.and_also(third)


def test_a_method_shares_where_and_when_it_was_published_or_is_told():
    plug = shared_by(METHODS["Plug-and-Play"], (0.1, 0.5), 0.8)
    (share,) = plug.shares
    assert (share.takes, share.where, share.window) == ({"queries", "keys"}, output_from_second, (0.1, 0.5))
    assert share.all_prompts and share.edited is None
    assert plug.features == (ShareFeatures(second_output_block, (0.0, 0.8)),)
    assert shared_by(METHODS["Plug-and-Play"], (0.0, 0.5), None).features == ()
    edited = torch.ones(1, 2, 2)
    told = shared_by(METHODS["MasaCtrl"], (0.0, 1.0), 0.8, where=everywhere, edited=edited)
    assert told.shares[0].where is everywhere and told.shares[0].edited is edited and told.features == ()


def test_a_model_without_the_places_is_told_from_one_with_them():
    middle, output = Place("middle", 0, 0, 3), Place("output", 3, 0, 2)
    of_output = AttentionControl(shares=(shared((0, 1), where=output_from_second),))
    assert of_output.acts_at([middle, output]) and not of_output.acts_at([middle])
    assert of_output.and_also(AttentionControl(shares=(shared((0, 1)),))).acts_at([middle])
    assert AttentionControl(words((0, 1))).acts_at([]) and AttentionControl(blend=blend(0.2)).acts_at([])


def test_each_variation_of_an_image_has_its_background():
    """Two images in two variations: rows 0 and 2 are of the first, 1 and 3 of the second."""
    x, background = normal(1, 8, 3, 2), torch.tensor([[True, False, True], [False, True, True]])
    out = take_source(x, [(slice(0, 4), slice(4, 8))], background=background)
    assert torch.equal(out[:4], x[:4])
    assert torch.equal(out[4:], x[:4].where(background[[0, 1, 0, 1], :, None], x[4:]))


def test_maps_of_words_in_repeated_and_in_padded_contexts():
    """Prompts of 3 and of 2 tokens in contexts of 6, as a host repeats them or pads them, beside keys of a picture."""
    q, tokens = normal(1, 2, 4, 8), (torch.tensor([False, True, True]), torch.tensor([True, False]))
    own, rows = (normal(2, 1, 3, 8), normal(3, 1, 2, 8)), [slice(0, 1), slice(1, 2)]

    def seen(k: torch.Tensor, **options) -> torch.Tensor:
        maps = WordMaps(*tokens)
        maps.see(q, k, 2, (2, 2), rows, **options)
        return maps.sum.flatten(-2)

    repeated = torch.cat([own[0].repeat(1, 2, 1), own[1].repeat(1, 3, 1)])
    expected = [word_maps(q[part], k, of, 2) for part, k, of in zip(rows, own, tokens, strict=True)]
    torch.testing.assert_close(seen(repeated), torch.stack(expected))

    places, others = ([1, 2], [0]), normal(4, 2, 10, 8)
    every = attention_maps(q, others, 2).mean(dim=1)
    mass = torch.stack([every[row : row + 1, :, place].sum(dim=-1) for row, place in enumerate(places)])
    torch.testing.assert_close(seen(others, padded=True), mass)
    repeats = ([1, 2, 4, 5], [0, 2, 4])
    mass = torch.stack([every[row : row + 1, :, place].sum(dim=-1) for row, place in enumerate(repeats)])
    torch.testing.assert_close(seen(others, beside=4), mass)
