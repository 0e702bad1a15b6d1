"""The tokenizer: what it takes and what it refuses."""

import pytest
import torch

from demo.text import MAX_TOKENS, VOCABULARY, TextEncoder, tokenize, tokens


def test_words_become_ids_and_padding_follows():
    ids = tokenize("A red house, by the sea.")
    assert [VOCABULARY[i] for i in ids[:8]] == ["a", "red", "house", "by", "the", "sea", "", ""]


def test_the_empty_caption_is_all_padding():
    assert tokenize("") == tokenize("  ") == [0] * MAX_TOKENS


def test_an_unknown_word_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="dragon") as error:
        tokenize("a red dragon")
    assert all(word in str(error.value) for word in VOCABULARY)


def test_too_many_words_are_refused_with_both_counts():
    with pytest.raises(ValueError, match="21 words.*at most 20"):
        tokenize("a " * 21)


def test_no_captions_give_no_rows():
    assert tokens([]).shape == (0, MAX_TOKENS)


def test_the_encoder_sees_word_order():
    torch.manual_seed(0)
    encoder = TextEncoder().eval()
    with torch.no_grad():
        first, second = encoder(tokens(["a man with red hair in a blue coat", "a man with blue hair in a red coat"]))
    assert not torch.allclose(first, second, atol=1e-3)
