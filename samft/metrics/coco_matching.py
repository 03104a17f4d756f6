"""COCO's matching of one image's detections, by pycocotools itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from samft.errors import ConfigError
from samft.metrics.cases import Array, as_numpy
from samft.metrics.matching import Rle, areas

Floats = NDArray[np.float64]

_MOST = 1e10  # square pixels, COCO's "no limit"
AREAS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"all": (0, _MOST), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, _MOST)}
)
"""COCO's ranges of the area of true objects, square pixels, both ends included."""

CASE = -1  # the part of the row that says that there is such a case


def coco_evaluation(
    thresholds: Sequence[int], areas: Mapping[str, tuple[float, float]], most: Sequence[int]
) -> Any:  # Any: pycocotools has no types
    """Return pycocotools' evaluation of masks with these settings and no data.

    Args:
        thresholds: IoU, percent.
        areas: Ranges of area by name, square pixels.
        most: Detections that count, ascending.
    """
    evaluation = COCOeval(iouType="segm")
    evaluation.params.iouThrs = np.array(thresholds) / 100
    evaluation.params.areaRng = [list(limits) for limits in areas.values()]
    evaluation.params.areaRngLbl = list(areas)
    evaluation.params.maxDets = list(most)
    return evaluation


def match_case(
    evaluation: Any, given: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> list[dict[str, Any]]:  # Any: as pycocotools has them
    """Return pycocotools' result of one case and class for each area range.

    Args:
        evaluation: From `coco_evaluation`.
        given: Detections, from `as_annotations`; at least one of both lists has any.
        wanted: True objects, from `as_annotations`.
    """
    for entries in (given, wanted):
        for number, entry in enumerate(entries, start=1):  # 0 would say "not matched"
            entry["id"] = number
    evaluation._dts, evaluation._gts = {(0, 0): given}, {(0, 0): wanted}
    evaluation.params.imgIds = evaluation.params.catIds = [0]
    evaluation.ious = {(0, 0): evaluation.computeIoU(0, 0)}
    most = evaluation.params.maxDets[-1]
    return [evaluation.evaluateImg(0, 0, limits, most) for limits in evaluation.params.areaRng]


def as_annotations(
    masks: Sequence[Rle],
    *,
    scores: Floats | None = None,
    crowd: Sequence[bool] | None = None,
    area: Sequence[float] | None = None,
) -> list[dict[str, Any]]:  # Any: as pycocotools has them
    """Return masks as pycocotools' annotations.

    Args:
        masks: As RLE.
        scores: (n,) of detections.
        crowd: (n,) which true masks are crowds.
        area: (n,) square pixels; that of the masks if `None`.

    Raises:
        ConfigError: if the numbers differ.
    """
    rles = list(masks)
    count = len(rles)
    own_area = areas(rles).tolist() if area is None else list(area)
    crowds = [False] * count if crowd is None else [bool(each) for each in crowd]
    marks = [0.0] * count if scores is None else scores.tolist()
    if {len(own_area), len(crowds), len(marks)} != {count}:
        raise ConfigError(
            "masks come with another number of scores, areas or crowd marks",
            found=f"{len(marks)} scores, {len(own_area)} areas, {len(crowds)} crowd marks",
            expected=f"{count} of each",
        )
    return [
        {
            "segmentation": rle,
            "area": size,
            "iscrowd": int(many),
            "ignore": int(many),
            "score": mark,
        }
        for rle, size, many, mark in zip(rles, own_area, crowds, marks, strict=True)
    ]


def numbers(values: Array | Sequence[float]) -> Floats:
    """Return a tensor, array or sequence as (n,) float64."""
    array = values if isinstance(values, (list, tuple)) else as_numpy(values)  # type: ignore[arg-type]  # no sequence
    return np.asarray(array, dtype=np.float64).reshape(-1)


def same_number(case_id: str, *pairs: tuple[Sequence[Any], NDArray[Any]]) -> None:
    """Raise ConfigError unless both of each pair are of the same length."""
    # Any: lists of any kind, only their lengths count
    for masks, labels in pairs:
        if len(masks) != len(labels):
            raise ConfigError(
                "masks come with another number of classes or groups",
                where=case_id,
                found=len(labels),
                expected=len(masks),
            )
