"""Attention of transformers inside the host: where in a network a call is, and what to do there instead.

Modules say for one call of the network which attention is about to run; the host's override of the attention then has
its queries, keys and values, after norms and rotary embedding, in every model whose code hands it the options of the
call. Where text and picture share an attention, the host's `attn1_patch` says which tokens are the picture's, or what
the module is called with does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.patcher_extension
from torch import Tensor

from ...ddpm_core.attention import grid_of
from .layouts import Call, Reads, Site, Tokens


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
