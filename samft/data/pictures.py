"""Flat images, in one file or one file per channel, to RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.intensity import percentile_range, to_float, to_rgb, to_uint8
from samft.data.readers.image import read_image
from samft.errors import ConfigError, DatasetError

DEFAULT_PERCENTILES = (1.0, 99.8)
"""Black and white of flat images of more than 8 bits, as in StarDist and Cellpose."""

Scale = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps the values of a file to 0..255, uint8 or float32."""


def read_picture(
    paths: Sequence[Path], scale: Scale, *, channels: Sequence[int] | None = None
) -> NDArray[Any]:
    """Read one picture.

    Args:
        paths: One file, or one file per channel.
        scale: Maps the values of each file; with `channels`, of each channel.
        channels: Which channels of all files together, counted from 0; `None` for all, of which
            there may be three at most.

    Returns:
        (3, H, W) uint8 or float32 RGB, 0 to 255; (N, H, W) where more than three are chosen.

    Raises:
        DatasetError: if a file is unreadable, has another size, too many channels, or not those
            that are asked for.
    """
    files = []
    for path in paths:
        array = read_image(path, every_channel=channels is not None)
        files.append(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0))
        check_same_size(path, files[-1].shape[1:], paths[0], files[0].shape[1:])
    if channels is None:
        scaled = [scale(file) for file in files]
        return to_rgb(scaled[0] if len(scaled) == 1 else np.concatenate(scaled), paths[0])
    chosen = choose([plane for file in files for plane in file], channels, paths[0])
    return to_rgb(np.stack([scale(plane) for plane in chosen]), paths[0], more=True)


def choose(
    planes: Sequence[NDArray[Any]], channels: Sequence[int], path: Path
) -> list[NDArray[Any]]:
    """Return the planes with the given numbers, in the order of these.

    Raises:
        DatasetError: if there is none of that number.
    """
    if max(channels) >= len(planes):
        raise DatasetError(
            "the image has no such channel",
            where=path,
            found=f"{len(planes)} channels, data.channels {list(channels)}",
            expected=f"numbers from 0 to {len(planes) - 1}",
        )
    return [planes[index] for index in channels]


def num_delivered(channels: Sequence[int] | None) -> int:
    """Return how many channels the images have: three, or as many as were chosen beyond that.

    Raises:
        ConfigError: if none is chosen, or a number is none of a channel.
    """
    if channels is not None and (not channels or min(channels) < 0):
        raise ConfigError(
            "these are no channels",
            where="data.channels",
            found=list(channels),
            expected="numbers from 0, such as [0, 2, 3]",
        )
    return max(3, len(channels or ()))


@dataclass(frozen=True, slots=True)
class PercentileScale:
    """Maps two percentiles of each file to 0 and 255.

    Files of 8 bits stay as they are: they were made to be looked at.

    Args:
        low: Lower percentile, 0 to 100.
        high: Upper percentile.
        keep_depth: Keep the grey levels between whole numbers, as float32.
    """

    low: float
    high: float
    keep_depth: bool = False

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values` as uint8, or float32 with `keep_depth`."""
        if values.dtype == np.uint8:
            return values
        limits = percentile_range(values, self.low, self.high)
        return to_float(values, *limits) if self.keep_depth else to_uint8(values, *limits)
