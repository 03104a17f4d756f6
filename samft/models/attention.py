"""Self-attention with decomposed relative positions, without the N x N softmax kept in memory.

The logit of query (y, x) and key (y', x') is

    scale * q . k + q . R_h[y - y'] + q . R_w[x - x']        (the query unscaled in both terms)

All variants below are exact; they differ in speed and memory.

Source: Li et al. 2022, "MViTv2", arXiv:2112.01526, section 4.1; used in every block of SAM's
    encoder (Kirillov et al. 2023, arXiv:2304.02643, appendix A).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Variant = Literal["auto", "eager", "sdpa", "chunked"]

_CHUNK_ELEMENTS = 1 << 20  # logits in work at a time: 4 MB in float32 stay in the processor's cache


def decomposed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    grid: tuple[int, int],
    variant: Variant = "auto",
) -> Tensor:
    """Attend within each group of tokens.

    Args:
        q: Queries (G, heads, T, d), T = h * w tokens of a grid, row by row.
        k: Keys, like `q`.
        v: Values, like `q`.
        rel_pos_h: (2 h - 1, d), row `y - y' + h - 1` belongs to the vertical distance y - y'.
        rel_pos_w: (2 w - 1, d), the same for the horizontal distance.
        grid: (h, w).
        variant: `eager` keeps all logits and is the plain reference; `chunked` works on a few rows
            of logits at a time and computes them again in the backward pass; `sdpa` hands the
            position terms to `scaled_dot_product_attention` as extra channels. `auto` takes
            `chunked` on CPUs and `sdpa` elsewhere.

    Returns:
        (G, heads, T, d).
    """
    terms_h, terms_w = _position_terms(q, rel_pos_h, rel_pos_w, grid)
    if variant == "auto":
        variant = "chunked" if q.is_cpu and not torch.compiler.is_compiling() else "sdpa"
    if variant == "eager":
        return _eager(q, k, v, terms_h, terms_w)
    if variant == "sdpa":
        return _sdpa(q, k, v, terms_h, terms_w)
    result: Tensor = _ChunkedAttention.apply(q, k, v, terms_h, terms_w)
    return result


def _position_terms(
    q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return q . R_h (G, heads, T, h) and q . R_w (G, heads, T, w)."""
    q_grid = q.unflatten(2, grid)
    terms_h = torch.einsum("gnyxd,ykd->gnyxk", q_grid, _by_distance(rel_pos_h, grid[0]))
    terms_w = torch.einsum("gnyxd,xkd->gnyxk", q_grid, _by_distance(rel_pos_w, grid[1]))
    return terms_h.flatten(2, 3), terms_w.flatten(2, 3)


def _by_distance(table: Tensor, size: int) -> Tensor:
    """Return (size, size, d): the row of `table` for each pair of coordinates."""
    coordinates = torch.arange(size, device=table.device)
    return table[coordinates[:, None] - coordinates[None, :] + (size - 1)]


def _eager(q: Tensor, k: Tensor, v: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    terms = terms_h[..., :, None] + terms_w[..., None, :]
    return (logits + terms.flatten(-2)).softmax(dim=-1) @ v


def _sdpa(q: Tensor, k: Tensor, v: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    """Let each key carry its row and column one-hot, so that q . k contains the position terms.

    No additive mask is needed, hence no (T, T) tensor in memory and the flash kernels apply.
    """
    height, width, dim = terms_h.shape[-1], terms_w.shape[-1], q.shape[-1]
    extra = -(dim + height + width) % 8  # the fused kernels want widths that are multiples of 8
    scale = dim**-0.5
    queries = torch.cat((q, terms_h / scale, terms_w / scale), dim=-1)
    rows = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
    columns = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    one_hot = torch.cat((rows, columns), dim=-1).expand(*k.shape[:-1], -1)
    keys = torch.cat((k, one_hot), dim=-1)
    values = F.pad(v, (0, height + width + extra))  # flash wants one width for all three
    queries, keys = F.pad(queries, (0, extra)), F.pad(keys, (0, extra))
    return F.scaled_dot_product_attention(queries, keys, values, scale=scale)[..., :dim]


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, terms_h: Tensor, terms_w: Tensor
    ) -> Tensor:
        inputs = [part.flatten(0, 1) for part in (q, k, v, terms_h, terms_w)]
        ctx.save_for_backward(*inputs)
        ctx.lead = q.shape[:2]
        q, k, v, terms_h, terms_w = inputs
        out = torch.empty_like(v)
        for groups, rows in _chunks(*q.shape[:2]):
            probabilities = _probabilities(
                q[groups, rows], k[groups], terms_h[groups, rows], terms_w[groups, rows]
            )
            out[groups, rows] = probabilities @ v[groups]
        return out.unflatten(0, ctx.lead)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, terms_h, terms_w = ctx.saved_tensors
        grad = grad.flatten(0, 1)
        scale = q.shape[-1] ** -0.5
        grads = [torch.zeros_like(part) for part in (q, k, v, terms_h, terms_w)]
        grad_q, grad_k, grad_v, grad_h, grad_w = grads
        for groups, rows in _chunks(*q.shape[:2]):
            probabilities = _probabilities(
                q[groups, rows], k[groups], terms_h[groups, rows], terms_w[groups, rows]
            )
            grad_v[groups] += probabilities.mT @ grad[groups, rows]
            grad_logits = grad[groups, rows] @ v[groups].mT
            inner = torch.einsum("gtk,gtk->gt", grad_logits, probabilities)
            grad_logits.sub_(inner[..., None]).mul_(probabilities)
            grad_q[groups, rows] = (grad_logits @ k[groups]).mul_(scale)
            grad_k[groups] += (grad_logits.mT @ q[groups, rows]).mul_(scale)
            by_grid = grad_logits.unflatten(-1, (terms_h.shape[-1], terms_w.shape[-1]))
            grad_h[groups, rows] = by_grid.sum(-1)
            grad_w[groups, rows] = by_grid.sum(-2)
        return tuple(part.unflatten(0, ctx.lead) for part in grads)


def _probabilities(q: Tensor, k: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    by_grid = logits.unflatten(-1, (terms_h.shape[-1], terms_w.shape[-1]))
    by_grid += terms_h[..., :, None]
    by_grid += terms_w[..., None, :]
    return torch.softmax(logits, dim=-1)


def _chunks(groups: int, tokens: int) -> list[tuple[slice, slice]]:
    """Cut (groups, tokens) into pieces whose logits fill about `_CHUNK_ELEMENTS`."""
    num_groups = max(1, _CHUNK_ELEMENTS // (tokens * tokens))
    num_rows = max(1, min(tokens, _CHUNK_ELEMENTS // tokens))
    return [
        (slice(group, group + num_groups), slice(row, row + num_rows))
        for group in range(0, groups, num_groups)
        for row in range(0, tokens, num_rows)
    ]
