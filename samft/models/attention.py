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
    by_row, by_column = _by_distance(rel_pos_h, grid[0]), _by_distance(rel_pos_w, grid[1])
    if variant == "auto":
        variant = "chunked" if q.is_cpu and not torch.compiler.is_compiling() else "sdpa"
    if variant == "chunked":
        result: Tensor = _ChunkedAttention.apply(q, k, v, by_row, by_column)
        return result
    terms = _position_terms(q, by_row, by_column)
    return _eager(q, k, v, *terms) if variant == "eager" else _sdpa(q, k, v, *terms)


def _by_distance(table: Tensor, size: int) -> Tensor:
    """Return (size, size, d): the row of `table` for a query's and a key's coordinate."""
    coordinates = torch.arange(size, device=table.device)
    return table[coordinates[:, None] - coordinates[None, :] + (size - 1)]


def _position_terms(q: Tensor, by_row: Tensor, by_column: Tensor) -> tuple[Tensor, Tensor]:
    """Return q . R_h (G, heads, T, h) and q . R_w (G, heads, T, w)."""
    grid = q.view(*q.shape[:2], by_row.shape[0], by_column.shape[0], q.shape[-1])
    terms_h = torch.einsum("gnyxd,ykd->gnyxk", grid, by_row)
    terms_w = torch.einsum("gnyxd,xkd->gnyxk", grid, by_column)
    return terms_h.flatten(2, 3), terms_w.flatten(2, 3)


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
    """Works on blocks of heads, and on a few rows of logits of each block at a time."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, by_row, by_column)
        out = _token_major(q)
        for block in _blocks(q):
            queries, keys, values = (part[block].contiguous() for part in (q, k, v))
            terms = _position_terms(queries, by_row, by_column)
            for rows in _rows(q):
                probabilities = _probabilities(queries, keys, terms, rows)
                out[(*block, rows)] = product(probabilities, values.mT)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, by_row, by_column = ctx.saved_tensors
        grad_q, grad_k, grad_v = _token_major(q), _token_major(k), _token_major(v)
        grad_row, grad_column = torch.zeros_like(by_row), torch.zeros_like(by_column)
        for block in _blocks(q):
            queries, keys, values = (part[block].contiguous() for part in (q, k, v))
            grads = _block_backward(queries, keys, values, by_row, by_column, grad[block])
            grad_q[block], grad_k[block], grad_v[block] = grads[:3]
            grad_row += grads[3]
            grad_column += grads[4]
        return grad_q, grad_k, grad_v, grad_row, grad_column


def _block_backward(
    q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of all five inputs for one block of heads."""
    terms = _position_terms(q, by_row, by_column)
    grad_terms = torch.empty_like(terms[0]), torch.empty_like(terms[1])
    grad_q = torch.empty_like(q)
    # Transposed, because that is the side on which a sum over few rows is fast.
    grad_k, grad_v = torch.zeros_like(k.mT), torch.zeros_like(v.mT)
    for rows in _rows(q):
        grad_out = grad[:, :, rows]
        probabilities = _probabilities(q, k, terms, rows)
        grad_v += product(grad_out.mT, probabilities.mT)
        grad_logits = product(grad_out, v)
        inner = (grad_logits * probabilities).sum(-1, keepdim=True)
        grad_logits.sub_(inner).mul_(probabilities)
        by_grid = _by_grid(grad_logits, terms)
        grad_terms[0][:, :, rows] = by_grid.sum(-1)
        grad_terms[1][:, :, rows] = by_grid.sum(-2)
        grad_logits.mul_(_scale(q))
        grad_q[:, :, rows] = product(grad_logits, k.mT)
        grad_k += product(q[:, :, rows].mT, grad_logits.mT)
    return (
        grad_q,
        grad_k.mT,
        grad_v.mT,
        *_position_backward(grad_q, q, by_row, by_column, grad_terms),
    )


def _position_backward(
    grad_q: Tensor, q: Tensor, by_row: Tensor, by_column: Tensor, grads: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Add the position terms' part to `grad_q`; return the gradients of `by_row`, `by_column`."""
    shape = (*q.shape[:2], by_row.shape[0], by_column.shape[0], -1)
    q_grid, grad_grid = q.view(shape), grad_q.view(shape)
    grad_h, grad_w = grads[0].view(shape), grads[1].view(shape)
    grad_grid += torch.einsum("gnyxk,ykd->gnyxd", grad_h, by_row)
    grad_grid += torch.einsum("gnyxk,xkd->gnyxd", grad_w, by_column)
    return (
        torch.einsum("gnyxk,gnyxd->ykd", grad_h, q_grid),
        torch.einsum("gnyxk,gnyxd->xkd", grad_w, q_grid),
    )


def _scale(q: Tensor) -> float:
    return float(q.shape[-1] ** -0.5)


def _token_major(like: Tensor) -> Tensor:
    """Return an empty (G, heads, T, d) in which all heads of a token lie together in memory."""
    groups, heads, tokens, dim = like.shape
    return like.new_empty(groups, tokens, heads, dim).transpose(1, 2)


def _by_grid(logits: Tensor, terms: tuple[Tensor, Tensor]) -> Tensor:
    """View the key axis of `logits` as the grid's two axes."""
    return logits.view(*logits.shape[:-1], terms[0].shape[-1], terms[1].shape[-1])


def _probabilities(q: Tensor, k: Tensor, terms: tuple[Tensor, Tensor], rows: slice) -> Tensor:
    logits = product(q[:, :, rows] * _scale(q), k)
    by_grid = _by_grid(logits, terms)
    by_grid += terms[0][:, :, rows, :, None]
    by_grid += terms[1][:, :, rows, None, :]
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
