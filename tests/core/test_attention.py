"""Attention control: when an edit acts, which layers it acts on, and what a layer makes of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch

from ddpm_core.attention import (
    CrossEdit,
    LocalBlend,
    Place,
    WordMaps,
    background_of,
    between,
    check_window,
    coarse,
    cross_attention,
    everywhere,
    fine_output,
    grid_of,
    is_open,
    joint_attention,
    near_quarter,
    output_from_second,
    second_output_block,
    take_source,
    word_heat,
    word_maps,
)

# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "steps", "expected"), [((0, 0.6), 100, 60), ((0, 0.29), 100, 29), ((0.1, 0.5), 50, 20)]
)
def test_a_window_is_open_for_its_share_of_the_steps(window, steps, expected):
    assert sum(is_open(window, step, steps) for step in range(steps)) == expected
    assert is_open(window, int(window[0] * steps), steps)


def test_a_window_the_wrong_way_round_is_refused():
    check_window((0.2, 0.2), "red")
    for window in ((0.5, 0.2), (-0.1, 0.2), (0.2, 1.1)):
        with pytest.raises(ValueError, match="window of red goes from"):
            check_window(window, "red")


# --- cross-attention --------------------------------------------------------------------------------------------------


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps_of(q: torch.Tensor, k: torch.Tensor, heads: int) -> torch.Tensor:
    """(R, heads, N, L)"""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)


def apply(maps: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (maps @ v.unflatten(-1, (maps.shape[1], -1)).transpose(1, 2)).transpose(1, 2).flatten(-2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return apply(maps_of(q, k, 2), v)


HALVES = [(slice(0, 2), slice(2, 4))]
L = 6


@pytest.fixture
def random_edit() -> CrossEdit:
    windows = [(0.0, 1.0), (0.0, 0.2), (0.5, 1.0)] * 2
    return CrossEdit(normal(7, L, L), torch.tensor([1, 0, 1, 1, 1, 0]).bool(), normal(8, L), tuple(windows))


def edited(q, k, v, weights, more=0.0) -> torch.Tensor:
    """A cross-attention to which another patch adds more."""
    rows = partial(attend_rows, q, k)
    return cross_attention(lambda v: attend(q, k, v) + more, rows, v, HALVES, weights)


def attend_rows(q, k, rows, v) -> torch.Tensor:
    return attend(q[rows], k[rows], v)


def test_changed_values_are_changed_maps(random_edit):
    """The official step written out: A' = f(A_source, A_target) c where a window is open, else A_target."""
    q, k, v = (normal(seed, 4, n, 8) for seed, n in ((1, 5), (2, L), (3, L)))
    step, steps = 1, 10
    maps = maps_of(q, k, heads=2)
    mapped, own = maps[:2] @ random_edit.matrix, maps[2:]
    r = random_edit.shared.double()
    w = torch.tensor([is_open(window, step, steps) for window in random_edit.windows]).double()
    new = (mapped * r + own * (1 - r)) * random_edit.gain * w + own * (1 - w)
    expected = torch.cat([apply(maps[:2], v[:2]), apply(new, v[2:])])
    weights = random_edit.at(step, steps, L)
    assert weights.own.unique().numel() > 2  # windows open and closed, maps shared and not
    torch.testing.assert_close(edited(q, k, v, weights), expected)


def test_what_another_patch_adds_stays(random_edit):
    q, k, v = (normal(seed, 4, n, 8) for seed, n in ((1, 5), (2, L), (3, L)))
    weights, picture = random_edit.at(0, 10, L), normal(4, 4, 5, 8)
    plain = edited(q, k, v, weights)
    added = edited(q, k, v, weights, more=picture)
    torch.testing.assert_close(added, plain + picture)


@pytest.mark.parametrize(("copies_of_source", "copies_of_target"), [(2, 1), (1, 2), (2, 3)])
def test_prompts_repeated_to_a_common_length_are_the_same(copies_of_source, copies_of_target):
    """The host repeats the shorter of two prompts, by which plain attention stays what it is."""
    l_s, l_t = 6 // copies_of_source, 6 // copies_of_target
    edit = CrossEdit(normal(7, l_s, l_t), torch.arange(l_t) != 1, normal(8, l_t), ((0.0, 1.0),) * l_t)
    q, k_s, k_t, v = normal(1, 4, 5, 8), normal(2, 2, l_s, 8), normal(3, 2, l_t, 8), normal(4, 2, l_t, 8)
    r = edit.shared.double()
    maps = maps_of(q[:2], k_s, 2) @ edit.matrix * r + maps_of(q[2:], k_t, 2) * (1 - r)
    expected = apply(maps * edit.gain, v)
    k = torch.cat([k_s.repeat(1, copies_of_source, 1), k_t.repeat(1, copies_of_target, 1)])
    values = torch.cat([normal(5, 2, 6, 8), v.repeat(1, copies_of_target, 1)])
    out = edited(q, k, values, edit.at(0, 10, 6))
    torch.testing.assert_close(out[2:], expected)
    with pytest.raises(ValueError, match=rf"reads 7 tokens.* have {l_s} and {l_t}"):
        edit.at(0, 10, 7)


