"""Objects and their outlines in one number: PQ with SQ and RQ, AJI and AJI+."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from samft.metrics.cases import CaseRow, Kind, share
from samft.metrics.instances import ObjectCaseMetric, compared
from samft.metrics.matching import Objects, Overlaps, match, match_by_iou

_MATCH = 50  # percent; above it at most one disjoint object can match


class PanopticQuality(ObjectCaseMetric):
    """Panoptic quality and its two factors.

    All lie in [0, 1], higher is better, no unit. A pair matches if its IoU is above 0.5:

    - `pq`: sum of the IoU of matched pairs over TP + FP / 2 + FN / 2; `sq`: their mean IoU; `rq`:
      TP / (TP + FP / 2 + FN / 2); `pq = sq * rq`. Counted over all cases of a class together, then
      the mean over classes, as COCO's panoptic task does.
    - `pq_case`, `sq_case`, `rq_case`: the same of each case, then the mean, as PanNuke and
      CoNSeP do. `sq_case` leaves out the cases without a match, which have none.

    Where the truth is unknown nothing counts; an unmatched prediction that lies there by more than
    half is dropped. Empty: both empty is 1, one empty 0 (and no `sq`). With RLE masks that overlap
    matching is one to one, with as many pairs as possible.

    Args:
        class_names: Names of the classes.
        both_empty: What a case without object and prediction is worth.

    Source: Kirillov et al. 2019, arXiv:1801.00868, section 4; per case: Graham et al. 2019,
    arXiv:1812.06499.
    """

    def update(
        self, predicted: Objects | None, target: Objects, *, case_id: str, class_index: int = 0
    ) -> None:
        """Add the objects of one class of one case.

        Args:
            predicted: Label layers or RLE masks, see `matching.Objects`; `None` if there is no
                prediction.
            target: Likewise, in the same form.
            case_id: The case's name, unique in the data set.
            class_index: Index into `class_names`.
        """
        kind, pairs = compared(predicted, target)
        chosen = match(pairs.reaching(_MATCH, strict=True))
        unmatched = np.ones(len(pairs.predicted_area), dtype=bool)
        unmatched[chosen.predicted] = False
        dropped = unmatched & (pairs.unknown_area > pairs.predicted_area)
        hits = len(chosen.shared)
        extra = int(unmatched.sum() - dropped.sum())
        lost = len(pairs.target_area) - hits
        if kind == Kind.SPURIOUS and not extra:
            kind = Kind.BOTH_EMPTY
        values = (kind, hits, extra, lost, math.fsum(chosen.iou.tolist()))
        self._add(case_id, values, part=self._part(class_index))

    def _scores(self, row: CaseRow) -> dict[str, float]:
        empty = self._empty_score(Kind(int(row.values[0])))
        scores = _quality(*row.values[1:].tolist())
        if empty is not None:
            scores = {"pq": empty, "sq": math.nan if empty == 0 else empty, "rq": empty}
        return {f"{name}_case": value for name, value in scores.items()}

    def _pooled(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        total = [
            math.fsum(column) for column in zip(*(row.values[1:] for row in rows), strict=True)
        ]
        if any(total):
            return _quality(*total)
        return dict.fromkeys(("pq", "sq", "rq"), self._score_of_nothing(rows))


class AggregatedJaccard(ObjectCaseMetric):
    """Aggregated Jaccard index, in the original form and one to one.

    Both lie in [0, 1], higher is better, no unit: shared pixels of paired objects over the pixels
    of either one of each pair and of all objects left over.

    - `aji`: every true object is paired with the prediction of largest IoU (on a tie the first),
      which may serve several.
    - `aji_plus`: pairs are one to one, with the largest sum of IoU.

    The mean over cases; `aji_pooled` and `aji_plus_pooled` sum the pixels of all cases first.
    Empty: both empty is 1, one empty 0.

    Args:
        class_names: Names of the classes.
        both_empty: What a case without object and prediction is worth.

    Source: Kumar et al. 2017, IEEE TMI 36(7), algorithm 1 (AJI); Graham et al. 2019,
    arXiv:1812.06499, section IV.B (AJI+).
    """

    def update(
        self, predicted: Objects | None, target: Objects, *, case_id: str, class_index: int = 0
    ) -> None:
        """Add the objects of one class of one case; arguments as of `PanopticQuality.update`."""
        kind, pairs = compared(predicted, target)
        values = (*_aggregated(_best_of_each(pairs)), *_aggregated(match_by_iou(pairs)))
        self._add(case_id, (kind, *values), part=self._part(class_index))

    def _scores(self, row: CaseRow) -> dict[str, float]:
        empty = self._empty_score(Kind(int(row.values[0])))
        if empty is not None:
            return {"aji": empty, "aji_plus": empty}
        shared, union, shared_plus, union_plus = row.values[1:].tolist()
        return {"aji": share(shared, union), "aji_plus": share(shared_plus, union_plus)}

    def _pooled(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        shared, union, shared_plus, union_plus = np.sum(
            [row.values[1:] for row in rows], axis=0
        ).tolist()
        nothing = self._score_of_nothing(rows)
        return {
            "aji_pooled": shared / union if union else nothing,
            "aji_plus_pooled": shared_plus / union_plus if union_plus else nothing,
        }


def _quality(hits: float, extra: float, lost: float, iou: float) -> dict[str, float]:
    size = hits + extra / 2 + lost / 2
    return {"pq": share(iou, size), "sq": share(iou, hits), "rq": share(hits, size)}


def _best_of_each(pairs: Overlaps) -> Overlaps:
    """Return, for every true object that overlaps any, the pair of largest IoU."""
    order = np.lexsort((pairs.predicted, -pairs.iou, pairs.target))
    _, first = np.unique(pairs.target[order], return_index=True)
    return pairs.select(order[first])


def _aggregated(chosen: Overlaps) -> tuple[int, int]:
    """Return shared pixels and the union of chosen pairs and of everything not chosen."""
    left = [chosen.predicted_area.copy(), chosen.target_area.copy()]
    left[0][chosen.predicted] = 0
    left[1][chosen.target] = 0
    union = chosen.union.sum() + left[0].sum() + left[1].sum()
    return int(chosen.shared.sum()), int(union)
