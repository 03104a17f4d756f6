"""Objects in depth: masks of neighbouring slices that are the same object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from samft.inference.disjoint import LabelledMasks, pair_ious
from samft.inference.volume_settings import LinkSettings

Load = Callable[[int], LabelledMasks]
"""Gives the masks of the slice with this index."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Slices in which an object was missed.

    Args:
        track: The object.
        before: Last slice before the gap, and the object's label there.
        after: First slice after it, and the object's label there.
    """

    track: int
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tracks:
    """Which masks are which object.

    Args:
        of_slice: For every slice (n,) int64, the track of every mask.
        voxels: (t,) int64, pixels of every track in all slices.
        seen: (t,) int64, slices in which it was seen.
        scores: (t,) float64, mean predicted IoU.
        gaps: Where tracks were missed, by their first missing slice.
    """

    of_slice: list[NDArray[np.int64]]
    voxels: NDArray[np.int64]
    seen: NDArray[np.int64]
    scores: NDArray[np.float64]
    gaps: list[Gap]

    def numbers(self, settings: LinkSettings) -> NDArray[np.int32]:
        """Return (t + 1,) labels of the tracks from 1 on, 0 for those too small; the last is 0."""
        kept = (self.voxels >= settings.min_voxels) & (self.seen >= settings.min_slices)
        numbers = np.append(np.cumsum(kept) * kept, 0)
        return numbers.astype(np.int32)


def link(count: int, load: Load, settings: LinkSettings) -> Tracks:
    """Follow objects through the slices.

    Every slice is matched to the one before, one to one, such that the sum of IoUs is largest;
    then what is left to objects that were last seen one slice earlier, and so on.

    Args:
        count: Number of slices.
        load: Gives the masks of a slice; asked for neighbouring slices again and again.
        settings: What makes two masks the same object.

    Source: Kuhn 1955, "The Hungarian method for the assignment problem".
    """
    of_slice: list[NDArray[np.int64]] = []
    last_seen: list[int] = []
    gaps: list[Gap] = []
    for index in range(count):
        masks = load(index)
        tracks = np.full(masks.count, -1, np.int64)
        for earlier in range(index - 1, max(index - 2 - settings.max_gap, -1), -1):
            pairs = _matches(
                load(earlier),
                masks,
                open_before=np.array([last_seen[t] == earlier for t in of_slice[earlier]], bool),
                open_here=tracks < 0,
                iou=settings.link_iou,
            )
            for before, here in pairs:
                track = int(of_slice[earlier][before])
                tracks[here], last_seen[track] = track, index
                if earlier < index - 1:
                    gaps.append(Gap(track, (earlier, before + 1), (index, here + 1)))
        fresh = np.flatnonzero(tracks < 0)
        tracks[fresh] = len(last_seen) + np.arange(len(fresh))
        last_seen += [index] * len(fresh)
        of_slice.append(tracks)
    return _measured(of_slice, load, len(last_seen), gaps)


def interpolated(
    before: NDArray[np.bool_], after: NDArray[np.bool_], share: float
) -> NDArray[np.bool_]:
    """Return the shape between two masks of one place, by their distances from the border.

    Args:
        before: (h, w) bool.
        after: (h, w) bool.
        share: How far between them, 0 to 1.

    Source: Raya and Udupa 1990, "Shape-based interpolation of multidimensional objects".
    """
    distance = (1 - share) * _signed_distance(before) + share * _signed_distance(after)
    return distance > 0


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside = np.asarray(ndimage.distance_transform_edt(mask), dtype=np.float64)
    outside = np.asarray(ndimage.distance_transform_edt(~mask), dtype=np.float64)
    # The border lies between the pixels, half a pixel from each.
    return np.where(mask, inside - 0.5, 0.5 - outside)


def _matches(
    before: LabelledMasks,
    here: LabelledMasks,
    *,
    open_before: NDArray[np.bool_],
    open_here: NDArray[np.bool_],
    iou: float,
) -> list[tuple[int, int]]:
    """Return pairs of positions of masks that are the same object."""
    if not (open_before.any() and open_here.any()):
        return []
    pairs, ious = pair_ious(before.labels, here.labels)
    rows, columns = pairs[:, 0] - 1, pairs[:, 1] - 1
    usable = open_before[rows] & open_here[columns] & (ious >= iou)
    names_before, at_before = np.unique(rows[usable], return_inverse=True)
    names_here, at_here = np.unique(columns[usable], return_inverse=True)
    gain = np.zeros((len(names_before), len(names_here)))
    gain[at_before, at_here] = ious[usable]
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [
        (int(names_before[row]), int(names_here[column]))
        for row, column in chosen
        if gain[row, column] > 0
    ]


def _measured(of_slice: list[NDArray[np.int64]], load: Load, count: int, gaps: list[Gap]) -> Tracks:
    voxels, seen = np.zeros(count, np.int64), np.zeros(count, np.int64)
    scores = np.zeros(count)
    for index, tracks in enumerate(of_slice):
        masks = load(index)
        voxels[tracks] += masks.areas()
        scores[tracks] += masks.scores
        seen[tracks] += 1
    return Tracks(
        of_slice=of_slice,
        voxels=voxels,
        seen=seen,
        scores=scores / np.maximum(seen, 1),
        gaps=sorted(gaps, key=lambda gap: (gap.before[0], gap.track)),
    )
