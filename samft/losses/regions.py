"""Losses that judge a mask as a region: Dice and Tversky."""

from __future__ import annotations

from torch import Tensor

from samft.losses.reduction import TINY, precise, sum_pixels


def dice_loss(
    logits: Tensor, targets: Tensor, *, valid: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    """One minus the soft Dice overlap.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        smooth: Added above and below the fraction bar, in pixels: an empty answer to an empty
            target is right.

    Returns:
        (P, M) in [0, 1].

    Source: Milletari et al. 2016, arXiv:1606.04797, with the sums of SAM 2's training code.
    """
    targets = precise(targets)
    probs = precise(logits).sigmoid()
    overlap = sum_pixels(probs * targets, valid)
    areas = sum_pixels(probs, valid) + sum_pixels(targets, valid)
    return 1 - (2 * overlap + smooth) / (areas + smooth)


def tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    valid: Tensor | None = None,
    smooth: float = 1.0,
) -> Tensor:
    """One minus an overlap in which false alarms and misses have weights of their own.

    With alpha = beta = 1/2 the overlap is Dice (with twice the smoothing), with both 1 the Jaccard
    index.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        alpha: Weight of predicted area outside the object.
        beta: Weight of object area that is not predicted; above alpha it favours recall.
        gamma: Above 1, masks that are already good keep more of their gradient: the loss is raised
            to the power 1 / gamma.
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        smooth: Added above and below the fraction bar, in pixels.

    Returns:
        (P, M) in [0, 1].

    Source: Salehi et al. 2017, arXiv:1706.05721 (alpha 0.3 and beta 0.7 scored best);
    gamma of Abraham and Khan 2018, arXiv:1810.07842.
    """
    targets = precise(targets)
    probs = precise(logits).sigmoid()
    overlap = sum_pixels(probs * targets, valid)
    alarms = sum_pixels(probs * (1 - targets), valid)
    misses = sum_pixels((1 - probs) * targets, valid)
    loss = 1 - (overlap + smooth) / (overlap + alpha * alarms + beta * misses + smooth)
    if gamma == 1:
        return loss
    # At 0 the root has an infinite slope; a perfect mask needs no gradient.
    return loss.clamp(min=TINY) ** (1 / gamma)
