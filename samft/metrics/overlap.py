"""How much of a mask is right: Dice and IoU, case by case, for pictures and volumes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samft.metrics.cases import Array, CaseRow, Kind, MaskPairMetric, kind_of, share


class OverlapScores(MaskPairMetric):
    """Dice and IoU per case and class, and their means.

    Both lie in [0, 1], higher is better, no unit: `dice = 2 TP / (2 TP + FP + FN)`,
    `iou = TP / (TP + FP + FN)`, counted in pixels or voxels. `dice_pooled` and `iou_pooled` count
    the pixels of all cases together before dividing, as is usual for semantic classes ("mIoU"),
    where an image without the class says little; they know no empty case.

    `compute` returns these four, each also as `<name>/<class>`, with the counts of
    `samft.metrics.cases`. Empty: by the rule there.

    Args:
        class_names: Names of the classes, in the order of the masks.
        both_empty: What a case without object and prediction is worth.

    Source: Dice 1945, Ecology 26(3); Jaccard 1912, New Phytologist 11(2); pooled as in Everingham
    et al. 2010, IJCV 88(2), section 4.2.
    """

    def update(
        self,
        predicted: Array | None,
        target: Array,
        *,
        case_id: str,
        valid: Array | None = None,
    ) -> None:
        """Add one case.

        Args:
            predicted: (K, ...) bool, one mask per class over an image (H, W) or volume (Z, Y, X);
                `None` if there is no prediction.
            target: Like `predicted`.
            case_id: The case's name, unique in the data set.
            valid: (...) bool, False where the truth is unknown, or `None`.
        """
        known = None if valid is None else torch.as_tensor(valid).bool()
        for part, (answer, truth) in enumerate(self._masks(predicted, target)):
            wanted = _known(truth, known)
            if answer is None:
                self._add(case_id, (Kind.MISSING, 0, 0, int(wanted.count_nonzero())), part=part)
                continue
            given = _known(answer, known)
            both = int((given & wanted).count_nonzero())
            sums = int(given.count_nonzero()), int(wanted.count_nonzero())
            kind = kind_of(sums[0] > 0, sums[1] > 0)
            self._add(case_id, (kind, both, sums[0] - both, sums[1] - both), part=part)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        kind = Kind(int(row.values[0]))
        hit, extra, lost = row.values[1:].tolist()
        if kind != Kind.BOTH:
            score = self._without_comparison(kind, alike=1.0, apart=0.0)
            return {"dice": score, "iou": score}
        return {"dice": 2 * hit / (2 * hit + extra + lost), "iou": hit / (hit + extra + lost)}

    def compute(self) -> dict[str, Tensor]:
        """Return the means over cases, the pooled scores and the counts."""
        totals: dict[int, list[float]] = {}
        for row in self.rows():
            known = totals.setdefault(row.part, [0.0, 0.0, 0.0])
            totals[row.part] = [a + b for a, b in zip(known, row.values[1:].tolist(), strict=True)]
        pooled: dict[str, float] = {}
        for name, twice in (("dice_pooled", 2), ("iou_pooled", 1)):
            scores = {
                part: share(twice * hit, twice * hit + extra + lost)
                for part, (hit, extra, lost) in totals.items()
            }
            known = [score for score in scores.values() if not math.isnan(score)]
            pooled[name] = math.fsum(known) / len(known) if known else math.nan
            for part, score in scores.items() if self.class_names else ():
                pooled[f"{name}/{self.class_names[part]}"] = score
        return super().compute() | self._as_tensors(pooled)


def _known(mask: Array, valid: Tensor | None) -> Tensor:
    tensor = torch.as_tensor(mask).bool()
    return tensor if valid is None else tensor & valid.to(tensor.device)
