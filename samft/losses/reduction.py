"""Sums and means over the valid pixels of each mask, in enough precision."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

TINY: Final = 1e-6
"""Floor of denominators that may be 0; far below the area of one pixel of any mask."""


def precise(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it is: half precision is too coarse."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def sum_pixels(pixels: Tensor, valid: Tensor | None) -> Tensor:
    """Sum (P, M, h, w) over the valid pixels, (P, M); `valid` is (P, 1, h, w) bool or `None`."""
    if valid is not None:
        pixels = pixels.masked_fill(~valid, 0)
    return pixels.sum(dim=(-2, -1))


def mean_pixels(pixels: Tensor, valid: Tensor | None) -> Tensor:
    """Average (P, M, h, w) over the valid pixels, (P, M); 0 where none is valid."""
    if valid is None:
        return pixels.mean(dim=(-2, -1))
    return sum_pixels(pixels, valid) / valid.sum(dim=(-2, -1)).clamp(min=1)
