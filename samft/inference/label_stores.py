"""Label arrays too large for memory: written window by window to zarr, TIFF or `.npy`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from samft._deps import require
from samft.errors import OutputError

Window = tuple[slice, ...]
"""One slice for every axis."""

LABEL_SUFFIXES: Final = (".npy", ".tif", ".tiff", ".zarr")
"""The kinds of files labels are written to."""
_CHUNK: Final = 512


class LabelStore(Protocol):
    """An int32 array on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    def read(self, window: Window) -> NDArray[np.int32]:
        """Return a part, as an array of its own."""

    def write(self, window: Window, values: NDArray[np.int32]) -> None:
        """Replace a part."""


class MappedLabels:
    """Labels in a plain file; only the part in use is mapped, so that memory stays small.

    Args:
        path: The file.
        shape: Length of every axis.
        offset: Where the values begin in the file, bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], offset: int) -> None:
        self.path = path
        self.shape = shape
        self.offset = offset

    def read(self, window: Window) -> NDArray[np.int32]:
        """Return a part, as an array of its own."""
        return np.array(self._map("r")[window])

    def write(self, window: Window, values: NDArray[np.int32]) -> None:
        """Replace a part."""
        mapped = self._map("r+")
        mapped[window] = values
        mapped.flush()

    def _map(self, mode: Any) -> np.memmap[Any, np.dtype[np.int32]]:  # Any: numpy's own literals
        # Little-endian in every file, whatever the machine.
        return np.memmap(self.path, "<i4", mode, self.offset, self.shape)


class ZarrLabels:
    """Labels in a zarr array.

    Args:
        array: The open array.
    """

    def __init__(self, array: Any) -> None:  # Any: zarr is optional
        self.array = array
        self.shape: tuple[int, ...] = tuple(array.shape)

    def read(self, window: Window) -> NDArray[np.int32]:
        """Return a part, as an array of its own."""
        return np.asarray(self.array[window], dtype=np.int32)

    def write(self, window: Window, values: NDArray[np.int32]) -> None:
        """Replace a part."""
        self.array[window] = values


def check_label_path(path: Path) -> None:
    """Check that labels can be written to a path, before anything is computed.

    Raises:
        OutputError: if the suffix is unknown, or something is there already.
        DependencyError: if zarr is asked for and not installed.
    """
    if path.suffix.lower() not in LABEL_SUFFIXES:
        raise OutputError(
            "labels cannot be written to this kind of file",
            where=path,
            expected=", ".join(LABEL_SUFFIXES),
        )
    if path.exists():
        raise OutputError(
            "the labels are there already",
            where=path,
            fix="delete them, or choose another output",
        )
    if path.suffix.lower() == ".zarr":
        require("zarr", extra="microscopy", purpose="write zarr arrays")


def create_labels(
    path: Path, shape: tuple[int, ...], *, slice_axis: int | None = None
) -> LabelStore:
    """Make an array of zeros, in place of what is there.

    Args:
        path: `.zarr`, `.tif`, `.tiff` or `.npy`.
        shape: Length of every axis.
        slice_axis: The axis along which slices will be written; zarr's chunks are one slice thick.
    """
    remove(path)
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        zarr = require("zarr", extra="microscopy", purpose="write zarr arrays")
        chunks = tuple(
            1 if axis == slice_axis else min(length, _CHUNK) for axis, length in enumerate(shape)
        )
        # Format 2, because every version of zarr, and other tools, read it.
        array = zarr.create_array(
            store=str(path),
            shape=shape,
            chunks=chunks,
            dtype="int32",
            fill_value=0,
            zarr_format=2,
            attributes={"_ARRAY_DIMENSIONS": list("zyx"[-len(shape) :])},
        )
        return ZarrLabels(array)
    if suffix == ".npy":
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype="<i4", shape=shape)
        return MappedLabels(path, shape, int(mapped.offset))
    mapped = tifffile.memmap(
        path,
        shape=shape,
        dtype="<i4",
        photometric="minisblack",
        bigtiff=4 * int(np.prod(shape, dtype=np.int64)) > 2**31,
        metadata={"axes": "ZYX"[-len(shape) :]},
    )
    return MappedLabels(path, shape, int(mapped.offset))


def publish(temporary: Path, path: Path) -> None:
    """Give a finished array its name; before that, nothing has it.

    Raises:
        OutputError: if something else has taken the name meanwhile.
    """
    if path.exists():
        raise OutputError(
            "something else was written there meanwhile", where=path, fix="choose another output"
        )
    if temporary.is_file():
        sync(temporary)
    temporary.rename(path)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
