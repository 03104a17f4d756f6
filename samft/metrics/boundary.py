"""How well the outlines of two masks agree: boundary IoU and boundary F."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.metrics.cases import (
    Array,
    BothEmpty,
    CaseRow,
    Kind,
    MaskPairMetric,
    as_numpy,
    kind_of,
)
from samft.metrics.surfaces import Mask, bounding_box

IOU_RATIO = 0.02
"""Width of the band of boundary IoU, as a share of the image's diagonal."""
DAVIS_RATIO = 0.008
"""Tolerance of the boundary F of DAVIS, as a share of the image's diagonal."""


def boundary_band(mask: Mask, width_px: int) -> Mask:
    """Return the part of a mask at most `width_px` from its outline, the outline included.

    Distances are along the longer of both axes, as of `width_px` erosions by 3 x 3 pixels; beyond
    the image is outside.

    Args:
        mask: (H, W) bool.
        width_px: At least 1.
    """
    box = bounding_box(mask)
    inside = mask[box].astype(np.uint8)
    for axis in range(mask.ndim):
        size = 2 * width_px + 1
        inside = ndimage.minimum_filter1d(inside, size, axis=axis, mode="constant", cval=0)
    band = mask.copy()
    band[box] &= inside == 0
    return band


def contour(mask: Mask) -> Mask:
    """Return the pixels that differ from the next one right, below or right below.

    One pixel wide, on either side of the outline; the image's own border is no contour.

    Source: Martin et al. 2004, IEEE PAMI 26(5), `seg2bmap` of the Berkeley benchmark.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def boundary_f(predicted: Mask, target: Mask, *, tolerance_px: float) -> float:
    """Return the F measure of two contours' pixels that lie within a tolerance of the other.

    Args:
        predicted: (H, W) bool.
        target: (H, W) bool.
        tolerance_px: Euclidean.

    Returns:
        In [0, 1]; 1 if neither mask has a contour, 0 if only one has.
    """
    given, wanted = contour(predicted), contour(target)
    if not given.any() or not wanted.any():
        return float(not given.any() and not wanted.any())
    precision = _near(given, wanted, tolerance_px)
    recall = _near(wanted, given, tolerance_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class BoundaryScores(MaskPairMetric):
    """Boundary IoU and boundary F per case and class, and their means.

    Both lie in [0, 1], higher is better, no unit:

    - `boundary_iou`: IoU of the two bands inside the masks along their outlines.
    - `boundary_f`: harmonic mean of the shares of either contour within a tolerance of the other.

    Empty: by the rule of `samft.metrics.cases`. `compute` returns each also as `<name>/<class>`.

    Args:
        class_names: Names of the classes, in the order of the masks.
        iou_ratio: Width of the band over the image's diagonal; rounded, at least one pixel.
        f_ratio: Tolerance over the image's diagonal, rounded up to whole pixels. 0.008 is DAVIS';
            BSDS allows 0.0075, though with one-to-one matching, see `samft.metrics.edges`.
        both_empty: What a case without object and prediction is worth.

    Source: Cheng et al. 2021, arXiv:2103.16562, section 4 (IoU); Perazzi et al. 2016, CVPR, section
    4 (F), with the contours and the tolerance of its evaluation code.
    """

    def __init__(
        self,
        class_names: Sequence[str] = (),
        *,
        iou_ratio: float = IOU_RATIO,
        f_ratio: float = DAVIS_RATIO,
        both_empty: BothEmpty = "perfect",
    ) -> None:
        super().__init__(class_names, both_empty=both_empty)
        self.iou_ratio = iou_ratio
        self.f_ratio = f_ratio

    def update(self, predicted: Array | None, target: Array, *, case_id: str) -> None:
        """Add one case.

        Args:
            predicted: (K, H, W) bool, one mask per class; `None` if there is no prediction.
            target: Like `predicted`.
            case_id: The case's name, unique in the data set.
        """
        for part, (answer, truth) in enumerate(self._masks(predicted, target)):
            wanted = as_numpy(truth).astype(bool, copy=False)
            given = None if answer is None else as_numpy(answer).astype(bool, copy=False)
            self._add(case_id, self._compare(given, wanted), part=part)

    def _compare(self, given: Mask | None, wanted: Mask) -> tuple[float, float, float]:
        kind = Kind.MISSING if given is None else kind_of(bool(given.any()), bool(wanted.any()))
        if given is None or kind != Kind.BOTH:
            return kind, math.nan, math.nan
        diagonal = math.hypot(*wanted.shape)
        width = max(1, round(self.iou_ratio * diagonal))
        bands = boundary_band(given, width), boundary_band(wanted, width)
        overlap, union = (
            np.count_nonzero(bands[0] & bands[1]),
            np.count_nonzero(bands[0] | bands[1]),
        )
        tolerance = math.ceil(self.f_ratio * diagonal)
        return kind, overlap / union, boundary_f(given, wanted, tolerance_px=tolerance)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        kind = Kind(int(row.values[0]))
        if kind != Kind.BOTH:
            score = self._without_comparison(kind, alike=1.0, apart=0.0)
            return {"boundary_iou": score, "boundary_f": score}
        return {"boundary_iou": float(row.values[1]), "boundary_f": float(row.values[2])}


def _near(pixels: Mask, others: Mask, tolerance_px: float) -> float:
    """Return the share of `pixels` within the tolerance of any of `others`."""
    margin = math.ceil(tolerance_px)
    box = tuple(
        slice(max(0, part.start - margin), part.stop + margin) for part in bounding_box(others)
    )
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~others[box])
    hits = np.count_nonzero(pixels[box] & (distances <= tolerance_px))
    return hits / np.count_nonzero(pixels)
