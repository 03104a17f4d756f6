"""The centre-line loss for thin, branching objects such as vessels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.losses.reduction import precise, sum_pixels


def soft_skeleton(masks: Tensor, *, iterations: int) -> Tensor:
    """Return the centre lines of soft masks, differentiable.

    Collects what a small opening takes away, at every stage of repeated erosion.

    Args:
        masks: (P, M, h, w) float in [0, 1].
        iterations: Erosions; as many as the radius in pixels of the thickest part. Thicker parts
            lose their skeleton, more iterations only cost time.

    Returns:
        Like `masks`.

    Source: Shit et al. 2021, arXiv:2003.07311, algorithm 1.
    """
    skeleton = torch.zeros_like(masks)
    for _ in range(iterations + 1):
        eroded = _eroded(masks)
        ridge = F.relu(masks - _dilated(eroded))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
        masks = eroded
    return skeleton


@torch.no_grad()
def target_skeleton(targets: Tensor, *, iterations: int, valid: Tensor | None = None) -> Tensor:
    """Return the centre lines of the targets, without a graph; others count as background.

    Args:
        targets: (P, 1 or M, h, w) float in [0, 1].
        iterations: See `soft_skeleton`.
        valid: (P, 1, h, w) bool, or `None` for all pixels.
    """
    return soft_skeleton(_known(precise(targets), valid), iterations=iterations)


def cldice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    iterations: int = 10,
    valid: Tensor | None = None,
    smooth: float = 1.0,
    skeleton: Tensor | None = None,
) -> Tensor:
    """One minus clDice, the overlap of each mask with the other's centre line.

    A gap in a thin vessel costs as much as one in a thick vessel. Keeps some fifteen maps per
    iteration for the backward pass.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        iterations: See `soft_skeleton`; in pixels of the logits.
        valid: (P, 1, h, w) bool, or `None` for all pixels; others count as background on both
            sides.
        smooth: Added above and below the fraction bars, in pixels: an empty answer to an empty
            target is right.
        skeleton: `target_skeleton` of the targets, if it is at hand.

    Returns:
        (P, M) in [0, 1].

    Source: Shit et al. 2021, arXiv:2003.07311, algorithm 2.
    """
    if skeleton is None:
        skeleton = target_skeleton(targets, iterations=iterations, valid=valid)
    probs = _known(precise(logits).sigmoid(), valid)
    targets = _known(precise(targets), valid)
    precision = _covered(soft_skeleton(probs, iterations=iterations), targets, smooth)
    recall = _covered(precise(skeleton), probs, smooth)
    return 1 - 2 * precision * recall / (precision + recall)


def _covered(skeleton: Tensor, masks: Tensor, smooth: float) -> Tensor:
    """Return the share of a skeleton that lies on the masks."""
    on_mask = sum_pixels(skeleton * masks, None)
    return (on_mask + smooth) / (sum_pixels(skeleton, None) + smooth)


def _known(masks: Tensor, valid: Tensor | None) -> Tensor:
    return masks if valid is None else masks.masked_fill(~valid, 0)


def _eroded(masks: Tensor) -> Tensor:
    """Return the minimum over each pixel and its four neighbours."""
    across, down = (_over_three(masks, dim, torch.minimum) for dim in (-1, -2))
    return torch.minimum(across, down)


def _dilated(masks: Tensor) -> Tensor:
    """Return the maximum over 3 x 3 pixels."""
    return _over_three(_over_three(masks, -1, torch.maximum), -2, torch.maximum)


def _over_three(masks: Tensor, dim: int, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the extreme of each pixel and its two neighbours along `dim`."""
    # Shifted copies rather than max_pool2d, which takes ten times as long on a CPU without a graph.
    padding = (1, 1, 0, 0) if dim == -1 else (0, 0, 1, 1)
    padded = F.pad(masks, padding, mode="replicate")
    length = masks.shape[dim]
    before, after = padded.narrow(dim, 0, length), padded.narrow(dim, 2, length)
    return extreme(extreme(before, masks), after)
