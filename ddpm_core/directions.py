"""Edit directions: from one set of sentences to another, in the space of a text encoder.

Source: arXiv 2302.03027 (pix2pix-zero): the mean embedding of many sentences with the target's word minus that of many
with the source's, token by token, added to the embedding of any prompt.

Deviation: the paper's encoder always gives 77 tokens. Here embeddings of other lengths, such as a prompt of two chunks,
are repeated to a common one, which leaves what cross-attention makes of each as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

LONGEST = 4
"""Up to how many times an embedding is repeated: as often as ComfyUI does to run two prompts in one call."""


def mean(embeddings: Iterable[Tensor]) -> Tensor:
    """The mean of all rows of embeddings (B, L, D), or of vectors (B, D): (1, L, D) or (1, D), float64, on the CPU.

    What is held at a time is one embedding and one sum for each length L that occurs; L of the mean is their least
    common multiple.

    Raises:
        ValueError: nothing to take the mean of, embeddings of other widths D, lengths too far apart to be repeated.
    """
    sums: dict[tuple[int, ...], Tensor] = {}
    rows = 0
    for embedding in embeddings:
        if not len(embedding):
            continue
        total = embedding.cpu().double().sum(dim=0, keepdim=True)
        sums[total.shape] = sums[total.shape] + total if total.shape in sums else total
        rows += len(embedding)
    if not sums:
        raise ValueError("there is no embedding to take the mean of: give at least one sentence")
    parts = list(sums.values())
    length = common_length(parts)
    return torch.cat([repeated(part, length) for part in parts]).sum(dim=0, keepdim=True) / rows


def moved(embedding: Tensor, direction: Tensor, strength: float = 1.0) -> Tensor:
    """embedding + strength * direction, for an embedding (B, L, D) or (B, D) and a direction (1, L', D) or (1, D).

    Returns:
        (B, L'', D) or (B, D) in the dtype and on the device of the embedding; L'' is what both lengths divide.

    Raises:
        ValueError: another width D, lengths too far apart to be repeated.
    """
    length = common_length([embedding, direction])
    # on the CPU: some devices have no double precision
    total, away = (repeated(part.cpu().double(), length) for part in (embedding, direction))
    return (total + strength * away).to(embedding)


def common_length(embeddings: Iterable[Tensor]) -> int:
    """The least length that those of embeddings (B, L, D) divide; 1 for vectors (B, D).

    Raises:
        ValueError: other widths D, or a length of more than `LONGEST` times the shortest.
    """
    shapes = [embedding.shape for embedding in embeddings]
    widths = sorted({(len(shape), shape[-1]) for shape in shapes})
    if len(widths) > 1:
        raise ValueError(
            f"the embeddings are {' and '.join(str(width) for _, width in widths)} wide, as different text encoders "
            "make them: encode all prompts and sentences with one CLIP"
        )
    lengths = sorted({shape[1] if len(shape) == 3 else 1 for shape in shapes})
    length = math.lcm(*lengths)
    if length > LONGEST * lengths[0]:
        raise ValueError(
            f"the embeddings have {', '.join(map(str, lengths[:-1]))} and {lengths[-1]} tokens, too far apart to be "
            "repeated to one length: use prompts and sentences of about the same length"
        )
    return length


def repeated(embedding: Tensor, length: int) -> Tensor:
    """An embedding (B, L, D) repeated to `length` tokens; vectors (B, D) as they are."""
    return embedding if embedding.ndim != 3 else embedding.repeat(1, length // embedding.shape[1], 1)
