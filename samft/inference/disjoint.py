"""From masks that overlap to labels that do not: every pixel belongs to one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.inference.records import MaskRecord
from samft.inference.run_lengths import RunLengths


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMasks:
    """Objects of one tile or one slice.

    Args:
        labels: (h, w) int32, 0 background, k + 1 object k.
        scores: (n,) float32, predicted IoU of every object.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.scores)

    def areas(self) -> NDArray[np.int64]:
        """Return (n,) pixels of every object."""
        return np.bincount(self.labels.ravel(), minlength=self.count + 1)[1:]

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Return (x1, y1, x2, y2) of every object, the far edges excluded."""
        found = ndimage.find_objects(self.labels, max_label=self.count)
        return [(x.start, y.start, x.stop, y.stop) for y, x in found]


def disjoint_masks(
    records: Sequence[MaskRecord], size: tuple[int, int], *, min_visible: float
) -> LabelledMasks:
    """Give every pixel to the most confident mask that has it.

    Masks of which too little is left are dropped, and take no pixel from others.

    Args:
        records: Masks of one image.
        size: (height, width) of the image.
        min_visible: Least share of its pixels that a mask must keep.
    """
    height, width = size
    # Run lengths go down the columns; so does this array.
    flat = np.zeros(width * height, np.int32)
    scores: list[float] = []
    for record in sorted(records, key=lambda record: -record.predicted_iou):
        pixels = _pixels(record.runs)
        free = pixels[flat[pixels] == 0]
        if len(free) and len(free) >= min_visible * len(pixels):
            scores.append(record.predicted_iou)
            flat[free] = len(scores)
    labels = np.ascontiguousarray(flat.reshape(width, height).T)
    return LabelledMasks(labels, np.asarray(scores, np.float32))


def pair_ious(
    one: NDArray[np.int32], other: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which labels of two maps of the same place overlap, and by how much.

    Args:
        one: (h, w) labels.
        other: (h, w) labels.

    Returns:
        (k, 2) pairs of labels, and (k,) IoU of each within these maps.
    """
    both = (one > 0) & (other > 0)
    base = int(other.max(initial=0)) + 1
    codes, shared = np.unique(one[both].astype(np.int64) * base + other[both], return_counts=True)
    pairs = np.stack(np.divmod(codes, base), axis=1)
    union = np.bincount(one.ravel())[pairs[:, 0]] + np.bincount(other.ravel())[pairs[:, 1]] - shared
    return pairs, shared / np.maximum(union, 1)


def _pixels(runs: RunLengths) -> NDArray[np.int64]:
    """Return the indices of a mask's pixels, column by column."""
    ends = np.cumsum(runs.counts)
    lengths = runs.counts[1::2]
    begun = np.cumsum(lengths) - lengths
    starts = ends[0 : 2 * len(lengths) : 2]
    return np.repeat(starts - begun, lengths) + np.arange(int(lengths.sum()))
