"""Objects found, lost and made up: F1, precision, recall, and accuracy over IoU thresholds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samft.metrics.cases import Array, BothEmpty, CaseMetric, CaseRow, Kind, as_numpy, kind_of
from samft.metrics.matching import Objects, Overlaps, match, match_by_score, overlaps

THRESHOLDS = tuple(range(50, 100, 5))
"""IoU thresholds of COCO, DSB2018 and mSA, in percent."""


class ObjectCaseMetric(CaseMetric):
    """Base of the metrics that compare the objects of a case; a row begins with its `Kind`.

    Args:
        class_names: Names of the classes.
        both_empty: See the rule of `samft.metrics.cases`.
    """

    def __init__(
        self, class_names: Sequence[str] = (), *, both_empty: BothEmpty = "perfect"
    ) -> None:
        super().__init__(class_names)
        self.both_empty = both_empty

    def compute(self) -> dict[str, Tensor]:
        """Return the means, the scores of all cases together, and the counts."""
        rows = self.rows()
        by_class: dict[int, list[CaseRow]] = {}
        for row in rows:
            by_class.setdefault(row.part, []).append(row)
        pooled = {part: self._pooled(own) for part, own in by_class.items()}
        scores: dict[str, float] = {}
        for name in next(iter(pooled.values()), {}):
            known = [each[name] for each in pooled.values() if not math.isnan(each[name])]
            scores[name] = math.fsum(known) / len(known) if known else math.nan
            for part in pooled if self.class_names else ():
                scores[f"{name}/{self.class_names[part]}"] = pooled[part][name]
        kinds = [Kind(int(row.values[0])) for row in rows]
        counts = {f"num_{kind.name.lower()}": kinds.count(kind) for kind in list(Kind)[1:]}
        counts["num_cases"] = len({row.case_id for row in rows})
        return self._as_tensors(self._means(rows) | scores | counts)

    @abstractmethod
    def _pooled(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        """Return the scores of one class's cases counted together."""

    def _score_of_nothing(self, rows: Sequence[CaseRow]) -> float:
        """Return the score of cases that have nothing to count in all of them."""
        kinds = {self._empty_score(Kind(int(row.values[0]))) for row in rows}
        return 0.0 if 0.0 in kinds else self._empty_score(Kind.BOTH_EMPTY) or math.nan

    def _empty_score(self, kind: Kind) -> float | None:
        """Return the score of a case that has nothing to count, or `None`."""
        if kind == Kind.BOTH_EMPTY:
            return 1.0 if self.both_empty == "perfect" else math.nan
        return 0.0 if kind == Kind.MISSING else None


def compared(predicted: Objects | None, target: Objects) -> tuple[Kind, Overlaps]:
    """Return what there is to compare and the overlaps; without a prediction those of none."""
    if predicted is None:
        nothing: Objects = []
        if isinstance(target, (Tensor, np.ndarray)):
            nothing = as_numpy(target)[:1] * 0
        return Kind.MISSING, overlaps(nothing, target)
    pairs = overlaps(predicted, target)
    return kind_of(len(pairs.predicted_area) > 0, len(pairs.target_area) > 0), pairs


class InstanceScores(ObjectCaseMetric):
    """How many objects were found, at one IoU threshold or over ten.

    All lie in [0, 1], higher is better, no unit. With the numbers of matched pairs TP, of other
    predictions FP and of other true objects FN:

    - `precision_<t>`, `recall_<t>`, `f1_<t>` for each of `report`: TP / (TP + FP), TP / (TP + FN),
      2 TP / (2 TP + FP + FN), counted over all cases together. A match has an IoU of at least t %.
    - `msa`: TP / (TP + FP + FN), mean over the thresholds, then over the cases.
    - `map_dsb`: the same with IoU above, not at, the threshold, as DSB2018's "mAP" has it. It is no
      average precision in COCO's sense; for that see `samft.metrics.average_precision`.

    Empty: by the rule of `samft.metrics.cases`: both empty is 1, one empty 0, also for the cases
    of a class counted together. Per case (`per_case`) all of these are given.

    Args:
        class_names: Names of the classes.
        thresholds: Of `msa` and `map_dsb`, percent.
        report: Thresholds of precision, recall and F1, percent; each one of `thresholds`.
        rule: "hungarian": as many matches as possible. "greedy": by score, as COCO matches; needs
            `scores`. Where objects do not overlap both give the same from 50 % on.
        both_empty: What a case without object and prediction is worth.

    Source: Caicedo et al. 2019, Nature Methods 16 (DSB2018); Archit et al. 2025, Nature Methods 22,
    "mean segmentation accuracy" of micro-sam; Schmidt et al. 2018, arXiv:1806.03535 (F1, matching).
    """

    def __init__(
        self,
        class_names: Sequence[str] = (),
        *,
        thresholds: Sequence[int] = THRESHOLDS,
        report: Sequence[int] = (50, 75),
        rule: Literal["hungarian", "greedy"] = "hungarian",
        both_empty: BothEmpty = "perfect",
    ) -> None:
        super().__init__(class_names, both_empty=both_empty)
        self.thresholds = tuple(thresholds)
        self.report = tuple(report)
        self.rule = rule

    def update(
        self,
        predicted: Objects | None,
        target: Objects,
        *,
        case_id: str,
        scores: Array | None = None,
        class_index: int = 0,
    ) -> None:
        """Add the objects of one class of one case.

        Args:
            predicted: Label layers or RLE masks, see `matching.Objects`; `None` if there is no
                prediction.
            target: Likewise, in the same form.
            case_id: The case's name, unique in the data set.
            scores: (P,) of the predicted objects in the order of their labels; for "greedy".
            class_index: Index into `class_names`.
        """
        kind, pairs = compared(predicted, target)
        ranking = np.zeros(len(pairs.predicted_area))
        if scores is not None:
            ranking = as_numpy(scores).astype(np.float64)
        hits = [
            self._count(pairs.reaching(percent, strict=strict), ranking)
            for strict in (False, True)
            for percent in self.thresholds
        ]
        sizes = len(pairs.predicted_area), len(pairs.target_area)
        self._add(case_id, (kind, *sizes, *hits), part=self._part(class_index))

    def _count(self, pairs: Overlaps, ranking: NDArray[np.float64]) -> int:
        chosen = match(pairs) if self.rule == "hungarian" else match_by_score(pairs, ranking)
        return len(chosen.shared)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        empty = self._empty_score(Kind(int(row.values[0])))
        counts = row.values[1:]
        given, wanted = counts[:2].tolist()
        at_least, above = counts[2:].reshape(2, -1)
        scores = self._detection(given, wanted, at_least)
        for name, hits in (("msa", at_least), ("map_dsb", above)):
            union = given + wanted - hits
            scores[name] = float(np.mean(hits / np.maximum(union, 1)))
        return scores if empty is None else dict.fromkeys(scores, empty)

    def _pooled(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        total = np.sum([row.values[1:] for row in rows], axis=0)
        given, wanted = total[:2].tolist()
        scores = self._detection(given, wanted, total[2 : 2 + len(self.thresholds)])
        return scores if given or wanted else dict.fromkeys(scores, self._score_of_nothing(rows))

    def _detection(
        self, given: float, wanted: float, hits: NDArray[np.float64]
    ) -> dict[str, float]:
        scores = {}
        for percent in self.report:
            hit = float(hits[self.thresholds.index(percent)])
            scores[f"precision_{percent}"] = hit / max(given, 1)
            scores[f"recall_{percent}"] = hit / max(wanted, 1)
            scores[f"f1_{percent}"] = 2 * hit / max(given + wanted, 1)
        return scores
