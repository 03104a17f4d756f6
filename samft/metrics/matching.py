"""Which predicted object is which true one: overlaps of two sets of objects, and their matching.

Everything is counted in whole pixels and thresholds are whole percents, so that an IoU of exactly
0.6 is never 0.6000000000000001 and whether a match counts does not hang on rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from samft.errors import ConfigError
from samft.metrics.cases import Array, as_numpy

Ints = NDArray[np.int64]
_AREAS_AT_ONCE = 255
Rle = Mapping[str, Any]
"""A mask as pycocotools holds it: `size` (height, width) and compressed `counts`."""
Objects = Array | Sequence[Rle]
"""The objects of one case: (L, H, W) or (L, Z, Y, X) integer label layers, or a mask each as RLE.

In label layers 0 is background, a positive value is an object (the same one in every layer), and
any negative value says that the truth is unknown there.
"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Overlaps:
    """All pairs of a predicted and a true object that share pixels.

    Args:
        predicted: (n,) int64, index of the predicted object of each pair.
        target: (n,) int64, index of the true object.
        shared: (n,) int64, pixels they share, at least 1.
        predicted_area: (P,) int64 pixels where the truth is known.
        target_area: (T,) int64 pixels.
        unknown_area: (P,) int64 pixels of each predicted object where the truth is unknown.
    """

    predicted: Ints
    target: Ints
    shared: Ints
    predicted_area: Ints
    target_area: Ints
    unknown_area: Ints

    @property
    def union(self) -> Ints:
        """(n,) int64, pixels of either object of each pair."""
        return self.predicted_area[self.predicted] + self.target_area[self.target] - self.shared

    @property
    def iou(self) -> NDArray[np.float64]:
        """(n,) float64 IoU of each pair."""
        return self.shared / self.union

    def select(self, pairs: Any) -> Overlaps:  # Any: an index or a mask, as numpy takes it
        """Keep some of the pairs; all objects stay."""
        return Overlaps(
            predicted=self.predicted[pairs],
            target=self.target[pairs],
            shared=self.shared[pairs],
            predicted_area=self.predicted_area,
            target_area=self.target_area,
            unknown_area=self.unknown_area,
        )

    def reaching(self, percent: int, *, strict: bool = False) -> Overlaps:
        """Keep the pairs whose IoU is at least (strict: more than) `percent`."""
        gap = 100 * self.shared - percent * self.union
        return self.select(gap > 0 if strict else gap >= 0)


def overlaps(predicted: Objects, target: Objects) -> Overlaps:
    """Compare two sets of objects of one image or volume.

    Predicted objects that lie wholly where the truth is unknown are left out.

    Args:
        predicted: Label layers or RLE masks.
        target: Likewise; both of the same form and size.

    Raises:
        ConfigError: if the forms or sizes differ.
    """
    first: Any = predicted  # Any: which of the two forms it has is told by its shape, not its type
    second: Any = target
    layered = [hasattr(objects, "shape") for objects in (first, second)]
    if all(layered):
        return _of_layers(as_numpy(first), as_numpy(second))
    if any(layered):
        raise ConfigError(
            "objects in two forms cannot be compared",
            found="label layers and RLE masks",
            expected="both as label layers or both as RLE masks",
        )
    return _of_rles(list(first), list(second))


def match(pairs: Overlaps) -> Overlaps:
    """Choose pairs one to one: as many as possible, and of these the ones of largest summed IoU.

    Args:
        pairs: The pairs to choose from, see `Overlaps.reaching`.

    Source: Kuhn 1955, Naval Research Logistics 2 (assignment), with the number of pairs first as in
    the matching of StarDist.
    """
    most = min(len(pairs.predicted_area), len(pairs.target_area))
    return pairs.select(_assign(pairs, 1 + pairs.iou / (2 * max(most, 1))))


def match_by_iou(pairs: Overlaps) -> Overlaps:
    """Choose pairs one to one with the largest summed IoU, however many they are."""
    return pairs.select(_assign(pairs, pairs.iou))


def match_by_score(pairs: Overlaps, scores: NDArray[np.float64]) -> Overlaps:
    """Choose pairs greedily: the best scored prediction takes the free object of largest IoU.

    Args:
        pairs: The pairs to choose from.
        scores: (P,) of the predicted objects; on a tie the first comes first.

    Source: the matching of Lin et al. 2014, arXiv:1405.0312, as in COCO's evaluation.
    """
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    taken: set[int] = set()
    served: set[int] = set()
    chosen = []
    for index in np.lexsort((-pairs.iou, rank[pairs.predicted])).tolist():
        given, wanted = int(pairs.predicted[index]), int(pairs.target[index])
        if given not in served and wanted not in taken:
            served.add(given)
            taken.add(wanted)
            chosen.append(index)
    return pairs.select(np.array(sorted(chosen), dtype=np.int64))


