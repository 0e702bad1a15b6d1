"""A transformer in the layout of Flux: text and picture in streams of their own, then in one, by joint attention.

Module names follow that layout, so one state dict serves this plain-torch class and the host's.

Shapes: B batch, C channels, H x W cells, L tokens of text, N = H W / 4 of the picture, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import timestep_embedding
from .weights import FluxConfig


class Embedder(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.in_layer = nn.Linear(dim, width)
        self.out_layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, dim) -> (B, D)."""
        return self.out_layer(F.silu(self.in_layer(x)))


class Modulation(nn.Module):
    """Shift, scale and gate of one or two layers by the embedding of time (arXiv 2212.09748); 0 in a new network."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.layers = layers
        self.lin = nn.Linear(width, 3 * layers * width)
        nn.init.zeros_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        """vec (B, D) -> shift, scale, gate (B, 1, D) of each layer."""
        return self.lin(F.silu(vec))[:, None].chunk(3 * self.layers, dim=-1)


class Norms(nn.Module):
    """Root-mean-square norms of queries and keys."""

    def __init__(self, head: int):
        super().__init__()
        self.query_norm = nn.RMSNorm(head, eps=1e-6)
        self.key_norm = nn.RMSNorm(head, eps=1e-6)


class SelfAttention(nn.Module):
    """Queries, keys and values of one stream, and the way back."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = Norms(width // heads)
        self.proj = nn.Linear(width, width)


def _parts(qkv: Tensor, norm: Norms, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (B, N, 3 D) -> normed queries and keys, and values (B, heads, N, D / heads)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def _attention(q: Tensor, k: Tensor, v: Tensor, turns: Tensor) -> Tensor:
    """(B, heads, N, D / heads) -> (B, N, D), with rotary positions (arXiv 2104.09864)."""
    out = F.scaled_dot_product_attention(_turned(q, turns).to(v.dtype), _turned(k, turns).to(v.dtype), v)
    return out.transpose(1, 2).flatten(-2)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """x with each pair of neighbours turned by the angle whose cosine and sine are in turns (N, D / heads / 2, 2)."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = turns.unbind(-1)
    return torch.stack([cos * a - sin * b, sin * a + cos * b], dim=-1).flatten(-2)


def _normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=1e-6) + shift


def _mlp(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width))


class DoubleBlock(nn.Module):
    """Attention over text and picture together, all else apart."""

    def __init__(self, config: FluxConfig):
        super().__init__()
        width, inner = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        self.heads = config.num_heads
        self.img_mod, self.txt_mod = Modulation(width, 2), Modulation(width, 2)
        self.img_attn, self.txt_attn = SelfAttention(width, self.heads), SelfAttention(width, self.heads)
        self.img_mlp, self.txt_mlp = _mlp(width, inner), _mlp(width, inner)

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """img (B, N, D), txt (B, L, D) -> the same."""
        of_img, of_txt = self.img_mod(vec), self.txt_mod(vec)
        txt_parts = _parts(self.txt_attn.qkv(_normed(txt, *of_txt[:2])), self.txt_attn.norm, self.heads)
        img_parts = _parts(self.img_attn.qkv(_normed(img, *of_img[:2])), self.img_attn.norm, self.heads)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(txt_parts, img_parts, strict=True))
        seen = _attention(q, k, v, turns)
        of_text = txt.shape[1]
        img = img + of_img[2] * self.img_attn.proj(seen[:, of_text:])
        txt = txt + of_txt[2] * self.txt_attn.proj(seen[:, :of_text])
        img = img + of_img[5] * self.img_mlp(_normed(img, *of_img[3:5]))
        return img, txt + of_txt[5] * self.txt_mlp(_normed(txt, *of_txt[3:5]))


class SingleBlock(nn.Module):
    """Attention and feed-forward side by side, over text and picture in one stream."""

    def __init__(self, config: FluxConfig):
        super().__init__()
        width, inner = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        self.heads, self.widths = config.num_heads, (3 * width, inner)
        self.linear1 = nn.Linear(width, 3 * width + inner)
        self.linear2 = nn.Linear(width + inner, width)
        self.norm = Norms(width // self.heads)
        self.modulation = Modulation(width, 1)

    def forward(self, x: Tensor, vec: Tensor, turns: Tensor) -> Tensor:
        """x (B, L + N, D) -> the same."""
        shift, scale, gate = self.modulation(vec)
        qkv, inner = self.linear1(_normed(x, shift, scale)).split(self.widths, dim=-1)
        seen = _attention(*_parts(qkv, self.norm, self.heads), turns)
        return x + gate * self.linear2(torch.cat([seen, F.gelu(inner, approximate="tanh")], dim=-1))


class FinalLayer(nn.Module):
    """Tokens to patches; 0 in a new network."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """x (B, N, D), vec (B, D) -> (B, N, out)."""
        return self.linear(_normed(x, *self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)))


class Flux(nn.Module):
    """The network: noisy x, timestep and context to the velocity u = eps - x_0 (arXiv 2209.03003)."""

    def __init__(self, config: FluxConfig):
        super().__init__()
        self.config = config
        width, patch = config.hidden_size, config.patch_size**2
        self.img_in = nn.Linear(config.in_channels * patch, width)
        self.time_in = Embedder(256, width)
        self.vector_in = Embedder(config.vec_in_dim, width)
        self.txt_in = nn.Linear(config.context_in_dim, width)
        self.double_blocks = nn.ModuleList(DoubleBlock(config) for _ in range(config.depth))
        self.single_blocks = nn.ModuleList(SingleBlock(config) for _ in range(config.depth_single_blocks))
        self.final_layer = FinalLayer(width, config.out_channels * patch)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W) with even H and W, timesteps (B,) from 0 to 1000, context (B, L, D) -> u (B, C, H, W)."""
        side = self.config.patch_size
        height, width, text = x.shape[-2] // side, x.shape[-1] // side, context.shape[1]
        patches = F.pixel_unshuffle(x, side).flatten(2).transpose(1, 2)
        img, txt = self.img_in(patches), self.txt_in(context)
        pooled = context.new_zeros(len(x), self.config.vec_in_dim)  # the text encoder gives no summary of a prompt
        vec = self.time_in(timestep_embedding(timesteps, 256).to(x.dtype)) + self.vector_in(pooled)
        turns = self._turns(text, height, width).to(x.device)
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, turns)
        both = torch.cat([txt, img], dim=1)
        for block in self.single_blocks:
            both = block(both, vec, turns)
        out = self.final_layer(both[:, text:], vec).transpose(1, 2).unflatten(-1, (height, width))
        return F.pixel_shuffle(out, side)

    def _turns(self, text: int, height: int, width: int) -> Tensor:
        """(L + N, D / heads / 2, 2) cosines and sines of the positions: 0 for text, then a zero, row and column."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
        places = torch.cat([places.new_zeros(text, 3), places]).double()
        angles = [
            place[:, None] * self.config.theta ** -torch.linspace(0, (dim - 2) / dim, dim // 2, dtype=torch.float64)
            for place, dim in zip(places.unbind(-1), self.config.axes_dim, strict=True)
        ]
        turned = torch.cat(angles, dim=-1)
        return torch.stack([turned.cos(), turned.sin()], dim=-1).float()
