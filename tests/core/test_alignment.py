"""Which token of the target prompt takes the map of which token of the source prompt."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch

from ddpm_core.attention import Alignment, Prompt, align, common_subsequence

START, END = "<start>", "<end>"


def prompt(text: str, chunk: int = 8) -> Prompt:
    """Words of a text in chunks with a start and an end token, padded with the end token; 'cat|er|pillar' is three."""
    tokens, words, texts = [START], [], []
    for word in text.split():
        pieces = word.split("|")
        if len(tokens) % chunk + len(pieces) > chunk - 1:
            tokens += [END] * (-len(tokens) % chunk) + [START]
        words.append(tuple(range(len(tokens), len(tokens) + len(pieces))))
        texts.append("".join(pieces))
        tokens += pieces
    tokens += [END] * (-len(tokens) % chunk)
    return Prompt(tuple(tokens), tuple(words), tuple(texts), chunk)


def sources(alignment: Alignment) -> list[dict[int, float]]:
    """For each target token, the source tokens that it takes its map from, and how much of each."""
    return [
        {int(i): column[i].item() for i in column.nonzero()} if shared else {}
        for column, shared in zip(alignment.matrix.T, alignment.shared, strict=True)
    ]


def test_a_refined_prompt_keeps_the_maps_of_its_old_words():
    alignment = align(prompt("a cat sleeps"), prompt("a fluffy white cat sleeps"), "refine")
    kept = {0: 0, 1: 1, 4: 2, 5: 3, 6: 4, 7: 7}
    assert sources(alignment) == [{kept[j]: 1.0} if j in kept else {} for j in range(8)]
    assert alignment.changed == [2, 3]


def test_a_shortened_prompt_never_takes_padding_from_words():
    alignment = align(prompt("a fluffy white cat sleeps"), prompt("a cat"), "refine")
    assert sources(alignment) == [{0: 1.0}, {1: 1.0}, {4: 1.0}, {6: 1.0}] + [{7: 1.0}] * 4


def test_words_replace_words_whatever_they_are_spelled_with():
    """Pieces of the same number stand for each other; else all of one among all of the other, as published."""
    alignment = align(prompt("a cat sits"), prompt("a cat|er|pillar sits", 8), "replace")
    third = {2: pytest.approx(1 / 3)}
    assert sources(alignment)[:7] == [{0: 1.0}, {1: 1.0}, third, third, third, {3: 1.0}, {4: 1.0}]
    assert alignment.changed == [2, 3, 4]
    back = align(prompt("a cat|er|pillar sits"), prompt("a cat sits"), "replace")
    assert sources(back)[2] == {2: 1.0, 3: 1.0, 4: 1.0}
    same_number = align(prompt("a ti|ger"), prompt("a lep|ard"), "replace")
    assert sources(same_number)[:4] == [{0: 1.0}, {1: 1.0}, {2: 1.0}, {3: 1.0}]


def test_a_replaced_word_may_keep_its_own_map():
    alignment = align(prompt("a red cat"), prompt("a green cat"), changed_words_share=False)
    assert alignment.shared.tolist() == [True, True, False, True, True, True, True, True]


def test_auto_replaces_where_there_are_as_many_words():
    a, b, c = prompt("a red cat"), prompt("a green cat"), prompt("a big green cat")
    assert torch.equal(align(a, b).matrix, align(a, b, "replace").matrix)
    assert torch.equal(align(a, c).shared, align(a, c, "refine").shared)
    with pytest.raises(ValueError, match=r"3 \(a red cat\).*4 \(a big green cat\)"):
        align(a, c, "replace")


def test_the_same_prompt_is_its_own_alignment():
    for text in ("", "a", "a cat sits on a mat by the old door of a house", "a cat|er|pillar"):
        for mode in ("replace", "refine"):
            alignment = align(prompt(text), prompt(text), mode)
            assert torch.equal(alignment.matrix, torch.eye(len(alignment.shared), dtype=torch.float64))
            assert alignment.shared.all() and alignment.changed == []


def test_chunks_are_put_onto_chunks():
    """Seven words fill a chunk of eight with its start and end; the eighth opens another."""
    short, long = prompt("a b c d e f"), prompt("a b c d e f g h")
    alignment = sources(align(short, long, "refine"))
    assert alignment[:8] == [{i: 1.0} for i in range(8)]
    assert alignment[8] == {0: 1.0}  # the second chunk's start, onto the only one
    assert alignment[9:11] == [{}, {}]  # g h are new
    assert alignment[11] == {7: 1.0}  # its end
    shortened = sources(align(long, short, "refine"))
    assert shortened == [{i: 1.0} for i in range(8)]


def test_prompts_without_start_and_end():
    """As the demo model's captions: so many words, or fewer and padding."""
    full = Prompt(tuple("abcdefgh"), tuple((i,) for i in range(8)), tuple("abcdefgh"), 8)
    padded = Prompt((*"abcde", 0, 0, 0), tuple((i,) for i in range(5)), tuple("abcde"), 8)
    assert sources(align(padded, padded)) == [{i: 1.0} for i in range(8)]
    assert sources(align(full, padded, "refine"))[5:] == [{}, {}, {}]  # there is no padding to take from
    assert sources(align(padded, full, "refine"))[5:] == [{}, {}, {}]


@pytest.mark.parametrize("lengths", [(3, 3), (4, 2), (2, 4), (0, 3), (4, 4)])
def test_as_many_tokens_as_can_be_are_paired_in_order(lengths):
    """Against all ways of choosing tokens of both prompts in order."""

    def most(a: tuple, b: tuple) -> int:
        choices = ((i, j) for k in range(5) for i in combinations(a, k) for j in combinations(b, k))
        return max(len(i) for i, j in choices if i == j)

    for a in product("xyz", repeat=lengths[0]):
        for b in product("xyz", repeat=lengths[1]):
            pairs = common_subsequence(a, b)
            assert len(pairs) == most(a, b)
            assert all(a[i] == b[j] for j, i in pairs)
            assert all(p[0] < q[0] and p[1] < q[1] for p, q in zip(pairs, pairs[1:], strict=False))


def test_a_phrase_is_found_wherever_it_stands():
    text = prompt("a red hat and a red hat|ter", 16)
    assert text.find(prompt("red")) == [2, 6]
    assert text.find(prompt("red hat")) == [2, 3]
    assert text.find(prompt("hat|ter")) == [7, 8]
    assert text.find(prompt("blue")) == text.find(prompt("")) == text.find(prompt("hat red")) == []


def test_padding_is_put_onto_the_padding_at_its_place():
    """That of a second chunk, too, onto the only one of the source."""
    alignment = sources(align(prompt("a b"), prompt("a b c d e f g h"), "refine"))
    assert alignment[11:] == [{3: 1.0}] + [{i: 1.0} for i in range(4, 8)]


def test_among_equals_a_target_token_is_skipped_first():
    """Of two words that changed places, as the official code traces back."""
    assert common_subsequence("xy", "yx") == [(0, 1)]


def test_what_stands_after_a_position_is_one_chunk():
    """Of a word that is cut in two there, only the tokens are left."""
    rest = prompt("a ti|ger sits").after(3)
    assert rest == Prompt(("ger", "sits", END, END, END), ((1,),), ("sits",), 5)
