"""OME-Zarr images, version 0.1 to 0.5: planes and parts of them, at any of their resolutions.

Source:
    OME-NGFF 0.4 and 0.5, sections "axes", "coordinateTransformations", "multiscales", "omero".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import unreadable
from samft.data.readers.ome_zarr_metadata import Multiscale, multiscale_of
from samft.data.readers.part import check_window
from samft.data.readers.zarr_nodes import read_node
from samft.data.readers.zarr_store import ZarrArray
from samft.data.records import Window
from samft.errors import DatasetError

_MOST_PLANES = 1_000_000


class OmeZarrImage:
    """An image, or a label image, in an OME-Zarr; nothing is decoded before it is asked for.

    Its planes are those of all time points and depths, time being the slower one.

    Args:
        folder: The group with the resolutions, or a plain zarr array.
        root: What nothing may lead out of; default: `folder`.

    Raises:
        DatasetError: if it is no image, or damaged.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.folder = folder
        self.root = (root or folder).resolve()
        self.metadata: Multiscale = multiscale_of(read_node(folder), self.root)
        self._arrays: dict[int, ZarrArray] = {}
        self._check_axes(0)

    @property
    def axes(self) -> str:
        """A letter of `tczyx` for every axis, `?` for those of length 1 of another meaning."""
        return self.metadata.axes

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the file calls its channels; empty where it says nothing."""
        return self.metadata.channel_names

    @property
    def num_levels(self) -> int:
        """Number of resolutions; 0 is the full one."""
        return len(self.metadata.levels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in the machine's byte order."""
        return self._array(0).header.dtype.newbyteorder("=")

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return self._length("c", 0)

    @property
    def num_planes(self) -> int:
        """Number of planes: time points times depths."""
        return self._length("t", 0) * self._length("z", 0)

    @property
    def spacing_mm(self) -> tuple[float | None, float, float] | None:
        """Voxel size (z, y, x) in millimetres at full resolution, where the file states it."""
        return self.metadata.spacing_mm

    def size(self, level: int = 0) -> tuple[int, int]:
        """Return (height, width) of the planes at a resolution."""
        return self._length("y", level), self._length("x", level)

    def shape(self, level: int = 0) -> tuple[int, int, int]:
        """Return (planes, height, width) at a resolution; some pyramids also halve the depth."""
        return self._length("t", level) * self._length("z", level), *self.size(level)

    def extent(self, level: int = 0) -> tuple[int, int, int, int]:
        """Return (time points, depths, height, width) at a resolution."""
        return self._length("t", level), self._length("z", level), *self.size(level)

    def level_for(self, factor: float) -> int:
        """Return the coarsest resolution that is at most `factor` times coarser than the full one.

        Args:
            factor: Of the sides of a pixel, 1 for full resolution.
        """
        full = self.size(0)
        fitting = [
            level
            for level in range(self.num_levels)
            if max(f / s for f, s in zip(full, self.size(level), strict=True)) <= factor * 1.01
        ]
        return max(fitting, key=lambda level: math.prod(full) / math.prod(self.size(level)))

    def plane(self, index: int, *, window: Window | None = None, level: int = 0) -> NDArray[Any]:
        """Read a plane or a part of it, (C, H, W) as stored.

        Args:
            index: Number of the plane.
            window: The part that is wanted, pixels at this resolution.
            level: The resolution.

        Raises:
            DatasetError: if there is no such plane or part, or it is damaged, or larger than
                allowed.
            DependencyError: if zarr is not installed.
        """
        depth = self._length("z", level)
        self._check_index(index, self._length("t", level) * depth)
        size = self.size(level)
        part = window or (0, 0, *size)
        check_window(self.folder, part, size)
        top, left, height, width = part
        pixels = self._read(
            level,
            t=index // depth,
            z=index % depth,
            y=slice(top, top + height),
            x=slice(left, left + width),
        )
        return pixels.reshape(-1, height, width)

    def across(self, axis: int, index: int, *, level: int = 0) -> NDArray[Any]:
        """Read a slice through all planes, (C, planes, W) or (C, planes, H) as stored.

        Args:
            axis: 1 for the slice at a row, 2 for the one at a column.
            index: Number of the row or column.
            level: The resolution.

        Raises:
            DatasetError: see `plane`.
        """
        self._check_index(index, self.size(level)[axis - 1])
        fixed = "y" if axis == 1 else "x"
        pixels = self._read(level, **{fixed: index})
        return pixels.reshape(pixels.shape[0], -1, pixels.shape[-1])

    def _read(self, level: int, **wanted: int | slice) -> NDArray[Any]:
        """Return what is wanted, in the order c, t, z, y, x, without those with one index."""
        array = self._array(level)
        key = tuple(0 if axis == "?" else wanted.get(axis, slice(None)) for axis in self.axes)
        values = array.read(key)
        kept = [a for a, part in zip(self.axes, key, strict=True) if isinstance(part, slice)]
        order = [axis for axis in "ctzyx" if axis in kept]
        values = values.transpose([kept.index(axis) for axis in order])
        if "c" not in kept:
            values = values[None]
        for place, axis in enumerate("tz", start=1):  # one that the file lacks has length 1
            if axis not in self.axes and axis not in wanted:
                values = np.expand_dims(values, place)
        return values

    def _array(self, level: int) -> ZarrArray:
        if level not in self._arrays:
            self._arrays[level] = ZarrArray(self.metadata.levels[level].folder, self.root)
            self._check_axes(level)
        return self._arrays[level]

    def _length(self, axis: str, level: int) -> int:
        shape = self._array(level).header.shape
        return shape[self.axes.index(axis)] if axis in self.axes else 1

    def _check_axes(self, level: int) -> None:
        shape = self._array(level).header.shape
        folder = self.metadata.levels[level].folder
        if len(shape) != len(self.axes):
            raise unreadable(folder, f"shape {shape}, axes {self.axes}", "a length for every axis")
        strange = [s for s, axis in zip(shape, self.axes, strict=True) if axis == "?" and s > 1]
        if strange:
            raise DatasetError(
                "the image has an axis of a kind that is not read",
                where=folder,
                found=f"shape {shape}, axes {', '.join(self.metadata.axis_names)}",
                expected="t, c, z, y, x",
                fix="save what lies along that axis as images of their own",
            )
        if self._length("t", level) * self._length("z", level) > _MOST_PLANES:
            raise unreadable(folder, f"shape {shape}", f"at most {_MOST_PLANES} planes")

    def _check_index(self, index: int, count: int) -> None:
        if not 0 <= index < count:
            raise DatasetError(
                "the image has no such plane",
                where=self.folder,
                found=index,
                expected=f"0 to {count - 1}",
            )
