"""Where tiles lie: what each one sees, and what it answers for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

from samft.data.tiling import even_starts
from samft.inference.array_sources import Box


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image.

    Args:
        index: Its number, row by row.
        outer: What the model sees.
        core: The part of it that is this tile's own; the cores of all tiles are the image.
    """

    index: int
    outer: Box
    core: Box

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the model sees."""
        x1, y1, x2, y2 = self.outer
        return y2 - y1, x2 - x1


@dataclass(frozen=True, slots=True)
class _Cuts:
    """One axis: where tiles begin, and where their cores do."""

    length: int
    side: int
    starts: tuple[int, ...]

    @classmethod
    def of(cls, length: int, side: int, halo: int) -> Self:
        if length <= side:
            return cls(length, length, (0,))
        # The first and the last tile have no neighbour on one side and need no halo there.
        return cls(length, side, even_starts(length, side, overlap=2 * halo))

    @property
    def borders(self) -> tuple[int, ...]:
        """Where cores begin, and the end: the middle of what two neighbours both see."""
        pairs = zip(self.starts[:-1], self.starts[1:], strict=True)
        inner = ((start + self.side + following) // 2 for start, following in pairs)
        return (0, *inner, self.length)


class TileGrid:
    """Tiles of one size over an image, evenly spaced.

    All have the same size, those at the borders too, so that the model sees everything at one
    scale; neighbours share at least two halos.

    Args:
        size: (height, width) of the image.
        side: Side of a tile; a smaller image has smaller ones.
        halo: Least distance from a core to what the tile does not see, except where the image ends.
    """

    def __init__(self, size: tuple[int, int], *, side: int, halo: int) -> None:
        self.size = size
        self._rows = _Cuts.of(size[0], side, halo)
        self._columns = _Cuts.of(size[1], side, halo)

    def __len__(self) -> int:
        return len(self._rows.starts) * len(self._columns.starts)

    def __getitem__(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, column = divmod(index, len(self._columns.starts))
        x1, y1 = self._columns.starts[column], self._rows.starts[row]
        outer = (x1, y1, x1 + self._columns.side, y1 + self._rows.side)
        xs, ys = self._columns.borders, self._rows.borders
        return Tile(index, outer, (xs[column], ys[row], xs[column + 1], ys[row + 1]))

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def owner(self, x: float, y: float) -> int:
        """Return the index of the tile whose core holds a point of the image."""
        column = _part(self._columns.borders, x)
        return _part(self._rows.borders, y) * len(self._columns.starts) + column

    def later_neighbours(self, tile: Tile) -> list[Tile]:
        """Return the tiles of higher index that see something of what this one sees."""
        columns = len(self._columns.starts)
        row, column = divmod(tile.index, columns)
        rows = _overlapping(self._rows, row)
        around = [r * columns + c for r, c in product(rows, _overlapping(self._columns, column))]
        return [self[index] for index in around if index > tile.index]

    def depth(self, tile: Tile, box: Box) -> int:
        """Return how far a box stays from the edges of the tile that are none of the image.

        Args:
            tile: The tile.
            box: Pixels of the image.
        """
        height, width = self.size
        limits = (0, 0, width, height)
        gaps = [
            abs(edge - side)
            for edge, side, limit in zip(tile.outer, box, limits, strict=True)
            if edge != limit
        ]
        return min(gaps, default=max(height, width))


def common(one: Box, other: Box) -> Box | None:
    """Return what two boxes share, `None` for nothing."""
    x1, y1 = max(one[0], other[0]), max(one[1], other[1])
    x2, y2 = min(one[2], other[2]), min(one[3], other[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def local(box: Box, origin: tuple[int, int]) -> tuple[slice, slice]:
    """Return the index of a box in an array whose first pixel lies at `origin` (x, y)."""
    x, y = origin
    return slice(box[1] - y, box[3] - y), slice(box[0] - x, box[2] - x)


def _part(borders: tuple[int, ...], at: float) -> int:
    return min(max(bisect_right(borders, at) - 1, 0), len(borders) - 2)


def _overlapping(cuts: _Cuts, index: int) -> list[int]:
    start = cuts.starts[index]
    return [i for i, other in enumerate(cuts.starts) if abs(other - start) < cuts.side]
