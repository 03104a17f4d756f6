"""Losses that judge every pixel alone: focal loss and cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.losses.reduction import TINY, mean_pixels, precise, sum_pixels


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Cross-entropy that counts pixels less the better they are already predicted.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        alpha: Weight of object pixels; background pixels get 1 - alpha.
        gamma: How fast well-predicted pixels lose weight; 0 is plain cross-entropy.
        valid: (P, 1, h, w) bool, or `None` for all pixels.

    Returns:
        (P, M), the mean over valid pixels; 0 where none is valid.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5; alpha and gamma of SAM 2's training code
    (the SAM paper gives none).
    """
    logits, targets = precise(logits), precise(targets)
    # -log p and -log(1 - p). Powers of p are taken as exponentials of these: unlike p**gamma they
    # have a finite gradient for every gamma, also where p is 0 or 1 in floating point.
    miss, alarm = F.softplus(-logits), F.softplus(logits)
    on_object = alpha * torch.exp(-gamma * alarm) * miss
    on_background = (1 - alpha) * torch.exp(-gamma * miss) * alarm
    return mean_pixels(targets * on_object + (1 - targets) * on_background, valid)


def bce_loss(
    logits: Tensor, targets: Tensor, *, valid: Tensor | None = None, balanced: bool = False
) -> Tensor:
    """Binary cross-entropy.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        balanced: Give object and background half the weight each, whatever their areas; keeps a
            model that starts from nothing from answering every small object with an empty mask.

    Returns:
        (P, M), the mean over valid pixels, or the mean of the two means.

    Source: the balance is that of Xie and Tu 2015, arXiv:1504.06375, equation 2, with each side
    normalised by its own area.
    """
    logits, targets = precise(logits), precise(targets)
    on_object = targets * F.softplus(-logits)
    on_background = (1 - targets) * F.softplus(logits)
    if not balanced:
        return mean_pixels(on_object + on_background, valid)
    object_mean = sum_pixels(on_object, valid) / sum_pixels(targets, valid).clamp(min=TINY)
    background_area = sum_pixels(1 - targets, valid).clamp(min=TINY)
    background_mean = sum_pixels(on_background, valid) / background_area
    return (object_mean + background_mean) / 2
