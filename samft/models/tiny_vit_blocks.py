"""The building blocks of TinyViT; see `samft.models.tiny_vit`.

Maps are (B, C, h, w) with channels-last memory, which convolutions and, seen as (B, h, w, C),
linear layers both read without a copy. The names of parameters and buffers are MobileSAM's.

Source: Wu et al. 2022, arXiv:2207.10666, section 4.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.layers import DropPath
from samft.models.matmul import Linear

_EXPANSION = 4  # hidden width of MBConv blocks and MLPs


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm.

    Args:
        in_dim: Channels in.
        out_dim: Channels out.
        kernel_size: Side of the kernel; the padding keeps the size.
        stride: Step.
        groups: Groups of channels.
        scale: Initial scale of the norm.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        scale: float = 1.0,
    ) -> None:
        conv = nn.Conv2d(
            in_dim,
            out_dim,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        norm = nn.BatchNorm2d(out_dim)
        nn.init.constant_(norm.weight, scale)
        super().__init__(OrderedDict(c=conv, bn=norm))


class MBConv(nn.Module):
    """Widen, filter every channel, narrow again, beside a residual path.

    Args:
        dim: Channels in and out.
        drop_path: Rate of stochastic depth.
    """

    def __init__(self, dim: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = dim * _EXPANSION
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, kernel_size=3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim, scale=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) for `x` (B, C, h, w)."""
        update = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + self.drop_path(update))


class Merging(nn.Module):
    """Go to the next stage's width, and to half the size where `stride` is 2.

    Args:
        in_dim: Channels in.
        out_dim: Channels out.
        stride: 2 halves the map, 1 keeps it.
    """

    def __init__(self, in_dim: int, out_dim: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, kernel_size=3, stride=stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', h', w') for `x` (B, C, h, w)."""
        result: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return result


class TinyVitBlock(nn.Module):
    """Attention in windows, a local convolution, and an MLP.

    Args:
        dim: Channels.
        num_heads: Attention heads.
        window_size: Side of a window in cells.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self, dim: int, *, num_heads: int, window_size: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = WindowAttention(dim, num_heads=num_heads, window_size=window_size)
        self.local_conv = ConvNorm(dim, dim, kernel_size=3, groups=dim)
        self.mlp = NormMlp(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) for `x` (B, C, h, w)."""
        tokens = x.permute(0, 2, 3, 1)
        tokens = tokens + self.drop_path(self._attend(tokens))
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        result: Tensor = tokens + self.drop_path(self.mlp(tokens))
        return result.permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        """Attend in windows; a map that no whole number of them covers is padded with zeros."""
        count, height, width, dim = x.shape
        side = self.window_size
        down, right = -height % side, -width % side
        x = F.pad(x, (0, 0, 0, right, 0, down)) if down or right else x
        rows, columns = (height + down) // side, (width + right) // side
        windows = x.view(count, rows, side, columns, side, dim).transpose(2, 3)
        attended = self.attn(windows.reshape(-1, side * side, dim))
        attended = attended.view(count, rows, columns, side, side, dim).transpose(2, 3)
        joined: Tensor = attended.reshape(count, height + down, width + right, dim)
        return joined[:, :height, :width]


class WindowAttention(nn.Module):
    """Self-attention in a window, with one learned bias per head and absolute offset.

    Args:
        dim: Channels.
        num_heads: Attention heads.
        window_size: Side of the window in cells.
    """

    bias_index: Tensor

    def __init__(self, dim: int, *, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        index, num_offsets = _offset_index(window_size)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, num_offsets))
        self.window_size = window_size
        self.register_buffer("bias_index", index, persistent=False)

    def reset_constants(self) -> None:
        """Set the buffer that no checkpoint holds; needed after `to_empty`."""
        self.bias_index.copy_(_offset_index(self.window_size)[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, C) for windows `x` (N, T, C), T being the cells of a window."""
        count, length, dim = x.shape
        # The three parts of one head lie together, unlike in SAM's plain encoder.
        qkv = self.qkv(self.norm(x)).view(count, length, self.num_heads, 3, dim // self.num_heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        bias = self.attention_biases[:, self.bias_index].to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        result: Tensor = self.proj(attended.transpose(1, 2).reshape(count, length, dim))
        return result


class NormMlp(nn.Module):
    """A layer norm and two linear layers with a GELU between them.

    Args:
        dim: Channels in and out.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = Linear(dim, dim * _EXPANSION)
        self.fc2 = Linear(dim * _EXPANSION, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) for `x` (..., C)."""
        result: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return result


def _offset_index(window_size: int) -> tuple[Tensor, int]:
    """Return (T, T) int64: which bias each pair of cells uses; offsets are numbered as they come.

    MobileSAM's files hold the biases in this order.
    """
    cells = list(product(range(window_size), repeat=2))
    numbers: dict[tuple[int, int], int] = {}
    index = [
        [numbers.setdefault((abs(y - v), abs(x - u)), len(numbers)) for v, u in cells]
        for y, x in cells
    ]
    return torch.tensor(index), len(numbers)
