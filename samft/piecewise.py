"""Losses whose gradients are worked out piece by piece, in the memory of one piece.

The pieces' graphs are never alive together: each is differentiated as soon as it is computed, and
what is kept is the sum of the gradients. To the outside the sum is one ordinary loss: `backward`,
gradient scaling, accumulation and distributed training see nothing unusual. Parameters that no
piece used get zeros, so that every process of a distributed run has gradients for the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Gradients in half precision vanish below 6e-8; those of a mean over many pixels are small.
_HALF_SCALE = 2.0**14

Pieces = Callable[[Tensor, Callable[[Tensor], None]], None]
"""Takes what the pieces share, and a function to call with the loss of each, a scalar."""


def piecewise_sum(pieces: Pieces, shared: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the sum of the pieces' losses, with gradients for `shared` and `parameters`.

    Args:
        pieces: Called once, at once. A piece may depend on the values of those before, not on
            their graphs: each graph is gone when the function it is handed to returns.
        shared: What all pieces start from, such as image embeddings.
        parameters: All parameters the pieces may use.

    Returns:
        Scalar. Without gradients enabled it is just the sum.
    """
    if not torch.is_grad_enabled():
        losses: list[Tensor] = []
        pieces(shared, losses.append)
        return _sum(losses, shared)
    result: Tensor = _Piecewise.apply(  # type: ignore[no-untyped-call]  # torch has no type for it
        pieces, shared, *parameters
    )
    return result


def _sum(losses: Sequence[Tensor], like: Tensor) -> Tensor:
    return sum(losses, like.new_zeros((), dtype=torch.float32))


class _Piecewise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pieces: Pieces, shared: Tensor, *parameters: nn.Parameter) -> Tensor:
        source = shared.detach().requires_grad_(shared.requires_grad)
        inputs = [tensor for tensor in (source, *parameters) if tensor.requires_grad]
        sums = [torch.zeros_like(tensor) for tensor in inputs]
        scale = _scale(shared.device.type)

        losses: list[Tensor] = []

        def differentiate(loss: Tensor) -> None:
            losses.append(loss.detach())
            found = torch.autograd.grad(loss * scale, inputs, allow_unused=True)
            for total, part in zip(sums, found, strict=True):
                if part is not None:
                    total.add_(part, alpha=1 / scale)

        with torch.enable_grad():
            pieces(source, differentiate)
        rest = iter(sums)
        ctx.gradients = [
            next(rest) if tensor.requires_grad else None for tensor in (source, *parameters)
        ]
        return _sum(losses, shared)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(None if each is None else each * grad for each in ctx.gradients)


def _scale(device_type: str) -> float:
    is_half = (
        torch.is_autocast_enabled(device_type)
        and torch.get_autocast_dtype(device_type) == torch.float16
    )
    return _HALF_SCALE if is_half else 1.0
