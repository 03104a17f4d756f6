"""Run a branch of a network on a few rows of tokens at a time.

On CPUs, pieces that stay in the processor's cache and use the same memory one after the other are
faster than one large pass: fresh large tensors cost the operating system more time than their
arithmetic costs the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from samft.models.matmul import is_traced

Branch = Callable[[Tensor], Tensor]

_PIECE_TOKENS = 512


def by_rows(
    branch: Branch,
    x: Tensor,
    *,
    num_rows: int | None = None,
    parameters: Sequence[nn.Parameter] = (),
) -> Tensor:
    """Return `branch(x)`; on a CPU large maps are worked on a few rows of an image at a time.

    Then only `x` is kept for the backward pass, which runs the branch again.

    Args:
        branch: Takes (1, rows, w, C) to the same shape and treats every `num_rows` rows alike.
        x: (B, h, w, C).
        num_rows: Rows in a piece; `None` for as many as make a good size.
        parameters: All parameters of `branch` that may need a gradient.
    """
    if not x.is_cpu or x.shape[1] * x.shape[2] <= _PIECE_TOKENS or is_traced():
        return branch(x)
    num_rows = num_rows or max(1, _PIECE_TOKENS // x.shape[2])
    result: Tensor = _ByRows.apply(  # type: ignore[no-untyped-call]  # torch has no type for it
        branch, num_rows, x, *parameters
    )
    return result


def _pieces(num_rows: int, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield views (1, rows, w, C) of the same place in all of `maps` (B, h, w, C)."""
    images, height = maps[0].shape[:2]
    for image in range(images):
        for row in range(0, height, num_rows):
            yield tuple(each[image : image + 1, row : row + num_rows] for each in maps)


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, branch: Branch, num_rows: int, x: Tensor, *parameters: nn.Parameter
    ) -> Tensor:
        ctx.branch, ctx.num_rows = branch, num_rows
        # The second run has to be like the first, also with dropout in the branch.
        ctx.random_state = torch.get_rng_state()
        ctx.autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        ctx.save_for_backward(x, *parameters)
        out = torch.empty_like(x)
        for piece, place in _pieces(num_rows, x, out):
            place.copy_(branch(piece))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        sums = [torch.zeros_like(parameter) for parameter in wanted]
        grad_x = torch.empty_like(x)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(ctx.random_state)
            for piece, grad_piece, place in _pieces(ctx.num_rows, x, grad, grad_x):
                source = piece.detach().requires_grad_()
                answer = _run_again(ctx, source)
                upstream = grad_piece.to(answer.dtype)  # autocast may have chosen another one
                found = torch.autograd.grad(
                    answer, [source, *wanted], upstream, materialize_grads=True
                )
                place.copy_(found[0])
                sums = [total.add_(part) for total, part in zip(sums, found[1:], strict=True)]
        rest = iter(sums)
        return None, None, grad_x, *(next(rest) if p.requires_grad else None for p in parameters)


def _run_again(ctx: Any, source: Tensor) -> Tensor:
    enabled, dtype = ctx.autocast
    with torch.enable_grad(), torch.autocast("cpu", enabled=enabled, dtype=dtype):
        answer: Tensor = ctx.branch(source)
    return answer
