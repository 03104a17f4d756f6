"""Edges against what several people drew: ODS, OIS, AP and R50 by the rules of BSDS500."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from samft.errors import ConfigError
from samft.metrics.cases import Array, CaseMetric, CaseRow, as_numpy
from samft.metrics.edge_matching import DISTANCE_RATIO, Floats, edge_counts, f_measure

NUM_THRESHOLDS = 99

_BETWEEN = np.linspace(0, 1, 100)  # steps between neighbouring thresholds, as the benchmark's


class EdgeScores(CaseMetric):
    """The four numbers of the BSDS500 boundary benchmark.

    All lie in [0, 1], higher is better, no unit; precision and recall are those of `edge_counts`.

    - `ods`: best F of all images together at one threshold for all ("optimal data set scale"),
      with `ods_precision`, `ods_recall` and `ods_threshold`; precision and recall are interpolated
      between neighbouring thresholds.
    - `ois`: F of all images together, each at its own best threshold ("optimal image scale").
    - `ap`: area under precision over recall, read off at recall 0, 0.01, ... 1; recalls that no
      threshold reaches count 0. As the benchmark does, the 101 values are divided by 100.
    - `r50`: recall where precision is 0.5, or at the lowest precision there is above that.

    Empty: an image without any true edge only has false ones; if every F of an image is 0 its best
    threshold is the highest. Nothing predicted and nothing drawn in all images is NaN. There is no
    missing image: without a prediction, hand in zeros.

    Args:
        thresholds: Number of thresholds, evenly spaced inside (0, 1).
        distance_ratio: See `DISTANCE_RATIO`.
        thinned: See `edge_counts`.

    Source: Arbelaez et al. 2011, IEEE PAMI 33(5), section 2; Martin et al. 2004, IEEE PAMI 26(5);
    R50 as in Dollar and Zitnick 2015, arXiv:1406.5549.
    """

    def __init__(
        self,
        *,
        thresholds: int = NUM_THRESHOLDS,
        distance_ratio: float = DISTANCE_RATIO,
        thinned: bool = True,
    ) -> None:
        super().__init__()
        self.thresholds = np.linspace(1 / (thresholds + 1), 1 - 1 / (thresholds + 1), thresholds)
        self.distance_ratio = distance_ratio
        self.thinned = thinned

    def update(
        self, predicted: Array, annotations: Sequence[Array] | Array, *, case_id: str
    ) -> None:
        """Add one image.

        Args:
            predicted: (H, W) strength in [0, 1], or bool.
            annotations: The people's edges, (H, W) bool each.
            case_id: The image's name, unique in the data set.

        Raises:
            ConfigError: if the sizes differ.
        """
        strength = as_numpy(predicted)
        drawn = [as_numpy(each).astype(bool) for each in annotations]
        sizes = {strength.shape, *(each.shape for each in drawn)}
        if len(sizes) != 1 or strength.ndim != 2:
            raise ConfigError(
                "edges of different sizes cannot be compared",
                where=case_id,
                found=" and ".join(map(str, sorted(sizes))),
                expected="one size (height, width)",
            )
        counts = edge_counts(
            strength,
            drawn,
            thresholds=self.thresholds,
            distance_ratio=self.distance_ratio,
            thinned=self.thinned,
        )
        self._add(case_id, counts.reshape(-1).astype(np.float64))

    def compute(self) -> dict[str, Tensor]:
        """Return the scores named above and the number of images."""
        rows = self.rows()
        return self._as_tensors(self._benchmark(rows) | {"num_cases": len(rows)})

    def _scores(self, row: CaseRow) -> dict[str, float]:
        return self._benchmark([row])

    def _benchmark(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        counts = np.zeros((len(rows), 4, len(self.thresholds)))
        for index, row in enumerate(rows):
            counts[index] = row.values.reshape(4, -1)
        total = counts.sum(axis=0)
        if not total[[1, 3]].any():
            names = ("ods", "ods_precision", "ods_recall", "ods_threshold", "ois", "ap", "r50")
            return dict.fromkeys(names, math.nan)
        recall, precision = _ratio(total[0], total[1]), _ratio(total[2], total[3])
        f, p, r, threshold = _best(self.thresholds, precision, recall)
        return {
            "ods": f,
            "ods_precision": p,
            "ods_recall": r,
            "ods_threshold": threshold,
            "ois": _own_scale(counts),
            "ap": _area(precision, recall),
            "r50": _recall_at_half(precision, recall),
        }


def _best(
    thresholds: Floats, precision: Floats, recall: Floats
) -> tuple[float, float, float, float]:
    """Return the largest F, and its precision, recall and threshold."""
    if len(thresholds) == 1:
        p, r, t = precision, recall, thresholds
    else:
        p, r, t = (
            np.outer(each[1:], _BETWEEN).ravel() + np.outer(each[:-1], 1 - _BETWEEN).ravel()
            for each in (precision, recall, thresholds)
        )
    f = _ratio(2 * p * r, p + r)
    at = int(np.argmax(f))
    return float(f[at]), float(p[at]), float(r[at]), float(t[at])


def _own_scale(counts: Floats) -> float:
    recall, precision = _ratio(counts[:, 0], counts[:, 1]), _ratio(counts[:, 2], counts[:, 3])
    f = _ratio(2 * precision * recall, precision + recall)
    best = np.where(f.any(axis=1), f.argmax(axis=1), f.shape[1] - 1)
    chosen = counts[np.arange(len(counts)), :, best].sum(axis=0)
    return f_measure(chosen) if chosen[1] and chosen[3] else 0.0


def _area(precision: Floats, recall: Floats) -> float:
    known, first = np.unique(recall, return_index=True)
    if len(known) < 2:
        return 0.0
    values = np.interp(np.arange(101) / 100, known, precision[first], left=0, right=0)
    return float(values.sum() / 100)


def _recall_at_half(precision: Floats, recall: Floats) -> float:
    # One threshold per recall first, as the benchmark does: a recall of 0 has many.
    _, first = np.unique(recall, return_index=True)
    known, index = np.unique(precision[first], return_index=True)
    at = max(float(known[0]), 0.5)
    return float(np.interp(at, known, recall[first][index])) if at <= known[-1] else math.nan


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = part / np.where(whole == 0, 1, whole)
    return result
