"""Large images and volumes as something that can be read part by part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import tifffile
from numpy.typing import NDArray

from samft._deps import require
from samft.data.intensity import percentile_range, to_uint8
from samft.data.readers.array_files import ARRAY_ERRORS
from samft.data.readers.limits import reading, unreadable
from samft.errors import ConfigError, DatasetError

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2), the far edges excluded."""

_IMAGE_AXES: Final = ("YX", "YXC", "CYX")
_VOLUME_AXES: Final = ("ZYX", "ZYXC", "ZCYX")
_SAMPLED_VALUES: Final = 4_000_000
_SAMPLED_PARTS: Final = 64
_EXPECTED: Final = "an array of numbers"
_NUMBERS: Final = "buif"  # kinds of numpy's types
_SUFFIXES: Final = (".npy", ".tif", ".tiff", ".zarr")


class ArrayLike(Protocol):
    """What is read part by part: a numpy array, a memory map, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    @property
    def dtype(self) -> Any:  # Any: a numpy dtype, however the package types it
        """Type of the values."""

    def __getitem__(self, key: Any, /) -> Any:  # Any: slices in, an array out
        """Read a part."""


class ImageSource:
    """A large image, read box by box as RGB of 8 bits.

    Args:
        array: The pixels. Only the parts asked for are read.
        axes: "YX", "YXC" or "CYX"; `None` finds out. One channel is repeated, more than three are
            refused, of four the last (alpha) is left out.
        value_range: Values that become 0 and 255, see `sampled_range`. `None` for 8-bit images,
            whose values stay.

    Raises:
        DatasetError: if it is no image, or values of more than 8 bits come without a range.
    """

    def __init__(
        self,
        array: ArrayLike,
        *,
        axes: str | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.array = array
        self.axes = _axes(array.shape, axes, _IMAGE_AXES)
        self.value_range = _range(array, value_range)
        _check_channels(array.shape, self.axes)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.array.shape[self.axes.index("Y")], self.array.shape[self.axes.index("X")]

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a box, (height, width, 3) uint8."""
        x1, y1, x2, y2 = box
        parts = {"Y": slice(y1, y2), "X": slice(x1, x2), "C": slice(None)}
        part = np.asarray(self.array[tuple(parts[axis] for axis in self.axes)])
        return _rgb(part, self.axes, self.value_range)


class VolumeSource:
    """A volume, read slice by slice as RGB images of 8 bits.

    Args:
        array: The voxels. Only the slices asked for are read.
        axes: "ZYX", "ZYXC" or "ZCYX"; `None` finds out.
        value_range: As for `ImageSource`; one range for the whole volume, or slices would differ in
            contrast.
        axis: Along which axis it is cut: "z", "y" or "x". Cut along y, a slice has z from top to
            bottom and x from left to right; along x, z and y.

    Raises:
        DatasetError: if it is no volume, or values of more than 8 bits come without a range.
        ConfigError: if there is no such axis.
    """

    def __init__(
        self,
        array: ArrayLike,
        *,
        axes: str | None = None,
        value_range: tuple[float, float] | None = None,
        axis: str = "z",
    ) -> None:
        if axis not in ("z", "y", "x"):
            raise ConfigError("there is no such axis", found=repr(axis), expected="z, y or x")
        self.array = array
        self.axes = _axes(array.shape, axes, _VOLUME_AXES)
        self.value_range = _range(array, value_range)
        self.axis = axis
        _check_channels(array.shape, self.axes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width) in voxels."""
        depth, height, width = (self.array.shape[self.axes.index(axis)] for axis in "ZYX")
        return depth, height, width

    @property
    def position(self) -> int:
        """Which axis of `shape` is cut: 0, 1 or 2."""
        return "zyx".index(self.axis)

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.shape[self.position]

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice."""
        height, width = (side for index, side in enumerate(self.shape) if index != self.position)
        return height, width

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return a slice, (height, width, 3) uint8."""
        cut = self.axis.upper()
        key = tuple(index if axis == cut else slice(None) for axis in self.axes)
        part = np.asarray(self.array[key])
        rest = self.axes.replace(cut, "")
        plane = [axis for axis in rest if axis != "C"]
        names = {plane[0]: "Y", plane[1]: "X", "C": "C"}
        return _rgb(part, "".join(names[axis] for axis in rest), self.value_range)


def open_array(path: str | Path) -> ArrayLike:
    """Open a file without reading it: `.npy`, TIFF, or a folder with a zarr array.

    Of an OME-Zarr group the array of full size is opened, of a TIFF its first series.

    Raises:
        DatasetError: if it is missing or of another kind.
        DependencyError: if zarr, or what a compressed TIFF needs, is not installed.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DatasetError("no such file or folder", where=place)
    openers: dict[str, Callable[[Path], ArrayLike]] = {
        ".npy": _open_npy,
        ".tif": _open_tiff,
        ".tiff": _open_tiff,
        ".zarr": _open_zarr,
    }
    if place.suffix.lower() not in openers:
        raise DatasetError(
            "this is nothing that can be read part by part",
            where=place,
            expected=", ".join(_SUFFIXES),
        )
    with reading(place, _EXPECTED, also=(*ARRAY_ERRORS, tifffile.TiffFileError)):
        array = openers[place.suffix.lower()](place)
        if np.dtype(array.dtype).kind not in _NUMBERS:
            raise unreadable(place, f"values of type {array.dtype}", _EXPECTED)
        return array


