"""TIFF stacks: a pile of 2-D images in one file, as microscopes write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from samft.data.readers.limits import check_declared_size, reading
from samft.data.readers.tiff import check_complete, require_decoder
from samft.errors import DatasetError

_EXPECTED = "a TIFF stack of planes, with up to three channels"
_PILES = frozenset("ZTIQ")
"""tifffile's names of an axis along which planes lie: depth, time, a sequence, unknown."""
_PLANES = frozenset({"YX", "YXS", "CYX"})


def stack_shape(path: Path) -> tuple[int, int, int] | None:
    """Return (planes, height, width) from the header; `None` if the file is no stack.

    Raises:
        DatasetError: if the file is damaged, or larger than allowed.
    """
    with reading(path, _EXPECTED), tifffile.TiffFile(path) as file:
        if not file.series:
            return None
        check_complete(path, file)  # first, as half a stack can look like a flat image
        series = file.series[0]
        if not _is_stack(series.axes):
            return None
        check_declared_size(path, series.shape, series.dtype.itemsize)
        sizes = dict(zip(series.axes, series.shape, strict=True))
        return int(series.shape[0]), int(sizes["Y"]), int(sizes["X"])


def read_stack(path: Path) -> NDArray[Any]:
    """Read a stack as (C, Z, Y, X) in the file's own dtype.

    Raises:
        DatasetError: if it is none, is damaged, or larger than allowed.
        DependencyError: if its compression needs the package imagecodecs.
    """
    if stack_shape(path) is None:
        raise DatasetError("the TIFF is no stack", where=path, expected=_EXPECTED)
    with reading(path, _EXPECTED), tifffile.TiffFile(path) as file:
        series = file.series[0]
        require_decoder(series.keyframe)
        array = np.asarray(series.asarray())
        if series.axes.endswith("S"):
            array = np.moveaxis(array, -1, 1)
        if array.ndim == 3:
            array = array[:, None]
        return np.ascontiguousarray(array.swapaxes(0, 1))


def _is_stack(axes: str) -> bool:
    return axes[:1] in _PILES and axes[1:] in _PLANES