def _assign(pairs: Overlaps, gain: NDArray[np.float64]) -> Ints:
    """Return the indices of the pairs of an assignment with the largest sum of gains."""
    if not len(gain):
        return np.zeros(0, dtype=np.int64)
    size = len(pairs.predicted_area)
    node = pairs.target + size
    total = size + len(pairs.target_area)
    ones = np.ones(len(gain), dtype=np.int8)
    graph = coo_array((ones, (pairs.predicted, node)), shape=(total, total))
    # Objects that touch no others in common are settled apart: small problems, not one large one.
    _, group = connected_components(graph, directed=False)
    of_pair = group[pairs.predicted]
    order = np.argsort(of_pair, kind="stable")
    starts = np.flatnonzero(np.diff(of_pair[order], prepend=-1))
    single = np.diff(starts, append=len(order)) == 1
    chosen = [order[starts[single]]]
    groups = [members for members in np.split(order, starts[1:]) if len(members) > 1]
    chosen += [members[_assign_group(pairs, gain, members)] for members in groups]
    return np.sort(np.concatenate(chosen))


def _assign_group(pairs: Overlaps, gain: NDArray[np.float64], members: Ints) -> Ints:
    rows, row = np.unique(pairs.predicted[members], return_inverse=True)
    columns, column = np.unique(pairs.target[members], return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    table[row, column] = gain[members]
    place = np.full(table.shape, -1, dtype=np.int64)
    place[row, column] = np.arange(len(members))
    chosen = place[linear_sum_assignment(table, maximize=True)]
    found: Ints = chosen[chosen >= 0]
    return found


def _of_layers(predicted: NDArray[Any], target: NDArray[Any]) -> Overlaps:
    if predicted.shape[1:] != target.shape[1:] or predicted.ndim < 3:
        raise ConfigError(
            "label layers of these shapes cannot be compared",
            found=f"{predicted.shape} and {target.shape}",
            expected="(layers, height, width) or (layers, z, y, x) of the same size",
        )
    unknown: NDArray[np.bool_] = np.any(target < 0, axis=0)
    given_values, given = _numbered(predicted)
    wanted_values, wanted = _numbered(np.where(unknown[None], 0, target))
    sizes = len(given_values), len(wanted_values)
    known_area, unknown_area = (
        np.bincount(given[:, part].ravel(), minlength=sizes[0] + 1)[1:]
        for part in (~unknown, unknown)
    )
    shared = coo_array(sizes, dtype=np.int64).tocsr()
    for first in given:
        for second in wanted:
            both = (first > 0) & (second > 0) & ~unknown
            spots = (first[both] - 1, second[both] - 1)
            ones = np.ones(len(spots[0]), dtype=np.int64)
            shared = shared + coo_array((ones, spots), shape=sizes).tocsr()
    area = np.bincount(wanted.ravel(), minlength=sizes[1] + 1)[1:]
    return _without_unknown(shared.tocoo(), known_area, area, unknown_area)


def _numbered(layers: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    """Return the positive values and the layers with their ranks from 1 on, 0 for all else."""
    labels: Ints = np.where(layers > 0, layers, 0).astype(np.int64)
    if labels.max(initial=0) > labels.size:
        values, ranks = np.unique(np.append(labels, 0), return_inverse=True)
        return values[1:], ranks[:-1].reshape(labels.shape)
    # Counting is several times faster than the sorting above, where there is room for the counts.
    values = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1)[1:]) + 1
    rank = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    rank[values] = np.arange(1, len(values) + 1)
    return values, rank[labels]


def _without_unknown(shared: Any, known: Ints, area: Ints, unknown: Ints) -> Overlaps:
    # Any: a sparse (P, T) array of shared pixels
    kept = (known > 0) | (unknown == 0)
    number = np.cumsum(kept) - 1
    return Overlaps(
        predicted=number[shared.row].astype(np.int64),
        target=shared.col.astype(np.int64),
        shared=shared.data.astype(np.int64),
        predicted_area=known[kept].astype(np.int64),
        target_area=area.astype(np.int64),
        unknown_area=unknown[kept].astype(np.int64),
    )


def _of_rles(predicted: list[Rle], target: list[Rle]) -> Overlaps:
    sizes = {tuple(rle["size"]) for rle in (*predicted, *target)}
    if len(sizes) > 1:
        raise ConfigError(
            "masks of different images cannot be compared",
            found=f"sizes {sorted(sizes)}",
            expected="one size (height, width)",
        )
    given, wanted = (areas(rles) for rles in (predicted, target))
    iou = np.zeros((len(given), len(wanted)))
    if len(given) and len(wanted):
        iou = np.asarray(coco_mask.iou(predicted, target, [0] * len(target)))
    rows, columns = np.nonzero(iou)
    ratio = iou[rows, columns]
    # |A and B| from IoU and both areas: whole numbers, exact after rounding.
    shared = np.rint((given[rows] + wanted[columns]) * ratio / (1 + ratio)).astype(np.int64)
    return Overlaps(
        predicted=rows.astype(np.int64),
        target=columns.astype(np.int64),
        shared=shared,
        predicted_area=given,
        target_area=wanted,
        unknown_area=np.zeros_like(given),
    )


def areas(rles: Sequence[Rle]) -> Ints:
    """Return the number of pixels of each mask, (n,).

    Some at a time: pycocotools 2.0.11 keeps their number in 8 bits, and numpy 2 refuses that.
    """
    starts = range(0, len(rles), _AREAS_AT_ONCE)
    parts = [coco_mask.area(list(rles[start : start + _AREAS_AT_ONCE])) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
