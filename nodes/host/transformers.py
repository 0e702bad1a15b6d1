"""Attention of transformers inside the host: where in a network a call is, and what to do there instead.

Modules say for one call of the network which attention is about to run; the host's override of the attention then has
its queries, keys and values, after norms and rotary embedding, in every model whose code hands it the options of the
call. Where text and picture share an attention, the host's `attn1_patch` says which tokens are the picture's, or what
the module is called with does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from inspect import signature
from itertools import chain
from typing import Any, Literal, NamedTuple

import comfy.patcher_extension
import torch
from torch import Tensor

from ...ddpm_core.attention import Place, grid_of
from .conds import OWN_TOKENS, Lengths

Reads = Literal["itself", "text", "both"]
"""What a picture's tokens attend to in a module."""

# A block's attention to its own tokens and that to the text, by the names that the host's networks give them.
_PAIRS = (
    ("self_attn", "cross_attn"),
    ("attn1", "attn2"),
    ("self_attention", "cross_attention"),
    ("attn", "cross_attn"),
)
_STACKS = ("double_blocks", "single_blocks", "transformer_blocks", "blocks")


class Tokens(NamedTuple):
    """Where the tokens of an attention stand.

    Args:
        text: those of the prompt, the first; 0 where others stand among them.
        start, stop: those of the picture.
        own: those before the prompt's that the network has for itself, counted in `text`.
    """

    text: int
    start: int
    stop: int
    own: int = 0


@dataclass(frozen=True)
class Call:
    """What a network is called with.

    Args:
        shape: of the latent.
        text: (R, L, D), of what reads one.
        told: beside latent, level and text.
    """

    shape: torch.Size
    text: Tensor | None
    told: dict[str, Any]

    @cached_property
    def pads_before(self) -> bool:
        """Whether the host has put padding, which is 0, before a text, as for Flux 2."""
        if self.text is None:
            return False
        first, last = ((self.text[:, place] == 0).all(dim=-1) for place in (0, -1))
        return bool((first & ~last).any())


TokensOf = Callable[[tuple[Any, ...], Call], Tokens | None]
"""Where tokens stand, by what a module and the network are called with; None where they have no one place."""


@dataclass(frozen=True)
class Site:
    """A module in whose call an attention runs.

    Args:
        reads: what the picture attends to in it.
        tokens: by what the module and the network are called with; None where the host's `attn1_patch` says it.
        more: further attentions in the call, of the picture to itself.
    """

    module: torch.nn.Module
    place: Place
    reads: Reads
    tokens: TokensOf | None = None
    more: int = 0


def sites_of(network: torch.nn.Module) -> tuple[Site, ...]:
    """A transformer's attentions in the order of its blocks; none for a network of another layout."""
    stacks = [child for child in network.children() if isinstance(child, torch.nn.ModuleList)]
    pairs = [pair for stack in stacks for block in stack if (pair := _pair_of(block)) is not None]
    if pairs:
        places = [Place("all", number, 0, 0) for number in range(len(pairs))]
        of_pairs = [
            (Site(own, place, "itself"), Site(text, place, "text"))
            for place, (own, text) in zip(places, pairs, strict=True)
        ]
        return tuple(chain.from_iterable(of_pairs))
    named: dict[str, Any] = dict(network.named_children())
    if "joint_blocks" in named:
        return tuple(
            Site(block, Place("all", number, 0, 0), "both", _of_sd3, int(block.x_block.x_block_self_attn))
            for number, block in enumerate(named["joint_blocks"].children())
        )
    blocks, tokens = _joint_blocks(network, named)
    return tuple(Site(block, Place("all", number, 0, 0), "both", tokens) for number, block in enumerate(blocks))


def _joint_blocks(network: Any, named: dict[str, Any]) -> tuple[list[torch.nn.Module], TokensOf | None]:
    """The blocks with one attention for text and picture, and what says where their tokens stand."""
    if "double_layers" in named:
        return [*named["double_layers"], *named["single_layers"]], partial(_of_aura_flow, network)
    if "double_stream_blocks" in named:
        stacked = [*named["double_stream_blocks"], *named["single_stream_blocks"]]
        return [each.block for each in stacked], partial(_of_hidream, network)
    if "layers" in named and _is_lumina(network):
        return [*named["layers"].children()], partial(_of_lumina, network)
    return [block for name in named if name in _STACKS for block in named[name].children()], None


def lengths_of(network: Any, sites: Sequence[Site]) -> Lengths:
    """How texts of two lengths share a call of a network with these attentions."""
    if not any(site.reads == "both" for site in sites):
        return "repeated"
    if _is_lumina(network):  # which takes a mask, and does not read it
        return network.pad_tokens_multiple or "equal"
    return "masked" if "attention_mask" in signature(network.forward).parameters else "equal"


