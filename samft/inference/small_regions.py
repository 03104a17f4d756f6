"""Specks: small holes are filled, small islands removed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def clean_regions(mask: NDArray[np.bool_], min_area: int) -> tuple[NDArray[np.bool_], bool]:
    """Fill small holes of a mask, then remove its small islands.

    Regions hang together over edges and corners. Background at the border of the image counts as a
    hole like any other; a mask of small islands only keeps its largest.

    Args:
        mask: (H, W) bool.
        min_area: Pixels from which a region stays as it is.

    Returns:
        (H, W) bool, and whether the mask had any small region.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 4 "Postprocessing"; that the largest
        island stays is the released code's rule.
    """
    labels, small = _small_regions(~mask, min_area)
    filled = small.any()
    if filled:
        mask = mask | small[labels]
    labels, small = _small_regions(mask, min_area)
    if not small.any():
        return mask, bool(filled)
    stays = ~small
    if small[1:].all():
        stays[1 + np.bincount(labels.ravel())[1:].argmax()] = True
    stays[0] = False
    return stays[labels], True


def _small_regions(
    mask: NDArray[np.bool_], min_area: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return region numbers (H, W), 0 outside the mask, and which numbers are too small."""
    pixels = mask.astype(np.uint8, order="C")
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < min_area
    small[0] = False
    return np.asarray(labels, dtype=np.int32), small
