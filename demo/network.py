"""The demo network: a small text-conditional UNet in the latent-diffusion layout.

Module names, order and arithmetic follow the UNet of "High-Resolution Image Synthesis with Latent Diffusion
Models" (arXiv 2112.10752), so one state dict serves this plain-torch class and the class that a Stable Diffusion
host uses. Two choices of that class are spelled out because they surprise:

- every GroupNorm has 32 groups, so every width is a multiple of 32, and the first width is `model_channels`;
- the time embedding enters as scale and shift after the norm (`use_scale_shift_norm`). Added before the norm, as
  Stable Diffusion does, most of it would vanish at width 64, where two channels are a group.

Shapes: B batch, C channels, H x W pixels, L tokens, D context width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .weights import UNetConfig

GROUPS = 32
NUM_TIMESTEPS = 1000


class ResBlock(nn.Module):
    """GroupNorm, SiLU, 3x3 convolution, twice, with the time embedding between and a residual path."""

    def __init__(self, channels: int, emb_channels: int, out_channels: int):
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        # index 2 is dropout in the original layout; it holds no weights, but it numbers the convolution 3
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out_channels),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, C, H, W), emb (B, E) -> (B, out_channels, H, W)."""
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[0](self.in_layers(x)) * (1 + scale) + shift
        h = self.out_layers[1:](h)
        return self.skip_connection(x) + h


class CrossAttention(nn.Module):
    """Multi-head attention of x over the context, or over itself where there is none."""

    def __init__(self, query_dim: int, context_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (query_dim // heads) ** -0.5
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(query_dim, query_dim), nn.Identity())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C), context (B, L, D) -> (B, N, C)."""
        context = x if context is None else context
        parts = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        # written out: in bfloat16, on a CPU, it trains on captions three times as fast as the fused kernel
        out = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.to_out(out.transpose(1, 2).flatten(-2))


class GEGLU(nn.Module):
    """A linear layer gated by the GELU of a second one (arXiv 2002.05202)."""

    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N, inner_dim)."""
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU four times as wide, and back."""

    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N, C)."""
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the caption, feed-forward; each normalised before and added after."""

    def __init__(self, dim: int, context_dim: int, heads: int):
        super().__init__()
        self.attn1 = CrossAttention(dim, dim, heads)
        self.ff = FeedForward(dim)
        self.attn2 = CrossAttention(dim, context_dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, C), context (B, L, D) -> (B, N, C)."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a feature map, with a residual path around them."""

    def __init__(self, channels: int, context_dim: int, heads: int, depth: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(channels, context_dim, heads) for _ in range(depth)
        )
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, L, D) -> (B, C, H, W)."""
        h = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + self.proj_out(h).transpose(1, 2).unflatten(-1, x.shape[-2:])


class Downsample(nn.Module):
    """Half the size, by a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        return self.op(x)


class Upsample(nn.Module):
    """The size of the skip connection that follows, by nearest neighbour and a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """x (B, C, H, W) -> (B, C, *size)."""
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Stage(nn.Sequential):
    """Layers in order, each given what it takes: the time embedding, the context or the next size."""

    def forward(  # type: ignore[override]
        self, x: Tensor, emb: Tensor, context: Tensor, size: torch.Size | None = None
    ) -> Tensor:
        """x (B, C, H, W), emb (B, E), context (B, L, D) -> (B, C', H', W')."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    """The network: noisy latents, timestep and context to v (arXiv 2202.00512)."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        width = config.model_channels
        emb = 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channels, width, 3, padding=1))])
        widths = [width * m for m in config.channel_mult]
        last = len(widths) - 1

        input_depth, output_depth = list(config.input_depth), list(config.output_depth)

        channels, skips = width, [width]
        for level, out in enumerate(widths):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._stage(channels, out, input_depth.pop(0)))
                channels = out
                skips.append(channels)
            if level != last:
                self.input_blocks.append(Stage(Downsample(channels)))
                skips.append(channels)

        self.middle_block = self._stage(channels, channels, config.middle_depth)
        self.middle_block.append(ResBlock(channels, emb, channels))

        self.output_blocks = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for i in range(config.num_res_blocks + 1):
                stage = self._stage(channels + skips.pop(), out, output_depth.pop())
                channels = out
                if level and i == config.num_res_blocks:
                    stage.append(Upsample(channels))
                self.output_blocks.append(stage)

        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, config.out_channels, 3, padding=1)
        )

    def _stage(self, channels: int, out: int, depth: int) -> Stage:
        stage = Stage(ResBlock(channels, 4 * self.config.model_channels, out))
        if depth:
            heads = out // self.config.head_channels
            stage.append(SpatialTransformer(out, self.config.context_dim, heads, depth))
        return stage

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W) of unit variance, timesteps (B,), context (B, L, D) -> v (B, C, H, W)."""
        emb = self.time_embed(timestep_embedding(timesteps, self.config.model_channels).to(x.dtype))
        skips = []
        for stage in self.input_blocks:
            x = stage(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        for stage in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            x = stage(x, emb, context, skips[-1].shape[-2:] if skips else None)
        return self.out(x)


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Cosines, then sines, of timesteps (B,) at dim / 2 frequencies -> (B, dim)."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32) / half)
    angles = timesteps.float()[:, None] * freqs.to(timesteps.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def alphas_cumprod() -> Tensor:
    """(1000,) float64: Stable Diffusion's noise schedule, betas 0.00085 to 0.012 linear in the square root."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, NUM_TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def all_sigmas() -> Tensor:
    """(1000,) float32: sigma = b / a of every training timestep, cleanest first, as the host rounds it."""
    a2 = alphas_cumprod()
    return ((1 - a2) / a2).sqrt().float()


