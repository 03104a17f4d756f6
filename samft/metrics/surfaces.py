"""How far the surfaces of two masks are apart: HD, HD95, ASSD and NSD, in millimetres or pixels.

The surface of a mask are its pixels (voxels) with a neighbour across an edge (a face) that is not
in the mask; the outside of the image is not in the mask. Distances run between centres of surface
pixels, each pixel counting the same. That is MONAI's definition (`get_mask_edges`). DeepMind's
`surface-distance` puts the surface between the pixels and weighs it by its area: it gives NSD and
average distances that differ by fractions of a voxel, more so where voxels are far from cubes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from samft.errors import ConfigError
from samft.metrics.cases import (
    Array,
    BothEmpty,
    CaseRow,
    Kind,
    MaskPairMetric,
    as_numpy,
    kind_of,
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SurfaceDistances:
    """The distance of every surface pixel of one mask to the other's surface.

    Args:
        forward: (n,) float64, from the prediction to the truth.
        backward: (m,) float64, from the truth to the prediction.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    def hausdorff(self, percentile: float = 100, *, pooled: bool = False) -> float:
        """Return the Hausdorff distance, or a percentile of it.

        Args:
            percentile: Of the distances, with linear interpolation.
            pooled: Take the percentile of both directions' distances together (as medpy does);
                otherwise the larger of the two directions' percentiles (as MONAI does).
        """
        if pooled:
            together = np.concatenate([self.forward, self.backward])
            return float(np.percentile(together, percentile))
        both = (self.forward, self.backward)
        return max(float(np.percentile(distances, percentile)) for distances in both)

    def average(self) -> float:
        """Return the average symmetric surface distance: the mean over both surfaces' pixels."""
        total = float(self.forward.sum() + self.backward.sum())
        return total / (len(self.forward) + len(self.backward))

    def within(self, tolerance: float) -> float:
        """Return the share of both surfaces' pixels at most `tolerance` from the other surface."""
        near = np.count_nonzero(self.forward <= tolerance)
        near += np.count_nonzero(self.backward <= tolerance)
        return float(near / (len(self.forward) + len(self.backward)))


def bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box around a mask of any dimension; empty slices if it is empty."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
        mask = mask[(slice(None),) * axis + (slices[-1],)]
    return tuple(slices)


def surface(mask: Mask) -> Mask:
    """Return the pixels of a mask with a direct neighbour outside; beyond the array is outside."""
    interior = mask.copy()
    for axis in range(mask.ndim):
        before, after = np.moveaxis(interior, axis, 0), np.moveaxis(mask, axis, 0)
        before[:-1] &= after[1:]
        before[1:] &= after[:-1]
        before[0] = before[-1] = False
    edge: Mask = mask & ~interior
    return edge


