"""Whether a predicted IoU can be believed: it chooses among masks, so its errors cost masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from samft.errors import ConfigError
from samft.metrics.cases import Array, CaseMetric, CaseRow, as_numpy

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """The masks whose predicted IoU lies in one bin.

    Args:
        low: Lower end of the bin, included.
        high: Upper end, not included except in the last bin.
        count: Number of masks.
        predicted: Mean predicted IoU, NaN without a mask.
        true: Mean true IoU, NaN without a mask.
    """

    low: float
    high: float
    count: int
    predicted: float
    true: float


class IoUCalibration(CaseMetric):
    """How far predicted IoU lies from true IoU, over masks.

    - `iou_ece`: expected calibration error, the mean over bins of |mean predicted - mean true|,
      weighed by the masks in them; in [0, 1], best at 0.
    - `iou_mae`: mean absolute error of single masks; in [0, 1], best at 0.
    - `iou_bias`: mean predicted minus mean true; in [-1, 1], best at 0, positive for a model that
      is too sure of itself.
    - `iou_spearman`: rank correlation; in [-1, 1], best at 1; NaN where either side is constant.

    SAM's head is not limited to [0, 1]: predictions are clipped first. Masks without a truth have
    no place here; two empty masks agree with IoU 1. NaN without any mask.

    Args:
        bins: Bins of equal width over [0, 1].

    Source: Naeini et al. 2015, AAAI (ECE), with IoU in place of accuracy; Spearman 1904.
    """

    higher_is_better = None

    def __init__(self, *, bins: int = 10) -> None:
        super().__init__()
        self.bins = bins

    def update(self, predicted: Array, true: Array, *, case_id: str) -> None:
        """Add the masks of one case.

        Args:
            predicted: (n,) predicted IoU.
            true: (n,) IoU with the truth, in [0, 1].
            case_id: The case's name, unique in the data set.
        """
        pair = [as_numpy(side).astype(np.float64).reshape(-1) for side in (predicted, true)]
        if len(pair[0]) != len(pair[1]):
            raise ConfigError(
                "predicted and true IoU are of different numbers of masks",
                where=case_id,
                found=f"{len(pair[0])} and {len(pair[1])}",
                expected="one of each per mask",
            )
        self._add(case_id, np.concatenate([pair[0].clip(0, 1), pair[1]]))

    def compute(self) -> dict[str, Tensor]:
        """Return the four numbers over all masks, and the numbers of masks and cases."""
        rows = self.rows()
        predicted, true = _both(rows)
        counts = {"num_cases": len(rows), "num_masks": len(true)}
        return self._as_tensors(self._errors(predicted, true) | counts)

    def reliability(self) -> list[ReliabilityBin]:
        """Return the table behind `iou_ece`, over all processes."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            predicted, true = _both(self.rows())
        edges = np.linspace(0, 1, self.bins + 1)
        member = self._member(predicted)
        return [
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=int((member == index).sum()),
                predicted=_mean(predicted[member == index]),
                true=_mean(true[member == index]),
            )
            for index in range(self.bins)
        ]

    def _scores(self, row: CaseRow) -> dict[str, float]:
        return self._errors(*_both([row]))

    def _errors(self, predicted: Floats, true: Floats) -> dict[str, float]:
        gap = predicted - true
        per_bin = np.bincount(self._member(predicted), weights=gap, minlength=self.bins)
        return {
            "iou_ece": float(np.abs(per_bin).sum() / len(gap)) if len(gap) else math.nan,
            "iou_mae": _mean(np.abs(gap)),
            "iou_bias": _mean(gap),
            "iou_spearman": _spearman(predicted, true),
        }

    def _member(self, predicted: Floats) -> NDArray[np.int64]:
        edges = np.linspace(0, 1, self.bins + 1)
        return np.searchsorted(edges[1:-1], predicted, side="right").astype(np.int64)


def _both(rows: list[CaseRow]) -> tuple[Floats, Floats]:
    halves = [row.values.reshape(2, -1) for row in rows]
    joined = np.concatenate(halves, axis=1) if halves else np.zeros((2, 0))
    return joined[0], joined[1]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _spearman(first: Floats, second: Floats) -> float:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    ranks = stats.rankdata(first), stats.rankdata(second)
    return float(np.corrcoef(*ranks)[0, 1])
