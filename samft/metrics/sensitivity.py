"""Does a model still listen to its prompts? Long tuning on one class can make it answer anything.

Two questions about the masks of one image: do prompts for different objects get different answers,
and does a click on the background leave the objects alone?
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

_SAME = 0.5


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of every mask of `first` (K, h, w) with every one of `second` (J, h, w).

    Args:
        first: Bool.
        second: Bool.

    Returns:
        (K, J) float32; 0 for two empty masks.
    """
    a, b = first.flatten(1).float(), second.flatten(1).float()
    overlap = a @ b.mT
    union = a.sum(dim=1)[:, None] + b.sum(dim=1)[None] - overlap
    return overlap / union.clamp(min=1)


class PromptSensitivity(Metric):
    """Shares of answers that show a model does not look at its prompts; both are best at 0.

    - `same_answer`: objects whose answer is, by more than half, that to another object of the same
      image, though the objects are not.
    - `background_hit`: clicks beside all objects that are answered with one of the objects.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    same: Tensor
    objects: Tensor
    hits: Tensor
    clicks: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("same", "objects", "hits", "clicks"):
            zero = torch.zeros((), dtype=torch.int64)
            self.add_state(name, default=zero, dist_reduce_fx="sum")

    def update(self, answers: Tensor, truth: Tensor, background: Tensor) -> None:
        """Add one image.

        Args:
            answers: (K, h, w) bool, the answers to a prompt for each object.
            truth: (K, h, w) bool, the objects.
            background: (C, h, w) bool, the answers to clicks beside all objects; C may be 0.
        """
        confused = (pairwise_iou(answers, answers) > _SAME) & (pairwise_iou(truth, truth) <= _SAME)
        self.same += confused.any(dim=1).sum()
        # Alone in its image an object cannot be taken for another.
        self.objects += len(truth) if len(truth) > 1 else 0
        if len(truth) and len(background):
            self.hits += (pairwise_iou(background, truth) > _SAME).any(dim=1).sum()
            self.clicks += len(background)

    def compute(self) -> dict[str, Tensor]:
        """Return the two shares; NaN without a case."""
        return {
            "same_answer": self.same / self.objects,
            "background_hit": self.hits / self.clicks,
        }
