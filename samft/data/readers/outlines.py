"""What readers of drawn outlines share: rings that are checked, and a count of what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samft.data.readers.limits import check_declared_size, unreadable
from samft.data.shapes import Shape
from samft.errors import DatasetError

MOST_VERTICES = 500_000
"""Vertices of one outline; those of whole slides have some ten thousand."""
_FARTHEST = 1e7  # pixels from the corner; no image is as large
_SAGITTA = 0.05  # pixels by which the polygon that stands for an ellipse may miss it
_LARGEST_RADIUS = 1e5  # pixels up to which it does not miss it by more
NO_AREA = "outline without area"
"""What is said of polygons of fewer than three vertices, or all on a line along an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImage:
    """What a label file says about one image.

    Args:
        shapes: The outlines, the later above the earlier.
        size: (height, width) of the image, where the file states it, pixels.
        image_name: The image's name, as the file has it.
        left_out: What was drawn but is no object, with its count.
    """

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None
    image_name: str | None = None
    left_out: Mapping[str, int] = field(default_factory=Counter)


class Outlines:
    """Collects the shapes of one label file, in its order.

    Args:
        path: The file, for messages.
        shift: Pixels that are added to x and y: 0.5 where the tool means the centres of pixels.
    """

    def __init__(self, path: Path, *, shift: float = 0.0) -> None:
        self.path = path
        self.shapes: list[Shape] = []
        self.left_out: Counter[str] = Counter()
        self._shift = shift
        self._bitmap_bytes = 0

    def ring(self, points: ArrayLike) -> NDArray[np.float64] | None:
        """Check the vertices of an outline.

        Args:
            points: (N, 2) `(x, y)`, closed or not.

        Returns:
            The ring, not closed; `None`, and counted, if it has no area.

        Raises:
            DatasetError: if they are no numbers, lie absurdly far away, or are too many.
        """
        ring = self._checked(points)
        if len(ring) > 1 and bool((ring[0] == ring[-1]).all()):
            ring = ring[:-1]
        if len(ring) < 3 or not bool((np.ptp(ring, axis=0) > 0).all()):
            self.leave_out(NO_AREA)
            return None
        return ring + self._shift

    def add_polygon(
        self,
        class_name: str,
        points: ArrayLike,
        *,
        holes: Sequence[NDArray[np.float64]] = (),
        group: str | None = None,
        unknown: bool = False,
    ) -> None:
        """Add an outline; one without area is counted instead.

        Args:
            class_name: What it is.
            points: (N, 2) `(x, y)`.
            holes: Rings that are cut out.
            group: Which other shapes belong to the same object.
            unknown: Whether nothing is known of what lies inside.
        """
        ring = self.ring(points)
        if ring is not None:
            self.shapes.append(
                Shape(
                    class_name=class_name,
                    outer=(ring,),
                    holes=tuple(holes),
                    group=group,
                    unknown=unknown,
                )
            )

    def reserve_bitmap(self, height: int, width: int) -> None:
        """Refuse bitmaps that would together take more memory than one image may.

        Raises:
            DatasetError: if they would, or if a side is not positive.
        """
        check_declared_size(self.path, (height, width), 1)
        self._bitmap_bytes += height * width
        check_declared_size(self.path, (self._bitmap_bytes,), 1)

    def leave_out(self, kind: str) -> None:
        """Count something that is drawn but is no object."""
        self.left_out[kind] += 1

    def labelled(
        self, *, size: tuple[int, int] | None = None, image_name: str | None = None
    ) -> LabelledImage:
        """Return what was collected."""
        return LabelledImage(
            shapes=tuple(self.shapes),
            size=size,
            image_name=image_name,
            left_out=self.left_out,
        )

    def _checked(self, points: ArrayLike) -> NDArray[np.float64]:
        expected = "pairs of numbers, x and y in pixels"
        try:
            ring = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise unreadable(self.path, "vertices that are no numbers", expected) from error
        if ring.size == 0:
            return np.empty((0, 2))
        if ring.ndim != 2 or ring.shape[1] != 2:
            raise unreadable(self.path, f"vertices of the shape {ring.shape}", expected)
        check_count(ring, self.path)
        if not bool((np.abs(ring) <= _FARTHEST).all()):  # not a number is not within either
            raise DatasetError(
                "a vertex lies nowhere near the image",
                where=self.path,
                found=_first_far(ring),
                expected="coordinates in pixels of the image",
                fix="draw the shape again, or take the file out of the data set",
            )
        return ring


def check_count(points: Sized, path: Path) -> None:
    """Refuse an outline of more than `MOST_VERTICES`; for readers that gather them one by one.

    Raises:
        DatasetError: if there are more.
    """
    if len(points) > MOST_VERTICES:
        raise unreadable(
            path, f"an outline of more than {MOST_VERTICES} vertices", "outlines of objects"
        )


def rectangle(
    left: float, top: float, right: float, bottom: float, *, degrees: float = 0.0
) -> NDArray[np.float64]:
    """Return the corners of a rectangle, turned clockwise about its centre.

    Args:
        left: x of one side, pixels.
        top: y of one side.
        right: x of the opposite side.
        bottom: y of the opposite side.
        degrees: The angle.
    """
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    return turned(corners, degrees)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], *, degrees: float = 0.0
) -> NDArray[np.float64]:
    """Return a polygon that misses an ellipse by less than 0.05 pixels.

    Of one with a radius beyond 100,000 pixels it has as many corners as of one with that radius: a
    few words of a file should not become megabytes.

    Args:
        centre: (x, y), pixels.
        radii: Along x and y before it is turned, pixels.
        degrees: The angle by which it is turned clockwise about its centre.
    """
    longest = min(max(abs(radii[0]), abs(radii[1]), 1.0), _LARGEST_RADIUS)
    count = math.ceil(math.pi * math.sqrt(longest / (2 * _SAGITTA))) + 8
    angles = np.linspace(0, 2 * math.pi, count, endpoint=False)
    points = np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1)
    moved: NDArray[np.float64] = turned(points, degrees) + np.array(centre)
    return moved


def points_inside(points: NDArray[np.float64], ring: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points lie in a ring, by the number of its edges to the right of each.

    Args:
        points: (P, 2) `(x, y)`.
        ring: (N, 2) vertices, not closed.
    """
    x, y = points[:, :1], points[:, 1:]
    before, after = ring, np.roll(ring, -1, axis=0)
    crosses = (before[:, 1] > y) != (after[:, 1] > y)
    rise = np.where(after[:, 1] == before[:, 1], 1.0, after[:, 1] - before[:, 1])
    where = before[:, 0] + (y - before[:, 1]) * (after[:, 0] - before[:, 0]) / rise
    return np.asarray((crosses & (where > x)).sum(axis=1) % 2 == 1)


def turned(points: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Return points turned clockwise about the centre of the box around them.

    Args:
        points: (N, 2) `(x, y)`, at least one.
        degrees: The angle, 0 to 360 or beyond.
    """
    if degrees % 360 == 0:
        return points
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    # y runs down, so a positive angle of this matrix is clockwise on the screen.
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    moved: NDArray[np.float64] = (points - centre) @ matrix + centre
    return moved


def _first_far(ring: NDArray[np.float64]) -> str:
    x, y = ring[np.flatnonzero(~(np.abs(ring) <= _FARTHEST).all(axis=1))[0]]
    return f"({x:.6g}, {y:.6g})"
