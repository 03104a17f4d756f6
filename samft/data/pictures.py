"""Flat images, in one file or one file per channel, to RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.intensity import percentile_range, to_rgb, to_uint8
from samft.data.readers.image import read_image

DEFAULT_PERCENTILES = (1.0, 99.8)
"""Black and white of flat images of more than 8 bits, as in StarDist and Cellpose."""

Scale = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Maps the values of a file to 0..255."""


def read_picture(paths: Sequence[Path], scale: Scale) -> NDArray[np.uint8]:
    """Read one picture.

    Args:
        paths: One file, or one file per channel.
        scale: Maps the values of each file.

    Returns:
        (3, H, W) uint8 RGB.

    Raises:
        DatasetError: if a file is unreadable, has too many channels or another size.
    """
    channels = []
    for path in paths:
        array = read_image(path)
        stacked = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        channels.append(scale(stacked))
        check_same_size(path, stacked.shape[1:], paths[0], channels[0].shape[1:])
    return to_rgb(np.concatenate(channels), paths[0])


@dataclass(frozen=True, slots=True)
class PercentileScale:
    """Maps two percentiles of each file to 0 and 255.

    Files of 8 bits stay as they are: they were made to be looked at.

    Args:
        low: Lower percentile, 0 to 100.
        high: Upper percentile.
    """

    low: float
    high: float

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return `values` as uint8."""
        if values.dtype == np.uint8:
            return values
        return to_uint8(values, *percentile_range(values, self.low, self.high))
