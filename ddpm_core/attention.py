"""Attention control: the maps of a source prompt at work under a target prompt.

Sources: Prompt-to-Prompt (arXiv 2208.01626), Plug-and-Play (arXiv 2211.12572), MasaCtrl (arXiv 2304.08465); on
edit-friendly noise maps arXiv 2304.06140, Sec. 4 and Tab. 3.

In every method the source's rows ride beside the target's through one call of the network. Nothing here needs a map
of attention written out: with A = softmax(q k^T / sqrt(d)), what Prompt-to-Prompt makes of a cross-attention is

    A' v = A_source M diag(w c r) v + A_target diag(w c (1 - r) + 1 - w) v

where M says which source token a target token takes its map from, r which tokens take one at all, c how much a word
counts and w whether a word's window is open: two ordinary attentions with changed values, in any kernel.

Shapes: R rows, N queries (pixels), L_s and L_t tokens of the two prompts, D channels of all heads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of queries (R, N, D) over keys and values (R, L, D), all heads side by side -> (R, N, D)."""
Mode = Literal["auto", "replace", "refine"]
Window = tuple[float, float]
"""From where to where something acts, as shares of all steps of the schedule, counted from the first that runs."""


def is_open(window: Window, step: int, steps: int) -> bool:
    """Whether a window is open at a step.

    Args:
        step: counted from the first that runs, as the official code counts.
        steps: of the full schedule, skipped ones included.
    """
    first, last = (int(share * steps + 1e-6) for share in window)
    return first <= step < last


def check_window(window: Window, what: str) -> None:
    """Refuse a window that cannot be.

    Raises:
        ValueError: outside 0 to 1, or the wrong way round.
    """
    start, stop = window
    if not 0 <= start <= stop <= 1:
        raise ValueError(
            f"the window of {what} goes from {start:g} to {stop:g}: use shares of the steps from 0 to 1, start first"
        )


# --- prompts and which token is which ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompt:
    """A prompt as cross-attention reads it.

    Args:
        tokens: one for each position of the context, chunks laid end to end.
        words: the positions of each word, in order; what is in none is special (start, end, padding).
        texts: what each word reads, for messages.
        chunk: positions of one chunk (77 of CLIP).
    """

    tokens: tuple[Hashable, ...]
    words: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    chunk: int

    def spelling(self, word: int) -> tuple[Hashable, ...]:
        """The tokens of a word."""
        return tuple(self.tokens[position] for position in self.words[word])

    @property
    def text(self) -> str:
        """The prompt as its words, without weights."""
        return " ".join(self.texts)

    def find(self, phrase: Prompt) -> list[int]:
        """The positions of the words of a phrase, wherever it stands in this prompt; empty where it does not."""
        wanted = [phrase.spelling(word) for word in range(len(phrase.words))]
        here = [self.spelling(word) for word in range(len(self.words))]
        starts = [i for i in range(len(here) - len(wanted) + 1) if wanted and here[i : i + len(wanted)] == wanted]
        return sorted({p for i in starts for word in self.words[i : i + len(wanted)] for p in word})

    @cached_property
    def content(self) -> tuple[int, ...]:
        """The positions of all words, in order."""
        return tuple(position for word in self.words for position in word)

    def chunk_of_specials(self, c: int) -> tuple[list[int], list[int]]:
        """The positions of chunk c before its first word, and those after its last."""
        inside = range(c * self.chunk, min((c + 1) * self.chunk, len(self.tokens)))
        content = [position for position in self.content if position in inside]
        if not content:  # start, then end and padding
            first = inside.start + (len(inside) > 1 and self.tokens[inside.start] != self.tokens[inside.start + 1])
            return list(range(inside.start, first)), list(range(first, inside.stop))
        return list(range(inside.start, content[0])), list(range(content[-1] + 1, inside.stop))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.tokens) // self.chunk)


class Alignment(NamedTuple):
    """Which source tokens a target token takes its map from.

    Args:
        matrix: (L_s, L_t) float64, M.
        shared: (L_t,) bool, r: False where a target token keeps its own map.
        changed: the target's positions that no equal source token stands at.
    """

    matrix: Tensor
    shared: Tensor
    changed: list[int]


