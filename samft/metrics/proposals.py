"""The recall of proposals whatever their class: AR@k, as LVIS and SAM's paper report it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
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


class ProposalRecall(CaseMetric):
    """Average recall of the k best proposals, whatever their class ("mask AR@1000").

    In [0, 1], higher is better, no unit: `ar_<k>` for each of `most`, `ar_<k>_small`, `_medium`,
    `_large` by the area of the true object, and `ar_<k>_<group>` with groups, for which only that
    group's objects are true, such as LVIS' frequent, common and rare categories. Recall is averaged
    over the IoU thresholds; objects of all cases are counted together.

    Empty: no true object is no recall (NaN). A case without prediction has found nothing, and
    counts in `num_missing`.

    Args:
        group_names: Names of groups of objects.
        most: Proposals per case that count.
        thresholds: IoU, percent.
        areas: Ranges of area by name, square pixels.

    Source: Hosang et al. 2016, IEEE PAMI 38(4), arXiv:1502.05082; as in Kirillov et al. 2023,
    arXiv:2304.02643, section 7.3, after Gupta et al. 2019, arXiv:1908.03195.
    """

    def __init__(
        self,
        group_names: Sequence[str] = (),
        *,
        most: Sequence[int] = (1000,),
        thresholds: Sequence[int] = THRESHOLDS,
        areas: Mapping[str, tuple[float, float]] = AREAS,
    ) -> None:
        super().__init__()
        self.group_names = tuple(group_names)
        self.most = tuple(most)
        self.thresholds = tuple(thresholds)
        self.areas = dict(areas)

    def update(
        self,
        predicted: Sequence[Rle] | None,
        target: Sequence[Rle],
        *,
        case_id: str,
        scores: Array | Sequence[float] = (),
        group: Array | Sequence[int] | None = None,
    ) -> None:
        """Add one case.

        Args:
            predicted: Masks as RLE; `None` if there is no prediction.
            target: Masks as RLE.
            case_id: The case's name, unique in the data set.
            scores: (P,) of the proposals.
            group: (T,) index into `group_names` of each true object.
        """
        kind = Kind.BOTH if predicted is not None else Kind.MISSING
        self._add(case_id, (kind,), part=CASE)
        given = as_annotations(
            predicted or (), scores=numbers(scores) if predicted else np.zeros(0)
        )
        wanted = as_annotations(target)
        ranked = sorted(given, key=lambda entry: -entry["score"])[: max(self.most)]
        self._add(case_id, self._found(ranked, wanted), part=0)
        if group is not None:
            of = numbers(group).astype(int)
            same_number(case_id, (wanted, of))
            for index in np.unique(of).tolist():
                own = [entry for entry, part in zip(wanted, of, strict=True) if part == index]
                self._add(case_id, self._found(ranked, own), part=1 + index)

    def compute(self) -> dict[str, Tensor]:
        """Return all recalls and the numbers of cases."""
        rows = self.rows()
        cases = [row for row in rows if row.part == CASE]
        scores: dict[str, float] = {}
        for part, group in enumerate(("", *self.group_names)):
            own = [row.values for row in rows if row.part == part]
            scores |= self._named(np.sum(own, axis=0) if own else self._nothing(), group)
        counts = {
            "num_cases": len(cases),
            "num_missing": sum(int(row.values[0]) == Kind.MISSING for row in cases),
        }
        return self._as_tensors(scores | counts)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        if row.part == CASE:
            return {}
        return self._named(row.values, ("", *self.group_names)[row.part])

    def _found(self, ranked: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> Floats:
        """Return numbers of true objects (A,), then of those found (A, T, k of `most`)."""
        # A proposal that reaches no object changes no recall: only its rank counts.
        reach = _reach([entry["segmentation"] for entry in ranked], wanted)
        near = np.flatnonzero(reach >= min(self.thresholds) / 100 - 1e-6)
        given = [ranked[index] for index in near]
        evaluation = coco_evaluation(self.thresholds, self.areas, (max(self.most),))
        values = [self._nothing()]
        if given or wanted:
            found = match_case(evaluation, given, wanted)
            positives = [np.count_nonzero(each["gtIgnore"] == 0) for each in found]
            hits = [
                ((each["dtMatches"] > 0) & ~each["dtIgnore"].astype(bool))[:, near < most].sum(
                    axis=1
                )
                for each in found
                for most in self.most
            ]
            values = [np.array(positives), *hits]
        return np.concatenate(values).astype(np.float64)

    def _named(self, counts: Floats, group: str) -> dict[str, float]:
        sizes = len(self.areas), len(self.most), len(self.thresholds)
        positives, hits = counts[: sizes[0]], counts[sizes[0] :].reshape(sizes)
        scores = {}
        for area, name in enumerate(self.areas):
            for index, most in enumerate(self.most):
                # Whole areas have no suffix; groups are reported over all areas only.
                suffix = f"_{group}" if group else f"_{name}" if area else ""
                if not (group and area):
                    scores[f"ar_{most}{suffix}"] = (
                        float(hits[area, index].mean() / positives[area])
                        if positives[area]
                        else math.nan
                    )
        return scores

    def _nothing(self) -> Floats:
        return np.zeros(len(self.areas) * (1 + len(self.most) * len(self.thresholds)))


def _reach(rles: list[Rle], wanted: list[dict[str, Any]]) -> Floats:  # Any: as `_entries`
    """Return the largest IoU of each mask with any true object, (P,)."""
    if not rles or not wanted:
        return np.zeros(len(rles))
    truth = [entry["segmentation"] for entry in wanted]
    best: Floats = np.asarray(coco_mask.iou(rles, truth, [0] * len(truth))).max(axis=1)
    return best
