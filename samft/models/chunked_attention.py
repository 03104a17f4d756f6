"""The memory-saving variant of decomposed attention, with its own backward pass.

Works on blocks: some images, one row of windows (for global attention that is the image), some
heads. Within a block it looks at a few rows of logits at a time, which stay in the processor's
cache. Nothing of size tokens x tokens is kept; the backward pass computes the logits again.

Source: Rabe and Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from samft.models.matmul import product

_CHUNK_ELEMENTS = 1 << 20  # logits in work at a time: 4 MB in float32


def chunked_attention(
    qkv: Tensor, padding: Tensor, by_row: Tensor, by_column: Tensor, *, num_heads: int
) -> Tensor:
    """Attend within windows; see `samft.models.attention.decomposed_attention`.

    Args:
        qkv: (B, h, w, 3 C).
        padding: (1, 3 C).
        by_row: (t_h, t_h, d), position vectors by a query's and a key's row in the window.
        by_column: (t_w, t_w, d), the same for columns.
        num_heads: Attention heads.

    Returns:
        (B, h, w, C).
    """
    heads = qkv.view(*qkv.shape[:3], 3, num_heads, -1)
    precision = torch.promote_types(qkv.dtype, torch.float32)
    with torch.autocast(qkv.device.type, enabled=False):
        out: Tensor = _ChunkedAttention.apply(  # type: ignore[no-untyped-call]  # torch: no type
            heads,
            padding.view(3, num_heads, -1).to(precision),
            by_row.to(precision),
            by_column.to(precision),
        )
    return out.flatten(3)


def position_terms(q: Tensor, by_row: Tensor, by_column: Tensor) -> tuple[Tensor, Tensor]:
    """Return q . R_h (G, heads, T, t_h) and q . R_w (G, heads, T, t_w) for q (G, heads, T, d)."""
    grid = q.reshape(*q.shape[:2], by_row.shape[0], by_column.shape[0], q.shape[-1])
    terms_h = torch.einsum("gnyxd,ykd->gnyxk", grid, by_row)
    terms_w = torch.einsum("gnyxd,xkd->gnyxk", grid, by_column)
    return terms_h.flatten(2, 3), terms_w.flatten(2, 3)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some heads of one row of windows in some images.

    Args:
        images: Slice of the batch.
        rows: Slice of the map's rows.
        heads: Slice of the heads.
        window_size: (t_h, t_w).
    """

    images: slice
    rows: slice
    heads: slice
    window_size: tuple[int, int]

    def read(self, maps: Tensor, padding: Tensor) -> Tensor:
        """Return (K, G, heads, T, d) windows of `maps` (B, h, w, K, heads, d), contiguous.

        Tokens beyond the edge of the map are `padding` (K, heads, d), whose precision counts: half
        precision maps are worked on in float32.
        """
        piece = maps[self.images, self.rows, :, :, self.heads].to(padding.dtype)
        (t_h, t_w), (images, height, width) = self.window_size, piece.shape[:3]
        columns = -(-width // t_w)
        if (height, width) != (t_h, columns * t_w):
            whole = padding[:, self.heads].expand(images, t_h, columns * t_w, -1, -1, -1).clone()
            whole[:, :height, :width] = piece
            piece = whole
        windows = piece.reshape(images, t_h, columns, t_w, *piece.shape[3:])
        windows = windows.permute(4, 0, 2, 5, 1, 3, 6)
        return windows.reshape(windows.shape[0], images * columns, windows.shape[3], t_h * t_w, -1)

    def write(self, maps: Tensor, windows: Tensor) -> Tensor:
        """Put (K, G, heads, T, d) `windows` into `maps` (B, h, w, K, heads, d).

        Returns:
            (K, heads, d): the sum over the tokens that lie beyond the edge of the map.
        """
        place = maps[self.images, self.rows, :, :, self.heads]
        (t_h, t_w), (images, height, width) = self.window_size, place.shape[:3]
        kinds, _, heads, _, dim = windows.shape
        whole = windows.view(kinds, images, -1, heads, t_h, t_w, dim).permute(1, 4, 2, 5, 0, 3, 6)
        whole = whole.reshape(images, t_h, -1, kinds, heads, dim)
        place.copy_(whole[:, :height, :width])
        right, below = whole[:, :height, width:], whole[:, height:]
        return right.sum((0, 1, 2)) + below.sum((0, 1, 2))


def _blocks(maps: Tensor, window_size: tuple[int, int]) -> Iterator[_Block]:
    """Cut maps (B, h, w, K, heads, d) into blocks of about `_CHUNK_ELEMENTS` logits."""
    images, height, width, _, heads, _ = maps.shape
    t_h, t_w = window_size
    budget = _CHUNK_ELEMENTS // ((t_h * t_w) ** 2 * -(-width // t_w))
    num_heads = max(1, min(heads, budget))
    num_images = max(1, budget // heads)
    for image in range(0, images, num_images):
        for row in range(0, height, t_h):
            for head in range(0, heads, num_heads):
                yield _Block(
                    slice(image, image + num_images),
                    slice(row, row + t_h),
                    slice(head, head + num_heads),
                    window_size,
                )


def _query_rows(q: Tensor) -> Iterator[slice]:
    """Cut the T queries so that their logits are at most about `_CHUNK_ELEMENTS`."""
    groups, heads, tokens, _ = q.shape
    num_rows = max(1, _CHUNK_ELEMENTS // (groups * heads * tokens))
    for row in range(0, tokens, num_rows):
        yield slice(row, row + num_rows)


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, padding: Tensor, by_row: Tensor, by_column: Tensor
    ) -> Tensor:
        out = torch.empty_like(qkv[..., :1, :, :])
        for block in _blocks(qkv, (by_row.shape[0], by_column.shape[0])):
            q, k, v = block.read(qkv, padding)
            terms = position_terms(q, by_row, by_column)
            v_t, attended = v.mT.contiguous(), torch.empty_like(q)
            for rows in _query_rows(q):
                attended[:, :, rows] = product(_probabilities(q, k, terms, rows), v_t)
            block.write(out, attended[None])
        ctx.save_for_backward(qkv, padding, by_row, by_column, out)
        return out.squeeze(3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        qkv, padding, by_row, by_column, out = ctx.saved_tensors
        grad_qkv, grad_padding = torch.empty_like(qkv), torch.zeros_like(padding)
        grad_row, grad_column = torch.zeros_like(by_row), torch.zeros_like(by_column)
        # Each row of the softmax's gradient needs the inner product of output and gradient.
        inner_map = (grad.unsqueeze(3).to(padding.dtype) * out).sum(-1, keepdim=True)
        nothing = torch.zeros_like(padding[:1])
        for block in _blocks(qkv, (by_row.shape[0], by_column.shape[0])):
            q, k, v = block.read(qkv, padding)
            (grad_out,) = block.read(grad.unsqueeze(3), nothing)
            (inner,) = block.read(inner_map, nothing[..., :1])
            terms = position_terms(q, by_row, by_column)
            grads, grad_terms = _attention_backward(q, k, v, terms, (grad_out, inner))
            parts = _position_backward(grads[0], q, by_row, by_column, grad_terms)
            grad_row += parts[0]
            grad_column += parts[1]
            grad_padding[:, block.heads] += block.write(grad_qkv, grads)
        return grad_qkv, grad_padding, grad_row, grad_column


def _scale(q: Tensor) -> float:
    return float(q.shape[-1] ** -0.5)


def _by_grid(logits: Tensor, terms: tuple[Tensor, Tensor]) -> Tensor:
    """View the key axis of `logits` as the two axes of the window."""
    return logits.view(*logits.shape[:-1], terms[0].shape[-1], terms[1].shape[-1])


def _probabilities(q: Tensor, k: Tensor, terms: tuple[Tensor, Tensor], rows: slice) -> Tensor:
    logits = product(q[:, :, rows] * _scale(q), k)
    by_grid = _by_grid(logits, terms)
    by_grid += terms[0][:, :, rows, :, None]
    by_grid += terms[1][:, :, rows, None, :]
    return torch.softmax(logits, dim=-1, out=logits)


def _attention_backward(
    q: Tensor, k: Tensor, v: Tensor, terms: tuple[Tensor, Tensor], upstream: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the gradients of q, k, v as one (3, G, heads, T, d), and of both terms.

    Args:
        q: (G, heads, T, d).
        k: (G, heads, T, d).
        v: (G, heads, T, d).
        terms: Position terms of the logits.
        upstream: Gradient of the output (G, heads, T, d) and its inner product with the output
            (G, heads, T, 1).
    """
    grads = q.new_empty(3, *q.shape)
    grad_h, grad_w = torch.empty_like(terms[0]), torch.empty_like(terms[1])
    # Transposed, because on that side a sum over few rows is fast.
    k_t = k.mT.contiguous()
    grad_k, grad_v = torch.zeros_like(k_t), torch.zeros_like(k_t)
    for rows in _query_rows(q):
        grad_out = upstream[0][:, :, rows]
        probabilities = _probabilities(q, k, terms, rows)
        grad_v += product(grad_out.mT, probabilities.mT)
        grad_logits = product(grad_out, v)
        grad_logits.sub_(upstream[1][:, :, rows]).mul_(probabilities)
        del probabilities  # so that the next rows find its memory free
        by_grid = _by_grid(grad_logits, terms)
        grad_h[:, :, rows] = by_grid.sum(-1)
        grad_w[:, :, rows] = by_grid.sum(-2)
        grads[0][:, :, rows] = product(grad_logits, k_t)
        grad_k += product(q[:, :, rows].mT, grad_logits.mT)
        del grad_logits, by_grid
    grads[0] *= _scale(q)
    grads[1], grads[2] = grad_k.mul_(_scale(q)).mT, grad_v.mT
    return grads, (grad_h, grad_w)


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
