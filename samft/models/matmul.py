"""Linear layers on the fastest exact matrix product of the machine.

On CPUs with AVX-512, oneDNN multiplies float32 matrices at up to twice the rate of the BLAS behind
`torch.nn.functional.linear` (MKL keeps to AVX2 on processors of other makers than Intel). The
operator used here is the one that `torch.compile` emits for linear layers on CPUs; it has no
derivative of its own, so `_OneDnnLinear` adds it. Everywhere else torch's own products are used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_MIN_ROWS = 64  # below this, packing the weight costs more than the faster product saves


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return `a @ b.mT` for `a` (..., M, K) and `b` (..., N, K); has no derivative everywhere."""
    if a.shape[:-2].numel() != 1 or not uses_onednn(a, b):
        return a @ b.mT
    flat = _onednn_product(a.reshape(a.shape[-2:]), b.reshape(b.shape[-2:]))
    return flat.view(*a.shape[:-1], b.shape[-2])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias` like `torch.nn.functional.linear`; `x` is (..., K)."""
    # Traced first: an exporter must not learn that the number of rows decides anything.
    if is_traced() or x.shape[:-1].numel() < _MIN_ROWS or not uses_onednn(x, weight):
        return F.linear(x, weight, bias)
    rows = x.shape[:-1].numel()
    flat: Tensor = _OneDnnLinear.apply(  # type: ignore[no-untyped-call]  # torch has no type for it
        x.reshape(rows, x.shape[-1]), weight, bias
    )
    return flat.view(*x.shape[:-1], weight.shape[0])


class Linear(nn.Linear):
    """`torch.nn.Linear` computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's answer to `input` (..., in_features): (..., out_features)."""
        return linear(input, self.weight, self.bias)


def uses_onednn(*tensors: Tensor) -> bool:
    """Whether a product of these tensors goes to oneDNN: float32 on an AVX-512 CPU, run eagerly."""
    return (
        _onednn_is_faster()
        and all(tensor.dtype == torch.float32 and tensor.is_cpu for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not is_traced()
    )


def is_traced() -> bool:
    """Whether torch records operators for a compiler or an exporter instead of running them."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # no stub
    return torch.compiler.is_compiling() or tracing


@cache
def _onednn_is_faster() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # no stub
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return available and is_wide and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn_product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `a @ b.T + bias` for float32 `a` (M, K) and `b` (N, K); no derivative."""
    # oneDNN packs `b` first, and does so a thousand times slower when there are gaps in it.
    packed = b if b.is_contiguous() or b.mT.is_contiguous() else b.contiguous()
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, packed, bias, "none", [], "")
    return result


class _OneDnnLinear(torch.autograd.Function):
    """`x @ weight.T + bias` for x (M, K), with the two products of its backward on oneDNN too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_x, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        return _onednn_product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _onednn_product(grad, weight.t()) if needs_x else None,
            _onednn_product(grad.t(), x.t()) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )
