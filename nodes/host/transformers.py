"""Attention of transformers inside the host: where in a network a call is, and what to do there instead.

Modules say for one call of the network which attention is about to run; the host's override of the attention then has
its queries, keys and values, after norms and rotary embedding, in every model whose code hands it the options of the
call. Where text and picture share an attention, the host's `attn1_patch` says which tokens are the picture's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import comfy.patcher_extension
import torch
from torch import Tensor

from ...ddpm_core.attention import Place, grid_of

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


@dataclass(frozen=True)
class Site:
    """A module in whose call one attention runs."""

    module: torch.nn.Module
    place: Place
    reads: Reads


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
    named = dict(network.named_children())
    blocks = [block for name in named if name in _STACKS for block in named[name].children()]
    return tuple(Site(block, Place("all", number, 0, 0), "both") for number, block in enumerate(blocks))


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
        shape: of the latent that the network was given.
        text: tokens of text before those of the picture, where they share the attention.
        stop: the end of the picture's tokens.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    heads: int
    mask: Tensor | None
    options: dict[str, Any]
    shape: torch.Size
    text: int
    stop: int
    _function: Callable[..., Tensor]
    _rest: dict[str, Any]

    @property
    def picture(self) -> slice:
        """The picture's tokens among the queries."""
        return slice(self.text, self.stop)

    @property
    def grid(self) -> tuple[int, int, int]:
        """(frames, h, w) of the picture's tokens."""
        return grid_of(self.stop - self.text, self.shape)

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
    _picture: tuple[int, int] | None = None
    _shape: torch.Size = field(default_factory=torch.Size)
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

    def _call(self, executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._shape = x.shape
        with self._hooks():
            out = executor(x, *args, **kwargs)
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
            self._site = self._picture = None
            for handle in handles:
                handle.remove()

    def _enter(self, site: Site) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self._site, self._picture, self._seen = site, None, 0
            self._here.add(site)

        return enter

    def _leave(self, *_: object) -> None:
        assert self._site is not None
        site, self._site = self._site, None
        if self._seen != 1:
            raise _out_of_reach(site, self._seen)

    def _where_the_picture_is(self, *_: object, extra_options: dict[str, Any], **__: object) -> dict[str, Any]:
        """The host's `attn1_patch`, which changes nothing."""
        if self._site is not None and self._site.reads == "both" and "img_slice" in extra_options:
            start, stop = extra_options["img_slice"]
            # reference pictures stand behind it, and are the same in all rows that share a prompt
            self._picture = start, stop - sum(extra_options.get("reference_image_num_tokens", []))
        return {}

    def _attend(self, kernel: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
        site, told = self._site, self._picture
        if site is None or (site.reads == "both" and told is None):
            return kernel(q, k, v, *args, **kwargs)
        self._seen += 1
        rest = dict(zip(("heads", "mask", "attn_precision", "skip_reshape"), args, strict=False)) | kwargs
        heads, mask, options = rest.pop("heads"), rest.pop("mask", None), rest.pop("transformer_options")
        text, stop = told or (0, q.shape[-2])
        attention = Attention(q, k, v, heads, mask, options, self._shape, text, stop, kernel, rest)
        return self.edits[site](attention)


def _out_of_reach(site: Site, seen: int) -> ValueError:
    """The error for a site where another number of attentions than one goes by."""
    what = {"itself": "the attention of a picture to itself", "text": "the attention to the text"}
    return ValueError(
        f"{what.get(site.reads, 'the attention')} in {type(site.module).__name__} is not within reach of ComfyUI's "
        f"hooks ({seen} in place of 1 go by them), so attention edits and Mask from Words do not work with this model "
        "in this version of ComfyUI. What works here: the edit without them, a mask, and Mask from two Prompts"
    )


def places_of(sites: Sequence[Site]) -> tuple[Place, ...]:
    """Each place once, in order."""
    return tuple(dict.fromkeys(site.place for site in sites))
