"""Where points in patient millimetres lie on the images of a DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.contour_filling import EvenOddFill
from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import items
from samft.data.readers.dicom_labels import SeriesPlanes

SAME_PLANE_MM = 0.01
"""Contours that lie closer together along the normal lie in one plane."""


class ContourGrid:
    """The pixels of a series whose images have a position.

    Args:
        series: The series.
    """

    def __init__(self, series: DicomSeries) -> None:
        assert series.positions is not None  # the caller checked
        assert series.orientation is not None  # images with a position have one
        self._size = series.size
        self._planes = SeriesPlanes(series)
        self._positions = series.positions
        self._directions = np.array(series.orientation).reshape(2, 3)
        self._normal = np.cross(*self._directions)
        self._spacing = np.array(series.spacing[::-1])  # between columns, between rows
        self._depths = self._positions @ self._normal  # rising
        self._begin, self._end = _slice_ends(self._depths, series)

    def image_of(self, depths: NDArray[np.float64], named: Sequence[int]) -> int | None:
        """Return the image within half a slice of a contour, one that it refers to before others.

        Args:
            depths: (N,) how far along the normal each point lies, millimetres.
            named: The images that the contour refers to.
        """
        nearest = int(np.abs(self._depths - depths.mean()).argmin())
        for image in (*named, nearest):
            if self._begin[image] <= depths.min() and depths.max() <= self._end[image]:
                return image
        return None

    def named(self, contour: Any) -> list[int]:  # Any: pydicom
        """Return the images that a contour refers to."""
        found = items(contour, "ContourImageSequence")
        return [image for item in found for image in self._planes.named(item)]

    def depths(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far along the normal points (N, 3) lie, millimetres."""
        return np.asarray(points @ self._normal)

    def pixels(self, points: NDArray[np.float64], image: int) -> NDArray[np.float64]:
        """Return (N, 2) column and row of points (N, 3) on an image."""
        return np.asarray((points - self._positions[image]) @ self._directions.T / self._spacing)

    def beside(self, depth: float, image: int) -> float:
        """Return how far from an image a depth is, millimetres."""
        return abs(depth - float(self._depths[image]))

    def fill(self, contours: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Return which pixels (rows, columns) lie in an odd number of contours."""
        fill = EvenOddFill(self._size)
        for points in contours:
            fill.add(points)
        return fill.mask()


def _slice_ends(
    depths: NDArray[np.float64], series: DicomSeries
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the slice of each image begins and ends: half-way to the next one."""
    assert series.geometry is not None  # images with a position have one
    steps = np.diff(depths)
    if not steps.size:
        steps = np.array([series.geometry.spacing_mm[series.geometry.axes.index(2)]])
    usual = float(np.median(steps))
    # Over a gap in the series a slice ends where it does elsewhere.
    between = np.minimum(np.diff(depths), usual) / 2 + SAME_PLANE_MM
    edge = [usual / 2 + SAME_PLANE_MM]
    return depths - np.concatenate([edge, between]), depths + np.concatenate([between, edge])
