"""The IoU of masks, and the error of the decoder's prediction of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from samft.losses.reduction import TINY, precise, sum_pixels

IouError = Literal["mse", "l1"]


@torch.no_grad()
def mask_iou(logits: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Return the IoU of the masks `logits > 0`, (P, M) in [0, 1], without a gradient.

    Two empty masks agree: 1.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1]; fractions count as the area they stand for.
        valid: (P, 1, h, w) bool, or `None` for all pixels.
    """
    targets = precise(targets)
    predicted = (logits > 0).to(targets.dtype)
    overlap = sum_pixels(predicted * targets, valid)
    union = sum_pixels(predicted, valid) + sum_pixels(targets, valid) - overlap
    return torch.where(union > 0, overlap / union.clamp(min=TINY), 1.0)


def iou_loss(predicted: Tensor, actual: Tensor, *, error: IouError = "mse") -> Tensor:
    """Return the error of predicted IoU, (P, M), both in [0, 1] when right.

    Args:
        predicted: (P, M), the decoder's answer.
        actual: (P, M), see `mask_iou`; gets no gradient.
        error: `mse` squares the difference, `l1` takes its size.

    Source: `mse` of Kirillov et al. 2023, arXiv:2304.02643, appendix A ("mean-square-error loss");
    `l1` of SAM 2, Ravi et al. 2024, arXiv:2408.00714.
    """
    difference = precise(predicted) - precise(actual.detach())
    return difference**2 if error == "mse" else difference.abs()