def align(source: Prompt, target: Prompt, mode: Mode = "auto", *, changed_words_share: bool = True) -> Alignment:
    """Put the target's tokens onto the source's.

    Args:
        mode: "replace" puts word k onto word k; "refine" puts equal tokens onto each other, as many as can be in order,
            and leaves all others their own maps; "auto" replaces where both have as many words.
        changed_words_share: whether a word that "replace" puts onto another takes its map, as the official code has it,
            or keeps its own, as "refine" has it.

    Start, end and padding are put onto their like, chunk by chunk, whatever stands between them.

    Raises:
        ValueError: "replace" with different numbers of words.
    """
    if mode == "auto":
        mode = "replace" if len(source.words) == len(target.words) else "refine"
    matrix = torch.zeros(len(source.tokens), len(target.tokens), dtype=torch.float64)
    shared = torch.zeros(len(target.tokens), dtype=torch.bool)
    changed: list[int] = []
    if mode == "replace":
        _replace(source, target, matrix, shared, changed, changed_words_share)
    else:
        _refine(source, target, matrix, shared, changed)
    for c in range(target.chunks):
        _put_specials(source, target, c, matrix, shared)
    return Alignment(matrix, shared, changed)


def _replace(
    source: Prompt, target: Prompt, matrix: Tensor, shared: Tensor, changed: list[int], changed_words_share: bool
) -> None:
    if len(source.words) != len(target.words):
        raise ValueError(
            f"replace needs prompts of as many words: the source has {len(source.words)} ({source.text}), the target "
            f"{len(target.words)} ({target.text}); use refine, or write them word by word alike"
        )
    for k, (froms, tos) in enumerate(zip(source.words, target.words, strict=True)):
        same = source.spelling(k) == target.spelling(k)
        if not same:
            changed += tos
        if len(froms) == len(tos):
            matrix[list(froms), list(tos)] = 1
        else:  # all pieces of one word among all pieces of the other
            matrix[torch.tensor(froms)[:, None], torch.tensor(tos)] = 1 / len(tos)
        shared[list(tos)] = same or changed_words_share


def _refine(source: Prompt, target: Prompt, matrix: Tensor, shared: Tensor, changed: list[int]) -> None:
    froms, tos = ([prompt.tokens[position] for position in prompt.content] for prompt in (source, target))
    pairs = dict(common_subsequence(froms, tos))
    for j, to in enumerate(target.content):
        if j in pairs:
            matrix[source.content[pairs[j]], to] = 1
            shared[to] = True
        else:
            changed.append(to)


def common_subsequence(source: Sequence[Hashable], target: Sequence[Hashable]) -> list[tuple[int, int]]:
    """(j, i) for each target token j that is put onto an equal source token i, as many as can be in order.

    The global alignment of Needleman and Wunsch with gap 0, match 1, mismatch -1, by which two gaps are always better
    than a mismatch. Among equals the official code's order of tracing back decides: skip a target token, then a source
    token, then a pair.
    """
    score = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, a in enumerate(source, 1):
        for j, b in enumerate(target, 1):
            score[i][j] = max(score[i][j - 1], score[i - 1][j], score[i - 1][j - 1] + (1 if a == b else -1))
    pairs, i, j = [], len(source), len(target)
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((j, i))
    return pairs[::-1]


def _put_specials(source: Prompt, target: Prompt, c: int, matrix: Tensor, shared: Tensor) -> None:
    """Start onto start, end onto end, padding onto the padding at its place, or onto the first where there is none."""
    d = min(c, source.chunks - 1)
    (froms_lead, froms), (tos_lead, tos) = source.chunk_of_specials(d), target.chunk_of_specials(c)
    pairs = list(zip(froms_lead, tos_lead, strict=False))
    if froms:
        end, *padding = froms
        offset = d * source.chunk - c * target.chunk
        for n, to in enumerate(tos):
            place = to + offset
            pairs.append((end if n == 0 or not padding else min(max(place, padding[0]), padding[-1]), to))
    for at, to in pairs:
        matrix[at, to] = 1
        shared[to] = True