def test_the_identity_at_full_strength_leaves_a_layer_as_it_was():
    q, k, v = (normal(seed, 2, n, 8).repeat(2, 1, 1) for seed, n in ((1, 5), (2, L), (3, L)))
    edit = CrossEdit(torch.eye(L).double(), torch.ones(L).bool(), torch.ones(L).double(), ((0.0, 1.0),) * L)
    out = edited(q, k, v, edit.at(0, 10, L))
    torch.testing.assert_close(out, attend(q, k, v))


def test_an_attention_of_text_and_picture_has_its_map_to_the_text_edited(random_edit):
    """A' = [f(A_source, A_target) c to the text, A_target to the picture] at the picture's places, A at the text's."""
    q, k, v = (normal(seed, 4, L + 5, 8) for seed in (1, 2, 3))
    maps, w = maps_of(q, k, heads=2), torch.tensor([is_open(window, 1, 10) for window in random_edit.windows]).double()
    r, new = random_edit.shared.double(), maps[2:].clone()
    of_text = maps[:2, ..., L:, :L] @ random_edit.matrix * r + maps[2:, ..., L:, :L] * (1 - r)
    new[..., L:, :L] = of_text * random_edit.gain * w + maps[2:, ..., L:, :L] * (1 - w)
    expected = torch.cat([apply(maps[:2], v[:2]), apply(new, v[2:])])
    out = joint_attention(attend(q, k, v), partial(attend_rows, q, k), v, HALVES, random_edit.at(1, 10, L))
    torch.testing.assert_close(out, expected)


def test_padding_is_put_onto_padding(random_edit):
    """Of a source of 4 tokens and a target of 6 in contexts of 8: the places 6 and 7 take the map of the source's."""
    edit = replace(random_edit, matrix=random_edit.matrix[:4]).padded(8)
    expected = torch.zeros(8, 2).double()
    expected[6, 0] = expected[7, 1] = 1
    assert torch.equal(edit.matrix[:, 6:], expected) and edit.shared[6:].all()
    assert torch.equal(edit.gain[6:], torch.ones(2).double()) and len(edit.windows) == 8
    assert not replace(random_edit, matrix=normal(1, 8, 6)).padded(8).shared[6:].any()  # the source has none
    with pytest.raises(ValueError, match="reads 5 tokens, the prompts of the attention edit have 6 and 6"):
        random_edit.padded(5)


def test_padding_before_the_prompts_is_put_onto_padding_too(random_edit):
    """Of a source of 4 tokens and a target of 6 in contexts of 8: the places 0 and 1 take the map of the source's."""
    edit = replace(random_edit, matrix=random_edit.matrix[:4]).padded(8, before=True)
    assert torch.equal(edit.matrix[4:, 2:], random_edit.matrix[:4]) and not edit.matrix[:4, 2:].any()
    assert torch.equal(edit.matrix[:, :2], torch.eye(8, 2).double())
    assert edit.shared[:2].all() and torch.equal(edit.shared[2:], random_edit.shared)
    assert torch.equal(edit.gain, torch.cat([torch.ones(2).double(), random_edit.gain]))
    assert edit.windows == (random_edit.windows[0],) * 2 + random_edit.windows


def test_words_are_found_behind_padding():
    """Of a prompt of 3 tokens in a context of 5, with 2 keys of a picture behind it."""
    q, k, words = normal(1, 1, 4, 8), normal(2, 1, 7, 8), torch.tensor([0, 1, 1]).bool()
    maps = WordMaps(words)
    maps.see(q, k, 2, (2, 2), [slice(None)], padded=True, before=True, beside=2)
    expected = maps_of(q, k, heads=2)[..., [3, 4]].sum(dim=-1).mean(dim=1)
    torch.testing.assert_close(maps.sum, expected.view(1, 1, 2, 2))


def test_maps_of_words_are_the_mass_on_their_tokens():
    q, k, tokens = normal(1, 3, 5, 8), normal(2, 3, L, 8), torch.tensor([0, 1, 0, 1, 0, 0]).bool()
    expected = maps_of(q, k, heads=2)[..., tokens].sum(dim=-1).mean(dim=1)
    torch.testing.assert_close(word_maps(q, k, tokens, 2), expected)
    torch.testing.assert_close(word_maps(q, k, ~tokens, 2) + word_maps(q, k, tokens, 2), torch.ones(3, 5).double())