def sampled_range(array: ArrayLike, *, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return two percentiles of a large array, for `value_range`, without reading all of it.

    Sixty-four planes are read, evenly spaced, or rows where planes are large, and of them every
    n-th value. The smallest value found does not count: it is background.

    Args:
        array: Numbers of any shape.
        low: Lower percentile, 0 to 100.
        high: Upper percentile.

    Raises:
        DatasetError: if there is no number in it.
    """
    if 0 in array.shape:
        raise DatasetError("the array is empty", found=f"shape {tuple(array.shape)}")
    plane = int(np.prod(array.shape[-2:]))
    together = 2 if len(array.shape) > 2 and plane <= _SAMPLED_VALUES else 1
    leading = array.shape[: len(array.shape) - together]
    count = int(np.prod(leading))
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_PARTS)).round().astype(int))
    parts = []
    for place in zip(*np.unravel_index(chosen, leading), strict=True):
        values = np.asarray(array[tuple(int(index) for index in place)]).reshape(-1)
        parts.append(values[:: max(1, len(values) * len(chosen) // _SAMPLED_VALUES)])
    return percentile_range(np.concatenate(parts), low, high)


def _axes(shape: tuple[int, ...], axes: str | None, known: tuple[str, ...]) -> str:
    if axes is not None:
        if axes not in known or len(axes) != len(shape):
            raise DatasetError(
                "the axes do not fit",
                found=f"axes {axes!r}, shape {shape}",
                expected=f"one of {', '.join(known)}, a letter for every axis",
            )
        return axes
    planar, interleaved = known[2], known[1]
    if len(shape) == len(known[0]) and 0 not in shape:
        return known[0]
    if len(shape) == len(interleaved) and 0 not in shape:
        # Few channels stand last in pictures, and before the plane in microscopes' files.
        last, before = shape[-1] <= 4, shape[planar.index("C")] <= 4
        return planar if before and not last else interleaved
    raise DatasetError(
        "the array is no image" if known is _IMAGE_AXES else "the array is no volume",
        found=f"shape {shape}",
        expected=" or ".join(known),
        fix="take the part of it that is one",
    )


def _check_channels(shape: tuple[int, ...], axes: str) -> None:
    channels = shape[axes.index("C")] if "C" in axes else 1
    if channels > 4:
        raise DatasetError(
            "there are too many channels",
            found=f"shape {shape}, axes {axes}",
            expected="1 to 3 channels, or 4 with alpha",
            fix="choose the channels, or name the axes with axes=",
        )


def _range(array: ArrayLike, value_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if value_range is not None:
        low, high = float(value_range[0]), float(value_range[1])
        if low < high:
            return low, high
        raise ConfigError(
            "the value range is empty", found=f"{low:g} to {high:g}", expected="low < high"
        )
    if np.dtype(array.dtype) == np.uint8:
        return None
    raise DatasetError(
        "values of more than 8 bits need a range",
        found=np.dtype(array.dtype),
        expected="uint8, or value_range=(low, high)",
        fix="value_range=samft.sampled_range(array), or a CT window such as (-160, 240)",
    )


def _rgb(
    part: NDArray[Any], axes: str, value_range: tuple[float, float] | None
) -> NDArray[np.uint8]:
    if value_range is not None:
        part = to_uint8(part, *value_range)
    if "C" not in axes:
        return np.repeat(part[:, :, None], 3, axis=2)
    channels = np.moveaxis(part, axes.index("C"), 2)
    count = channels.shape[2]
    if count == 1:
        return np.repeat(channels, 3, axis=2)
    if count == 2:
        mean = channels.mean(axis=2, keepdims=True).astype(np.uint8)
        return np.concatenate([channels, mean], axis=2)
    return np.ascontiguousarray(channels[:, :, :3])


def _open_npy(path: Path) -> ArrayLike:
    # np.load would open archives and pickles of this name too.
    return np.lib.format.open_memmap(path, mode="r")


def _open_tiff(path: Path) -> ArrayLike:
    with tifffile.TiffFile(path) as file:
        mappable = file.series[0].dataoffset is not None
    if mappable:
        return cast(ArrayLike, tifffile.memmap(path, mode="r"))
    zarr = require("zarr", extra="microscopy", purpose="read compressed TIFF files part by part")
    return _full_size(zarr.open(tifffile.imread(path, aszarr=True), mode="r"))


def _open_zarr(path: Path) -> ArrayLike:
    zarr = require("zarr", extra="microscopy", purpose="read zarr arrays")
    try:
        return _full_size(zarr.open(str(path), mode="r"))
    except FileNotFoundError as error:  # the folder is there
        raise unreadable(path, "a folder without a zarr array", _EXPECTED) from error


def _full_size(node: Any) -> ArrayLike:  # Any: a zarr array or group
    """Return the array, or of a group with several scales the first, which is the full one."""
    return cast(ArrayLike, node if hasattr(node, "shape") else node["0"])
