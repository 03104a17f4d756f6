"""Average precision and recall of detections with scores, as COCO defines them.

Matching and curves are pycocotools' own. Each case is matched when it is added, so that what is
kept, and sent between processes, is a few numbers per detection and not masks.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from samft.metrics.cases import Array, CaseMetric, CaseRow, Kind
from samft.metrics.coco_matching import (
    AREAS,
    CASE,
    Floats,
    as_annotations,
    coco_evaluation,
    match_case,
    numbers,
    same_number,
)
from samft.metrics.instances import THRESHOLDS
from samft.metrics.matching import Rle


class AveragePrecision(CaseMetric):
    """COCO's average precision and recall of masks with scores.

    All lie in [0, 1], higher is better, no unit: `ap` (mean over IoU thresholds and classes),
    `ap_50`, `ap_75`, `ap_small`, `ap_medium`, `ap_large`, `ar_<n>` for each of `most`, and
    `ar_small`, `ar_medium`, `ar_large` at the last of them; `ap/<class>` with class names.

    Empty: a class without any true object has no AP and stays out of the mean, NaN if there is
    none at all; predictions in images without objects count as false. That is COCO's rule and not
    that of `samft.metrics.cases`. A case without prediction has none, and counts in `num_missing`.

    Args:
        class_names: Names of the classes.
        thresholds: IoU, percent.
        most: Detections per case and class that count, ascending.
        areas: Ranges of area by name, square pixels; the first one is for the scores without size.

    Source: Lin et al. 2014, arXiv:1405.0312, and pycocotools, which computes it.
    """

    def __init__(
        self,
        class_names: Sequence[str] = (),
        *,
        thresholds: Sequence[int] = THRESHOLDS,
        most: Sequence[int] = (1, 10, 100),
        areas: Mapping[str, tuple[float, float]] = AREAS,
    ) -> None:
        super().__init__(class_names)
        self.thresholds = tuple(thresholds)
        self.most = tuple(most)
        self.areas = dict(areas)

    def update(
        self,
        predicted: Sequence[Rle] | None,
        target: Sequence[Rle],
        *,
        case_id: str,
        scores: Array | Sequence[float] = (),
        predicted_class: Array | Sequence[int] | None = None,
        target_class: Array | Sequence[int] | None = None,
        crowd: Sequence[bool] | None = None,
        target_area: Sequence[float] | None = None,
    ) -> None:
        """Add one case.

        Args:
            predicted: Masks as RLE; `None` if there is no prediction.
            target: Masks as RLE.
            case_id: The case's name, unique in the data set.
            scores: (P,) of the predictions.
            predicted_class: (P,) indices into `class_names`; not needed with one class.
            target_class: (T,) likewise.
            crowd: (T,) whether a true mask is a crowd: it may hold several predictions and need
                hold none.
            target_area: (T,) square pixels; that of the masks if `None`. COCO's files state it.

        Raises:
            ConfigError: if the numbers of masks, scores and classes differ.
        """
        kind = Kind.BOTH if predicted is not None else Kind.MISSING
        self._add(case_id, (kind,), part=CASE)
        detections = as_annotations(
            predicted or (), scores=numbers(scores) if predicted else np.zeros(0)
        )
        truth = as_annotations(target, crowd=crowd, area=target_area)
        classes = [
            numbers(() if entries is None else np.zeros(len(entries)) if own is None else own)
            for entries, own in (
                (detections, predicted_class if predicted else None),
                (truth, target_class),
            )
        ]
        same_number(case_id, (detections, classes[0]), (truth, classes[1]))
        for value in np.unique(np.concatenate(classes)).astype(int).tolist():
            given, wanted = (
                [entry for entry, own in zip(entries, of, strict=True) if own == value]
                for entries, of in zip((detections, truth), classes, strict=True)
            )
            evaluation = coco_evaluation(self.thresholds, self.areas, self.most)
            found = match_case(evaluation, given, wanted)
            self._add(case_id, _packed(found), part=self._part(value))

    def compute(self) -> dict[str, Tensor]:
        """Return all scores and the numbers of cases."""
        rows = self.rows()
        cases = [row for row in rows if row.part == CASE]
        missing = sum(int(row.values[0]) == Kind.MISSING for row in cases)
        scores = self._curves([row for row in rows if row.part != CASE])
        return self._as_tensors(scores | {"num_cases": len(cases), "num_missing": missing})

    def _scores(self, row: CaseRow) -> dict[str, float]:
        return self._curves([row] if row.part != CASE else [])

    def _curves(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        names = sorted({row.case_id for row in rows})
        count = max(len(self.class_names), 1)
        evaluation = coco_evaluation(self.thresholds, self.areas, self.most)
        evaluation.params.imgIds = list(range(len(names)))
        evaluation.params.catIds = list(range(count))
        by_key = {(row.part, row.case_id): self._unpacked(row.values) for row in rows}
        evaluation.evalImgs = [
            by_key[part, name][area] if (part, name) in by_key else None
            for part in range(count)
            for area in range(len(self.areas))
            for name in names
        ]
        evaluation._paramsEval = copy.deepcopy(evaluation.params)
        with contextlib.redirect_stdout(io.StringIO()):  # it reports to the terminal
            evaluation.accumulate()
        return self._named(evaluation.eval["precision"], evaluation.eval["recall"])

    def _named(self, precision: Floats, recall: Floats) -> dict[str, float]:
        """Name the means of precision (T, R, K, A, M) and recall (T, K, A, M)."""
        sizes = list(self.areas)[1:]
        scores = {"ap": _mean(precision[:, :, :, 0, -1])}
        for percent in (50, 75):
            if percent in self.thresholds:
                at = self.thresholds.index(percent)
                scores[f"ap_{percent}"] = _mean(precision[at, :, :, 0, -1])
        for index, name in enumerate(sizes, start=1):
            scores[f"ap_{name}"] = _mean(precision[:, :, :, index, -1])
            scores[f"ar_{name}"] = _mean(recall[:, :, index, -1])
        for index, number in enumerate(self.most):
            scores[f"ar_{number}"] = _mean(recall[:, :, 0, index])
        for index, name in enumerate(self.class_names):
            scores[f"ap/{name}"] = _mean(precision[:, :, index, 0, -1])
        return scores

    def _unpacked(self, values: Floats) -> list[dict[str, Any]]:  # Any: as pycocotools has it
        """Return what was found in one case and class, by area range."""
        areas, levels = len(self.areas), np.arange(len(self.thresholds))[:, None]
        positives, rest = values[:areas].astype(int), values[areas:]
        scores, *codes = rest.reshape(areas + 1, -1)
        return [
            {
                "dtScores": scores,
                "dtMatches": (code.astype(np.int64) >> levels) & 1,
                "dtIgnore": (code.astype(np.int64) >> (levels + len(levels))) & 1,
                "gtIgnore": np.zeros(count, dtype=int),
            }
            for count, code in zip(positives.tolist(), codes, strict=True)
        ]


def _packed(found: Sequence[Mapping[str, Any]]) -> Floats:  # Any: as pycocotools has it
    """Return true objects per area range, then scores, then matched and ignored bits (A, D)."""
    positives = [np.count_nonzero(each["gtIgnore"] == 0) for each in found]
    codes = []
    for each in found:
        bits = np.concatenate([each["dtMatches"] > 0, each["dtIgnore"].astype(bool)])
        codes.append((bits << np.arange(len(bits))[:, None]).sum(axis=0))
    return np.concatenate([positives, found[0]["dtScores"], *codes]).astype(np.float64)


def _mean(values: Floats) -> float:
    known = values[values > -1]  # pycocotools' mark of what does not exist
    return float(known.mean()) if known.size else math.nan