def test_maps_of_other_sizes_are_added_at_the_largest():
    """Layers that another node makes smaller for a part of the run: constant maps stay as they are, an edge stays where
    it is, and the order is no matter.
    """

    def seen(*sizes):
        maps = WordMaps(torch.tensor([True, False]))
        for size in sizes:
            left = torch.cat([torch.full((size, size // 2), 20.0), torch.full((size, size // 2), -20.0)], dim=1)
            q = left.reshape(1, -1, 1)  # looks at the first token on the left, at the second on the right
            maps.see(q, torch.tensor([[[1.0], [-1.0]]]), 1, (size, size), [slice(None)])
        return maps.sum

    both = seen(4, 8)
    assert both.shape == (1, 1, 8, 8)
    assert torch.equal(both, seen(8, 4))
    torch.testing.assert_close(both[..., :3], torch.full((1, 1, 8, 3), 2.0))
    torch.testing.assert_close(both[..., 5:], torch.zeros(1, 1, 8, 3))


# --- self-attention and features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5, 8), (4, 3, 2, 2)], ids=["queries, keys, values", "features"])
def test_the_target_takes_over_what_the_source_has(shape):
    x = normal(1, *shape)
    assert torch.equal(take_source(x, HALVES), torch.cat([x[:2], x[:2]]))
    assert torch.equal(x, normal(1, *shape))


@pytest.mark.parametrize("shape", [(4, 7, 8), (4, 2, 7, 8)], ids=["heads side by side", "heads apart"])
def test_of_text_and_picture_the_pictures_background_is_taken(shape):
    x, background = normal(1, *shape), torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]]).bool()
    out = take_source(x, HALVES, slice(2, 6), background)
    expected = x.clone()
    for row, column in background.nonzero().tolist():
        expected[2 + row, ..., 2 + column, :] = x[row, ..., 2 + column, :]
    assert torch.equal(out, expected)
    one = take_source(x, HALVES, slice(2, 6), background[:1])  # a mask for all rows
    assert torch.equal(one[3, ..., 2, :], x[1, ..., 2, :]) and torch.equal(one[3, ..., 3, :], x[3, ..., 3, :])


def test_tokens_lie_in_the_latents_grid():
    """Of patches of 2 and of 1, cut off at the edge, and of frames."""
    assert grid_of(16, (1, 4, 8, 8)) == (1, 4, 4) and grid_of(36, (2, 128, 6, 6)) == (1, 6, 6)
    assert grid_of(20, (1, 16, 7, 9)) == (1, 4, 5) and grid_of(48, (1, 16, 3, 8, 8)) == (3, 4, 4)
    assert grid_of(9, (1, 64, 9)) == (1, 1, 9)
    with pytest.raises(ValueError, match="17 tokens for a latent of 8 x 8"):
        grid_of(17, (1, 4, 8, 8))


@pytest.mark.parametrize(
    ("size", "patch"),
    [((16, 16), 4), ((7, 7), 2), ((15, 16), 2), ((8, 15), 2), ((125, 90), 2), ((60, 50), 16), ((125, 127), 8)],
    ids=str,
)
def test_a_token_is_background_where_no_cell_of_it_is_edited(size, patch):
    """Each cell by itself, also where the last tokens go beyond the latent's end."""
    height, width = (-(-side // patch) for side in size)
    cells = [(y, x) for y in {0, patch, size[0] // 2, size[0] - 1} for x in {0, size[1] // 2 + 1, size[1] - 1}]
    edited = torch.zeros(len(cells), 1, *size)
    expected = torch.ones(len(cells), 3, height, width).bool()
    for row, (y, x) in enumerate(cells):
        edited[row, :, y, x] = 0.1
        expected[row, :, y // patch, x // patch] = False
    assert torch.equal(background_of(edited, (3, height, width)), expected.flatten(1))
    of_frames = edited.transpose(0, 1)  # one for each frame
    assert torch.equal(background_of(of_frames, (len(cells), height, width)), expected[:, 0].flatten()[None])


def test_where_a_layer_was_stretched_its_background_is_too():
    edited = torch.zeros(1, 1, 16, 16)
    edited[..., 10:] = 1
    assert torch.equal(background_of(edited, (1, 16, 5)), (torch.arange(5) < 3).repeat(1, 16))


def test_blocks_are_chosen_by_their_share_of_the_depth():
    flux = [Place("all", number, 0, 0) for number in range(57)]

    def numbers(first: float, last: float) -> list[int]:
        return sorted(place.block for place in between(first, last)(flux))

    assert numbers(0, 1) == list(range(57)) and numbers(2 / 3, 1) == list(range(38, 57))
    assert numbers(0, 19 / 57) == list(range(19)) and numbers(0.5, 0.5) == []


def places(levels_in: list[int], middle: int, levels_out: list[tuple[int, int]], depth: int = 1) -> list[Place]:
    found = [Place("input", k, i, level) for k, level in enumerate(levels_in) for i in range(depth)]
    found += [Place("middle", 0, i, middle) for i in range(depth)]
    return found + [Place("output", block, i, level) for block, level in levels_out for i in range(depth)]


SD15 = places([0, 0, 1, 1, 2, 2], 3, [(k, 3 - k // 3) for k in range(3, 12)])
SDXL = places([1, 1, 2, 2], 2, [(k, 2 - k // 3) for k in range(6)], depth=2)
DEMO = places([2], 2, [(0, 2)])


def test_rules_choose_the_published_layers():
    """Of SD1.5: 16 x 16 and less; output blocks 4 to 11, features of 4; layers 10 to 15, which are blocks 6 to 11."""

    def outputs(chosen: set[Place]) -> set[int]:
        assert {place.part for place in chosen} == {"output"}
        return {place.block for place in chosen}

    assert {place.level for place in coarse(0.25)(SD15)} == {2, 3}
    assert outputs(output_from_second(SD15)) == set(range(4, 12))
    assert outputs(second_output_block(SD15)) == {4}
    assert outputs(fine_output(0.5)(SD15)) == set(range(6, 12))
    assert outputs(output_from_second(SDXL)) == {1, 2, 3, 4, 5}
    assert outputs(second_output_block(SDXL)) == {1}
    assert outputs(fine_output(0.5)(SDXL)) == {3, 4, 5}
    assert outputs(output_from_second(DEMO)) == outputs(second_output_block(DEMO)) == {0}
    assert everywhere(SDXL) == set(SDXL)
    assert output_from_second([]) == second_output_block([]) == set()


def test_words_are_looked_for_at_a_quarter_of_the_side():
    """16 x 16 of SD1.5's 64 x 64, outside the middle; there where a model has text in its middle alone."""
    assert near_quarter(SD15) == {place for place in SD15 if place.level == 2}
    assert near_quarter(DEMO) == {place for place in DEMO if place.part != "middle"}
    middle = Place("middle", 0, 0, 3)
    assert near_quarter([middle]) == {middle} and near_quarter([]) == set()


# --- local blend ------------------------------------------------------------------------------------------------------


def test_a_blend_is_where_either_prompts_words_are():
    blend = LocalBlend(torch.zeros(2).bool(), torch.zeros(2).bool(), threshold=0.3)
    maps = torch.full((2, 1, 8, 8), 0.2)  # what no word gets below, where no start token soaks it up
    maps[0, 0, 1, 1] = maps[1, 0, 5, 6] = 0.8
    mask = blend.mask(maps, torch.Size([1, 4, 8, 8]))
    assert mask.shape == (1, 1, 8, 8)
    assert {tuple(cell) for cell in mask[0, 0].nonzero().tolist()} == {(1, 1), (5, 6)}
    assert not blend.mask(torch.full((2, 1, 8, 8), 0.2), torch.Size([1, 4, 8, 8])).any()
    of_frames = blend.mask(maps.repeat(1, 3, 1, 1), torch.Size([3, 16, 1, 8, 8]))  # a row each, not a channel each
    assert of_frames.shape == (3, 1, 1, 8, 8) and (of_frames[:, :, 0] == mask).all()


def test_heat_goes_from_0_to_1_and_widens_with_the_map():
    maps = torch.zeros(1, 16, 16)
    maps[0, 8, 8] = 5.0
    heat = word_heat(maps, (16, 16))
    assert heat.min() == 0 and heat.max() == 1
    assert {tuple(cell) for cell in heat[0].nonzero().tolist()} == set(product((7, 8, 9), repeat=2))


@pytest.mark.parametrize("size", [(7, 7), (15, 16), (8, 125)], ids=str)
def test_heat_is_where_its_token_is_also_where_the_last_go_beyond_the_latents_end(size):
    height, width = (-(-side // 2) for side in size)
    for i, j in product((1, height // 2, height - 2), (1, width // 2, width - 2)):
        maps = torch.zeros(1, height, width)
        maps[0, i, j] = 1
        hottest = (word_heat(maps, size)[0] > 1 - 1e-6).nonzero().tolist()
        assert {tuple(cell) for cell in hottest} == set(product((2 * i, 2 * i + 1), (2 * j, 2 * j + 1)))