# --- cross-attention --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CrossEdit:
    """Prompt-to-Prompt's edit of a cross-attention: replace, refine and reweight (arXiv 2208.01626, Sec. 3.2).

    Args:
        matrix: (L_s, L_t) float64, M: the map of target token j is sum_i A_source[:, i] M[i, j].
        shared: (L_t,) bool, r: which target tokens take a map of the source; the others keep their own.
        gain: (L_t,) float64, c: what a token's map is multiplied by while its window is open; below 0 is allowed.
        windows: one for each target token.
    """

    matrix: Tensor
    shared: Tensor
    gain: Tensor
    windows: tuple[Window, ...]

    def is_open(self, step: int, steps: int) -> bool:
        """Whether any token's window is open."""
        return any(is_open(window, step, steps) for window in set(self.windows))

    def at(self, step: int, steps: int, length: int) -> CrossWeights:
        """What to do at a step, for contexts that were repeated to a common length.

        Raises:
            ValueError: a length that is no multiple of both prompts'.
        """
        l_s, l_t = self.matrix.shape
        if length % l_s or length % l_t:
            raise ValueError(
                f"the model reads {length} tokens, the prompts of the attention edit have {l_s} and {l_t}: connect the "
                "conditionings that Prompt-to-Prompt gives, and no node that adds tokens to them"
            )
        w = torch.tensor([is_open(window, step, steps) for window in self.windows], dtype=torch.float64)
        r = self.shared.to(torch.float64)
        # A token that stands there n times shares its map between its copies, whose values are equal.
        copies = length // l_t
        return CrossWeights(
            mix=(self.matrix * (w * self.gain * r)).repeat(length // l_s, copies) / copies,
            own=(w * self.gain * (1 - r) + 1 - w).repeat(copies),
        )


class CrossWeights(NamedTuple):
    """A cross edit at one step.

    Args:
        mix: (L, L), M diag(w c r): what the source's map reads of the target's values.
        own: (L,), w c (1 - r) + 1 - w: what the target's own map reads of them.
    """

    mix: Tensor
    own: Tensor

    def to(self, like: Tensor) -> CrossWeights:
        """The same in the dtype and on the device of what they are to be multiplied with."""
        return CrossWeights(self.mix.to(like), self.own.to(like))


Halves = Sequence[tuple[slice, slice]]
"""The rows of source and target in each part of a call that is edited."""


def cross_attention(
    attend: Attend, plain: Attend, q: Tensor, k: Tensor, v: Tensor, halves: Halves, weights: CrossWeights
) -> Tensor:
    """(R, N, D) a cross-attention in which the target's rows are edited.

    Args:
        attend: the attention of all rows, or what another patch has made of it, as long as it is linear in the values.
        plain: attention to the text alone.
        q: (R, N, D); k, v: (R, L, D).
        weights: beside v.
    """
    values = v.clone()
    for _, target in halves:
        values[target] *= weights.own[:, None]
    out = attend(q, k, values)
    for source, target in halves:
        out[target] += plain(q[source], k[source], weights.mix @ v[target])
    return out


def attention_maps(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(D)) of each head, in at least single precision.

    Args:
        q: (B, N, heads * D) of N pixels.
        k: (B, M, heads * D) of M tokens.

    Returns:
        (B, heads, N, M).
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2).to(dtype) for part in (q, k))
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)


def word_maps(q: Tensor, k: Tensor, tokens: Tensor, heads: int) -> Tensor:
    """(R, N) how much each pixel attends to some tokens, as a mean over heads of the sum over tokens.

    Args:
        q: (R, N, D); k: (R, L, D).
        tokens: (L,) bool.
    """
    maps = attention_maps(q, k, heads)
    return maps[..., tokens.to(maps.device)].sum(dim=-1).mean(dim=1)


# --- self-attention and features --------------------------------------------------------------------------------------


Part = Literal["input", "middle", "output"]


@dataclass(frozen=True)
class Place:
    """Where in a UNet something stands.

    Args:
        part: input (the way down), middle or output (the way up).
        block: its number within the part.
        index: which transformer of the block.
        level: how often the picture has been halved there.
    """

    part: Part
    block: int
    index: int
    level: int


Rule = Callable[[Sequence[Place]], set[Place]]
"""Which of a model's transformers something acts at."""


def coarse(size: float) -> Rule:
    """Where the picture's side is at most `size` of the latent's: Prompt-to-Prompt's 16 x 16 of 64 x 64 is 1/4."""
    return lambda places: {place for place in places if 0.5**place.level <= size * (1 + 1e-6)}


