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
        return replace(
            terms[-1], **{name: values.mean() for name, values in cls._scalars(terms).items()}
        )

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Self:
        """Return the terms of one decoder pass from those of its pieces, one after the other.

        Args:
            pieces: Terms of some of the objects each; every object counts the same.
        """
        if len(pieces) == 1:
            return pieces[0]
        shares = torch.tensor([len(piece.best) for piece in pieces], dtype=torch.float32)
        shares = (shares / shares.sum()).to(pieces[0].total.device)
        means = {name: (values * shares).sum() for name, values in cls._scalars(pieces).items()}
        return replace(
            pieces[0],
            best=torch.cat([piece.best for piece in pieces]),
            actual_iou=torch.cat([piece.actual_iou for piece in pieces]),
            **means,
        )

    @classmethod
    def _scalars(cls, terms: Sequence[Self]) -> dict[str, Tensor]:
        """Return the values of every scalar, one per element of `terms`."""
        names = [item.name for item in fields(cls) if getattr(terms[0], item.name).ndim == 0]
        return {name: torch.stack([getattr(term, name) for term in terms]) for name in names}
