"""From the numbers of a file to the 0..255 RGB that SAM was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.errors import DatasetError

CT_WINDOWS: Final = {
    "ct_soft": (40.0, 400.0),
    "ct_lung": (-600.0, 1500.0),
    "ct_bone": (300.0, 1500.0),
}
"""Level and width in Hounsfield units, the usual radiological presets."""
_MAX_SAMPLED = 1_000_000


def window_range(level: float, width: float) -> tuple[float, float]:
    """Return the lowest and highest value that a window shows."""
    return level - width / 2, level + width / 2


def percentile_range(values: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of the finite values above the smallest one.

    The smallest value is the background of a skull-stripped brain, the padding outside a scanner's
    circle, the black of an empty field: it says nothing about contrast. Of large arrays every n-th
    value is used.

    Args:
        values: Numbers of any shape.
        low: Lower percentile, 0 to 100.
        high: Upper percentile.
    """
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // _MAX_SAMPLED)]
    finite = flat[np.isfinite(flat)]
    inside = finite[finite > finite.min()] if finite.size else finite
    if inside.size == 0:
        return 0.0, 0.0
    lower, upper = np.percentile(inside, (low, high))
    return float(lower), float(upper)


def to_uint8(values: NDArray[Any], lowest: float, highest: float) -> NDArray[np.uint8]:
    """Map [lowest, highest] to 0..255, clipping outside; not-a-number becomes 0.

    An empty range, from a constant image, gives all zeros.
    """
    if highest <= lowest:
        return np.zeros(values.shape, np.uint8)
    scaled = values.astype(np.float32)
    scaled -= np.float32(lowest)
    scaled *= np.float32(255 / (highest - lowest))
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def to_rgb(channels: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Make (3, H, W) from one, two or three channels.

    One is repeated; of two, the third becomes their mean.

    Args:
        channels: (C, H, W) uint8.
        path: The file, for the message.

    Raises:
        DatasetError: if there are more than three channels.
    """
    if channels.shape[0] == 1:
        return np.repeat(channels, 3, axis=0)
    if channels.shape[0] == 2:
        mean = channels.mean(axis=0, keepdims=True).astype(np.uint8)
        return np.concatenate([channels, mean])
    if channels.shape[0] == 3:
        return channels
    raise DatasetError(
        "the image has too many channels",
        where=path,
        found=f"{channels.shape[0]} channels",
        expected="1, 2 or 3",
        fix="save the channels to be used as files of their own",
    )