def padding(network: Any) -> Callable[..., Tensor]:
    """A wrapper of Z-Image's calls, in which texts that were made as long as another are padded as each alone is."""

    def call(executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        own = kwargs.pop(OWN_TOKENS, None)
        if own is None:
            return executor(*args, **kwargs)

        def pad(module: torch.nn.Module, inputs: object, text: Tensor) -> Tensor:
            is_own = torch.arange(text.shape[1], device=text.device) < own.to(text.device)
            return text.where(is_own[..., None], network.cap_pad_token.to(text))

        handle = network.cap_embedder.register_forward_hook(pad)
        try:
            return executor(*args, **kwargs)
        finally:
            handle.remove()

    return call


def _is_lumina(network: Any) -> bool:
    return hasattr(network, "pad_tokens_multiple")


def _of_sd3(args: tuple[Any, ...], _: Call) -> Tokens:
    """Those of Stable Diffusion 3, whose blocks are called with text and picture."""
    text, picture = (part.shape[1] for part in args[:2])
    return Tokens(text, text, text + picture)


def _of_lumina(network: Any, args: tuple[Any, ...], call: Call) -> Tokens:
    """Those of Lumina 2 and Z-Image: the picture stands last, and Z-Image pads text and picture to a multiple."""
    picture = _patches(network, call)
    start = args[0].shape[1] - picture - -picture % (network.pad_tokens_multiple or 1)
    return Tokens(0 if call.told.get("ref_latents") else start, start, start + picture)


def _of_aura_flow(network: Any, args: tuple[Any, ...], call: Call) -> Tokens:
    """Those of AuraFlow: its registers, text, picture, in two streams and then in one."""
    picture, streams = _patches(network, call), [part for part in args[:2] if part.ndim == 3]
    start = sum(part.shape[1] for part in streams) - picture
    return Tokens(start, start, start + picture, own=network.register_tokens.shape[1])


def _of_hidream(network: Any, _: tuple[Any, ...], call: Call) -> Tokens | None:
    """Those of HiDream, which reads a prompt by several encoders, behind the picture."""
    if call.told.get("image_cond") is not None:  # columns beside the picture's own
        return None
    return Tokens(0, 0, _patches(network, call))


def _patches(network: Any, call: Call) -> int:
    return math.prod(math.ceil(side / network.patch_size) for side in call.shape[-2:])


def _pair_of(block: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module] | None:
    children = dict(block.named_children())
    return next(((children[own], children[text]) for own, text in _PAIRS if {own, text} <= children.keys()), None)


@dataclass(frozen=True)
class Attention:
    """One attention that the host is about to compute.

    Args:
        q, k, v: (R, N, heads * D), or (R, heads, N, D).
        heads: their number.
        mask: what the host adds to the scores, or None.
        options: of the transformer, in this call.
        call: of the network.
        reads: what the picture attends to.
        tokens: where they stand.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    heads: int
    mask: Tensor | None
    options: dict[str, Any]
    call: Call
    reads: Reads
    tokens: Tokens
    _function: Callable[..., Tensor]
    _rest: dict[str, Any]

    @property
    def picture(self) -> slice:
        """The picture's tokens among the queries."""
        return slice(self.tokens.start, self.tokens.stop)

    @property
    def grid(self) -> tuple[int, int, int]:
        """(frames, h, w) of the picture's tokens."""
        return grid_of(self.tokens.stop - self.tokens.start, self.call.shape)

    @property
    def flat(self) -> tuple[Tensor, Tensor]:
        """Queries and keys with all heads side by side."""
        if not self._rest.get("skip_reshape"):
            return self.q, self.k
        return self.q.transpose(1, 2).flatten(-2), self.k.transpose(1, 2).flatten(-2)

    @property
    def bias(self) -> Tensor | None:
        """The mask as it goes with (R, heads, N, M)."""
        if self.mask is None:
            return None
        mask = self.mask.view(*[1] * (4 - self.mask.ndim), *self.mask.shape) if self.mask.ndim < 3 else self.mask
        return mask if mask.ndim == 4 else mask[:, None]

    def with_parts(self, q: Tensor, k: Tensor, v: Tensor) -> Attention:
        """The same of other queries, keys and values."""
        return replace(self, q=q, k=k, v=v)

    def __call__(self, v: Tensor | None = None) -> Tensor:
        """(R, N, heads * D) of all rows, in whatever kernel the user has chosen."""
        return self._run(self.q, self.k, self.v if v is None else v, self.mask)

    def of_rows(self, rows: slice, v: Tensor) -> Tensor:
        """(r, N, heads * D) of the queries and keys of some rows, to other values."""
        mask = self.mask
        if mask is not None and mask.ndim > 2 and len(mask) == len(self.q):
            mask = mask[rows]
        return self._run(self.q[rows], self.k[rows], v, mask)

    def _run(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        # the last: what the host's wrapper has told is in its place, so that this is not asked again
        return self._function(q, k, v, self.heads, mask=mask, transformer_options=self.options, **self._rest)


Edit = Callable[[Attention], Tensor]


@dataclass
class OneCall:
    """What one call of a network does at its sites.

    Args:
        edits: by site.
        reached: sites at which calls of the same run have been.
    """

    edits: dict[Site, Edit]
    reached: set[Site]
    _here: set[Site] = field(default_factory=set)
    _may_leave_out: bool = False
    _site: Site | None = None
    _tokens: Tokens | None = None
    _network: Call | None = None
    _seen: int = 0

    def into(self, transformer_options: dict[str, Any]) -> None:
        """Put it into the options of a call, behind the patches of other nodes and around their override."""
        before = transformer_options.get("optimized_attention_override")
        self._may_leave_out = bool(transformer_options.get("patches_replace", {}).get("dit"))
        if any(site.reads == "both" for site in self.edits):
            patches = transformer_options.setdefault("patches", {})
            patches["attn1_patch"] = [*patches.get("attn1_patch", []), self._where_the_picture_is]

        def override(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
            kernel = function if before is None else lambda *a, **k: before(function, *a, **k)
            return self._attend(kernel, *args, **kwargs)

        transformer_options["optimized_attention_override"] = override
        # around every network, where not each asks for the wrappers of its own call
        comfy.patcher_extension.add_wrapper(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, self._call, transformer_options
        )

    def _call(
        self,
        executor: Callable[..., Tensor],
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        self._network = Call(x.shape, c_crossattn, kwargs)
        with self._hooks():
            out = executor(x, t, c_concat, c_crossattn, *args, **kwargs)
        self._check()
        return out

    def _check(self) -> None:
        """See that the call was at each site, but where another node leaves blocks out, or a cache all of them.

        Raises:
            ValueError: it was not, as where a network runs its attention by other names than its modules' own calls.
        """
        missing = [site for site in self.edits if site not in self._here | self.reached]
        if missing and not (self.reached if not self._here else self._may_leave_out):
            raise _out_of_reach(missing[0], 0)
        self.reached |= self._here

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        handles = []
        try:
            for site in self.edits:
                handles.append(site.module.register_forward_pre_hook(self._enter(site)))
                handles.append(site.module.register_forward_hook(self._leave))
            yield
        finally:
            self._site = self._tokens = self._network = None
            for handle in handles:
                handle.remove()

    def _enter(self, site: Site) -> Callable[..., None]:
        def enter(_: object, args: tuple[Any, ...]) -> None:
            assert self._network is not None
            self._site, self._seen = site, 0
            self._tokens = None if site.tokens is None else site.tokens(args, self._network)
            self._here.add(site)

        return enter

    def _leave(self, *_: object) -> None:
        assert self._site is not None
        site, self._site = self._site, None
        if self._seen != 1 + site.more:
            raise _out_of_reach(site, self._seen)

    def _where_the_picture_is(self, *_: object, extra_options: dict[str, Any], **__: object) -> dict[str, Any]:
        """The host's `attn1_patch`, which changes nothing."""
        site = self._site
        if site is not None and site.reads == "both" and site.tokens is None and "img_slice" in extra_options:
            start, stop = extra_options["img_slice"]
            # reference pictures stand behind it, and are the same in all rows that share a prompt
            self._tokens = Tokens(start, start, stop - sum(extra_options.get("reference_image_num_tokens", [])))
        return {}

    def _attend(self, kernel: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
        site, tokens = self._site, self._tokens
        if site is None or (site.reads == "both" and tokens is None):
            return kernel(q, k, v, *args, **kwargs)
        assert self._network is not None
        reads = site.reads if self._seen == 0 else "itself"
        if tokens is None or reads == "itself":
            tokens = Tokens(0, 0, q.shape[-2])
        self._seen += 1
        rest = dict(zip(("heads", "mask", "attn_precision", "skip_reshape"), args, strict=False)) | kwargs
        heads, mask, options = rest.pop("heads"), rest.pop("mask", None), rest.pop("transformer_options")
        v = v.flatten(2) if v.ndim > q.ndim else v  # of Stable Diffusion 3, whose values come by heads alone
        attention = Attention(q, k, v, heads, mask, options, self._network, reads, tokens, kernel, rest)
        return self.edits[site](attention)


def _out_of_reach(site: Site, seen: int) -> ValueError:
    """The error for a site where another number of attentions than its own goes by."""
    what = {"itself": "the attention of a picture to itself", "text": "the attention to the text"}
    return ValueError(
        f"{what.get(site.reads, 'the attention')} in {type(site.module).__name__} is not within reach of ComfyUI's "
        f"hooks ({seen} in place of {1 + site.more} go by them), so attention edits and Mask from Words do not work "
        "with this model in this version of ComfyUI. What works here: the edit without them, a mask, and Mask from two "
        "Prompts"
    )


def places_of(sites: Sequence[Site]) -> tuple[Place, ...]:
    """Each place once, in order."""
    return tuple(dict.fromkeys(site.place for site in sites))
