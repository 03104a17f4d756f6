"""What the objective of one decoder pass consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """The objective of one decoder pass and its parts, each a mean over objects.

    The parts are unweighted, detached, and of the chosen masks, for logging; a part that is not
    computed (weight 0, except focal and Dice) is 0.

    Args:
        total: Scalar to call `backward` on: the weighted sum; an exact 0 when there is no object.
        focal: Scalar, like all parts below.
        dice: Scalar.
        iou: Scalar.
        balanced_bce: Scalar.
        bce: Scalar.
        tversky: Scalar.
        boundary: Scalar.
        surface: Scalar.
        cldice: Scalar.
        best: (P,) int64, the mask of each object that was trained.
        actual_iou: (P, M) IoU of each mask with the target.
    """

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    balanced_bce: Tensor
    bce: Tensor
    tversky: Tensor
    boundary: Tensor
    surface: Tensor
    cldice: Tensor
    best: Tensor
    actual_iou: Tensor

    @property
    def chosen_iou(self) -> Tensor:
        """Scalar, the mean IoU of the trained masks; of no object, NaN."""
        return self.actual_iou.gather(1, self.best[:, None]).mean()

    @classmethod
    def mean(cls, terms: Sequence[Self]) -> Self:
        """Average the scalars over decoder passes; `best` and `actual_iou` are the last pass's."""
        last = terms[-1]
        scalars = [item.name for item in fields(cls) if getattr(last, item.name).ndim == 0]
        means = {
            name: torch.stack([getattr(term, name) for term in terms]).mean() for name in scalars
        }
        return replace(last, **means)
