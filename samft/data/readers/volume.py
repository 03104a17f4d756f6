"""Volumes in one orientation, whatever the file's, with the way back to the file's own.

The canonical array is (C, Z, Y, X): z from head to feet, y from front to back, x from the patient's
right to left. Slices along any axis then lie upright, as radiologists look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samft.errors import DatasetError

Axis = Literal["auto", "axial", "coronal", "sagittal"]
AXES: tuple[Axis, ...] = ("axial", "coronal", "sagittal")
"""Names of the canonical axes z, y, x: an axial slice has a fixed z, and so on."""

AXIS_LETTERS = "zyx"
"""One letter for each canonical axis, in the names of slices."""

_NEARLY_CUBIC = 1.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One named segment of a label volume.

    Args:
        name: Its name in the file.
        value: Its value in its layer.
        layer: The layer it lies in; segments that overlap lie in different layers.
    """

    name: str
    value: int
    layer: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeGeometry:
    """Where a volume lies in the patient and how its file stores it.

    Args:
        native_shape: (i, j, k) as in the file.
        native_affine: (4, 4) float64, file index (i, j, k) to millimetres, x right, y front, z up.
        axes: For each canonical axis (z, y, x) the file's axis.
        flips: For each canonical axis, whether it runs against the file's.
        channels: C, channels or label layers.
    """

    native_shape: tuple[int, int, int]
    native_affine: NDArray[np.float64]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    channels: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = (self.native_shape[axis] for axis in self.axes)
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in millimetres."""
        sizes = np.linalg.norm(self.native_affine[:3, :3], axis=0)
        z, y, x = (float(sizes[axis]) for axis in self.axes)
        return z, y, x

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): canonical index (x, y, z) to millimetres, x right, y front, z up."""
        step = np.zeros((4, 4))
        step[3, 3] = 1
        for column, canonical in enumerate((2, 1, 0)):
            axis, flip = self.axes[canonical], self.flips[canonical]
            step[axis, column] = -1 if flip else 1
            step[axis, 3] = self.native_shape[axis] - 1 if flip else 0
        return np.asarray(self.native_affine @ step)

    def slice_axis(self, axis: Axis) -> int:
        """Return the canonical axis to cut along.

        `auto` is the one with the largest spacing, or axial where the voxels are nearly cubes.
        """
        if axis != "auto":
            return AXES.index(axis)
        sizes = self.spacing_mm
        return int(np.argmax(sizes)) if max(sizes) > _NEARLY_CUBIC * min(sizes) else 0

    def to_canonical(self, native: NDArray[Any]) -> NDArray[Any]:
        """Turn a file's array, (i, j, k) or (i, j, k, C), into a (C, Z, Y, X) view."""
        stacked = native[..., None] if native.ndim == 3 else native
        turned = stacked.transpose(3, *self.axes)
        return turned[(slice(None), *(_step(flip) for flip in self.flips))]

    def to_native(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a canonical (Z, Y, X) array into the file's (i, j, k): the exact inverse."""
        z, y, x = (_step(flip) for flip in self.flips)
        return np.transpose(array[z, y, x], np.argsort(self.axes))

    def distance_mm(self, other: VolumeGeometry) -> float:
        """Return how far apart the corners of two volumes of one shape lie, at most."""
        z, y, x = (size - 1 for size in self.shape)
        corners = np.array([(i, j, k, 1) for i in (0, x) for j in (0, y) for k in (0, z)]).T
        return float(np.linalg.norm((self.affine - other.affine) @ corners, axis=0).max())


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """An image or label volume in canonical orientation.

    Args:
        array: (C, Z, Y, X) channels or label layers, in the file's own dtype.
        geometry: Where it lies and how to go back.
        segments: The named segments of a label volume, if its file names them.
    """

    array: NDArray[Any]
    geometry: VolumeGeometry
    segments: tuple[Segment, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in millimetres."""
        return self.geometry.spacing_mm


def geometry_for(
    path: Path, *, shape: tuple[int, int, int], affine: NDArray[np.float64], channels: int = 1
) -> VolumeGeometry:
    """Find the canonical orientation of a file.

    Args:
        path: The file, for the message.
        shape: (i, j, k) as in the file.
        affine: (4, 4), file index to millimetres, x right, y front, z up.
        channels: Channels or label layers.

    Raises:
        DatasetError: if the affine is not finite or squeezes an axis to nothing.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or sizes.min() <= 0 or _flat(matrix[:3, :3] / sizes):
        raise DatasetError(
            "the volume's position in space makes no sense",
            where=path,
            found=f"affine {matrix[:3].round(3).tolist()}",
            expected="finite numbers and three different directions",
            fix="correct its header, or save it again from a viewer such as 3D Slicer",
        )
    cosines = np.abs(matrix[:3, :3] / sizes)
    # The axis that points most along head-feet, then front-back, then right-left.
    best = max(permutations(range(3)), key=lambda p: sum(cosines[2 - i, p[i]] for i in range(3)))
    flips = tuple(bool(matrix[2 - i, best[i]] > 0) for i in range(3))
    return VolumeGeometry(
        native_shape=shape,
        native_affine=matrix,
        axes=(best[0], best[1], best[2]),
        flips=(flips[0], flips[1], flips[2]),
        channels=channels,
    )


def _flat(directions: NDArray[np.float64]) -> bool:
    return abs(float(np.linalg.det(directions))) < 1e-3


def _step(flip: bool) -> slice:
    return slice(None, None, -1 if flip else None)