def fine_output(size: float) -> Rule:
    """On the way up, where the side is at least `size` of the latent's: MasaCtrl's layers from 10 on are 1/2."""
    return lambda places: {p for p in places if p.part == "output" and 0.5**p.level >= size * (1 - 1e-6)}


def output_from_second(places: Sequence[Place]) -> set[Place]:
    """On the way up, from the second block at the coarsest level with attention on: Plug-and-Play's 4 to 11."""
    second = _second_output(places)
    return set() if second is None else {p for p in places if p.part == "output" and p.block >= second}


def second_output_block(places: Sequence[Place]) -> set[Place]:
    """The block that `output_from_second` starts at: Plug-and-Play's 4."""
    return {place for place in places if place.part == "output" and place.block == _second_output(places)}


def everywhere(places: Sequence[Place]) -> set[Place]:
    """At every transformer."""
    return set(places)


def _second_output(places: Sequence[Place]) -> int | None:
    on_the_way_up = [place for place in places if place.part == "output"]
    coarsest = max((place.level for place in on_the_way_up), default=0)
    blocks = sorted({place.block for place in on_the_way_up if place.level == coarsest})
    return blocks[min(1, len(blocks) - 1)] if blocks else None


@dataclass(frozen=True)
class Share:
    """What of the source's self-attention the target takes over.

    Args:
        takes: of queries, keys and values. Queries and keys together are the map.
        where: at which transformers.
        window: when.
        all_prompts: in the rows of every prompt, or in those of the positive one alone.
    """

    takes: frozenset[Literal["queries", "keys", "values"]]
    where: Rule
    window: Window
    all_prompts: bool


@dataclass(frozen=True)
class ShareFeatures:
    """That the target takes over what the residual branch of a block makes of the source (arXiv 2211.12572, Sec. 4).

    Args:
        where: of the transformers, in whose blocks.
        window: when.
    """

    where: Rule
    window: Window


@dataclass(frozen=True)
class Method:
    """What a published method shares, and when.

    Args:
        takes, where: of the self-attention.
        start, end: its window, as shares of the steps.
        features_end: until when the features of a block are shared, or None for never.
    """

    takes: frozenset[Literal["queries", "keys", "values"]]
    where: Rule
    start: float
    end: float
    features_end: float | None = None


METHODS = {
    # arXiv 2211.12572, Sec. 4: 25 and 40 of 50 steps
    "Plug-and-Play": Method(frozenset(("queries", "keys")), output_from_second, 0.0, 0.5, 0.8),
    # arXiv 2304.08465, Sec. 4.1: from step 4 of 50, layer 10 of 16
    "MasaCtrl": Method(frozenset(("keys", "values")), fine_output(0.5), 0.08, 1.0),
    "values only": Method(frozenset(("values",)), everywhere, 0.0, 0.1),
}


