"""Overlap of single objects: IoU and Dice per object, averaged over objects.

Scored object by object, never on the union of an image's objects, so that a small object counts as
much as a large one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


def mask_scores(
    predicted: Tensor, target: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compare predicted with true masks, object by object.

    Two empty masks agree: both scores are 1. One empty mask of the two: both are 0.

    Args:
        predicted: (P, H, W) bool, original frame.
        target: (P, H, W) bool.
        valid: (P, H, W) bool, False where the truth is unknown, or `None`.

    Returns:
        IoU (P,) and Dice (P,), float32 in [0, 1].
    """
    if valid is not None:
        predicted, target = predicted & valid, target & valid
    overlap = _areas(predicted & target)
    total = _areas(predicted) + _areas(target)
    union = total - overlap
    iou = torch.where(union > 0, overlap / union.clamp(min=1), 1.0)
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), 1.0)
    return iou, dice


def _areas(masks: Tensor) -> Tensor:
    # Object by object: a sum over a bool tensor first makes a full-size int64 copy of it.
    areas = [mask.count_nonzero() for mask in masks]
    return torch.stack(areas) if areas else masks.new_zeros(0, dtype=torch.int64)


class ObjectScores(Metric):
    """Mean IoU and Dice over objects, over all processes.

    Every object counts the same, in whatever image, batch or process it lies.

    Args:
        class_names: Names of the classes, to get the mean of each class too.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    iou_sum: Tensor
    dice_sum: Tensor
    count: Tensor

    def __init__(self, class_names: Sequence[str] = ()) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        # One entry per class, and at least one: the sum over it is the total.
        size = max(len(self.class_names), 1)
        self.add_state("iou_sum", default=torch.zeros(size), dist_reduce_fx="sum")
        self.add_state("dice_sum", default=torch.zeros(size), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, iou: Tensor, dice: Tensor, class_index: Tensor | None = None) -> None:
        """Add P objects.

        Args:
            iou: (P,) in [0, 1].
            dice: (P,) in [0, 1].
            class_index: (P,) int64 index into `class_names`; not needed without class names.
        """
        if not self.class_names:
            class_index = torch.zeros(len(iou), dtype=torch.int64, device=iou.device)
        assert class_index is not None  # with class names every object comes with its class
        # A comparison and a sum, not `index_add_`, whose order of summation on a GPU is random.
        classes = torch.arange(len(self.count), device=iou.device)
        member = class_index[:, None] == classes
        self.iou_sum += (iou[:, None] * member).sum(dim=0)
        self.dice_sum += (dice[:, None] * member).sum(dim=0)
        self.count += member.sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Return the means.

        Returns:
            `iou` and `dice` over all objects, NaN when there was none; with class names also
            `iou/<name>` and `dice/<name>` of each class that had an object.
        """
        count = self.count.sum()
        scores = {"iou": self.iou_sum.sum() / count, "dice": self.dice_sum.sum() / count}
        for index, name in enumerate(self.class_names):
            if self.count[index] > 0:
                scores[f"iou/{name}"] = self.iou_sum[index] / self.count[index]
                scores[f"dice/{name}"] = self.dice_sum[index] / self.count[index]
        return scores
