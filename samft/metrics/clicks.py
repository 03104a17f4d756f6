"""How many clicks a person needs until a mask is good enough."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


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
