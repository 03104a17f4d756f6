"""How many clicks a person needs until a mask is good enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from samft.errors import ConfigError
from samft.metrics.cases import CaseMetric, CaseRow


class ClicksToQuality(Metric):
    """Mean number of clicks to an IoU, over objects and processes.

    Args:
        qualities: The IoUs to reach, in percent.
        most: Clicks given; an object that never reaches the quality counts with this number.

    Source: the measure "NoC" of interactive segmentation, Sofiiuk et al. 2021, arXiv:2102.06583,
    where at most 20 clicks are given.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    clicks: Tensor
    count: Tensor

    def __init__(self, qualities: Sequence[int] = (85, 90), *, most: int = 9) -> None:
        super().__init__()
        self.qualities = tuple(qualities)
        self.most = most
        self.add_state("clicks", default=torch.zeros(len(self.qualities)), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, iou: Tensor) -> None:
        """Add K objects.

        Args:
            iou: (K, most) in [0, 1], after each click.
        """
        limits = torch.tensor(self.qualities, device=iou.device) / 100
        reached = iou[None] >= limits[:, None, None]
        before = (reached.long().cumsum(dim=2) == 0).sum(dim=2)
        self.clicks += (before + 1).clamp(max=self.most).sum(dim=1)
        self.count += len(iou)

    def compute(self) -> dict[str, Tensor]:
        """Return `clicks_to_<quality>` for each quality; NaN when there was no object."""
        means = self.clicks / self.count
        return {f"clicks_to_{q}": mean for q, mean in zip(self.qualities, means, strict=True)}


class ClickCurve(CaseMetric):
    """What each further click is worth: the curve, its area, and the clicks to a quality.

    - `iou_click<n>`: mean IoU after the n-th click, for each of `report`; in [0, 1], higher is
      better.
    - `click_auc`: area under the curve of IoU over clicks 1 to `most` by trapezoids, divided by
      `most - 1`, so in [0, 1], higher is better; with a single click its IoU.
    - `noc_<q>`: mean number of clicks to an IoU of q %, lower is better, from 1; an object that
      never gets there counts with `most`.
    - `failed_<q>`: share of objects that never get there, in [0, 1], lower is better.

    Every object counts the same. No object is no score (NaN).

    Args:
        qualities: The IoUs to reach, in percent.
        most: Clicks given.
        report: Clicks whose IoU is returned by name; those above `most` are left out.

    Source: "NoC" and its failures: Sofiiuk et al. 2021, arXiv:2102.06583, section 4; the curve:
    Kirillov et al. 2023, arXiv:2304.02643, figure 9.
    """

    higher_is_better = None

    def __init__(
        self,
        qualities: Sequence[int] = (85, 90),
        *,
        most: int = 9,
        report: Sequence[int] = (1, 2, 3, 5, 9),
    ) -> None:
        super().__init__()
        self.qualities = tuple(qualities)
        self.most = most
        self.report = tuple(number for number in report if number <= most)

    def update(self, iou: Tensor, *, case_id: str, first: int = 0) -> None:
        """Add objects of one case.

        Args:
            iou: (K, most) in [0, 1], after each click.
            case_id: The case's name, unique in the data set.
            first: Number of the first of these objects in its case, where a case comes in parts.

        Raises:
            ConfigError: if there are more or fewer clicks than `most`.
        """
        if iou.ndim != 2 or iou.shape[1] != self.most:
            raise ConfigError(
                "the IoU after each click has another shape",
                where=case_id,
                found=tuple(iou.shape),
                expected=f"(objects, {self.most})",
                fix="give the metric most=, the number of clicks",
            )
        for number, values in enumerate(iou.detach().double().cpu().tolist(), start=first):
            self._add(case_id, values, part=number)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores named above, and the numbers of objects and cases."""
        rows = self.rows()
        scores = self._curve(np.array([row.values for row in rows]).reshape(-1, self.most))
        counts = {"num_cases": len({row.case_id for row in rows}), "num_objects": len(rows)}
        return self._as_tensors(scores | counts)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        return self._curve(row.values[None])

    def _curve(self, iou: NDArray[np.float64]) -> dict[str, float]:
        if not len(iou):
            iou = np.full((1, self.most), math.nan)
        mean = iou.mean(axis=0)
        area = float(np.trapezoid(mean)) / (self.most - 1) if self.most > 1 else float(mean[0])
        scores = {f"iou_click{number}": float(mean[number - 1]) for number in self.report}
        scores["click_auc"] = area
        for percent in self.qualities:
            # In percent of a hundred-thousandth: float32 makes 0.85 of 17 / 20 a little less.
            reached = np.round(iou * 100, 5) >= percent
            before = np.where(reached.any(axis=1), reached.argmax(axis=1), self.most - 1)
            unknown = math.nan if np.isnan(mean[0]) else 0.0
            scores[f"noc_{percent}"] = float(before.mean()) + 1 + unknown
            scores[f"failed_{percent}"] = float((~reached.any(axis=1)).mean()) + unknown
        return scores
