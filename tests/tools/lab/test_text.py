"""The tokenizer: what it takes and what it refuses."""

import pytest
import torch

from demo.text import MAX_TOKENS, VOCABULARY, TextEncoder, tokenize, tokens


def test_words_become_ids_and_padding_follows():
    ids = tokenize("A red circle, on a blue ground.")
    assert [VOCABULARY[i] for i in ids] == ["a", "red", "circle", "on", "a", "blue", "ground", ""]


def test_the_empty_caption_is_all_padding():
    assert tokenize("") == tokenize("  ") == [0] * MAX_TOKENS


def test_an_unknown_word_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="dragon") as error:
        tokenize("a red dragon")
    assert all(word in str(error.value) for word in VOCABULARY)


def test_too_many_words_are_refused_with_both_counts():
    with pytest.raises(ValueError, match="9 words.*at most 8"):
        tokenize("a a a a a a a a a")


def test_no_captions_give_no_rows():
    assert tokens([]).shape == (0, MAX_TOKENS)


def test_the_encoder_sees_word_order():
    torch.manual_seed(0)
    encoder = TextEncoder().eval()
    with torch.no_grad():
        red_on_blue, blue_on_red = encoder(tokens(["a red circle on a blue ground", "a blue circle on a red ground"]))
    assert not torch.allclose(red_on_blue, blue_on_red, atol=1e-3)
