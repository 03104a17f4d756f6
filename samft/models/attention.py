"""Self-attention with decomposed relative positions, without the N x N softmax kept in memory.

The logit of query (y, x) and key (y', x') is

    scale * q . k + q . R_h[y - y'] + q . R_w[x - x']        (the query unscaled in both terms)

All variants below are exact; they differ in speed and memory.

Source: Li et al. 2022, "MViTv2", arXiv:2112.01526, section 4.1; used in every block of SAM's
    encoder (Kirillov et al. 2023, arXiv:2304.02643, appendix A).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from samft.models.matmul import product

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
        ctx.save_for_backward(q, k, v, terms_h, terms_w)
        out = _token_major(q)
        for block in _blocks(q):
            keys, values = k[block].contiguous(), v[block].contiguous()
            for rows in _rows(q):
                piece = (*block, rows)
                probabilities = _probabilities(q[piece], keys, terms_h[piece], terms_w[piece])
                out[piece] = product(probabilities, values.mT)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, terms_h, terms_w = ctx.saved_tensors
        grad_q, grad_k, grad_v = _token_major(q), _token_major(k), _token_major(v)
        grad_h, grad_w = torch.empty_like(terms_h), torch.empty_like(terms_w)
        for block in _blocks(q):
            keys, values = k[block].contiguous(), v[block].contiguous()
            grad_keys, grad_values = torch.zeros_like(keys.mT), torch.zeros_like(values.mT)
            for rows in _rows(q):
                piece = (*block, rows)
                queries, grad_out = q[piece], grad[piece]
                probabilities = _probabilities(queries, keys, terms_h[piece], terms_w[piece])
                grad_values += product(grad_out.mT, probabilities.mT)
                grad_logits = product(grad_out, values)
                inner = (grad_logits * probabilities).sum(-1, keepdim=True)
                grad_logits.sub_(inner).mul_(probabilities)
                by_grid = _by_grid(grad_logits, terms_h, terms_w)
                grad_h[piece] = by_grid.sum(-1)
                grad_w[piece] = by_grid.sum(-2)
                grad_logits.mul_(_scale(q))
                grad_q[piece] = product(grad_logits, keys.mT)
                grad_keys += product(queries.mT, grad_logits.mT)
            grad_k[block], grad_v[block] = grad_keys.mT, grad_values.mT
        return grad_q, grad_k, grad_v, grad_h, grad_w


def _scale(q: Tensor) -> float:
    return float(q.shape[-1] ** -0.5)


def _token_major(like: Tensor) -> Tensor:
    """Return an empty (G, heads, T, d) in which all heads of a token lie together in memory."""
    groups, heads, tokens, dim = like.shape
    return like.new_empty(groups, tokens, heads, dim).transpose(1, 2)


def _by_grid(logits: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    return logits.view(*logits.shape[:-1], terms_h.shape[-1], terms_w.shape[-1])


def _probabilities(q: Tensor, k: Tensor, terms_h: Tensor, terms_w: Tensor) -> Tensor:
    logits = product(q * _scale(q), k)
    by_grid = _by_grid(logits, terms_h, terms_w)
    by_grid += terms_h[..., :, None]
    by_grid += terms_w[..., None, :]
    return torch.softmax(logits, dim=-1, out=logits)


def _blocks(q: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut (G, heads) into blocks whose logits fill about `_CHUNK_ELEMENTS`, one head at least."""
    groups, heads, tokens, _ = q.shape
    budget = _CHUNK_ELEMENTS // (tokens * tokens)
    num_heads = max(1, min(heads, budget))
    num_groups = max(1, budget // heads)
    for group in range(0, groups, num_groups):
        for head in range(0, heads, num_heads):
            yield slice(group, group + num_groups), slice(head, head + num_heads)


def _rows(q: Tensor) -> Iterator[slice]:
    """Cut the T queries so that the logits of one head fill at most about `_CHUNK_ELEMENTS`."""
    tokens = q.shape[2]
    num_rows = max(1, _CHUNK_ELEMENTS // tokens)
    for row in range(0, tokens, num_rows):
        yield slice(row, row + num_rows)
