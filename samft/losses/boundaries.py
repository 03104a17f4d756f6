"""Losses that weigh a wrong pixel by its distance from the true boundary.

Both read the signed distances of the target, which are computed once for all prompt rounds of a
batch, on the CPU. Terms that need the distances of the prediction as well (the Hausdorff losses of
Karimi and Salcudean 2019) would need a transform per mask and round; the surface loss here keeps
their aim, squared distances, without it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from samft.losses.reduction import TINY, mean_pixels, precise, sum_pixels


@torch.no_grad()
def signed_distances(targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Return how far each pixel is from the object's boundary, negative inside.

    The boundary runs half a pixel beyond the outermost pixel centres, so object and background are
    treated alike. Object is where the target is at least 1/2, or at its largest where it never gets
    there: an object smaller than a pixel of this resolution keeps its place. Pixels that are not
    valid count as background.

    Args:
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.

    Returns:
        Like `targets`, float32: Euclidean distances in units of the longer side, so that weights
        mean the same at every resolution; all 0 where the target has no boundary.
    """
    if valid is not None:
        targets = targets.masked_fill(~valid, 0)
    level = targets.amax(dim=(-2, -1), keepdim=True).clamp(max=0.5)
    inside = ((targets >= level) & (targets > 0)).flatten(0, 1).cpu().numpy()
    distances = np.zeros(inside.shape, dtype=np.float32)
    bounded = inside.any(axis=(1, 2)) & ~inside.all(axis=(1, 2))
    for index in np.flatnonzero(bounded):
        mask = inside[index]
        outward = ndimage.distance_transform_edt(~mask)
        inward = ndimage.distance_transform_edt(mask)
        distances[index] = np.where(mask, 0.5 - inward, outward - 0.5)
    distances /= max(targets.shape[-2:])
    return torch.from_numpy(distances).reshape(targets.shape).to(targets.device)


def boundary_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    distances: Tensor | None = None,
) -> Tensor:
    """Mean distance of wrong pixels from the true boundary.

    A target without a boundary (empty, or the whole image) gives 0: this term is for use beside
    focal and Dice loss.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        distances: `signed_distances` of the targets, if they are at hand.

    Returns:
        (P, M) in [0, 1], the mean over valid pixels; 0 for a perfect mask.

    Source: Kervadec et al. 2019, arXiv:1812.07032, with the part that does not depend on the
    prediction, which the paper drops.
    """
    distances = _distances(targets, valid, distances)
    wrong = precise(logits).sigmoid() - (distances < 0).to(distances.dtype)
    return mean_pixels(distances * wrong, valid)


def surface_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    distances: Tensor | None = None,
) -> Tensor:
    """Share of the squared distances that the prediction gets wrong; against far outliers.

    Like a Hausdorff distance it is ruled by the wrong pixels farthest from the boundary, and unlike
    the boundary loss it does not depend on the object's size. A target without a boundary gives 0.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        distances: `signed_distances` of the targets, if they are at hand.

    Returns:
        (P, M) in [0, 1]; 0 for a perfect mask, 1 for its opposite.

    Source: Celaya et al. 2023, arXiv:2302.03868, the generalised surface loss of one class.
    """
    distances = _distances(targets, valid, distances)
    inside = (distances < 0).to(distances.dtype)
    wrong = 1 - (1 - inside - precise(logits).sigmoid()) ** 2
    # In pixels, so that the floor of the denominator is small beside one wrong pixel.
    squares = (distances * max(distances.shape[-2:])) ** 2
    return sum_pixels(squares * wrong, valid) / sum_pixels(squares, valid).clamp(min=TINY)


def _distances(targets: Tensor, valid: Tensor | None, distances: Tensor | None) -> Tensor:
    if distances is None:
        distances = signed_distances(targets, valid=valid)
    return precise(distances)