def uniform_sigmas(steps: int) -> Tensor:
    """(steps + 1,) float32: evenly spaced timesteps, noisiest first, then 0; what the host calls ddim_uniform.

    The noisiest level is timestep 1 + k * floor(1000 / steps), so for 50 steps 981, and fewer than 1000 steps can add
    one: the count is that of the host for numbers that divide 1000.
    """
    if not 1 <= steps <= NUM_TIMESTEPS or NUM_TIMESTEPS % steps:
        raise ValueError(f"steps is {steps}: use a divisor of {NUM_TIMESTEPS}, such as 20, 25, 40, 50 or 100")
    if steps == NUM_TIMESTEPS:
        raise ValueError("the host's ddim_uniform has 999 steps at most: use a smaller divisor of 1000, such as 500")
    levels = all_sigmas()[1 :: NUM_TIMESTEPS // steps]
    return torch.cat([levels.flip(0), levels.new_zeros(1)])


def sgm_uniform_sigmas(steps: int) -> Tensor:
    """(steps + 1,) float32: timesteps from 999 down in equal parts of 999, then 0; what the host calls sgm_uniform.

    A timestep between two has the sigma between theirs, in the logarithm.
    """
    logs, timesteps = all_sigmas().log(), torch.linspace(NUM_TIMESTEPS - 1, 0, steps + 1)[:-1]
    levels = torch.lerp(logs[timesteps.floor().long()], logs[timesteps.ceil().long()], timesteps.frac()).exp()
    return torch.cat([levels, levels.new_zeros(1)])


def sigma_to_timestep(sigma: Tensor) -> Tensor:
    """sigma (B,) -> the nearest timestep (B,), compared as logarithms in float32 like the host."""
    distance = sigma.float().log()[:, None] - all_sigmas().log().to(sigma.device)
    return distance.abs().argmin(dim=1)


def denoise(model: Callable[..., Tensor], x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
    """Predicted x_0 from x = x_0 + sigma * eps.

    x (B, C, H, W), sigma (B,), context (B, L, D) -> (B, C, H, W). With c = 1 / sqrt(sigma^2 + 1), the network sees
    c * x and v turns the pair (x_0, eps) by the angle atan(sigma), so x_0 = c * (c * x) - c * sigma * v.
    """
    s = sigma.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    c = (s**2 + 1).rsqrt()
    v = model(c * x, sigma_to_timestep(sigma).float(), context)
    return c**2 * x - c * s * v


def flow_sigmas(steps: int) -> Tensor:
    """(steps + 1,) the levels of the host's scheduler `simple` for a flow model without a shift of its levels."""
    table = torch.arange(1, NUM_TIMESTEPS + 1, dtype=torch.float64) / NUM_TIMESTEPS
    chosen = [table[-(1 + int(i * NUM_TIMESTEPS / steps))] for i in range(steps)]
    return torch.stack([*chosen, torch.zeros((), dtype=torch.float64)])


def sgm_uniform_flow_sigmas(steps: int) -> Tensor:
    """(steps + 1,) `sgm_uniform_sigmas` for a flow model: levels from 1 down in equal parts of 0.999, then 0."""
    levels = torch.linspace(1, 1 / NUM_TIMESTEPS, steps + 1, dtype=torch.float64)
    return torch.cat([levels[:-1], levels.new_zeros(1)])


def denoise_flow(model: Callable[..., Tensor], x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
    """Predicted x_0 from x = (1 - sigma) x_0 + sigma eps, by a network that predicts the velocity u = eps - x_0.

    Shapes as in `denoise`.
    """
    s = sigma.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return x - s * model(x, sigma.float() * NUM_TIMESTEPS, context)
