"""One object where tiles saw several: which masks of different tiles belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samft.inference.disjoint import LabelledMasks, pair_ious
from samft.inference.label_stores import LabelStore
from samft.inference.tile_settings import TileSettings
from samft.inference.tiles import TileGrid, common, local

Load = Callable[[int], LabelledMasks]
"""Gives the masks of the tile with this index."""

DROPPED: Final = -1
"""The object of masks that are left out."""
_EDGE_SHARE: Final = 0.01
_EDGE_LEAST: Final = 2


class DisjointSets:
    """Numbers that are joined into sets, step by step.

    Args:
        count: How many numbers, each a set of its own at first.

    Source: Tarjan 1975, "Efficiency of a good but not linear set union algorithm"; path halving.
    """

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, item: int) -> int:
        """Return the number that stands for the set; the smallest in it."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fragments:
    """All masks of all tiles, n in all, tile by tile, without their pixels.

    Args:
        first: (tiles + 1,) int64, where the masks of each tile begin.
        scores: (n,) float32.
        areas: (n,) int64, pixels.
        depths: (n,) int64, distance to the nearest edge of the tile that is none of the image.
        owned: (n,) bool, whether the middle lies in the tile's core.
    """

    first: NDArray[np.int64]
    scores: NDArray[np.float32]
    areas: NDArray[np.int64]
    depths: NDArray[np.int64]
    owned: NDArray[np.bool_]

    @classmethod
    def of(cls, grid: TileGrid, load: Load) -> Fragments:
        """Look at every tile once."""
        counts, scores, areas, depths, owned = [0], [], [], [], []
        for tile in grid:
            masks = load(tile.index)
            x, y = tile.outer[:2]
            boxes = [(x1 + x, y1 + y, x2 + x, y2 + y) for x1, y1, x2, y2 in masks.boxes()]
            counts.append(masks.count)
            scores.append(masks.scores)
            areas.append(masks.areas())
            depths += [grid.depth(tile, box) for box in boxes]
            owned += [
                grid.owner((x1 + x2) / 2, (y1 + y2) / 2) == tile.index for x1, y1, x2, y2 in boxes
            ]
        return cls(
            first=np.cumsum(counts, dtype=np.int64),
            scores=np.concatenate(scores),
            areas=np.concatenate(areas),
            depths=np.array(depths, np.int64),
            owned=np.array(owned, np.bool_),
        )


def same_objects(grid: TileGrid, load: Load, first: NDArray[np.int64], iou: float) -> DisjointSets:
    """Join masks of different tiles that agree where both tiles look.

    Args:
        grid: The tiles.
        load: Gives the masks of a tile.
        first: Where the masks of each tile begin.
        iou: IoU within the common part from which two masks are the same object.
    """
    sets = DisjointSets(int(first[-1]))
    for tile in grid:
        here = load(tile.index)
        for neighbour in grid.later_neighbours(tile):
            there = load(neighbour.index)
            shared = common(tile.outer, neighbour.outer)
            assert shared is not None  # neighbours overlap
            pairs, ious = pair_ious(
                here.labels[local(shared, tile.outer[:2])],
                there.labels[local(shared, neighbour.outer[:2])],
            )
            for one, other in pairs[ious >= iou]:
                sets.join(int(first[tile.index] + one - 1), int(first[neighbour.index] + other - 1))
    return sets


def choose(
    fragments: Fragments, sets: DisjointSets, *, edge: int, min_area: int
) -> NDArray[np.int64]:
    """Decide which masks make up the objects.

    Of masks of one object that farthest from the edges of its tile is taken, as it is; an object
    that every tile cuts is all its pieces together. A mask that only one tile has must have its
    middle in that tile's core: what lies there the tile saw best, and no place is asked twice.

    Args:
        fragments: All masks.
        sets: Which of them are the same object.
        edge: Distance in pixels up to which a mask counts as cut by its tile.
        min_area: Least pixels of an object.

    Returns:
        (n,) int64: a number for every object, the same for all its pieces, or `DROPPED`.
    """
    chosen = np.full(len(fragments.scores), DROPPED, np.int64)
    members: dict[int, list[int]] = {}
    for item in range(len(chosen)):
        members.setdefault(sets.root(item), []).append(item)
    for root, items in members.items():
        if len(items) == 1 and not fragments.owned[items[0]]:
            continue
        best = max(items, key=lambda item: (fragments.depths[item], fragments.scores[item]))
        pieces = [best] if fragments.depths[best] > edge else items
        if fragments.areas[pieces].sum() >= min_area:
            chosen[pieces] = root
    return chosen


def edge_tolerance(side: int) -> int:
    """Return the distance in pixels up to which a mask counts as cut by a tile of this side."""
    return max(_EDGE_LEAST, round(_EDGE_SHARE * side))


def paint(
    grid: TileGrid,
    load: Load,
    store: LabelStore,
    *,
    fragments: Fragments,
    chosen: NDArray[np.int64],
    settings: TileSettings,
    painted: Callable[[], None],
) -> NDArray[np.float32]:
    """Write the objects into an empty label array, numbered from 1 on in the order of tiles.

    Nothing that is written is written over, so numbers never lose all their pixels.

    Args:
        grid: The tiles.
        load: Gives the masks of a tile.
        store: (H, W) labels.
        fragments: All masks.
        chosen: Which masks make up which object.
        settings: How much of a mask must be free.
        painted: Called after every tile.

    Returns:
        (count,) predicted IoU of every object.
    """
    numbers = _Numbers(np.bincount(chosen[chosen >= 0], minlength=len(chosen)) > 1)
    for tile in grid:
        objects = chosen[int(fragments.first[tile.index]) : int(fragments.first[tile.index + 1])]
        if (objects >= 0).any():
            masks, window = load(tile.index), local(tile.outer, (0, 0))
            values = store.read(window)
            table = numbers.table(masks, objects, _visible(masks, values), settings.min_visible)
            np.copyto(values, table[masks.labels], where=values == 0)
            store.write(window, values)
        painted()
    return np.asarray(numbers.scores, np.float32)


class _Numbers:
    """Numbers objects from 1 on when the first of their pixels is painted.

    Args:
        in_pieces: (objects,) bool, those put together from several masks.
    """

    def __init__(self, in_pieces: NDArray[np.bool_]) -> None:
        self.scores: list[float] = []
        self._in_pieces = in_pieces
        self._numbers: dict[int, int] = {}

    def table(
        self,
        masks: LabelledMasks,
        objects: NDArray[np.int64],
        visible: NDArray[np.float64],
        min_visible: float,
    ) -> NDArray[np.int32]:
        """Return (n + 1,) what the labels of a tile become; 0 for what is left out."""
        # A piece may be small: what counts is the whole.
        needed = np.where(self._in_pieces[objects], 0.0, min_visible)
        table = np.zeros(masks.count + 1, np.int32)
        for row in np.flatnonzero((objects >= 0) & (visible > 0) & (visible >= needed)):
            number = self._numbers.setdefault(int(objects[row]), len(self._numbers) + 1)
            score = float(masks.scores[row])
            if number > len(self.scores):
                self.scores.append(score)
            self.scores[number - 1] = max(self.scores[number - 1], score)
            table[row + 1] = number
        return table


def _visible(masks: LabelledMasks, taken: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (n,) share of every mask that is free."""
    free = np.bincount(masks.labels[taken == 0], minlength=masks.count + 1)[1:]
    return free / np.maximum(masks.areas(), 1)


def remembered(load: Load, most: int = 6) -> Load:
    """Keep the masks of the last few tiles in memory."""
    return lru_cache(maxsize=most)(load)
