"""TIFF through tifffile: one 2-D image, grey or with channels, 1 to 64 bit, whole or a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import check_declared_size
from samft.data.readers.orientation import turned, turned_window, turns_sides
from samft.data.readers.part import check_window
from samft.data.readers.tiff_axes import TIFF_SUFFIXES, check_complete, first_series, opened
from samft.data.readers.tiff_pixels import (
    TiffPlanes,
    as_seen,
    num_extra,
    plain_numbers,
    require_decoder,
)
from samft.data.records import Window
from samft.errors import DatasetError

__all__ = [
    "TIFF_SUFFIXES",
    "check_complete",
    "is_large_tiff",
    "probe_tiff",
    "read_tiff",
    "read_tiff_window",
    "require_decoder",
    "tiff_nbytes",
]

_EXPECTED = "a TIFF with one 2-D image"
_ORIENTATION = 274
_LARGE = 256 * 2**20  # bytes; what is smaller is decoded as a whole and kept
# Axes of arrays that were saved without a word on what these mean.
_UNNAMED = frozenset("QI")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flat:
    """A flat image: what is in it, and where its channels are if they have no name."""

    planes: TiffPlanes
    every_channel: bool
    last: bool = False  # the channels lie along what tifffile takes for columns
    first: bool = False  # the channels lie along what tifffile takes for planes

    @property
    def stored_size(self) -> tuple[int, int]:
        axes = self.planes.axes
        return (axes.num_planes, axes.size[0]) if self.last else axes.size

    @property
    def orientation(self) -> int:
        tag = self.planes.keyframe.tags.get(_ORIENTATION)
        return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.stored_size
        return (width, height) if turns_sides(self.orientation) else (height, width)


def probe_tiff(path: Path, *, every_channel: bool = False) -> tuple[int, int]:
    """Return (height, width) from the header, after checking that all pixel data is there.

    Args:
        path: The file.
        every_channel: See `read_tiff`.

    Raises:
        DatasetError: if the file is damaged, a stack, or larger than allowed.
    """
    with _flat(path, every_channel=every_channel) as flat:
        axes = flat.planes.axes
        check_declared_size(path, axes.shape, flat.planes.dtype.itemsize)
        check_complete(path, flat.planes.file, _EXPECTED)
        return flat.size


def is_large_tiff(path: Path) -> bool:
    """Tell whether a TIFF is better read part by part; what is wrong with it is said later."""
    try:
        return path.suffix.lower() in TIFF_SUFFIXES and tiff_nbytes(path) > _LARGE
    except DatasetError:
        return False


def tiff_nbytes(path: Path) -> int:
    """Return how many bytes the first image of a TIFF takes once it is decoded.

    Raises:
        DatasetError: if the file is damaged.
    """
    with opened(path, _EXPECTED) as file:
        return int(first_series(path, file, _EXPECTED).nbytes)


def read_tiff(path: Path, *, keep_codes: bool = False, every_channel: bool = False) -> NDArray[Any]:
    """Read the first image of a TIFF at full resolution, upright; an alpha channel is dropped.

    Args:
        path: The file.
        keep_codes: Return the stored numbers (masks) instead of what they look like (pictures):
            palettes are not applied and "white is zero" is not inverted.
        every_channel: Return all channels, also those that the file does not say to be colours,
            and take an axis without a name for channels: the last where it is the shortest, else
            the first.

    Returns:
        (H, W) or (H, W, C) in the file's own dtype; 1 bit becomes uint8, half floats float32.

    Raises:
        DatasetError: if the file is damaged, a stack, or larger than allowed.
        DependencyError: if its compression needs the package imagecodecs.
    """
    with _flat(path, every_channel=every_channel) as flat:
        check_declared_size(path, flat.planes.axes.shape, flat.planes.dtype.itemsize)
        check_complete(path, flat.planes.file, _EXPECTED)
        stored = _channels_first(flat, flat.planes.whole())
        return _finished(flat, stored, keep_codes=keep_codes)


def read_tiff_window(
    path: Path, window: Window, *, keep_codes: bool = False, every_channel: bool = False
) -> NDArray[Any]:
    """Read a part of the first image of a TIFF; only tiles and strips that it touches are decoded.

    Args:
        path: The file; it may be larger than what may be read as a whole.
        window: The part, in pixels of the upright image.
        keep_codes: See `read_tiff`.
        every_channel: See `read_tiff`.

    Returns:
        As `read_tiff`, cut to the window.

    Raises:
        DatasetError: if the file is damaged or a stack, or the window does not lie inside.
        DependencyError: if its compression needs the package imagecodecs.
    """
    with _flat(path, every_channel=every_channel) as flat:
        check_window(path, window, flat.size)
        stored_window = turned_window(window, flat.stored_size, flat.orientation)
        if flat.first or flat.last:
            top, left, height, width = stored_window
            whole = _channels_first(flat, flat.planes.whole())
            stored = whole[:, top : top + height, left : left + width]
        else:
            stored = flat.planes.plane(0, stored_window)
        return _finished(flat, stored, keep_codes=keep_codes)


@contextmanager
def _flat(path: Path, *, every_channel: bool) -> Iterator[_Flat]:
    with opened(path, _EXPECTED) as file:
        planes = TiffPlanes(path, file, first_series(path, file, _EXPECTED), _EXPECTED)
        axes = planes.axes
        if axes.num_planes == 1:
            yield _Flat(planes=planes, every_channel=every_channel)
            return
        piles = [axis for axis in axes.planes if axes.shape[axis] > 1]
        unnamed = len(piles) == 1 and axes.names[piles[0]] in _UNNAMED
        if every_channel and unnamed and axes.num_channels == 1:
            last = axes.size[1] < min(axes.num_planes, axes.size[0])
            yield _Flat(planes=planes, every_channel=True, last=last, first=not last)
            return
        check_complete(path, file, _EXPECTED)
        raise DatasetError(
            "the TIFF is a stack",
            where=path,
            found=axes.described(),
            expected="one 2-D image, grey or with channels",
            fix="save its planes as single files, or leave the file out with a narrower pattern",
        )


def _channels_first(flat: _Flat, whole: NDArray[Any]) -> NDArray[Any]:
    if flat.first:
        return np.asarray(whole[0])
    if flat.last:
        return np.asarray(np.moveaxis(whole[0], -1, 0))
    return np.asarray(whole[:, 0])


def _finished(flat: _Flat, stored: NDArray[Any], *, keep_codes: bool) -> NDArray[Any]:
    page = flat.planes.keyframe
    extra = num_extra(flat.planes)
    if extra and not flat.every_channel:
        stored = stored[:-extra]
    seen = plain_numbers(stored) if keep_codes else as_seen(stored, page)
    image = seen[0] if seen.shape[0] == 1 else np.moveaxis(seen, 0, -1)
    return turned(image, flat.orientation)
