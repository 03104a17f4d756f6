"""Outlines of masks along the edges of their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Point = tuple[int, int]
"""(x, y) of a corner of a pixel; the top left corner of the image is (0, 0)."""
Ring = list[Point]
"""A closed line: the last corner is the first. Only corners where it turns are in it."""


@dataclass(frozen=True, slots=True)
class Polygon:
    """One piece of a mask.

    Args:
        outline: Its outer ring; encloses a positive area in the order of its corners.
        holes: Rings around what does not belong to it; they enclose negative areas.
    """

    outline: Ring
    holes: list[Ring] = field(default_factory=list)


def mask_polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Return the polygons that cover exactly the pixels of a mask.

    Pixels that only meet at a corner are different pieces. Rings never touch themselves, so that
    every tool takes them for valid.

    Args:
        mask: (H, W) bool.

    Returns:
        The pieces, from top to bottom; none for an empty mask.
    """
    found = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not found[0].size:
        return []
    top, left = int(found[0][0]), int(found[1][0])
    window = mask[top : found[0][-1] + 1, left : found[1][-1] + 1]
    pieces, count = ndimage.label(window)
    outlines: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = defaultdict(list)
    for ring, pixel in _rings(window):
        piece = int(pieces[pixel])
        moved = [(x + left, y + top) for x, y in ring]
        if signed_area(moved) > 0:
            outlines[piece] = moved
        else:
            holes[piece].append(moved)
    return [Polygon(outlines[piece], holes[piece]) for piece in range(1, count + 1)]


def signed_area(ring: Ring) -> float:
    """Return the area a ring encloses, negative where it runs the other way round."""
    corners = np.asarray(ring, np.float64)
    x, y = corners[:, 0], corners[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2


def _rings(mask: NDArray[np.bool_]) -> Iterator[tuple[Ring, tuple[int, int]]]:
    """Yield every ring with a pixel (row, column) of the mask that lies along it.

    Edges have the mask on their right (x right, y down), so rings around it have a positive area.
    """
    onward: dict[Point, list[Point]] = defaultdict(list)
    beside: dict[tuple[Point, Point], tuple[int, int]] = {}
    for start, end, pixel in (*_edges(mask), *_edges(mask.T, turned=True)):
        onward[start].append(end)
        beside[start, end] = pixel
    while onward:
        yield from _walk(next(iter(onward)), onward, beside)


def _walk(
    start: Point,
    onward: dict[Point, list[Point]],
    beside: dict[tuple[Point, Point], tuple[int, int]],
) -> Iterator[tuple[Ring, tuple[int, int]]]:
    """Follow edges from `start` until none is left there; a corner met again closes a ring.

    Where pieces meet at a corner two edges lead on; the one to the right stays with its piece.
    """
    path, position = [start], {start: 0}
    while path[-1] in onward:
        ends = onward[path[-1]]
        end = ends[0]
        if len(ends) > 1 and len(path) > 1 and not _is_right_turn(path[-2], path[-1], end):
            end = ends[1]
        ends.remove(end)
        if not ends:
            del onward[path[-1]]
        if end not in position:
            position[end] = len(path)
            path.append(end)
            continue
        kept = position[end] + 1
        ring = [*path[kept - 1 :], end]
        yield ring, beside[ring[0], ring[1]]
        for corner in path[kept:]:
            del position[corner]
        del path[kept:]


def _is_right_turn(before: Point, corner: Point, after: Point) -> bool:
    (x1, y1), (x2, y2), (x3, y3) = before, corner, after
    return (x2 - x1) * (y3 - y2) - (y2 - y1) * (x3 - x2) > 0


def _edges(
    mask: NDArray[np.bool_], *, turned: bool = False
) -> Iterator[tuple[Point, Point, tuple[int, int]]]:
    """Yield the longest straight edges along rows: start, end, and a pixel of the mask beside it.

    Args:
        mask: (H, W) bool.
        turned: Whether x and y are exchanged.
    """
    padded = np.pad(mask, ((1, 1), (0, 0))).astype(np.int8)
    change = np.pad(padded[1:] - padded[:-1], ((0, 0), (1, 1)))  # 1 where the mask begins below
    rows, columns = np.nonzero(change[:, 1:] != change[:, :-1])
    for at in range(len(rows) - 1):
        row, first, last = int(rows[at]), int(columns[at]), int(columns[at + 1])
        kind = int(change[row, first + 1])
        if kind == 0 or rows[at + 1] != row:
            continue
        ends = ((first, row), (last, row))
        pixel = (row if kind > 0 else row - 1, first)
        # Begins below: rightwards has the mask on the right. Exchanging x and y turns it round.
        start, end = ends if (kind > 0) != turned else ends[::-1]
        if turned:
            start, end, pixel = start[::-1], end[::-1], pixel[::-1]
        yield start, end, pixel
