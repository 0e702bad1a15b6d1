"""A text encoder with a random vector for each token, in the place of the host's own."""

from __future__ import annotations

import torch


class RandomEncoder(torch.nn.Module):
    """Encodes tokens as the host's text encoders do.

    Args:
        width: of the context.
        pooled: width of the pooled output; None where there is none.
        stream: whose tokens make the context, of a model with several tokenizers; "l+t5xxl" one behind the other.
        head: tokens of a template before the text, which are cut off.
    """

    dtypes = {torch.float32}

    def __init__(self, width: int, pooled: int | None, stream: str = "l", head: int = 0):
        super().__init__()
        self.width, self.pooled, self.stream, self.head = width, pooled, stream, head

    def set_clip_options(self, options: dict) -> None:
        pass

    def reset_clip_options(self) -> None:
        pass

    def encode_token_weights(self, streams: dict) -> tuple:
        """(1, tokens, width) context, and (1, pooled) or None."""
        tokens = [entry for name in self.stream.split("+") for chunk in streams[name] for entry in chunk][self.head :]
        seen = torch.stack([self._vector(k, *entry) for k, entry in enumerate(tokens)])
        earlier = seen.cumsum(dim=0) / torch.arange(1, len(seen) + 1)[:, None]
        context = seen + 0.5 * earlier  # words know the earlier
        return context[None], None if self.pooled is None else context.mean(dim=0)[None, : self.pooled]

    def _vector(self, position: int, token, weight: float) -> torch.Tensor:
        seed = token if isinstance(token, int) else int(token.abs().sum() * 1000)
        draw = [torch.randn(self.width, generator=torch.Generator().manual_seed(n)) for n in (seed, position % 77)]
        return weight * (draw[0] + 0.3 * draw[1])
