"""Keep less for the backward pass: cheap activations are computed again instead of stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@dataclass(frozen=True)
class _View:
    """Where a saved tensor lies in the activation that is computed again."""

    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class recomputed(saved_tensors_hooks):  # noqa: N801  # a context manager, named like torch's own
    """Within this context, `activation` is not kept for the backward pass but computed again.

    A layer norm or a GELU costs next to nothing beside the matrix product that reads it, but the
    product keeps its input, so half of a transformer block's memory is the outputs of these two.
    This works for whatever reads the activation, also for adapters around a linear layer.

    Args:
        activation: The tensor to forget. Only its readers inside the context forget it.
        function: Computes it again.
        source: Argument of `function`; kept anyway by the function's own backward.
    """

    def __init__(
        self, activation: Tensor, function: Callable[[Tensor], Tensor], source: Tensor
    ) -> None:
        storage = activation.untyped_storage().data_ptr()
        source = source.detach()

        def pack(tensor: Tensor) -> Tensor | _View:
            if tensor.untyped_storage().data_ptr() != storage:
                return tensor
            return _View(tensor.size(), tensor.stride(), tensor.storage_offset())

        def unpack(kept: Tensor | _View) -> Tensor:
            if isinstance(kept, Tensor):
                return kept
            with torch.no_grad():
                again = function(source)
            return again.as_strided(kept.size, kept.stride, kept.offset)

        super().__init__(pack, unpack)
