"""Prompts as the host's tokenizers cut them: which token is of which word."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...ddpm_core.attention import Prompt, Window, check_window
from .values import Clip, Conditioning


def encode(clip: Clip, text: str) -> Conditioning:
    """The text as CLIP Text Encode makes a CONDITIONING of it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def prompt_of(clip: Clip, text: str, encoder: str = "") -> Prompt:
    """The tokens of a text, and its words.

    Weights in brackets are no part of it. An embedding is one word, whatever number of tokens it takes.

    Args:
        encoder: whose tokens; empty for those of all.

    Raises:
        ValueError: text encoders that cut the text in different ways.
    """
    prompts = _prompts(clip, text)
    return _the_same([prompts[encoder]] if encoder else list(prompts.values()))


def read(clip: Clip, text: str) -> tuple[Prompt, Conditioning]:
    """A text as CLIP Text Encode makes a CONDITIONING of it, and the prompt whose tokens the model reads there.

    Raises:
        ValueError: a conditioning that has no vector for each token.
    """
    prompts, conditioning = _prompts(clip, text), encode(clip, text)
    embedding, told = conditioning[0]
    if "t5xxl_ids" in told:  # Anima's network makes the vectors of these itself
        return prompts["t5xxl"], conditioning
    length = embedding.shape[1] if embedding.ndim == 3 else 0
    fitting = [prompt for prompt in prompts.values() if len(prompt.tokens) == length]
    if not fitting and len(prompts) == 1:  # a template stands before the text, whose head the encoder has cut off
        fitting = [prompt.after(len(prompt.tokens) - length) for prompt in prompts.values()]
    *clips, last = prompts.values()
    if clips and len(clips[0].tokens) + len(last.tokens) == length:  # Stable Diffusion 3: CLIP's, and behind them T5's
        return _the_same(clips).then(last), conditioning
    if not fitting or len(fitting[0].tokens) != length:
        sizes = " and ".join(str(len(prompt.tokens)) for prompt in prompts.values())
        raise ValueError(
            f"the prompt has {sizes} tokens, and its conditioning the shape {tuple(embedding.shape)}: "
            "this text encoder does more than one vector a token, so words cannot be told apart in it"
        )
    return _the_same(fitting), conditioning


def _the_same(prompts: list[Prompt]) -> Prompt:
    """The prompt that several text encoders read alike."""
    prompt, *others = prompts
    for other in others:
        if (other.words, other.texts, other.chunk) != (prompt.words, prompt.texts, prompt.chunk):
            raise ValueError(
                f"the text encoders {prompt.encoder} and {other.encoder} cut the prompt in different ways, so its "
                "words have no one place: attention edits are for models that read their prompt from one text "
                "encoder, or from CLIP alone, and for embeddings that were made for all their text encoders"
            )
    return prompt


def positions(clip: Clip, prompt: Prompt, words: str) -> list[int]:
    """Where in a prompt some words stand; empty where they do not."""
    found: set[int] = set()
    for encoder in prompt.encoder.split("+"):
        phrase, empty = (prompt_of(clip, text, encoder) for text in (words, ""))
        head, tail = (_alike(phrase.spellings[::way], empty.spellings[::way]) for way in (1, -1))  # of a template
        inside = slice(head, len(phrase.words) - min(tail, len(phrase.words) - head))
        found.update(prompt.find(replace(phrase, words=phrase.words[inside], texts=phrase.texts[inside])))
    return sorted(found)


def _alike(a: list[Any], b: list[Any]) -> int:
    """How many of two lists' first entries are the same."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


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


def _prompts(clip: Clip, text: str) -> dict[str, Prompt]:
    """A text as each of the text encoders cuts it."""
    if clip is None:
        raise ValueError("there is no CLIP: the checkpoint has no text encoder, so load one with Load CLIP")
    streams = clip.tokenize(text, return_word_ids=True)
    return {name: _prompt(clip, name, chunks) for name, chunks in streams.items()}


def _tokenizer(clip: Clip, encoder: str) -> Any:
    """The host's tokenizer of one of a model's text encoders."""
    own = (getattr(clip.tokenizer, name, None) for name in (f"clip_{encoder}", encoder))
    return next((found for found in own if hasattr(found, "untokenize")), clip.tokenizer)


def _as_encoded(clip: Clip, encoder: str, chunk: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A chunk's tokens where the host's encoder has them: it leaves out embeddings of another width, and pads."""
    tokenizer = _tokenizer(clip, encoder)
    if not any(isinstance(entry[0], Tensor) for entry in chunk) or not hasattr(tokenizer, "embedding_size"):
        return chunk
    kept = [entry for entry in chunk if not isinstance(entry[0], Tensor) or len(entry[0]) == tokenizer.embedding_size]
    return kept + [(tokenizer.pad_token, 1.0, 0)] * (len(chunk) - len(kept))


_LINE_ENDS = "\u010a"  # of byte-level BPE
_WORD_BEGINS = ("\u2581", "\u0120", _LINE_ENDS, " ")  # of SentencePiece, and a blank of byte-level BPE
_WORD_ENDS = "</w>"  # of CLIP


def _prompt(clip: Clip, encoder: str, chunks: list[list[tuple[Any, ...]]]) -> Prompt:
    entries = [entry for chunk in chunks for entry in _as_encoded(clip, encoder, chunk)]
    untokenize = _tokenizer(clip, encoder).untokenize
    pieces = {
        token: untokenize([(token, 1.0)])[0][1]
        for token, _, group in entries
        if group != 0 and not isinstance(token, Tensor)
    }
    is_clip = any(piece.endswith(_WORD_ENDS) for piece in pieces.values())
    tokens: list[Hashable] = []
    words: list[list[int]] = []
    texts: list[str] = []
    ended, before = True, 0
    for token, _, group in entries:
        position = len(tokens)
        of_embedding = isinstance(token, Tensor)
        tokens.append(token.float().cpu().numpy().tobytes() if of_embedding else token)
        if group == 0:  # special: a word may go on behind it, in the next chunk
            continue
        piece = "<embedding>" if of_embedding else pieces[token]
        text = piece.removesuffix(_WORD_ENDS) if is_clip else piece.strip("".join(_WORD_BEGINS))
        begins = piece.startswith(_WORD_BEGINS) or (bool(texts) and _is_apart(texts[-1], text))
        if ended or group != before or (begins and not is_clip and not of_embedding):
            words.append([])
            texts.append("")
        if not is_clip and not of_embedding:  # the same word has other tokens at the start of a text
            tokens[-1] = text.lower()
        words[-1].append(position)
        texts[-1] = text if of_embedding else texts[-1] + text
        ended, before = not of_embedding and piece.endswith((_WORD_ENDS, _LINE_ENDS)), group
    return Prompt(tuple(tokens), tuple(map(tuple, words)), tuple(texts), len(chunks[0]), encoder)


def _is_apart(word: str, piece: str) -> bool:
    """Whether a piece is none of the word before it, as a comma is."""
    return bool(word and piece) and not (word[-1].isalnum() and piece[0].isalnum())
