"""Filling outlines by the even-odd rule, in memory that does not grow with the outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_CROSSINGS = 2**20
"""Crossings of edges and rows that are worked on at once."""
_FAR = 1e9  # pixels; beyond any image, and still exact enough where it crosses one


class EvenOddFill:
    """Which pixels lie inside an odd number of outlines.

    A pixel lies inside if its centre does. Walking along a row, every edge that is crossed leads in
    or out, so it is enough to count the crossings before each pixel.

    Args:
        size: (rows, columns).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        rows, columns = size
        self._crossed = np.zeros(rows * (columns + 1), np.uint8)

    def add(self, points: NDArray[np.float64]) -> None:
        """Add an outline, closed from its last point to its first.

        Args:
            points: (N, 2) finite (column, row), the first pixel's centre at (0, 0).
        """
        rows = self._size[0]
        points = np.clip(points, -_FAR, _FAR)
        following = np.roll(points, -1, axis=0)
        upper = np.where((points[:, 1] <= following[:, 1])[:, None], points, following)
        lower = np.where((points[:, 1] <= following[:, 1])[:, None], following, points)
        # An edge meets the rows from its upper end on, its lower end is the next edge's.
        first = np.ceil(np.clip(upper[:, 1], 0, rows)).astype(np.int64)
        last = np.ceil(np.clip(lower[:, 1], 0, rows)).astype(np.int64)
        counts = last - first
        meeting = np.flatnonzero(counts)
        ends = np.cumsum(counts[meeting])
        start = 0
        while start < meeting.size:
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _MOST_CROSSINGS, "right")))
            edges = meeting[start:stop]
            self._cross(upper[edges], lower[edges], first[edges], counts[edges])
            start = stop

    def mask(self) -> NDArray[np.bool_]:
        """Return the (rows, columns) that lie inside."""
        rows, columns = self._size
        crossed = self._crossed.reshape(rows, columns + 1)[:, :columns]
        return np.bitwise_xor.accumulate(crossed, axis=1).astype(np.bool_)

    def _cross(
        self,
        upper: NDArray[np.float64],
        lower: NDArray[np.float64],
        first: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        columns = self._size[1]
        edge = np.repeat(np.arange(counts.size), counts)
        row = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts)
        height = lower[edge, 1] - upper[edge, 1]
        share = (row - upper[edge, 1]) / height
        # Weighted, so that ends of very different size cannot overflow.
        column = upper[edge, 0] * (1 - share) + lower[edge, 0] * share
        at = np.ceil(np.clip(column, 0, columns)).astype(np.int64)
        places, times = np.unique(row * (columns + 1) + at, return_counts=True)
        self._crossed[places] ^= (times % 2).astype(np.uint8)
