"""Linear layers on the fastest exact matrix product of the machine.

On CPUs with AVX-512, oneDNN multiplies float32 matrices at up to twice the rate of the BLAS that
`torch.nn.functional.linear` calls (MKL keeps to AVX2 on processors of other makers). The operator
is the one that `torch.compile` emits for linear layers on CPUs; it has no derivative of its own, so
`_OneDnnLinear` adds it. Everywhere else this is `torch.nn.functional.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_MIN_ROWS = 64  # below this, reordering the weight costs more than the faster product saves


@cache
def _onednn_is_faster() -> bool:
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and torch.backends.mkldnn.is_available() and _operator() is not None


def _operator() -> Any:  # Any: a packet of overloads from the operator registry
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def uses_onednn(*tensors: Tensor) -> bool:
    """Whether a product of these tensors goes to oneDNN: float32 on an AVX-512 CPU, run eagerly."""
    return (
        _onednn_is_faster()
        and all(tensor.dtype == torch.float32 and tensor.is_cpu for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def onednn_product(
    a: Tensor, b: Tensor, bias: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    """Return `activation(a @ b.T + bias)` for float32 `a` (M, K) and `b` (N, K); no derivative."""
    # oneDNN packs `b` first, and does so a thousand times slower when there are gaps in it.
    packed = b if b.is_contiguous() or b.mT.is_contiguous() else b.contiguous()
    result: Tensor = _operator()(a, packed, bias, activation, [], "none")
    return result


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return `a @ b.mT` for `a` (..., M, K) and `b` (..., N, K); no derivative."""
    if a.shape[:-2].numel() != 1 or not uses_onednn(a, b):
        return a @ b.mT
    flat = onednn_product(a.reshape(a.shape[-2:]), b.reshape(b.shape[-2:]))
    return flat.view(*a.shape[:-1], b.shape[-2])


class _OneDnnLinear(torch.autograd.Function):
    """`x @ weight.T + bias` for x (M, K), with the two products of its backward on oneDNN too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            onednn_product(grad, weight.t()) if needs_x else None,
            onednn_product(grad.t(), x.t()) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias` like `torch.nn.functional.linear`; `x` is (..., K)."""
    rows = x.numel() // max(1, x.shape[-1])
    if rows < _MIN_ROWS or not uses_onednn(x, weight):
        return F.linear(x, weight, bias)
    flat: Tensor = _OneDnnLinear.apply(x.reshape(rows, -1), weight, bias)
    return flat.view(*x.shape[:-1], weight.shape[0])


class Linear(nn.Linear):
    """`torch.nn.Linear` computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's answer to `input` (..., in_features): (..., out_features)."""
        return linear(input, self.weight, self.bias)
