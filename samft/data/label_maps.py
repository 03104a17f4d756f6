"""Counting and renumbering the pixels of label maps, without copies of eight bytes per pixel.

numpy turns small whole numbers into int64 before it counts them or looks them up, which for an
image of 12 megapixels is 100 MB. Here it happens a block at a time, which also stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_BLOCK = 2**18  # pixels; 2 MB as int64
_MAX_TABLE = 2**22  # values; 16 MB


def count_values(label_map: NDArray[Any], highest: int) -> NDArray[np.int64]:
    """Count the pixels of every value; negative ones count as 0.

    Args:
        label_map: Whole numbers of any shape, none above `highest`.
        highest: The largest value there can be.

    Returns:
        (highest + 1,) int64.
    """
    counts = torch.zeros(highest + 1, dtype=torch.int64)
    for block in _blocks(label_map):
        counts += torch.bincount(block.clamp(min=0), minlength=highest + 1)
    return counts.numpy()


def values_of(label_map: NDArray[Any]) -> list[int]:
    """Return the different values of a label map, ascending."""
    lowest, highest = int(label_map.min()), int(label_map.max())
    if lowest >= 0 and highest < min(label_map.size, _MAX_TABLE):  # ten times faster than sorting
        return [int(value) for value in np.flatnonzero(count_values(label_map, highest))]
    return [int(value) for value in np.unique(label_map)]


def renumber(
    label_map: NDArray[Any], values: NDArray[Any], *, negative: int = 0
) -> NDArray[np.int32]:
    """Number values from 1 on; all others become 0.

    Args:
        label_map: Whole numbers of any shape.
        values: The values that get a number, positive and ascending.
        negative: What negative values become.

    Returns:
        A new array of the same shape, int32, in C order.
    """
    highest = int(values[-1]) if values.size else 0
    if highest >= _MAX_TABLE:
        return _renumber_by_search(label_map, values, negative)
    # One more row than there are values stands for everything above, the first for all below zero.
    table = np.zeros(highest + 3, np.int32)
    table[0] = negative
    table[values.astype(np.int64) + 1] = np.arange(1, values.size + 1, dtype=np.int32)
    result = np.empty(label_map.shape, np.int32)
    flat = result.reshape(-1)
    source = np.ascontiguousarray(label_map).reshape(-1)
    for start in range(0, source.size, _BLOCK):
        block = source[start : start + _BLOCK].astype(np.int64)
        np.clip(block, -1, highest + 1, out=block)
        block += 1
        np.take(table, block, out=flat[start : start + _BLOCK], mode="clip")  # no buffered copy
    return result


def _renumber_by_search(
    label_map: NDArray[Any], values: NDArray[Any], negative: int
) -> NDArray[np.int32]:
    row = np.searchsorted(values, label_map).clip(max=values.size - 1)
    found = np.where(values[row] == label_map, row + 1, 0)
    return np.where(label_map < 0, negative, found).astype(np.int32)


def _blocks(label_map: NDArray[Any]) -> Iterator[torch.Tensor]:
    flat = np.ascontiguousarray(label_map).reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield as_tensor(flat[start : start + _BLOCK])


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor, with its memory where that can be shared, in any axis order."""
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)  # torch counts and clamps signed numbers only
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy(order="K")
    return torch.from_numpy(array)
