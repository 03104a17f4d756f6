"""Self-attention with decomposed relative positions, over the whole grid or in windows.

The logit of query (y, x) and key (y', x') is

    scale * q . k + q . R_h[y - y'] + q . R_w[x - x']        (the query unscaled in both terms)

All variants are exact; they differ in speed and memory.

Source: Li et al. 2022, "MViTv2", arXiv:2112.01526, section 4.1; used in every block of SAM's
    encoder (Kirillov et al. 2023, arXiv:2304.02643, appendix A).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.models.chunked_attention import chunked_attention, position_terms

Variant = Literal["auto", "eager", "sdpa", "chunked"]


def decomposed_attention(
    qkv: Tensor,
    padding: Tensor,
    *,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    num_heads: int,
    window_size: tuple[int, int],
    variant: Variant = "auto",
) -> Tensor:
    """Attend within windows.

    Args:
        qkv: (B, h, w, 3 C), queries, keys and values of every token, each split into heads.
        padding: (1, 3 C), the same for the tokens that fill up windows at the right and bottom
            edge; they take part as keys and values.
        rel_pos_h: (2 t - 1, d) with t >= t_h, row `y - y' + t - 1` is for the vertical distance
            y - y'.
        rel_pos_w: The same for the horizontal distance.
        num_heads: Attention heads; C = num_heads * d.
        window_size: (t_h, t_w) tokens; the whole grid for global attention.
        variant: `eager` keeps all logits and is the plain reference; `chunked` works on a few rows
            of logits at a time and computes them again in the backward pass; `sdpa` hands the
            position terms to `scaled_dot_product_attention` as extra channels. `auto` takes
            `chunked` on CPUs and `sdpa` elsewhere.

    Returns:
        (B, h, w, C).
    """
    by_row = _by_distance(rel_pos_h, window_size[0])
    by_column = _by_distance(rel_pos_w, window_size[1])
    if variant == "auto":
        variant = "chunked" if qkv.is_cpu and not torch.compiler.is_compiling() else "sdpa"
    if variant == "chunked":
        return chunked_attention(qkv, padding, by_row, by_column, num_heads=num_heads)
    size = qkv.shape[1], qkv.shape[2]
    windows = partition_windows(qkv, window_size, padding=padding)
    q, k, v = windows.view(*windows.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    terms = position_terms(q, by_row, by_column)
    attended = _eager(q, k, v, *terms) if variant == "eager" else _sdpa(q, k, v, *terms)
    return merge_windows(attended.transpose(1, 2).flatten(2), window_size, size=size)


def _by_distance(table: Tensor, size: int) -> Tensor:
    """Return (size, size, d): the row of `table` for a query's and a key's coordinate.

    The middle row is for no distance; a smaller map does not need the outer ones.
    """
    coordinates = torch.arange(size, device=table.device)
    return table[coordinates[:, None] - coordinates[None, :] + table.shape[0] // 2]


def _eager(q: Tensor, k: Tensor, v: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    terms = terms_h[..., :, None] + terms_w[..., None, :]
    attended: Tensor = (logits + terms.flatten(-2)).softmax(dim=-1) @ v
    return attended


def _sdpa(q: Tensor, k: Tensor, v: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    """Let each key carry its row and column one-hot, so that q . k contains the position terms.

    No additive mask is needed, hence no (T, T) tensor in memory, and the flash kernels apply.
    """
    height, width, dim = terms_h.shape[-1], terms_w.shape[-1], q.shape[-1]
    extra = -(dim + height + width) % 8  # the fused kernels want widths that are multiples of 8
    scale = dim**-0.5
    queries = torch.cat((q, terms_h.to(q.dtype) / scale, terms_w.to(q.dtype) / scale), dim=-1)
    rows = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
    columns = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    one_hot = torch.cat((rows, columns), dim=-1).expand(*k.shape[:-1], -1)
    keys = torch.cat((k, one_hot), dim=-1)
    values = F.pad(v, (0, height + width + extra))  # flash wants one width for all three
    queries, keys = F.pad(queries, (0, extra)), F.pad(keys, (0, extra))
    return F.scaled_dot_product_attention(queries, keys, values, scale=scale)[..., :dim]


def partition_windows(x: Tensor, window_size: tuple[int, int], *, padding: Tensor) -> Tensor:
    """Cut maps into windows, padded right and bottom to whole windows.

    Args:
        x: (B, h, w, C).
        window_size: (t_h, t_w).
        padding: (1, C), the value of padded tokens.

    Returns:
        (B * windows, t_h * t_w, C), windows row by row, and so their tokens.
    """
    batch, height, width, dim = x.shape
    t_h, t_w = window_size
    below, right = -height % t_h, -width % t_w
    if right:
        x = torch.cat((x, padding.to(x.dtype).expand(batch, height, right, dim)), dim=2)
    if below:
        x = torch.cat((x, padding.to(x.dtype).expand(batch, below, width + right, dim)), dim=1)
    windows = x.view(batch, (height + below) // t_h, t_h, (width + right) // t_w, t_w, dim)
    return windows.transpose(2, 3).reshape(-1, t_h * t_w, dim)


def merge_windows(
    windows: Tensor, window_size: tuple[int, int], *, size: tuple[int, int]
) -> Tensor:
    """Put what `partition_windows` returns back together and cut the padding off.

    Args:
        windows: (B * windows, t_h * t_w, C).
        window_size: (t_h, t_w).
        size: (h, w) before padding.

    Returns:
        (B, h, w, C).
    """
    (t_h, t_w), (height, width) = window_size, size
    rows, columns = -(-height // t_h), -(-width // t_w)
    grid = windows.view(-1, rows, columns, t_h, t_w, windows.shape[-1]).transpose(2, 3)
    merged = grid.reshape(-1, rows * t_h, columns * t_w, windows.shape[-1])
    return merged[:, :height, :width]