def surface_points(mask: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the positions of a mask's surface pixels.

    Args:
        mask: (Y, X) or (Z, Y, X) bool.
        spacing: Pixel size along each axis.

    Returns:
        (n, 2 or 3) float64, in the unit of `spacing`, row-major order.
    """
    box = bounding_box(mask)
    first = np.array([part.start for part in box])
    pixels: NDArray[np.int64] = np.argwhere(surface(mask[box]))
    positions: NDArray[np.float64] = (pixels + first) * np.asarray(spacing, dtype=np.float64)
    return positions


def surface_distances(
    predicted: Mask, target: Mask, *, spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure two masks, neither of them empty.

    Trees over the surface pixels, not distance maps over the volume: what is paid for is the
    surface, whatever the size of the image around it.

    Args:
        predicted: (Y, X) or (Z, Y, X) bool.
        target: Like `predicted`.
        spacing: Pixel size along each axis.
    """
    given, wanted = (surface_points(mask, spacing) for mask in (predicted, target))
    forward, _ = KDTree(wanted).query(given)
    backward, _ = KDTree(given).query(wanted)
    return SurfaceDistances(forward=np.asarray(forward), backward=np.asarray(backward))


class SurfaceScores(MaskPairMetric):
    """Surface distances per case and class, and their means.

    - `hd_<unit>`, `hd95_<unit>`, `assd_<unit>`: distances from 0, lower is better. A case in which
      only one side is empty has none: it is left out, and counted, unless `one_empty` says to set
      the image's diagonal.
    - `nsd_<tolerance><unit>`: the share of both surfaces within the tolerance, in [0, 1], higher is
      better; 0 where one side is empty.

    Empty: by the rule of `samft.metrics.cases`. `compute` returns each also as `<name>/<class>`.

    Args:
        class_names: Names of the classes, in the order of the masks.
        tolerances: For NSD, in the unit.
        unit: "mm": every case comes with its spacing. "px": spacing is 1 along every axis.
        percentile: The one of "hd95"; the name follows it.
        pooled: See `SurfaceDistances.hausdorff`.
        one_empty: "skip", or "diagonal": distances are the image's diagonal, also for a case
            without prediction.
        both_empty: What a case without object and prediction is worth.

    Source: definitions in Maier-Hein et al. 2024, Nature Methods 21, supplement; NSD: Nikolov et
    al. 2018, arXiv:1809.04430, section "Performance metric"; surfaces: see the module.
    """

    higher_is_better = None

    def __init__(
        self,
        class_names: Sequence[str] = (),
        *,
        tolerances: Sequence[float] = (1.0, 2.0),
        unit: Literal["mm", "px"] = "mm",
        percentile: float = 95,
        pooled: bool = False,
        one_empty: Literal["skip", "diagonal"] = "skip",
        both_empty: BothEmpty = "perfect",
    ) -> None:
        super().__init__(class_names, both_empty=both_empty)
        self.tolerances = tuple(tolerances)
        self.unit = unit
        self.percentile = percentile
        self.pooled = pooled
        self.one_empty = one_empty
        self._distances = (f"hd_{unit}", f"hd{percentile:g}_{unit}", f"assd_{unit}")
        self._shares = tuple(f"nsd_{tolerance:g}{unit}" for tolerance in self.tolerances)

    def update(
        self,
        predicted: Array | None,
        target: Array,
        *,
        case_id: str,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        """Add one case.

        Args:
            predicted: (K, ...) bool, one mask per class over an image (H, W) or volume (Z, Y, X);
                `None` if there is no prediction.
            target: Like `predicted`.
            case_id: The case's name, unique in the data set.
            spacing_mm: Pixel size along each axis, in millimetres; only with `unit="mm"`.

        Raises:
            ConfigError: if shapes or spacing do not fit.
        """
        pairs = self._masks(predicted, target)
        spacing = self._spacing(case_id, target.ndim - 1, spacing_mm)
        sides = np.asarray(target.shape[1:]) * np.asarray(spacing)
        diagonal = float(np.linalg.norm(sides))
        for part, (answer, truth) in enumerate(pairs):
            values = self._compare(answer, truth, spacing)
            self._add(case_id, (*values, diagonal), part=part)

    def _compare(
        self, answer: Array | None, truth: Array, spacing: Sequence[float]
    ) -> tuple[float, ...]:
        wanted = as_numpy(truth).astype(bool, copy=False)
        given = None if answer is None else as_numpy(answer).astype(bool, copy=False)
        kind = Kind.MISSING if given is None else kind_of(bool(given.any()), bool(wanted.any()))
        if given is None or kind != Kind.BOTH:
            return kind, *[math.nan] * (3 + len(self.tolerances))
        apart = surface_distances(given, wanted, spacing=spacing)
        return (
            kind,
            apart.hausdorff(),
            apart.hausdorff(self.percentile, pooled=self.pooled),
            apart.average(),
            *(apart.within(tolerance) for tolerance in self.tolerances),
        )

    def _scores(self, row: CaseRow) -> dict[str, float]:
        kind = Kind(int(row.values[0]))
        names = self._distances + self._shares
        if kind == Kind.BOTH:
            return dict(zip(names, row.values[1:-1].tolist(), strict=True))
        worst = float(row.values[-1]) if self.one_empty == "diagonal" else math.nan
        far = self._without_comparison(kind, alike=0.0, apart=worst)
        near = self._without_comparison(kind, alike=1.0, apart=0.0)
        return dict.fromkeys(self._distances, far) | dict.fromkeys(self._shares, near)

    def _spacing(self, case_id: str, axes: int, spacing_mm: Any) -> tuple[float, ...]:
        # Any: a reader's spacing may be a tuple, an array or missing
        if self.unit == "px" and spacing_mm is None:
            return (1.0,) * axes
        spacing = () if spacing_mm is None else tuple(float(side) for side in spacing_mm)
        fits = len(spacing) == axes and all(0 < side < math.inf for side in spacing)
        if self.unit == "px" or not fits:
            raise ConfigError(
                f"the pixel size of a case does not fit distances in {self.unit}",
                where=case_id,
                found=spacing_mm,
                expected="none" if self.unit == "px" else f"{axes} sizes in mm",
                fix='use unit="px" where the files state no spacing, for all cases alike',
            )
        return spacing
