"""Runs a model for its allocations alone: tensors have shapes and sizes, but no values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)

from samft.planning.tracker import LiveMemory

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_DEVICE_OF = torch.ops.prim.device.default


class Rehearsal:
    """A place where models run without memory and arithmetic, and their allocations are noted.

    Args:
        device_type: What is rehearsed: `cpu`, or `cuda`, which needs no GPU. The tensors say that
            they are on the CPU either way.
    """

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.memory: LiveMemory = _Rehearsed()
        # Constants such as position ramps stay real; they are small.
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def copy(self, module: AnyModule) -> AnyModule:
        """Return a copy of `module` without values; what is shared in it stays shared."""
        tensors = chain(module.parameters(), module.buffers())
        with self._mode:
            memo: dict[int, Any] = {id(each): _twin(each) for each in tensors}  # Any: deepcopy's
        return copy.deepcopy(module, memo)

    @contextmanager
    def running(self) -> Iterator[LiveMemory]:
        """Everything within runs as described."""
        place = nullcontext() if self.device_type == "cpu" else _as_on_gpu()
        with place, self._mode, self.memory:
            yield self.memory


def _twin(tensor: Tensor) -> Tensor:
    """Return a tensor like `tensor` on the CPU, wherever that is; in `FakeTensorMode` a fake."""
    size, stride = tensor.shape, tensor.stride()
    twin = torch.empty_strided(size, stride, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin


class _Rehearsed(LiveMemory):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Notes the memory, and answers 0 where code asks for a value that nobody has computed.

    Every operator comes by here, so this is one mode and not two.
    """

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # Any: whatever the operator takes and gives
        if func is _DEVICE_OF and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # half of all calls; FakeTensorMode would say the same
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        except DataDependentOutputException:
            return 0


@contextmanager
def _as_on_gpu() -> Iterator[None]:
    """Let code take the ways it takes on a GPU: fake tensors deny that they are on the CPU.

    The fused attention of CPUs, which the fake tensors then meet, keeps what that of GPUs keeps:
    its output and a number for each query.
    """
    FakeTensor.is_cpu = property(lambda _: False)  # type: ignore[assignment]  # read-only in stubs
    try:
        yield
    finally:
        del FakeTensor.is_cpu
