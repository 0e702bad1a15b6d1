"""Prompts as the host's tokenizers cut them: which token is of which word."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from ...ddpm_core.attention import Prompt, Window, check_window
from .values import Clip, Conditioning


def encode(clip: Clip, text: str) -> Conditioning:
    """The text as CLIP Text Encode makes a CONDITIONING of it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def prompt_of(clip: Clip, text: str) -> Prompt:
    """The tokens of a text, and its words.

    Weights in brackets are no part of it. An embedding is one word, whatever number of tokens it takes.

    Raises:
        ValueError: text encoders that cut the text in different ways.
    """
    if clip is None:
        raise ValueError("there is no CLIP: the checkpoint has no text encoder, so load one with Load CLIP")
    streams = clip.tokenize(text, return_word_ids=True)
    prompts = {name: _prompt(clip, name, chunks) for name, chunks in streams.items()}
    (first, prompt), *others = prompts.items()
    for name, other in others:
        if (other.words, other.texts, other.chunk) != (prompt.words, prompt.texts, prompt.chunk):
            raise ValueError(
                f"the text encoders {first} and {name} cut the prompt in different ways, so its words have no one "
                "place: attention edits are for models that read their prompt by cross-attention from CLIP (Stable "
                "Diffusion 1.5, 2, SDXL), and for embeddings that were made for all their text encoders"
            )
    return prompt


def positions(clip: Clip, prompt: Prompt, words: str) -> list[int]:
    """Where in a prompt some words stand; empty where they do not."""
    return prompt.find(prompt_of(clip, words))


def check_fits(prompt: Prompt, conditioning: Conditioning) -> None:
    """Refuse a conditioning whose tokens are not those of the prompt.

    Raises:
        ValueError: another number.
    """
    embedding = conditioning[0][0]
    if embedding.ndim != 3 or embedding.shape[1] != len(prompt.tokens):
        raise ValueError(
            f"the prompt has {len(prompt.tokens)} tokens, and its conditioning the shape {tuple(embedding.shape)}: "
            "this text encoder does more than one vector a token, so words cannot be told apart in it"
        )


def unknown(words: str, *prompts: Prompt) -> ValueError:
    """The error for words that stand in none of some prompts."""
    known = ", ".join(dict.fromkeys(text for prompt in prompts for text in prompt.texts))
    return ValueError(f"'{words}' is in neither prompt; these words are: {known}")


def phrases(text: str) -> list[str]:
    """The parts of 'red hat, dog'."""
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def parse(text: str, what: str) -> list[tuple[str, str]]:
    """(words, value) of each part of 'red: 2, felt hat: 0.5'.

    Raises:
        ValueError: a part without words or without a value.
    """
    parts = []
    for part in phrases(text):
        words, colon, value = part.rpartition(":")
        if not colon or not words.strip() or not value.strip():
            raise ValueError(f"{what} has the part '{part}': write words and a value, such as red: 2, hat: 0.5")
        parts.append((words.strip(), value.strip()))
    return parts


def number(value: str, what: str) -> float:
    """A number that a user has written.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{what} has '{value}' where a number should be: write words and a number, red: 2") from None


def window(value: str, what: str) -> Window:
    """'0.4' (from the start) or '0.1-0.4' as fractions of the steps.

    Raises:
        ValueError: no such thing, or the wrong way round.
    """
    start, dash, stop = value.rpartition("-")
    read = (number(start, what) if dash else 0.0, number(stop, what))
    check_window(read, what)
    return read


def _as_encoded(clip: Clip, encoder: str, chunk: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A chunk's tokens where the host's encoder has them: it leaves out embeddings of another width, and pads."""
    tokenizer = getattr(clip.tokenizer, f"clip_{encoder}", None)
    if tokenizer is None:
        return chunk
    kept = [entry for entry in chunk if not isinstance(entry[0], Tensor) or len(entry[0]) == tokenizer.embedding_size]
    return kept + [(tokenizer.pad_token, 1.0, 0)] * (len(chunk) - len(kept))


def _prompt(clip: Clip, encoder: str, chunks: list[list[tuple[Any, ...]]]) -> Prompt:
    tokens: list[Hashable] = []
    words: list[list[int]] = []
    texts: list[str] = []
    ended, before = True, 0
    for token, _, group in (entry for chunk in chunks for entry in _as_encoded(clip, encoder, chunk)):
        position = len(tokens)
        of_embedding = isinstance(token, Tensor)
        tokens.append(token.float().cpu().numpy().tobytes() if of_embedding else token)
        if group == 0:  # special: a word may go on behind it, in the next chunk
            continue
        text = "<embedding>" if of_embedding else clip.tokenizer.untokenize([(token, 1.0)])[0][1]
        if ended or group != before:
            words.append([])
            texts.append("")
        words[-1].append(position)
        texts[-1] = text if of_embedding else texts[-1] + text.removesuffix("</w>")
        ended, before = not of_embedding and text.endswith("</w>"), group
    return Prompt(tuple(tokens), tuple(map(tuple, words)), tuple(texts), chunk=len(chunks[0]))