def share(
    queries: Tensor, keys: Tensor, values: Tensor, halves: Halves, takes: frozenset[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """What a self-attention is to be given, each (R, N, D): the target's rows with what they take of the source's."""
    parts = {"queries": queries, "keys": keys, "values": values}
    for name in takes:
        part = parts[name].clone()
        for source, target in halves:
            part[target] = part[source]
        parts[name] = part
    return parts["queries"], parts["keys"], parts["values"]


def take_features(features: Tensor, halves: Halves) -> Tensor:
    """(R, C, H, W) with the source's in place of the target's."""
    taken = features.clone()
    for source, target in halves:
        taken[target] = features[source]
    return taken


# --- local blend ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LocalBlend:
    """Prompt-to-Prompt's local blend: the edit stays where the attention of some words is (arXiv 2208.01626, Sec. 3.3).

    Args:
        source, target: (L_s,) and (L_t,) bool, the tokens of the words in either prompt.
        threshold: of the map's range. The official 0.3 divides by the maximum alone; here the minimum is taken off
            first, which is next to 0 where a start token soaks up attention, and is not where there is none.
        start: the share of the steps after which it acts; before, maps are added up.
    """

    source: Tensor
    target: Tensor
    threshold: float = 0.3
    start: float = 0.2

    def mask(self, maps: Tensor, shape: torch.Size) -> Tensor:
        """(R, 1, *S[1:]) 1 where the edit may act.

        Args:
            maps: (2, R, h, w) of the source's words and of the target's, added up over steps and layers.
            shape: (R, *S) of the latent.
        """
        heat = word_heat(maps.flatten(0, 1), shape[-2:])
        return (heat > self.threshold).to(heat.dtype).unflatten(0, (2, -1)).amax(dim=0)[:, None]


def blend_level(places: Sequence[Place]) -> int:
    """The level whose maps a local blend looks at: that of the side nearest to a quarter of the latent's."""
    return min({place.level for place in places if place.part != "middle"}, key=lambda level: abs(level - 2))


def word_heat(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(R, H, W) maps of words (R, h, w) from 0 to 1, widened by a sixteenth to each side.

    The official code widens 16 x 16 maps by a 3 x 3 maximum, and the kernel here is the same share of the map; it
    takes the nearest neighbour for the latent's size, and here values go evenly between.
    """
    kernel = 1 + 2 * int(min(maps.shape[-2:]) / 16)
    maps = functional.max_pool2d(maps[:, None], kernel, stride=1, padding=kernel // 2)
    maps = functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)


# --- all of it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Edit:
    """What the target takes over of the source's attention; without a model, without the tensors of a run.

    Args:
        cross: of the cross-attention, in the rows of the prompt.
        shares: of the self-attention.
        features: of the residual blocks, in the rows of every prompt.
        blend: where the edit stays.
    """

    cross: CrossEdit | None = None
    shares: tuple[Share, ...] = ()
    features: tuple[ShareFeatures, ...] = ()
    blend: LocalBlend | None = None

    def cross_at(self, step: int, steps: int) -> CrossEdit | None:
        """The edit of the cross-attention, if any of it acts at a step."""
        return self.cross if self.cross is not None and self.cross.is_open(step, steps) else None

    def shares_at(self, step: int, steps: int) -> list[Share]:
        """What of the self-attention is shared at a step."""
        return [share for share in self.shares if is_open(share.window, step, steps)]

    def features_at(self, step: int, steps: int) -> list[ShareFeatures]:
        """Which features are shared at a step."""
        return [features for features in self.features if is_open(features.window, step, steps)]

    def is_open(self, step: int, steps: int) -> bool:
        """Whether anything acts at a step, so that the source's rows are needed; a local blend looks at all of them."""
        acting = (self.cross_at(step, steps), self.shares_at(step, steps), self.features_at(step, steps), self.blend)
        return any(bool(part) if isinstance(part, list) else part is not None for part in acting)

    def of_all_prompts(self, step: int, steps: int) -> bool:
        """Whether the rows of every prompt are edited at a step, not those of the positive one alone."""
        shares = self.shares_at(step, steps)
        return any(share.all_prompts for share in shares) or bool(self.features_at(step, steps))

    def blends(self, step: int, steps: int) -> bool:
        """Whether the edit is kept to the words' places after a step."""
        return self.blend is not None and step >= int(self.blend.start * steps + 1e-6)

    def and_also(self, other: Edit) -> Edit:
        """Both at once.

        Raises:
            ValueError: each with an edit of the cross-attention.
        """
        if self.cross is not None and other.cross is not None:
            raise ValueError("both attention edits come from Prompt-to-Prompt: write all changes into one of them")
        return Edit(
            self.cross or other.cross,
            self.shares + other.shares,
            self.features + other.features,
            self.blend or other.blend,
        )

    def acts_at(self, places: Sequence[Place]) -> bool:
        """Whether a model with transformers at these places has any that this acts at."""
        rules = [share.where for share in self.shares] + [features.where for features in self.features]
        return self.cross is not None or self.blend is not None or any(rule(places) for rule in rules)


def shared_by(method: Method, window: Window, features_end: float | None) -> Edit:
    """A published method of sharing as an edit.

    Args:
        window: when the self-attention is shared.
        features_end: until when features are, for a method that does; else without effect.
    """
    until = None if method.features_end is None else features_end
    return Edit(
        shares=(Share(method.takes, method.where, window, all_prompts=True),),
        features=() if until is None else (ShareFeatures(second_output_block, (0.0, until)),),
    )
