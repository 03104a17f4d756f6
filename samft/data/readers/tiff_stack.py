"""TIFF stacks: a pile of 2-D images in one file, as microscopes write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import check_declared_size
from samft.data.readers.tiff_axes import (
    TIFF_SUFFIXES,
    axes_of,
    check_complete,
    first_series,
    opened,
)
from samft.data.readers.tiff_pixels import TiffPlanes, as_seen, num_extra, plain_numbers
from samft.data.records import Window
from samft.errors import DatasetError

_EXPECTED = "a TIFF stack of planes"
_MOST_PLANES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class StackHeader:
    """What the header of a TIFF stack says.

    Args:
        shape: (planes, height, width); time is slower than depth.
        channels: Number of channels.
        nbytes: Size of all pixels, decoded.
    """

    shape: tuple[int, int, int]
    channels: int
    nbytes: int


def is_stack(path: Path) -> bool:
    """Tell by its name and header whether a file is a TIFF stack.

    What is wrong with a damaged file is said when it is read.
    """
    try:
        return path.suffix.lower() in TIFF_SUFFIXES and stack_header(path) is not None
    except DatasetError:
        return False


def stack_shape(path: Path) -> tuple[int, int, int] | None:
    """Return (planes, height, width) from the header; `None` if the file is no stack.

    Raises:
        DatasetError: if the file is damaged, or a plane of it larger than allowed.
    """
    header = stack_header(path)
    return None if header is None else header.shape


def stack_header(path: Path) -> StackHeader | None:
    """Read the header of a stack; `None` if the file is none.

    Raises:
        DatasetError: if the file is damaged, or a plane of it larger than allowed.
    """
    with opened(path, _EXPECTED) as file:
        if not file.series:
            return None
        check_complete(path, file, _EXPECTED)  # first, as half a stack can look like a flat image
        series = first_series(path, file, _EXPECTED)
        axes = axes_of(path, series, _EXPECTED)
        if axes.num_planes == 1:
            return None
        if axes.num_planes > _MOST_PLANES:
            raise DatasetError(
                "the stack has too many planes",
                where=path,
                found=axes.described(),
                expected=f"at most {_MOST_PLANES}",
            )
        check_declared_size(path, (axes.num_channels, *axes.size), series.dtype.itemsize)
        return StackHeader(
            shape=(axes.num_planes, *axes.size),
            channels=axes.num_channels,
            nbytes=int(series.nbytes),
        )


def read_stack(path: Path, *, seen: bool = False) -> NDArray[Any]:
    """Read a stack as (C, Z, Y, X) in the file's own dtype; time points lie behind one another.

    Args:
        path: The file.
        seen: Return what the values look like (palette, black for 0), without alpha, instead of
            the stored numbers.

    Raises:
        DatasetError: if it is none, is damaged, or larger than allowed.
        DependencyError: if its compression needs the package imagecodecs.
    """
    if stack_shape(path) is None:
        raise DatasetError("the TIFF is no stack", where=path, expected=_EXPECTED)
    with _planes(path) as planes:
        return np.ascontiguousarray(_finished(planes, planes.whole(), seen=seen))


def read_stack_plane(
    path: Path, index: int, *, window: Window | None = None, seen: bool = False
) -> NDArray[Any]:
    """Read one plane of a stack, or a part of it, without decoding the others.

    Args:
        path: The file.
        index: Number of the plane, from 0.
        window: The part that is wanted.
        seen: See `read_stack`.

    Returns:
        (C, H, W) in the file's own dtype.

    Raises:
        DatasetError: if there is no such plane, or it is damaged or larger than allowed.
        DependencyError: if its compression needs the package imagecodecs.
    """
    with _planes(path) as planes:
        if not 0 <= index < planes.axes.num_planes:
            raise DatasetError(
                "the stack has no such plane",
                where=path,
                found=index,
                expected=f"0 to {planes.axes.num_planes - 1}",
            )
        return _finished(planes, planes.plane(index, window), seen=seen)


def read_label_stack(path: Path) -> NDArray[np.int32]:
    """Read a stack of label images: (Z, Y, X) int32, the stored numbers.

    Raises:
        DatasetError: if it is no stack, is damaged, larger than allowed, has channels that differ,
            or values that are no whole numbers.
        DependencyError: if its compression needs the package imagecodecs.
    """
    from samft.data.readers.image import whole_numbers  # which reads TIFF by this package

    stack = read_stack(path)
    if stack.shape[0] > 1 and not bool((stack == stack[:1]).all()):
        raise DatasetError(
            "the label stack has channels",
            where=path,
            found=f"{stack.shape[0]} channels that differ",
            expected="one number per voxel: 0 background, 1, 2, ...",
            fix="save the channel that holds the labels by itself",
        )
    return np.asarray(whole_numbers(stack[0], path), np.int32)


@contextmanager
def _planes(path: Path) -> Iterator[TiffPlanes]:
    with opened(path, _EXPECTED) as file:
        yield TiffPlanes(path, file, first_series(path, file, _EXPECTED), _EXPECTED)


def _finished(planes: TiffPlanes, stored: NDArray[Any], *, seen: bool) -> NDArray[Any]:
    if not seen:
        return plain_numbers(stored)
    extra = num_extra(planes)
    if extra and stored.shape[0] - extra in (1, 3):
        stored = stored[:-extra]
    return as_seen(stored, planes.keyframe)
