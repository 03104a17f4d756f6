"""Polygons to pixels by COCO's rule, without ever drawing the whole image.

Every ring is drawn by pycocotools itself, so the pixels are those of its `frPyObjects` and `decode`
on the whole image, bit for bit. Two exceptions, each by less than a fifth of a pixel: outlines of
images of more than 2 gigapixels, which pycocotools cannot number, and outlines that reach 10,000
pixels and more beyond the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samft.data.patches import Patch
from samft.data.records import Window
from samft.data.run_lengths import counts_of, patch_of_counts
from samft.errors import DatasetError

_MOST_NUMBERED = 2**31 - 1  # pixels; pycocotools counts in 32 bits
_STEPS_PER_PIXEL = 5  # it walks along every edge in fifths of a pixel
_MOST_STEPS = 20_000_000  # 24 bytes each
_FAR = 10_000  # pixels beyond the image; what lies farther is cut off before it is walked around
_TOUCH = 1.0  # pixels by which a ring may reach beyond its corners


def ring_box(ring: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return (top, left, bottom, right) of the corners."""
    (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
    return float(top), float(left), float(bottom), float(right)


def patch_of_ring(
    ring: NDArray[np.float64], size: tuple[int, int], window: Window, where: Path
) -> Patch | None:
    """Return the pixels of a ring inside a window.

    Args:
        ring: (N, 2) `(x, y)`, finite, N at least 3.
        size: (height, width) of the image.
        window: The part that is wanted.
        where: The file, for messages.

    Returns:
        The patch in the window's own coordinates, `None` if nothing lies there.

    Raises:
        DatasetError: if the outline is longer than any real one.
    """
    top, left, height, width = window
    box = ring_box(ring)
    if _apart(box, (top, left, top + height, left + width)):
        return None
    frame = (0, 0, *size) if size[0] * size[1] <= _MOST_NUMBERED else _shared(box, size, window)
    moved = _clipped(ring - (frame[1], frame[0]), frame[2], frame[3])
    if len(moved) == 0:
        return None
    steps = np.abs(np.diff(moved, axis=0, append=moved[:1])).max(axis=1).sum() * _STEPS_PER_PIXEL
    if steps > _MOST_STEPS:
        raise DatasetError(
            "the outline of an object is too long",
            where=where,
            found=f"{len(ring)} points, {steps / _STEPS_PER_PIXEL:.3g} pixels around",
            expected=f"at most {_MOST_STEPS // _STEPS_PER_PIXEL:.3g} pixels",
            fix="draw it again with fewer points, or take it out of the file",
        )
    encoded = coco_mask.frPyObjects([moved.reshape(-1).tolist()], frame[2], frame[3])[0]
    counts = counts_of(encoded["counts"], (frame[2], frame[3]))
    inner = (top - frame[0], left - frame[1], height, width)
    return patch_of_counts(counts, (frame[2], frame[3]), inner)


def _apart(box: tuple[float, float, float, float], other: tuple[int, int, int, int]) -> bool:
    return (
        box[0] > other[2] + _TOUCH
        or box[1] > other[3] + _TOUCH
        or box[2] < other[0] - _TOUCH
        or box[3] < other[1] - _TOUCH
    )


def _shared(
    box: tuple[float, float, float, float], size: tuple[int, int], window: Window
) -> Window:
    """Return the part of a window in which a ring can lie, as (top, left, height, width)."""
    top, left, height, width = window
    first = (
        max(0, top, int(max(box[0], 0) - _TOUCH)),
        max(0, left, int(max(box[1], 0) - _TOUCH)),
    )
    behind = (
        int(min(size[0], top + height, box[2] + 1 + _TOUCH)),
        int(min(size[1], left + width, box[3] + 1 + _TOUCH)),
    )
    return (*first, max(1, behind[0] - first[0]), max(1, behind[1] - first[1]))


def _clipped(ring: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Cut off what lies far beyond the image, where anything does."""
    for axis, side in ((0, width), (1, height)):
        for sign, limit in ((1.0, float(side + _FAR)), (-1.0, float(_FAR))):
            ring = _cut(ring, axis, sign, limit)
    return ring


def _cut(ring: NDArray[np.float64], axis: int, sign: float, limit: float) -> NDArray[np.float64]:
    """Keep the side of a line on which `sign` times the coordinate is at most `limit`.

    Source: Sutherland and Hodgman 1974, Reentrant polygon clipping.
    """
    room = limit - sign * ring[:, axis]
    inside = room >= 0
    if bool(inside.all()):
        return ring
    following, next_room = np.roll(ring, -1, axis=0), np.roll(room, -1)
    crosses = inside != np.roll(inside, -1)
    share = np.divide(room, room - next_room, out=np.zeros_like(room), where=crosses)
    crossing = ring + share[:, None] * (following - ring)
    both = np.stack([ring, crossing], axis=1).reshape(-1, 2)
    kept: NDArray[np.float64] = both[np.stack([inside, crosses], axis=1).reshape(-1)]
    return kept
