"""Whether stored tensors are those of a model, asked before the model takes any memory.

A file of a few bytes can say that it holds the largest model there is. What a model needs is known
from a twin on torch's `meta` device, which has shapes and no values.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_SHOWN = 3


def check_stored(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Check that tensors have the names and shapes of a model's, and values behind them.

    Args:
        expected: The state dict of the twin.
        found: What a file holds.

    Raises:
        ValueError: naming the first few that differ, or if a few values pose as many.
    """
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    misshaped = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
    told = [f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])})" for kind, keys in kinds if keys]
    if told:
        raise ValueError(f"of {len(expected)} tensors: {', '.join(told)}")
    # Views can show the same few values under many names, and a stride of 0 again and again.
    stored = {
        storage.data_ptr(): storage.nbytes()
        for storage in (tensor.untyped_storage() for tensor in found.values())
    }
    needed = sum(tensor.numel() for tensor in expected.values())
    if sum(stored.values()) < needed:
        raise ValueError(f"{sum(stored.values())} bytes that pose as {needed} values")
